// Building the page: elements with text only, so that names and errors from clients are never read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `attributes`: functions become listeners, true an empty attribute, null and false are left out. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export function replace(element, ...children) {
  element.replaceChildren();
  add(element, children);
}

// Fifty rows with buttons take 20 ms to make and 25 ms to lay out.
const ROWS_AT_ONCE = 50;
// Of long tables, by caption: what is sought and how many rows are shown, kept when the page is drawn again.
const views = new Map();

/** A table that becomes a list of cards on a narrow screen. `columns`: [heading, row -> content, "number"?]. A long one is
 * shown in parts, with a field to find rows by their text. */
export function table(caption, columns, rows, empty) {
  if (!rows.length) return h("div", { class: "empty" }, empty);
  const body = h("tbody");
  const whole = h("div", { class: "scroll" },
    h("table", null,
      h("caption", { class: "hidden" }, caption),
      h("thead", null, h("tr", null, columns.map(([heading, , kind]) => h("th", { scope: "col", class: kind }, heading)))),
      body));
  if (rows.length > 2 * ROWS_AT_ONCE) return inParts(caption, whole, body, columns, rows);
  add(body, rows.map((row) => tableRow(columns, row)));
  return whole;
}

function inParts(caption, whole, body, columns, rows) {
  const view = views.get(caption) ?? { sought: "", shown: ROWS_AT_ONCE };
  views.set(caption, view);
  let found = rows;
  const state = h("span", { class: "quiet", role: "status" });
  const more = h("button", { type: "button", click: () => { show(view.shown, view.shown + ROWS_AT_ONCE); } }, "Show more");
  const find = h("input", { type: "search", value: view.sought, autocomplete: "off", spellcheck: "false", input: () => { view.sought = find.value; seek(ROWS_AT_ONCE); } });
  const show = (from, to) => {
    view.shown = to;
    add(body, found.slice(from, to).map((row) => tableRow(columns, row)));
    more.hidden = found.length <= to;
    state.textContent = `${Math.min(to, found.length).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
  };
  const seek = (shown) => {
    const sought = view.sought.toLowerCase();
    found = sought ? rows.filter((row) => Object.values(row).join(" ").toLowerCase().includes(sought)) : rows;
    body.replaceChildren();
    show(0, shown);
  };
  seek(view.shown);
  return h("div", null, h("label", { class: "find" }, "Find", find), whole, h("div", { class: "actions" }, more, state));
}

export function tableRow(columns, row) {
  return h("tr", null, columns.map(([heading, content, kind]) =>
    h("td", { class: kind, "data-name": heading }, content(row))));
}

/** A short word with a sign, so that kinds differ by more than colour. */
export function badge(kind, text) {
  const sign = { good: "✓", bad: "✕", warn: "!", busy: "…", plain: "" }[kind];
  return h("span", { class: `badge ${kind}` }, sign && h("span", { "aria-hidden": "true" }, sign), " ", text);
}

export function card(title, ...children) {
  return h("section", { class: "card" }, h("h2", null, title), children);
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

let spoken = 0;

/** Let a screen reader speak, at most every five seconds. */
export function announce(text) {
  const now = performance.now();
  if (now - spoken < 5000) return;
  spoken = now;
  document.getElementById("live").textContent = text;
}
