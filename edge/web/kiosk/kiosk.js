// The display of the box: shows what the box says over its WebSocket, and asks it to begin or cancel sales.
//
// The page decides nothing. All state is in `page`, `render` draws it whole, and every word is in texts.js.

import { TEXTS } from "/texts.js";

const PRESETS_MINOR = [1000, 2000, 5000, 10000];
const AMOUNT_MINOR_MAX = 1_000_000_000;
const SILENCE_MS_MAX = 4000; // The box speaks once a second; this long without a word means that it is gone.
const RETRY_MS = 1000;
const APPROVAL_LINGERS_MS = 20_000; // Long enough to scan the receipt; any key or touch ends it before.
const DECIDING_SHOWN_AFTER_MS = 150; // A decision takes a few milliseconds: its screen would only flash.
const ENDED = ["approved", "declined", "cancelled", "timed_out", "failed"];

const page = {
  view: null, // What the box said last.
  heardAtMs: null,
  failing: null, // The error the box sent in place of its state.
  isLost: false,
  amountMinor: 0,
  isAsking: false,
  padError: "",
  screen: "sale", // sale, history, box or receipt
  result: null, // The result on display: {view, untilMs}; it outlives the box's own by a little.
  dismissed: null, // The payment whose result was put away by hand.
  decidingSinceMs: null,
  history: null,
  historyError: "",
  historyOf: null, // What the box had when the history was read, so that it is read again after a change.
  receipt: null,
  isSending: false,
};

const byId = (id) => document.getElementById(id);

// ---- money and time, formatted in this one place

export function formatMoney({ amount_minor: amountMinor, currency }) {
  const digits = String(Math.abs(amountMinor)).padStart(3, "0");
  const units = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return `${amountMinor < 0 ? "\u2212" : ""}${units}.${digits.slice(-2)}\u00a0${currency}`;
}

function formatDuration(seconds) {
  if (seconds >= 2 * 3600) return TEXTS.hours(Math.floor(seconds / 3600));
  return seconds >= 60 ? TEXTS.minutes(Math.floor(seconds / 60)) : TEXTS.lessThanAMinute;
}

