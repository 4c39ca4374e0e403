// The display of the box: shows what the box says over its WebSocket, and asks it to begin or cancel sales.
//
// The page decides nothing. All it knows is in `page`, drawing.js draws that whole, and every word is in texts.js.

import { ask, read, watch, wordsOf } from "/box.js";
import { byId, cell, currentSection, draw, ENDED } from "/drawing.js";
import { TEXTS } from "/texts.js";

const PRESETS_MINOR = [1000, 2000, 5000, 10000];
const AMOUNT_MINOR_MAX = 1_000_000_000;
const APPROVAL_LINGERS_MS = 20_000; // Long enough to scan the receipt; any key or touch ends it before.

const page = {
  view: null, // What the box said last.
  heardAtMs: 0,
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
  historyOf: "", // What the box had when the history was read, so that it is read again after a change.
  receipt: null,
  isSending: false,
};

function render() {
  draw(page, { showReceipt });
}

// ---- what the box says

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
  if (view.state !== "idle" && !ENDED.includes(view.state)) page.result = null;
  page.decidingSinceMs = view.state === "authorising" ? (page.decidingSinceMs ?? performance.now()) : null;
  if (ENDED.includes(view.state) && view.sale.payment_id !== page.dismissed) {
    const isApproved = view.state === "approved";
    const untilMs = performance.now() + (isApproved ? APPROVAL_LINGERS_MS : 0);
    const isSame = page.result?.view.sale.payment_id === view.sale.payment_id;
    page.result = { view, untilMs: isSame ? page.result.untilMs : untilMs };
  }
  if (page.screen === "history" && page.historyOf !== stateOfHistory(view)) readHistory();
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
    // A box that is not sure of the time takes only codes that answer its request.
    const isFloorClock = page.view.box.clock === "floor";
    await ask("/v1/sales", { amount_minor: amountMinor, show_request: isFloorClock });
    page.amountMinor = 0;
  } catch (error) {
    page.amountMinor = amountMinor;
    page.padError = wordsOf(error);
  }
  page.isAsking = false;
  render();
}

async function showRequest() {
  const paymentId = page.view?.sale?.payment_id;
  if (!paymentId) return;
  try {
    await ask(`/v1/sales/${paymentId}/request`);
  } catch (error) {
    page.padError = wordsOf(error);
  }
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
  if (screen === "history") readHistory();
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

function stateOfHistory({ box, state }) {
  return `${box.head_number} ${box.acknowledged_number} ${state}`;
}

async function readHistory() {
  page.historyOf = stateOfHistory(page.view);
  const midnight = new Date(page.view.box.now_ms).setHours(0, 0, 0, 0);
  try {
    page.history = await read(`/v1/history?since_ms=${Math.max(0, midnight)}`);
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
  const shown = currentSection(page);
  if (event.key === "Escape") {
    if (shown === "pad") setAmount(0);
    else if (shown === "scanning" || shown === "deciding") cancelSale();
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

// ---- beginning

function build() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = TEXTS[element.dataset.text];
  for (const id of ["receipt-picture", "receipt-large-picture"]) byId(id).alt = TEXTS.receiptPicture;
  byId("request-picture").alt = TEXTS.requestPicture;
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
    "take-back": cancelSale,
    "show-request": showRequest,
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
  const isOver = page.result && performance.now() >= page.result.untilMs && page.view.state === "idle";
  if (isOver && page.screen !== "receipt") page.result = null;
  if (page.view) render();
}

build();
listen();
render();
watch({
  onView: hear,
  onLost: () => {
    page.isLost = true;
    render();
  },
});
setInterval(tick, 250);
