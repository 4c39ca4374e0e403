// Drawing: puts what the page knows on the screen, whole, as often as it is called. It decides and asks nothing.

import { formatClock, formatCountdown, formatDuration, formatMoney } from "/format.js";
import { TEXTS } from "/texts.js";

const DECIDING_SHOWN_AFTER_MS = 150; // A decision takes a few milliseconds: its screen would only flash.
export const ENDED = ["approved", "declined", "cancelled", "timed_out", "failed"];
const SECTIONS = ["pad", "scanning", "deciding", "result", "history", "box", "receipt-large", "lost"];
const drawn = { history: null, findings: "" }; // Lists are drawn anew only when they changed, or they would jump.

// Which screen is to be seen now.
export function currentSection(page) {
  if (page.isLost || page.failing || !page.view) return "lost";
  if (page.screen === "history" || page.screen === "box") return page.screen;
  if (page.screen === "receipt") return "receipt-large";
  if (page.view.state === "scanning") return "scanning";
  if (page.view.state === "authorising") {
    const isLong = performance.now() - page.decidingSinceMs >= DECIDING_SHOWN_AFTER_MS;
    return isLong ? "deciding" : "scanning";
  }
  // Whatever else runs, waiting is what there is to do; a box newer than this page may know more states.
  if (page.view.state !== "idle" && !ENDED.includes(page.view.state)) return "deciding";
  return page.result ? "result" : "pad";
}