function formatClock(ms) {
  const at = new Date(ms);
  return `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
}

function formatCountdown(ms) {
  const seconds = Math.ceil(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

// ---- talking to the box

async function ask(path, body) {
  const options = body === undefined ? { method: "POST" } : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  return answerOf(await fetch(path, options));
}

async function answerOf(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

function wordsOf(error) {
  return error instanceof TypeError || error instanceof SyntaxError ? TEXTS.unreachable : error.message;
}

function connect() {
  const url = new URL("/v1/events", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  const isOurs = () => socket === page.socket;
  page.socket = socket;
  page.heardAtMs = performance.now();
  socket.onmessage = (message) => {
    if (isOurs()) hear(JSON.parse(message.data));
  };
  socket.onclose = () => {
    if (isOurs()) lose();
  };
}

function lose() {
  const socket = page.socket;
  page.socket = null;
  if (socket) socket.close();
  page.isLost = true;
  render();
  setTimeout(connect, RETRY_MS);
}

function hear(view) {
  page.heardAtMs = performance.now();
  page.isLost = false;
  page.failing = view.error ?? null;
  if (!page.failing) take(view);
  render();
}

function take(view) {
  const before = page.view;
  page.view = view;
  const isNewSale = view.sale && view.sale.payment_id !== before?.sale?.payment_id;
  if (isNewSale) {
    page.screen = "sale";
    page.receipt = null;
  }
  if (view.state === "scanning" || view.state === "authorising") page.result = null;
  page.decidingSinceMs = view.state === "authorising" ? (page.decidingSinceMs ?? performance.now()) : null;
  if (ENDED.includes(view.state) && view.sale.payment_id !== page.dismissed) {
    const isApproved = view.state === "approved";
    const untilMs = performance.now() + (isApproved ? APPROVAL_LINGERS_MS : 0);
    const isSame = page.result?.view.sale.payment_id === view.sale.payment_id;
    page.result = { view, untilMs: isSame ? page.result.untilMs : untilMs };
  }
}

// ---- what the person at the counter does

function typeDigit(digit) {
  leaveResult();
  const amountMinor = page.amountMinor * 10 + digit;
  if (amountMinor <= AMOUNT_MINOR_MAX) page.amountMinor = amountMinor;
  page.padError = "";
  render();
}

function deleteDigit() {
  page.amountMinor = Math.floor(page.amountMinor / 10);
  page.padError = "";
  render();
}

function setAmount(amountMinor) {
  page.amountMinor = amountMinor;
  page.padError = "";
  render();
}

async function startSale(amountMinor) {
  if (page.isAsking || amountMinor === 0) return;
  page.isAsking = true;
  page.padError = "";
  render();
  try {
    await ask("/v1/sales", { amount_minor: amountMinor });
    page.amountMinor = 0;
  } catch (error) {
    page.amountMinor = amountMinor;
    page.padError = wordsOf(error);
  }
  page.isAsking = false;
  render();
}

async function cancelSale() {
  const paymentId = page.view?.sale?.payment_id;
  if (!paymentId) return;
  try {
    await ask(`/v1/sales/${paymentId}/cancel`);
  } catch (error) {
    page.padError = wordsOf(error);
  }
}

function leaveResult() {
  if (!page.result) return;
  page.dismissed = page.result.view.sale.payment_id;
  const isStillShownByTheBox = page.view.sale?.payment_id === page.dismissed;
  page.result = null;
  if (isStillShownByTheBox) cancelSale();
}

function tryAgain() {
  const amountMinor = page.result.view.sale.amount_minor;
  leaveResult();
  startSale(amountMinor);
}

async function sendNow() {
  page.isSending = true;
  render();
  try {
    await ask("/v1/send-now");
  } catch (error) {
    page.padError = wordsOf(error);
  }
  setTimeout(() => {
    page.isSending = false;
    render();
  }, 2000);
}

function open(screen) {
  page.screen = screen;
  if (screen === "history") page.historyOf = null;
  render();
  if (screen !== "sale") byId(screen).querySelector("button").focus({ focusVisible: false });
}

function goBack() {
  open(page.screen === "receipt" && page.history && !page.result ? "history" : "sale");
}

function showReceipt(sale) {
  page.receipt = sale;
  page.screen = "receipt";
  render();
}

async function readHistory() {
  const { now_ms: nowMs, head_number: head, acknowledged_number: acknowledged } = page.view.box;
  page.historyOf = `${head} ${acknowledged} ${page.view.state}`;
  const midnight = new Date(nowMs).setHours(0, 0, 0, 0);
  try {
    page.history = await answerOf(await fetch(`/v1/history?since_ms=${Math.max(0, midnight)}`));
    page.historyError = "";
  } catch (error) {
    page.historyError = wordsOf(error);
  }
  render();
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const isOnButton = document.activeElement?.tagName === "BUTTON";
  if ((event.key === "Enter" || event.key === " ") && isOnButton) return; // The button takes it.
  const shown = currentSection();
  if (event.key === "Escape") {
    if (shown === "pad") setAmount(0);
    else if (shown === "scanning") cancelSale();
    else if (shown === "result") byId("done").click();
    else if (page.screen !== "sale") goBack();
  } else if (event.key === "Enter") {
    if (shown === "pad") startSale(page.amountMinor);
    else if (shown === "result") byId("done").click();
  } else if (event.key === "Backspace" && shown === "pad") {
    deleteDigit();
  } else if (/^[0-9]$/.test(event.key) && (shown === "pad" || shown === "result")) {
    typeDigit(Number(event.key));
  } else {
    return;
  }
  event.preventDefault();
}

// ---- drawing

const SECTIONS = ["pad", "scanning", "deciding", "result", "history", "box", "receipt-large", "lost"];

function currentSection() {
  if (page.isLost || page.failing || !page.view) return "lost";
  if (page.screen === "history" || page.screen === "box") return page.screen;
  if (page.screen === "receipt") return "receipt-large";
  if (page.view.state === "scanning") return "scanning";
  if (page.view.state === "authorising") {
    const isLong = performance.now() - page.decidingSinceMs >= DECIDING_SHOWN_AFTER_MS;
    return isLong ? "deciding" : "scanning";
  }
  return page.result ? "result" : "pad";
}

function render() {
  const shown = currentSection();
  for (const id of SECTIONS) byId(id).hidden = id !== shown;
  document.body.classList.toggle("is-lost", shown === "lost");
  if (shown === "lost") return renderLost();
  renderBar(page.view);
  renderNotice(page.view.box.findings.filter((finding) => finding.level !== "good"));
  if (shown === "pad") renderPad(page.view);
  if (shown === "scanning" || shown === "deciding") renderSale(page.view);
  if (shown === "result") renderResult(page.result.view);
  if (shown === "history") renderHistory();
  if (shown === "box") renderBox(page.view);
  if (shown === "receipt-large") renderReceipt();
}

function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text; // Or a live region would speak again and again.
}

function setMoney(id, money) {
  const text = formatMoney(money);
  setText(id, text);
  byId(id).classList.toggle("is-long", text.length > 12);
}

function setIcon(id, name) {
  byId(id).setAttribute("href", `#icon-${name}`);
}

