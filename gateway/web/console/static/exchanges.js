// Rows of exchanges, as the first page and the page of errors show them.

import { filters, setFilter } from "./api.js";
import { badge, h } from "./dom.js";
import { ago, count, dollars, seconds } from "./format.js";

export const COLUMNS = [
  ["When", (row) => h("a", { class: "row", href: `/r/${encodeURIComponent(row.request_id)}` }, ago(row.at))],
  ["Outcome", (row) => outcome(row)],
  ["Model", (row) => h("span", { class: "name" }, row.model, row.served_model && row.served_model !== row.model
    && h("span", { class: "quiet" }, ` → ${row.served_model}`))],
  ["Who", (row) => h("span", { class: "name" }, row.tenant, row.key && h("span", { class: "quiet" }, ` ${row.key}`), row.batch && " (batch)")],
  ["Tokens in → out", (row) => `${count(row.input_tokens + (row.cache_read_tokens ?? 0) + (row.cache_write_tokens ?? 0))} → ${count(row.output_tokens)}`, "number"],
  ["Took", (row) => seconds(row.seconds), "number"],
  ["Cost", (row) => dollars(row.cost), "number"],
];

export function outcome(row) {
  if (row.status === 499) return badge("plain", "client left");
  if (row.error) return badge("bad", `${row.status} ${row.cause ?? row.error}`);
  return badge("good", row.cache === "hit" ? "from the cache" : row.stop ?? row.status);
}

const FIELDS = [["status", "Outcome"], ["model", "Model"], ["tenant", "Tenant"], ["key", "Key id"], ["session", "Session"], ["error", "Error"]];

/** A form of filters, which end up in the address. */
export function filterForm() {
  const query = filters();
  const extra = [...query].filter(([name]) => !FIELDS.some(([known]) => known === name));
  const submit = (event) => {
    event.preventDefault();
    const chosen = new URLSearchParams([...extra, ...new FormData(event.target)].filter(([, value]) => value));
    location.search = chosen.toString();
  };
  const field = ([name, label]) => h("label", null, label, name === "status"
    ? h("select", { name }, [["", "all"], ["failed", "failed"], ["200", "200"], ["429", "429"], ["499", "499, client left"], ["529", "529"]]
      .map(([value, text]) => h("option", { value, selected: query.get(name) === value }, text)))
    : h("input", { name, type: "search", value: query.get(name) ?? "", autocomplete: "off", spellcheck: "false" }));
  const isActive = [...query].length > 0;
  return h("details", { class: "filters", open: isActive },
    h("summary", null, isActive ? `Filters: ${[...query].map(([name, value]) => `${name} = ${value}`).join(", ")}` : "Filter"),
    h("form", { submit }, FIELDS.map(field), h("div", { class: "actions" },
      h("button", { type: "submit", class: "primary" }, "Apply"),
      isActive && h("a", { class: "button", href: location.pathname }, "Show all"))));
}

export { setFilter };
