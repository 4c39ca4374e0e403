// Money and time as people read them. Money comes in minor units and is formatted here and nowhere else.

import { TEXTS } from "/texts.js";

export function formatMoney({ amount_minor: amountMinor, currency }) {
  const digits = String(Math.abs(amountMinor)).padStart(3, "0");
  const units = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return `${amountMinor < 0 ? "\u2212" : ""}${units}.${digits.slice(-2)}\u00a0${currency}`;
}

export function formatDuration(seconds) {
  if (seconds >= 2 * 3600) return TEXTS.hours(Math.floor(seconds / 3600));
  return seconds >= 60 ? TEXTS.minutes(Math.floor(seconds / 60)) : TEXTS.lessThanAMinute;
}

export function formatClock(ms) {
  const at = new Date(ms);
  return `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
}

export function formatCountdown(ms) {
  const seconds = Math.ceil(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