function setLevel(element, level) {
  if (element.dataset.level !== level) element.dataset.level = level;
}

function renderLost() {
  if (page.failing) {
    setText("lost-title", TEXTS.failing.title);
    setText("lost-words", page.failing.message);
  } else if (page.isLost) {
    setText("lost-title", TEXTS.lost.title);
    setText("lost-words", TEXTS.lost.words);
  }
  byId("lost").classList.toggle("is-beginning", !page.failing && !page.isLost);
}

function renderBar({ box }) {
  setText("link-words", box.link === "online" ? TEXTS.online : TEXTS.offline);
  setIcon("link-icon", box.link === "online" ? "online" : "offline");
  setLevel(byId("link"), box.link === "online" ? "good" : "warning");
  setText("queue", TEXTS.queue(box.queue.count, formatMoney(box.queue)));
  const hasRoom = box.room.count > 0;
  setText("room", hasRoom ? TEXTS.roomFor(formatMoney(box.room), formatDuration(box.room.seconds)) : TEXTS.roomNone);
  setText("send-now", page.isSending ? TEXTS.sendingNow : TEXTS.sendNow);
  byId("send-now").disabled = page.isSending;
}

function renderNotice(findings) {
  const notice = byId("notice");
  notice.hidden = findings.length === 0 || page.screen === "box";
  if (notice.hidden) return;
  const [worst, ...others] = findings;
  setLevel(notice, worst.level);
  setIcon("notice-icon", worst.level);
  setText("notice-words", `${worst.words} ${worst.to_do}`);
  setText("notice-more", others.length ? TEXTS.moreFindings(others.length) : "");
}

function renderPad({ merchant, currency, box }) {
  setText("merchant", TEXTS.amountFor(merchant));
  setMoney("amount", { amount_minor: page.amountMinor, currency });
  const isOver = box.one_payment.amount_minor === 0 || page.amountMinor > box.one_payment.amount_minor;
  setText("limit", limitWords(box.one_payment, isOver));
  byId("limit").classList.toggle("is-over", isOver);
  setText("pad-error", page.padError);
  byId("start").disabled = page.isAsking || page.amountMinor === 0;
}

function limitWords(limit, isOver) {
  if (limit.amount_minor === 0) return TEXTS.noLimit;
  return (isOver ? TEXTS.overLimit : TEXTS.limit)(formatMoney(limit));
}

function renderSale({ merchant, sale, state, hint, time_left_ms: timeLeftMs }) {
  setText("scanning-merchant", TEXTS.amountFor(merchant));
  setMoney("scanning-amount", sale);
  setMoney("deciding-amount", sale);
  if (state !== "scanning") return;
  setText("hint", hint ?? "");
  const leftMs = Math.max(0, timeLeftMs - (performance.now() - page.heardAtMs));
  setText("time-left", TEXTS.timeLeft(formatCountdown(leftMs)));
  byId("time-bar").value = leftMs / 1000;
}

function outcomeOf(view) {
  if (view.state === "approved") {
    const isSent = page.view.box.acknowledged_number >= view.record_number;
    return isSent
      ? { kind: "sent", icon: "sent", title: TEXTS.result.sent, happened: TEXTS.result.sentMore, toDo: "" }
      : {
          kind: "will-be-sent",
          icon: "will-be-sent",
          title: TEXTS.result.willBeSent,
          happened: TEXTS.result.willBeSentMore,
          toDo: "",
        };
  }
  const isRefused = view.state === "declined" || view.state === "failed";
  return {
    kind: isRefused ? "declined" : "ended",
    icon: isRefused ? "declined" : "ended",
    title: TEXTS.result[view.state],
    happened: view.happened ?? TEXTS.result[`${view.state}More`] ?? "",
    toDo: view.to_do ?? "",
  };
}

function renderResult(view) {
  const outcome = outcomeOf(view);
  byId("result").dataset.kind = outcome.kind;
  setIcon("result-icon", outcome.icon);
  setText("result-title", outcome.title);
  setMoney("result-amount", view.sale);
  setText("result-happened", outcome.happened);
  setText("result-to-do", outcome.toDo);
  byId("again").hidden = view.state === "approved" || view.state === "cancelled";
  byId("receipt").hidden = !view.has_receipt;
  if (view.has_receipt) setPicture("receipt-picture", view.sale.payment_id);
  setText("announcement", `${outcome.title}. ${formatMoney(view.sale)}. ${outcome.happened} ${outcome.toDo}`.trim());
}

function setPicture(id, paymentId) {
  const path = `/v1/sales/${paymentId}/receipt.svg`;
  const picture = byId(id);
  if (picture.getAttribute("src") !== path) picture.setAttribute("src", path);
}

