// Numbers, money and times as people read them.

import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => whole.format(value ?? 0);
export const short = (value) => (value < 10000 ? whole.format(value ?? 0) : compact.format(value));

export function rate(value) {
  return value < 10 ? value.toFixed(value && value < 1 ? 2 : 1) : whole.format(value);
}

export function dollars(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "$0";
  return "$" + (value >= 1 ? value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })
    : value.toPrecision(2).includes("e") ? value.toFixed(9).replace(/0+$/, "") : String(Number(value.toPrecision(3))).padEnd(4, "0"));
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${(value / 3600).toFixed(1)} h` : `${Math.round(value / 86400)} d`;
}

export function percent(share) {
  if (share === null || share === undefined) return "–";
  return `${(share * 100).toFixed(share && share < 0.1 ? 1 : 0)} %`;
}

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let number = 0;
  while (value >= 1000 && number < units.length - 1) { value /= 1000; number += 1; }
  return `${value < 10 && number ? value.toFixed(1) : Math.round(value)} ${units[number]}`;
}

export const usesUtc = () => localStorage.getItem("time") === "utc";

/** The exact time, in local time or UTC. */
export function clock(unix) {
  const options = { dateStyle: "medium", timeStyle: "medium", timeZone: usesUtc() ? "UTC" : undefined };
  return new Intl.DateTimeFormat("en-GB", options).format(unix * 1000) + (usesUtc() ? " UTC" : "");
}

/** How long ago, with the exact time on hover and for screen readers. Kept up to date by `tick`. */
export function ago(unix) {
  if (!unix) return "–";
  const exact = clock(unix);
  return h("time", { datetime: new Date(unix * 1000).toISOString(), title: exact, "data-at": unix }, since(unix));
}

function since(unix) {
  const passed = Date.now() / 1000 - unix;
  return passed < 1 ? "now" : `${seconds(Math.floor(passed))} ago`;
}

export function tick() {
  for (const element of document.querySelectorAll("time[data-at]")) {
    const text = since(Number(element.dataset.at));
    if (element.textContent !== text) element.textContent = text;
  }
}
