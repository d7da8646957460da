// Batches: how far are they, what failed in them, and stopping one.

import { call, get, withFilters } from "./api.js";
import { badge, card, facts, h, replace, table } from "./dom.js";
import { shareBar } from "./chart.js";
import { ago, count, dollars, rate, seconds } from "./format.js";

const POLL = 5000;
const UNANSWERED = ["errored", "canceled", "expired"];
const STATES = ["succeeded", "errored", "canceled", "expired", "processing"];

export async function batchesPage({ main, role }) {
  const columns = [
    ["Batch", (row) => h("a", { class: "row name", href: `/batches/${encodeURIComponent(row.id)}` }, row.id)],
    ["State", (row) => state(row)],
    ["Tenant", (row) => h("a", { href: `?${new URLSearchParams({ tenant: row.tenant })}` }, row.tenant)],
    ["Created", (row) => ago(row.created)],
    ["Progress", (row) => progress(row)],
    ["Time left", (row) => (row.status === "ended" ? "–" : seconds(row.seconds_left)), "number"],
    ["Cost", (row) => dollars(row.cost), "number"],
  ];
  const show = async () => {
    const { data } = await get(withFilters("/api/batches"));
    const open = data.filter((row) => row.status !== "ended");
    const tenant = new URLSearchParams(location.search).get("tenant");
    replace(main, h("h1", null, "Batches"),
      tenant && h("p", null, `Only of ${tenant}. `, h("a", { href: "/batches" }, "Show all tenants")),
      card("Under way", table("Batches under way", columns, open, "No batch is under way.")),
      card("Ended", table("Ended batches", columns, data.filter((row) => row.status === "ended"),
        [h("p", null, "No batch has ended. Create one:"), h("pre", null, "dragoman batch run requests.jsonl")])));
  };
  await show();
  repeat(show, main);
}

export async function batchPage({ main, role, id }) {
  const path = `/api/batches/${encodeURIComponent(id)}`;
  const show = async () => {
    const row = await get(path);
    const question = h("dialog", { "aria-labelledby": "question" },
      h("h2", { id: "question" }, "Cancel this batch?"),
      h("p", null, `${count(row.counts.processing)} requests will not be sent. Those in flight may still finish. This cannot be undone.`),
      h("form", { method: "dialog", class: "actions" },
        h("button", { type: "submit", value: "no", autofocus: true }, "Keep it"),
        h("button", { type: "button", class: "danger", click: async () => { question.close(); await call("POST", `${path}/cancel`, {}); await show(); } }, "Cancel the batch")));
    const mayCancel = row.status === "in_progress" && role !== "viewer";
    replace(main,
      h("div", { class: "headline" }, h("h1", null, "Batch ", h("code", null, row.id)),
        mayCancel && h("button", { type: "button", class: "danger", click: () => question.showModal() }, "Cancel…")),
      h("p", null, state(row), " ", h("span", { class: "quiet" }, "created "), ago(row.created)),
      card("Progress", progress(row), facts([...STATES.map((name) => [name, count(row.counts[name])]),
        ["in flight", row.in_flight ? count(row.in_flight) : null], ["waiting for another try", row.retrying ? count(row.retrying) : null],
        ["a second", row.rate ? rate(row.rate) : null], ["time left", row.status === "ended" ? null : seconds(row.seconds_left)],
        ["ended", row.ended ? ago(row.ended) : null], ["cost", dollars(row.cost)], ["spend cap", row.spend_cap ? dollars(row.spend_cap) : null]])),
      card("Origin", facts([["Tenant", row.tenant], ["Key", row.key], ["Priority", row.priority], ["Models", row.models.join(", ")], ["Created by request", row.request_id]])),
      card("Errors", table("Errors of the batch", [["Type", (one) => badge("bad", one.type)], ["Count", (one) => count(one.count), "number"],
        ["Examples (custom_id)", (one) => h("span", { class: "name" }, one.examples.join(", "))]], row.errors, "No request of it has failed."),
        row.sampled < row.counts.errored && h("p", { class: "quiet" }, `Counted in a sample of ${count(row.sampled)} failed requests.`)),
      h("p", null, h("a", { href: `/?${new URLSearchParams({ batch: row.id })}` }, "Its latest exchanges")), question);
  };
  await show();
  repeat(show, main);
}

function state(row) {
  const kind = { in_progress: "busy", canceling: "warn", ended: UNANSWERED.some((name) => row.counts[name]) ? "warn" : "good" }[row.status];
  const failed = row.status === "ended" ? UNANSWERED.filter((name) => row.counts[name]).map((name) => `, ${count(row.counts[name])} ${name}`) : [];
  return badge(kind, row.status.replace("_", " ") + failed.join(""));
}

function progress(row) {
  const done = row.total - row.counts.processing;
  const parts = STATES.map((name) => ({ name, value: row.counts[name] }));
  return h("div", { class: "progress" }, shareBar(`${done} of ${row.total} done`, parts, row.total), h("span", null, `${count(done)} of ${count(row.total)}`));
}

/** Show again while the page is visible and no dialog is open. */
function repeat(show, main) {
  setInterval(() => { if (!document.hidden && !main.querySelector("dialog[open]") && !main.contains(document.activeElement?.closest("a, button, input"))) show().catch(() => {}); }, POLL);
}