function renderReceipt() {
  setPicture("receipt-large-picture", page.receipt.payment_id);
  setMoney("receipt-large-amount", page.receipt);
}

function renderHistory() {
  const { box, state } = page.view;
  if (page.historyOf !== `${box.head_number} ${box.acknowledged_number} ${state}`) readHistory();
  setText("history-error", page.historyError);
  if (!page.history || page.history === page.drawnHistory) return;
  page.drawnHistory = page.history;
  const { sales, declined } = page.history;
  const rows = [
    ...sales.map((sale) => ({ ...sale, atMs: sale.authorised_at_ms, kind: sale.is_acknowledged ? "sent" : "will-be-sent" })),
    ...declined.map((sale) => ({ ...sale, atMs: sale.at_ms, kind: "declined" })),
  ].sort((one, other) => other.atMs - one.atMs);
  byId("history-rows").replaceChildren(...rows.map(historyRow));
  const sumMinor = sales.reduce((sum, sale) => sum + sale.amount_minor, 0);
  const sum = formatMoney({ amount_minor: sumMinor, currency: page.view.currency });
  setText("history-sum", rows.length ? TEXTS.salesOfToday(sales.length, sum) : TEXTS.noSales);
}

function historyRow(row) {
  const words = { sent: TEXTS.history.sent, "will-be-sent": TEXTS.history.willBeSent, declined: row.words }[row.kind];
  const cells = [cell("time", formatClock(row.atMs)), icon(row.kind), cell("money", formatMoney(row)), cell("words", words)];
  if (row.has_receipt) {
    const button = cell("secondary", TEXTS.showReceipt, "button");
    button.type = "button";
    button.addEventListener("click", () => showReceipt(row));
    cells.push(button);
  }
  return listItem(row.kind, cells);
}

function renderBox({ terminal, box }) {
  setText("box-name", TEXTS.terminal(terminal));
  const drawn = JSON.stringify(box.findings);
  if (drawn === page.drawnFindings) return;
  page.drawnFindings = drawn;
  byId("box-rows").replaceChildren(
    ...box.findings.map(({ level, words, to_do: toDo }) =>
      listItem(level, [icon(level), cell("level", TEXTS.level[level]), cell("words", `${words} ${toDo}`.trim())]),
    ),
  );
}

function listItem(kind, cells) {
  const item = document.createElement("li");
  item.dataset.kind = kind;
  item.append(...cells);
  return item;
}

function cell(className, text, tag = "span") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

// ---- beginning

function build() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = TEXTS[element.dataset.text];
  for (const id of ["receipt-picture", "receipt-large-picture"]) byId(id).alt = TEXTS.receiptPicture;
  byId("presets").append(
    ...PRESETS_MINOR.map((amountMinor) => button(String(amountMinor / 100), () => setAmount(amountMinor))),
  );
  const digits = [7, 8, 9, 4, 5, 6, 1, 2, 3].map((digit) => button(String(digit), () => typeDigit(digit)));
  const deleting = button("⌫", deleteDigit);
  deleting.setAttribute("aria-label", TEXTS.deleteDigit);
  const twoZeros = button("00", () => {
    typeDigit(0);
    typeDigit(0);
  });
  byId("keys").append(...digits, twoZeros, button("0", () => typeDigit(0)), deleting);
}

function button(text, onClick) {
  const element = cell("", text, "button");
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

function listen() {
  const actions = {
    start: () => startSale(page.amountMinor),
    cancel: cancelSale,
    again: tryAgain,
    done: () => {
      leaveResult();
      render();
    },
    "send-now": sendNow,
    "open-history": () => open(page.screen === "history" ? "sale" : "history"),
    notice: () => open("box"),
    link: () => open(page.screen === "box" ? "sale" : "box"),
    "history-back": goBack,
    "box-back": goBack,
    "receipt-back": goBack,
    enlarge: () => showReceipt(page.result.view.sale),
  };
  for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", action);
  document.addEventListener("keydown", onKey);
  // After a touch no button keeps the focus, so that Enter on a keyboard means the screen and not the last button.
  document.addEventListener("click", (event) => {
    if (event.detail > 0) document.activeElement?.blur();
  });
}

function tick() {
  const nowMs = performance.now();
  if (page.socket && nowMs - page.heardAtMs > SILENCE_MS_MAX) return lose();
  const isOver = page.result && nowMs >= page.result.untilMs && page.view?.state === "idle";
  if (isOver && page.screen !== "receipt") page.result = null;
  if (page.view) render();
}

build();
listen();
render();
connect();
setInterval(tick, 250);
