// Charts as SVG, with the figures in a table behind them.

import { h, svg, table } from "./dom.js";
import { clock } from "./format.js";

const WIDTH = 600;
const HEIGHT = 150;
const LEFT = 60; // "$1,000.00" and "500 ms"
const BOTTOM = 18;
const TOP = 8;

/**
 * Lines over time. `lines`: [{name, values, kind}], null where there is no value; `format` writes a value.
 */
export function lineChart(title, { start, step }, lines, format) {
  const length = Math.max(1, ...lines.map((line) => line.values.length));
  const top = niceTop(Math.max(0, ...lines.flatMap((line) => line.values.map((value) => value ?? 0))));
  const x = (number) => LEFT + (number / Math.max(1, length - 1)) * (WIDTH - LEFT - 4);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary(title, lines, format) });
  for (const share of [0, 0.5, 1]) {
    picture.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y(top * share), y2: y(top * share) }),
      svg("text", { class: "axis", x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" }, format(top * share)));
  }
  for (const [number, anchor] of [[0, "start"], [length - 1, "end"]]) {
    picture.append(svg("text", { class: "axis", x: x(number), y: HEIGHT - 3, "text-anchor": anchor },
      number ? "now" : `${Math.round((length * step) / 60)} min ago`));
  }
  for (const line of lines) {
    if (line.kind === "area") {
      const points = line.values.map((value, number) => `L${x(number).toFixed(1)} ${y(value ?? 0).toFixed(1)}`).join("");
      picture.append(svg("path", { class: `area ${line.name}`, d: `M${x(0)} ${y(0)}${points}L${x(length - 1)} ${y(0)}Z` }));
    }
    picture.append(svg("path", { class: `line ${line.name}`, d: path(line.values, x, y) }));
    for (const [number, value] of line.values.entries()) {
      const alone = (line.values[number - 1] ?? null) === null && (line.values[number + 1] ?? null) === null;
      if (value !== null && alone) picture.append(svg("circle", { class: `dot ${line.name}`, cx: x(number), cy: y(value), r: 2.5 }));
    }
  }
  return h("figure", null,
    h("figcaption", null, title, lines.length > 1 && legend(lines)), picture, behind(title, { start, step }, lines, format));
}

/** Bars, each a stack: [{name, parts: [{name, value}], href}]. Colours come from the order of the parts' names. */
export function barChart(title, bars, names, format) {
  const width = matchMedia("(min-width: 900px)").matches ? 2 * WIDTH : WIDTH;
  const top = niceTop(Math.max(0, ...bars.map((bar) => bar.parts.reduce((sum, part) => sum + part.value, 0))));
  const space = (width - LEFT - 4) / Math.max(1, bars.length);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${title}; the figures are in the table` });
  for (const share of [0, 0.5, 1]) {
    picture.append(
      svg("line", { class: "grid", x1: LEFT, x2: width - 4, y1: y(top * share), y2: y(top * share) }),
      svg("text", { class: "axis", x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" }, format(top * share)));
  }
  bars.forEach((bar, number) => {
    let below = 0;
    for (const part of bar.parts) {
      const height = y(below) - y(below + part.value);
      picture.append(svg("rect", {
        class: `part p${names.indexOf(part.name) % 6}`, x: LEFT + number * space + space * 0.12, width: Math.min(space * 0.76, 48),
        y: y(below + part.value), height: Math.max(height, part.value ? 0.5 : 0),
      }, svg("title", null, `${bar.name} · ${part.name}: ${format(part.value)}`)));
      below += part.value;
    }
  });
  if (bars.length) {
    picture.append(svg("text", { class: "axis", x: LEFT, y: HEIGHT - 3, "text-anchor": "start" }, bars[0].name));
    if (bars.length > 1) picture.append(svg("text", { class: "axis", x: width - 4, y: HEIGHT - 3, "text-anchor": "end" }, bars.at(-1).name));
  }
  return h("figure", null, h("figcaption", null, title,
    h("span", { class: "legend" }, names.slice(0, 12).map((name, number) => h("span", { class: `key p${number % 6}` }, name)))), picture);
}

/** One bar of shares: [{name, value}], all of `total`. */
export function shareBar(label, parts, total) {
  const bar = svg("svg", { class: "share", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": label });
  let x = 0;
  for (const { name, value } of parts) {
    const width = total ? (value / total) * 100 : 0;
    bar.append(svg("rect", { class: `state ${name}`, x, y: 0, width, height: 6 }, svg("title", null, `${name}: ${value}`)));
    x += width;
  }
  return bar;
}

function path(values, x, y) {
  let text = "";
  let pen = "M";
  for (const [number, value] of values.entries()) {
    if (value === null) { pen = "M"; continue; }
    text += `${pen}${x(number).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  }
  return text;
}

function niceTop(value) {
  if (!value) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

function legend(lines) {
  return h("span", { class: "legend" }, lines.map((line) => h("span", { class: `key ${line.name}` }, line.name)));
}

function summary(title, lines, format) {
  const latest = lines.map((line) => `${line.name} ${format(line.values.findLast((value) => value !== null) ?? 0)}`);
  return `${title}, latest: ${latest.join(", ")}. The figures are in the table below.`;
}

function behind(title, { start, step }, lines, format) {
  const details = h("details", null, h("summary", null, "Figures"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const rows = lines[0].values.map((_, number) => number).filter((number) => lines.some((line) => line.values[number]));
    const columns = [["time", (number) => clock(start + number * step)],
      ...lines.map((line) => [line.name, (number) => (line.values[number] === null ? "–" : format(line.values[number])), "number"])];
    details.append(table(title, columns, rows, "All are zero."));
  });
  return details;
}
