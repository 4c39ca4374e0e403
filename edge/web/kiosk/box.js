// Talking to the box: questions over HTTP, and its state over a WebSocket that is opened again whenever it is lost.

import { TEXTS } from "/texts.js";

const SILENCE_MS_MAX = 4000; // The box speaks once a second; this long without a word means that it is gone.
const RETRY_MS = 1000;

export async function ask(path, body) {
  const options = { method: "POST" };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  return answerOf(await fetch(path, options));
}

export async function read(path) {
  return answerOf(await fetch(path));
}

// What a failed question says to a person: the box's own words, or that it did not answer.
export function wordsOf(error) {
  return error instanceof TypeError || error instanceof SyntaxError ? TEXTS.unreachable : error.message;
}

// Calls onView with each state the box tells, and onLost when it says nothing any more; tries again by itself.
export function watch({ onView, onLost }) {
  let socket = null;
  let heardAtMs = 0;

  function connect() {
    const url = new URL("/v1/events", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const opened = new WebSocket(url);
    socket = opened;
    heardAtMs = performance.now();
    opened.onmessage = (message) => {
      if (socket !== opened) return;
      heardAtMs = performance.now();
      onView(JSON.parse(message.data));
    };
    opened.onclose = () => {
      if (socket === opened) lose();
    };
  }

  function lose() {
    const lost = socket;
    socket = null;
    lost.close();
    onLost();
    setTimeout(connect, RETRY_MS);
  }

  connect();
  setInterval(() => {
    if (socket && performance.now() - heardAtMs > SILENCE_MS_MAX) lose();
  }, 500);
}

async function answerOf(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}
