// Spend: who spends what?

import { get } from "./api.js";
import { card, h, replace, table } from "./dom.js";
import { barChart } from "./chart.js";
import { count, dollars, short } from "./format.js";

const GROUPS = [["tenant", "Tenant"], ["key", "Key"], ["model", "Model"], ["user", "User"], ["provider", "Provider"]];
const SPANS = [["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];
const SERIES = 6;

export async function spendPage({ main }) {
  const query = new URLSearchParams(location.search);
  const by = GROUPS.some(([name]) => name === query.get("by")) ? query.get("by") : "tenant";
  const days = query.get("days") ?? "30";
  const filter = query.get("day");
  const from = filter ?? day(Number(days) - 1);
  const to = filter ?? day(0);
  const link = (changes) => `?${new URLSearchParams({ by, days, ...(filter ? { day: filter } : {}), ...changes })}`;
  const [report, keys] = await Promise.all([get(`/api/spend?${new URLSearchParams({ from, to, by: `day,${by}` })}`), by === "key" ? get("/api/keys") : { data: [] }]);
  const keyNames = new Map(keys.data.map((row) => [row.id, row.name]));
  const label = (name) => keyNames.get(name) || name || "none";
  const totals = sum(report.data, (row) => row[by]);
  const byDay = sum(report.data, (row) => row.day);
  const names = totals.slice(0, SERIES - (totals.length > SERIES ? 1 : 0)).map((one) => one.name);
  const shown = totals.length > SERIES ? [...names, "others"] : names;
  const all = totals.reduce((total, one) => total + one.cost, 0);
  const bars = calendar(from, to).map((name) => ({ name, parts: shown.map((part) => ({ name: label(part), value: report.data
    .filter((row) => row.day === name && (part === "others" ? !names.includes(row[by]) : row[by] === part)).reduce((total, row) => total + row.cost, 0) })) }));
  const figures = [["Requests", (row) => count(row.requests), "number"], ["Tokens in", (row) => short(row.input_tokens), "number"],
    ["Tokens out", (row) => short(row.output_tokens), "number"], ["Cost", (row) => dollars(row.cost), "number"]];
  const groupName = GROUPS.find(([name]) => name === by)[1];
  const listed = by === "key" || by === "tenant" || by === "model" || by === "user";
  replace(main,
    h("div", { class: "headline" }, h("h1", null, "Spend"),
      h("nav", { class: "spans", "aria-label": "Group by" }, GROUPS.map(([name, text]) => h("a", { href: link({ by: name }), "aria-current": name === by ? "true" : null }, text))),
      h("nav", { class: "spans", "aria-label": "Time span" }, SPANS.map(([value, text]) => h("a", { href: `?${new URLSearchParams({ by, days: value })}`, "aria-current": value === days && !filter ? "true" : null }, text))),
      h("a", { class: "button", href: `/api/usage.csv?${new URLSearchParams({ from, to })}`, download: true }, "CSV")),
    filter && h("p", null, `Only ${filter}. `, h("a", { href: `?${new URLSearchParams({ by, days })}` }, "Show all days")),
    h("section", { class: "card" },
      h("p", { class: "sum" }, h("strong", null, dollars(all)), h("span", { class: "quiet" }, ` from ${from} to ${to}, UTC days`)),
      totals.length ? barChart(`Cost by day and ${groupName.toLowerCase()}`, bars, shown.map(label), dollars)
        : h("div", { class: "empty" }, "Nothing was spent in these days. Costs come from the upstream, or from the price table.")),
    card(`By ${groupName.toLowerCase()}`, table(`Spend by ${by}`, [[groupName, (row) => (listed && row.name
      ? [h("a", { class: "row name", href: `/?${new URLSearchParams({ [by]: row.name })}` }, label(row.name)), keyNames.get(row.name) && h("span", { class: "quiet" }, ` ${row.name}`)]
      : h("span", { class: "name" }, label(row.name)))], ...figures], totals, "Nothing was spent.")),
    card("By day", table("Spend by day", [["Day", (row) => h("a", { class: "row", href: link({ day: row.name }) }, row.name)], ...figures],
      byDay.sort((a, b) => (a.name < b.name ? 1 : -1)), "Nothing was spent.")));
}

function sum(rows, nameOf) {
  const totals = new Map();
  for (const row of rows) {
    const total = totals.get(nameOf(row)) ?? { name: nameOf(row), requests: 0, input_tokens: 0, output_tokens: 0, cost: 0 };
    for (const field of ["requests", "input_tokens", "output_tokens", "cost"]) total[field] += row[field];
    totals.set(nameOf(row), total);
  }
  return [...totals.values()].sort((a, b) => b.cost - a.cost || b.requests - a.requests);
}

function day(ago) {
  return new Date(Date.now() - ago * 86400000).toISOString().slice(0, 10);
}

function calendar(from, to) {
  const days = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += 86400000) days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}
