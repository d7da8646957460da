// Errors: what failed, and why?

import { get, withFilters } from "./api.js";
import { badge, card, h, replace, table } from "./dom.js";
import { COLUMNS } from "./exchanges.js";
import { ago, count, percent } from "./format.js";

const SPANS = [["3600", "last hour"], ["86400", "last day"], ["", "all that are kept"]];

export async function errorsPage({ main }) {
  const query = new URLSearchParams(location.search);
  const span = query.get("span") ?? "3600";
  const since = span ? Math.floor(Date.now() / 1000 - Number(span)) : 0;
  const [groups, list] = await Promise.all([get(`/api/errors?since=${since}`),
    get(withFilters("/api/exchanges", { status: query.get("status") ?? "failed", since, limit: 50 }))]);
  const request = (id) => h("a", { class: "name", href: `/r/${encodeURIComponent(id)}` }, id);
  const columns = [
    ["Cause", (row) => h("span", { class: "stack" }, h("a", { class: "row", href: `?${new URLSearchParams({ span, error: row.cause })}` }, badge("bad", row.cause)), h("span", { class: "quiet" }, row.meaning))],
    ["Status", (row) => row.status, "number"],
    ["Upstream", (row) => row.upstream || "–"],
    ["Count", (row) => count(row.count), "number"],
    ["Last", (row) => ago(row.last)],
    ["Models", (row) => h("span", { class: "name" }, row.models.join(", "))],
    ["Latest requests", (row) => h("span", { class: "stack" }, row.examples.map(request))],
  ];
  replace(main, h("div", { class: "headline" }, h("h1", null, "Errors"),
      h("nav", { class: "spans", "aria-label": "Time span" }, SPANS.map(([value, text]) => h("a", { href: `?span=${value}`, "aria-current": value === span ? "true" : null }, text)))),
    card("By cause",
      h("p", { class: "quiet" }, `${count(groups.failed_15m)} of ${count(groups.exchanges_15m)} exchanges of the last 15 minutes failed`,
        groups.exchanges_15m ? ` (${percent(groups.failed_15m / groups.exchanges_15m)}).` : "."),
      table("Errors by cause", columns, groups.data, "Nothing has failed.")),
    card(query.get("error") ? `Latest failures: ${query.get("error")}` : "Latest failures",
      query.get("error") && h("p", null, h("a", { href: `?span=${span}` }, "Show all causes")),
      table("Latest failures", COLUMNS, list.data, "Nothing has failed.")));
}
