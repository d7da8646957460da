// Keys: what may this key do, when was it last used; make, rotate, disable.

import { call, get } from "./api.js";
import { badge, card, h, replace, table } from "./dom.js";
import { ago, dollars } from "./format.js";

export async function keysPage({ main, role }) {
  const made = h("div");
  const show = async () => {
    const { data, auth, can_make: canMake } = await get("/api/keys");
    const isAdmin = role === "admin";
    const columns = [
      ["Key", (row) => h("a", { class: "row name", href: `/?${new URLSearchParams({ key: row.id })}` }, row.name ?? row.id)],
      ["Id", (row) => h("code", { class: "name" }, row.id)],
      ["Tenant", (row) => row.tenant + (row.user ? `, ${row.user}` : "")],
      ["State", (row) => badge({ active: "good", inactive: "warn" }[row.status] ?? "plain", row.status)],
      ["Last used", (row) => (row.last_used ? ago(row.last_used) : h("span", { class: "quiet" }, "not lately"))],
      ["May", (row) => rights(row)],
      ...(isAdmin ? [["Change", (row) => actions(row)]] : []),
    ];
    const rows = data.filter((row) => row.status !== "archived");
    replace(main, h("h1", null, "Keys"), made,
      auth === "off" && h("p", { class: "problem-row" }, badge("warn", "open"), " Clients need no key (GATEWAY_AUTH=off)."),
      card("Client keys", table("Client keys", columns, rows, [h("p", null, "No keys yet."), h("pre", null, "dragoman keys create NAME --tenant TENANT")])),
      isAdmin && (canMake ? creation() : h("p", { class: "quiet" }, "Keys can be made where there is Redis (GATEWAY_REDIS_URL).")));
  };
  const act = (path, method, body) => async () => {
    try {
      const reply = await call(method, path, body);
      if (reply.key) showKey(reply);
      else replace(made);
    } catch (error) {
      replace(made, h("p", { class: "problem", role: "alert" }, error.message));
    }
    await show();
  };
  const actions = (row) => row.source === "made" && h("span", { class: "actions" },
    h("button", { type: "button", "aria-label": `Rotate ${row.name}`, click: ask(`Give ${row.name} a new value?`, "The old one stays valid for a day.", "Rotate", act(`/api/keys/${row.id}/rotate`, "POST", { grace_seconds: 86400 })) }, "Rotate…"),
    row.status === "inactive" ? h("button", { type: "button", click: act(`/api/keys/${row.id}`, "PATCH", { status: "active" }) }, "Enable")
      : h("button", { type: "button", class: "danger", "aria-label": `Disable ${row.name}`, click: ask(`Disable ${row.name}?`, "Its requests are refused within a second. It can be enabled again.", "Disable", act(`/api/keys/${row.id}`, "PATCH", { status: "inactive" })) }, "Disable…"));
  const ask = (title, text, verb, then) => () => {
    const dialog = h("dialog", { "aria-label": title, close: () => dialog.remove() }, h("h2", null, title), h("p", null, text),
      h("form", { method: "dialog", class: "actions" }, h("button", { type: "submit", autofocus: true }, "Leave it"),
        h("button", { type: "button", class: "danger", click: () => { dialog.close(); then(); } }, verb)));
    document.body.append(dialog);
    dialog.showModal();
  };
  const creation = () => {
    const submit = (event) => {
      event.preventDefault();
      const form = new FormData(event.target);
      const body = { name: form.get("name"), workspace_id: form.get("tenant") };
      if (form.get("rpm")) body.limits = { requests_per_minute: Number(form.get("rpm")) };
      if (form.get("budget")) body.budget = { amount_usd: form.get("budget"), period: "monthly" };
      act("/api/keys", "POST", body)();
    };
    const field = (name, text, more) => h("label", null, text, h("input", { name, autocomplete: "off", spellcheck: "false", ...more }));
    return card("Make a key", h("form", { class: "fields", submit },
      field("name", "Name", { required: true }), field("tenant", "Tenant", { required: true, value: "default" }),
      field("rpm", "Requests per minute", { inputmode: "numeric", pattern: "[0-9]*" }), field("budget", "US dollars per month", { inputmode: "decimal", pattern: "[0-9.]*" }),
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Make"))));
  };
  const showKey = (reply) => replace(made, h("section", { class: "card notice", role: "status" }, h("h2", null, `Key of ${reply.name}`),
    h("p", null, "Copy it now: it is shown once."), h("pre", { class: "secret" }, reply.key),
    h("div", { class: "actions" }, h("button", { type: "button", click: () => navigator.clipboard.writeText(reply.key) }, "Copy"), h("button", { type: "button", click: () => replace(made) }, "Done"))));
  await show();
}

function limitsOf({ limits = {}, budgets = [] }) {
  return [...Object.entries(limits).map(([name, value]) => name === "concurrency" ? `${value} at a time` : `${value} ${name.replace("_", " ")}/min`),
    ...budgets.map((one) => `${dollars(one.amount / 1e9)} a ${one.period}`)];
}

function rights(row) {
  if (row.source === "configured") return h("span", { class: "quiet" }, "everything; it is configured (GATEWAY_KEYS)");
  const groups = Object.entries(row.model_groups ?? {}).flatMap(([group, one]) => limitsOf(one).map((text) => `${group}: ${text}`));
  const all = [row.models?.length && `models ${row.models.join(", ")}`, row.max_tokens && `${row.max_tokens} tokens an answer`, ...limitsOf(row), ...groups].filter(Boolean);
  if (row.source === "file") all.push(h("span", { class: "quiet" }, "configured in gateway.toml"));
  return all.length ? h("span", { class: "stack" }, all.map((text) => h("span", null, text))) : "everything";
}