export function draw(page, actions) {
  const shown = currentSection(page);
  for (const id of SECTIONS) byId(id).hidden = id !== shown;
  document.body.classList.toggle("is-lost", shown === "lost");
  if (shown === "lost") return drawLost(page);
  drawBar(page);
  drawNotice(page);
  if (shown === "pad") drawPad(page);
  if (shown === "scanning" || shown === "deciding") drawSale(page);
  if (shown === "result") drawResult(page);
  if (shown === "history") drawHistory(page, actions);
  if (shown === "box") drawBox(page.view);
  if (shown === "receipt-large") drawReceipt(page.receipt);
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

function drawLost(page) {
  if (page.failing) {
    setText("lost-title", TEXTS.failing.title);
    setText("lost-words", page.failing.message);
  } else if (page.isLost) {
    setText("lost-title", TEXTS.lost.title);
    setText("lost-words", TEXTS.lost.words);
  }
  byId("lost").classList.toggle("is-beginning", !page.failing && !page.isLost);
}

function drawBar({ view: { box }, isSending }) {
  setText("link-words", box.link === "online" ? TEXTS.online : TEXTS.offline);
  setIcon("link-icon", box.link === "online" ? "online" : "offline");
  setLevel(byId("link"), box.link === "online" ? "good" : "warning");
  setText("queue", TEXTS.queue(box.queue.count, formatMoney(box.queue)));
  const hasRoom = box.room.count > 0;
  setText("room", hasRoom ? TEXTS.roomFor(formatMoney(box.room), formatDuration(box.room.seconds)) : TEXTS.roomNone);
  setText("send-now", isSending ? TEXTS.sendingNow : TEXTS.sendNow);
  byId("send-now").disabled = isSending;
}

function drawNotice({ view, screen }) {
  const findings = view.box.findings.filter((finding) => finding.level !== "good");
  const notice = byId("notice");
  notice.hidden = findings.length === 0 || screen === "box";
  if (notice.hidden) return;
  const [worst, ...others] = findings;
  setLevel(notice, worst.level);
  setIcon("notice-icon", worst.level);
  setText("notice-words", `${worst.words} ${worst.to_do}`);
  setText("notice-more", others.length ? TEXTS.moreFindings(others.length) : "");
}

function drawPad({ view: { merchant, currency, box }, amountMinor, padError, isAsking }) {
  setText("merchant", TEXTS.amountFor(merchant));
  setMoney("amount", { amount_minor: amountMinor, currency });
  const isOver = box.one_payment.amount_minor === 0 || amountMinor > box.one_payment.amount_minor;
  setText("limit", limitWords(box.one_payment, isOver));
  byId("limit").classList.toggle("is-over", isOver);
  setText("pad-error", padError);
  byId("start").disabled = isAsking || amountMinor === 0;
}

function limitWords(limit, isOver) {
  if (limit.amount_minor === 0) return TEXTS.noLimit;
  return (isOver ? TEXTS.overLimit : TEXTS.limit)(formatMoney(limit));
}

function drawSale(page) {
  const { merchant, sale, state, hint, time_left_ms: timeLeftMs } = page.view;
  setText("scanning-merchant", TEXTS.amountFor(merchant));
  setMoney("scanning-amount", sale);
  setMoney("deciding-amount", sale);
  const leftMs = Math.max(0, timeLeftMs - (performance.now() - page.heardAtMs));
  drawWaiting(state, leftMs);
  if (state !== "scanning") return;
  setText("hint", hint ?? "");
  setText("time-left", TEXTS.timeLeft(formatCountdown(leftMs)));
  byId("time-bar").value = leftMs / 1000;
  drawRequest(page.view);
}

function drawWaiting(state, leftMs) {
  const words = { authorising: TEXTS.deciding, asking: TEXTS.asking, customer_asked: TEXTS.customerAsked };
  setText("deciding-words", words[state] ?? TEXTS.busy);
  byId("customer-time").hidden = state !== "customer_asked";
  if (state === "customer_asked") setText("customer-time-left", TEXTS.timeLeft(formatCountdown(leftMs)));
  byId("take-back").hidden = state === "authorising";
}

function drawRequest({ sale, request }) {
  const isShown = Boolean(request);
  byId("request-picture").hidden = !isShown;
  byId("viewfinder").hidden = isShown;
  byId("show-request").hidden = isShown;
  setText("scanning-instruction", isShown ? TEXTS.scanRequest : TEXTS.holdCode);
  if (isShown) setPicture("request-picture", sale.payment_id, "request");
}

function outcomeOf(view, acknowledgedNumber) {
  if (view.state === "approved") {
    const isSent = view.is_by_cloud || acknowledgedNumber >= view.record_number;
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

function drawResult(page) {
  const { view } = page.result;
  const outcome = outcomeOf(view, page.view.box.acknowledged_number);
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

function setPicture(id, paymentId, name = "receipt") {
  const path = `/v1/sales/${paymentId}/${name}.svg`;
  const picture = byId(id);
  if (picture.getAttribute("src") !== path) picture.setAttribute("src", path);
}

function drawReceipt(sale) {
  setPicture("receipt-large-picture", sale.payment_id);
  setMoney("receipt-large-amount", sale);
}

function drawHistory(page, actions) {
  setText("history-error", page.historyError);
  if (!page.history || page.history === drawn.history) return;
  drawn.history = page.history;
  const { sales, declined } = page.history;
  const rows = [
    ...sales.map((sale) => ({ ...sale, atMs: sale.authorised_at_ms, kind: sale.is_acknowledged ? "sent" : "will-be-sent" })),
    ...declined.map((sale) => ({ ...sale, atMs: sale.at_ms, kind: "declined" })),
  ].sort((one, other) => other.atMs - one.atMs);
  byId("history-rows").replaceChildren(...rows.map((row) => historyRow(row, actions)));
  const sumMinor = sales.reduce((sum, sale) => sum + sale.amount_minor, 0);
  const sum = formatMoney({ amount_minor: sumMinor, currency: page.view.currency });
  setText("history-sum", rows.length ? TEXTS.salesOfToday(sales.length, sum) : TEXTS.noSales);
}

function historyRow(row, actions) {
  const words = { sent: TEXTS.history.sent, "will-be-sent": TEXTS.history.willBeSent, declined: row.words }[row.kind];
  const cells = [cell("time", formatClock(row.atMs)), icon(row.kind), cell("money", formatMoney(row)), cell("words", words)];
  if (row.has_receipt) {
    const button = cell("secondary", TEXTS.showReceipt, "button");
    button.type = "button";
    button.addEventListener("click", () => actions.showReceipt(row));
    cells.push(button);
  }
  return listItem(row.kind, cells);
}

function drawBox({ terminal, box }) {
  setText("box-name", TEXTS.terminal(terminal));
  const findings = JSON.stringify(box.findings);
  if (findings === drawn.findings) return;
  drawn.findings = findings;
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

export function cell(className, text, tag = "span") {
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

export function byId(id) {
  return document.getElementById(id);
}
