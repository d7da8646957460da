// One request: what was asked for, what answered, and why it came out as it did.

import { get } from "./api.js";
import { card, facts, h, replace, table } from "./dom.js";
import { outcome } from "./exchanges.js";
import { ago, clock, count, dollars, seconds } from "./format.js";

export async function requestPage({ main, id }) {
  const row = await get(`/api/exchanges/${encodeURIComponent(id)}`);
  const link = (name, value) => value && h("a", { href: `/?${new URLSearchParams({ [name]: value })}` }, value);
  const copied = h("span", { class: "quiet", role: "status" });
  const copy = h("button", { type: "button", click: async () => {
    await navigator.clipboard.writeText(report(row));
    copied.textContent = "copied";
  } }, "Copy as report");
  replace(main,
    h("div", { class: "headline" }, h("h1", null, "Request ", h("code", null, row.request_id)), h("div", { class: "actions" }, copied, copy)),
    h("p", null, outcome(row), " ", ago(row.at), h("span", { class: "quiet" }, ` · ${clock(row.at)}`)),
    row.meaning && h("p", null, `${row.meaning[0].toUpperCase()}${row.meaning.slice(1)}.`),
    card("Asked and answered", facts([
      ["Asked for", link("model", row.model)], ["Sent to the upstream as", row.upstream_model], ["Answered by", row.served_model],
      ["Upstream", row.upstream], ["Provider", row.provider], ["Dialect", row.dialect ?? "chat"], ["Stream", row.stream ? "yes" : "no"],
      ["Stop reason", row.stop], ["Error", row.error], ["Cause", row.cause], ["Origin", row.origin], ["Upstream's status", row.upstream_status],
      ["Prompt cache", row.cache], ["Upstream's request id", row.upstream_request], ["Generation", row.generation], ["Trace", row.trace_url?.startsWith("http") ? h("a", { href: row.trace_url, rel: "noreferrer" }, row.trace) : row.trace]])),
    card("Who", facts([["Tenant", link("tenant", row.tenant)], ["Key", link("key", row.key)], ["User", link("user", row.user)], ["Session", link("session", row.session)],
      ["Agent", row.agent], ["Batch", row.batch && h("a", { href: `/batches/${encodeURIComponent(row.batch)}` }, row.batch)],
      ["Item", row.custom_id ?? row.item], ["Process", row.process]])),
    card("Tokens, cost and time", facts([["Input", count(row.input_tokens)], ["Read from the upstream's cache", count(row.cache_read_tokens)],
      ["Written to it", count(row.cache_write_tokens)], ["Output", count(row.output_tokens)], ["Cost", dollars(row.cost)],
      ["Took", seconds(row.seconds)], ["First content after", row.first_content === undefined ? null : seconds(row.first_content)]])),
    card("Attempts", table("Attempts", [["No.", (one) => one.number], ["Upstream", (one) => one.upstream], ["Outcome", (one) => one.outcome], ["Took", (one) => seconds(one.seconds), "number"]],
      row.calls.map(([upstream, result, took], index) => ({ number: index + 1, upstream, outcome: result, seconds: took })), "No upstream was called.")),
    card("Conversion notes", row.notes.length ? h("ul", null, row.notes.map((note) => h("li", null, h("code", null, note)))) : h("div", { class: "empty" }, "Everything was carried over.")));
}

function report(row) {
  const lines = Object.entries(row).filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length))
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return [`Dragoman request ${row.request_id}, ${new Date(row.at * 1000).toISOString()}`, ...lines].join("\n");
}
