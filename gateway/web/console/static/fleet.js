// Fleet: processes, Redis, upstreams, names of models, settings.

import { get } from "./api.js";
import { badge, card, facts, h, replace, table } from "./dom.js";
import { ago, bytes, count, dollars, percent, seconds } from "./format.js";

const SILENT = 10;
const LATE = 250;

export async function fleetPage({ main }) {
  const [fleet, upstreams] = await Promise.all([get("/api/fleet"), get("/api/upstreams")]);
  const { status, redis } = fleet;
  const health = (row) => (fleet.at - row.seen > SILENT ? badge("bad", "silent") : row.lag_ms > LATE ? badge("warn", "overloaded") : badge("good", "well"));
  replace(main, h("h1", null, "Fleet"),
    fleet.problem && h("p", { class: "problem" }, fleet.problem),
    card("Processes", table("Processes", [
      ["Process", (row) => h("span", { class: "name" }, row.name)], ["Kind", (row) => row.kind], ["State", health], ["Version", (row) => row.version],
      ["Started", (row) => ago(row.started)], ["Open", (row) => (row.slots ? `${count(row.open)} of ${count(row.slots)}` : count(row.open)), "number"],
      ["Late", (row) => `${row.lag_ms.toFixed(0)} ms`, "number"], ["Last seen", (row) => ago(row.seen)]], fleet.processes, "No process has reported.")),
    card("Redis", redis === null ? h("div", { class: "empty" }, "Runs without Redis: no batches, threads, made keys or spend.")
      : redis.problem ? h("p", { class: "problem" }, redis.problem)
        : facts([["Server", redis.product], ["State", status.redis ? badge("bad", status.redis) : badge("good", "takes writes")],
          ["Memory", `${bytes(redis.used_memory)}${redis.memory_limit ? ` of ${bytes(redis.memory_limit)}` : ""}`],
          ["Survives a restart", redis.persistent ? "yes" : "no"], ["When full", redis.eviction_policy]])),
    card("Upstreams", table("Upstreams", [["Upstream", (row) => row.name], ["Vendor", (row) => row.vendor], ["Dialect", (row) => row.dialect], ["Keys", (row) => row.keys, "number"],
      ["State", (row) => circuits(row.name, status.circuits)]], status.upstreams, "None."),
      h("h3", null, "Models, last 15 minutes"),
      table("Models", [["Upstream", (row) => row.upstream || "–"], ["Model", (row) => h("a", { class: "name", href: `/?${new URLSearchParams({ model: row.model })}` }, row.model)],
        ["Exchanges", (row) => count(row.exchanges), "number"], ["Failed", (row) => percent(row.failed / row.exchanges), "number"], ["Took (median)", (row) => seconds(row.seconds_p50), "number"],
        ["Cost", (row) => dollars(row.cost), "number"], ["Last", (row) => ago(row.last)]], upstreams.data, "No exchange in the last 15 minutes.")),
    card("Routes", table("Routes", [["Pattern", (row) => h("code", null, row.pattern)], ["Goes to", (row) => h("span", { class: "stack" }, row.candidates.map((one) => h("span", null, `${one.upstream} / ${one.model || "the same name"}${one.share ? ` · share ${one.share}` : ""}`)))], ["Line", (row) => row.line ?? "–", "number"]],
      [...status.routes, ...status.families.filter((one) => !status.routes.some((route) => route.pattern === one.pattern))], "No routes: every model goes to the one upstream."),
      Object.keys(fleet.aliases).length > 0 && facts(Object.entries(fleet.aliases))),
    card("Settings", facts([["Configuration file", status.config.file ?? "none"], ["In force", status.config.valid ? badge("good", "yes") : badge("bad", "no, the one before is")]]),
      h("details", null, h("summary", null, `All ${fleet.settings.length} settings`), table("Settings", [["Setting", (row) => h("code", null, row.name)], ["Value", (row) => h("span", { class: "name" }, row.value || "not set")], ["From", (row) => row.source]], fleet.settings, ""))));
}

/** Whether an upstream is called: all of it, or all but some models. */
function circuits(upstream, open) {
  const own = open.find((one) => one.circuit === upstream);
  if (own) return badge("bad", `circuit open, ${left(own)}`);
  const models = open.filter((one) => one.circuit.startsWith(`${upstream}/`));
  if (!models.length) return badge("good", "called");
  return h("span", { class: "stack" }, models.map((one) => h("span", { class: "name" }, badge("warn", "circuit open"), ` ${one.circuit.slice(upstream.length + 1)}, ${left(one)}`)));
}

const left = (circuit) => (circuit.seconds > 0 ? seconds(circuit.seconds) : "until the next request");
