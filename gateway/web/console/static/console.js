// The frame of every page: sign-in, navigation, keys of the keyboard, and the page that the address names.

import { call, get, Refused } from "./api.js";
import { announce, h, replace } from "./dom.js";
import { tick, usesUtc } from "./format.js";
import { batchPage, batchesPage } from "./batches.js";
import { errorsPage } from "./errors.js";
import { fleetPage } from "./fleet.js";
import { keysPage } from "./keys.js";
import { nowPage } from "./now.js";
import { requestPage } from "./request.js";
import { spendPage } from "./spend.js";

const LINKS = [["/", "Now"], ["/errors", "Errors"], ["/spend", "Spend"], ["/batches", "Batches"], ["/fleet", "Fleet"], ["/keys", "Keys"]];
const PAGES = [
  [/^\/$/, "Now", nowPage],
  [/^\/r\/(.+)$/, "Request", requestPage],
  [/^\/errors$/, "Errors", errorsPage],
  [/^\/spend$/, "Spend", spendPage],
  [/^\/batches$/, "Batches", batchesPage],
  [/^\/batches\/(.+)$/, "Batch", batchPage],
  [/^\/fleet$/, "Fleet", fleetPage],
  [/^\/keys$/, "Keys", keysPage],
];
const SCHEMES = ["auto", "light", "dark"];

const main = document.getElementById("main");
const header = document.querySelector("header");

async function start() {
  applyScheme(localStorage.getItem("scheme") ?? "auto");
  let session;
  try {
    session = await get("/api/session");
  } catch (error) {
    replace(main, failure(error, start));
    return;
  }
  if (session.role === null) showSignIn(session.problem); else showPage(session.role);
}

function showSignIn(problem) {
  document.title = "Sign in · Dragoman";
  replace(header, brand());
  const input = h("input", { id: "key", name: "key", type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
  const message = h("p", { class: "problem", role: "alert" });
  const signIn = async (event) => {
    event.preventDefault();
    message.textContent = "";
    try {
      const { role } = await call("POST", "/api/session", { key: input.value });
      const kept = await get("/api/session");
      if (kept.role !== role) throw new Refused(0, "The browser did not keep the session: reach the console by HTTPS, or on this machine.");
      showPage(role);
    } catch (error) {
      message.textContent = error.status === 401 ? "This is not the admin key, nor the viewer's." : error.message;
      input.select();
    }
  };
  replace(main, h("section", { class: "card signin" },
    h("h1", null, "Sign in"),
    problem ? h("p", null, problem) : h("form", { submit: signIn },
      h("input", { type: "text", name: "username", autocomplete: "username", value: "admin", hidden: true }), // for password managers
      h("label", { for: "key" }, "Admin key"),
      input, message,
      h("button", { type: "submit", class: "primary" }, "Sign in"),
      h("p", { class: "quiet" }, "The value of GATEWAY_ADMIN_KEY, or of GATEWAY_ADMIN_VIEW_KEY to look without changing anything."))));
  if (!problem) input.focus();
}

function showPage(role) {
  replace(header, brand(), navigation(), tools(role));
  const path = location.pathname;
  const [pattern, title, page] = PAGES.find(([known]) => known.test(path)) ?? [/^(.*)$/, "Not found", notFound];
  document.title = `${title} · Dragoman`;
  const show = async () => {
    try {
      await page({ main, role, id: decodeURIComponent(pattern.exec(path)[1] ?? "") });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) showSignIn(null); else replace(main, h("h1", null, title), failure(error, show));
    }
  };
  show();
}

function brand() {
  return h("a", { href: "/", class: "brand" }, "Dragoman");
}

function navigation() {
  const isHere = (path) => (path === "/" ? location.pathname === "/" || location.pathname.startsWith("/r/") : location.pathname.startsWith(path));
  return h("nav", { "aria-label": "Pages" }, LINKS.map(([path, name]) =>
    h("a", { href: path, "aria-current": isHere(path) ? "page" : null }, name)));
}

function tools(role) {
  const next = (list, value) => list[(list.indexOf(value) + 1) % list.length];
  const scheme = h("button", { type: "button", click: () => {
    const chosen = next(SCHEMES, localStorage.getItem("scheme") ?? "auto");
    localStorage.setItem("scheme", chosen);
    applyScheme(chosen);
    scheme.textContent = `Theme: ${chosen}`;
  } }, `Theme: ${localStorage.getItem("scheme") ?? "auto"}`);
  const zone = h("button", { type: "button", click: () => {
    localStorage.setItem("time", usesUtc() ? "local" : "utc");
    location.reload();
  } }, usesUtc() ? "UTC" : "Local time");
  const out = h("button", { type: "button", click: async () => {
    await call("DELETE", "/api/session");
    showSignIn(null);
  } }, "Sign out");
  return h("div", { class: "tools" }, h("span", { class: "quiet role" }, `Signed in as ${role}`), zone, scheme, out);
}

function applyScheme(scheme) {
  if (scheme === "auto") document.documentElement.removeAttribute("data-scheme");
  else document.documentElement.setAttribute("data-scheme", scheme);
}

function failure(error, again) {
  return h("div", { class: "card problem-card", role: "alert" },
    h("p", null, error.message), h("button", { type: "button", click: again }, "Try again"));
}

function notFound() {
  replace(main, h("h1", null, "Not found"), h("p", null, "The console has no such page."));
}

// Keyboard: j and k walk through a list, Enter opens, / filters, ? shows the keys.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const rows = [...main.querySelectorAll("tbody tr a.row")];
  const here = rows.indexOf(document.activeElement);
  if (event.key === "j" && rows.length) rows[Math.min(here + 1, rows.length - 1)].focus();
  else if (event.key === "k" && rows.length) rows[Math.max(here - 1, 0)].focus();
  else if (event.key === "/") { main.querySelector("input[type=search], input, select")?.focus(); event.preventDefault(); }
  else if (event.key === "?") showKeys();
});

function showKeys() {
  const keys = [["j, k", "next and previous row"], ["Enter", "open the row"], ["/", "go to the filters"], ["?", "this list"], ["Esc", "close it"]];
  const dialog = h("dialog", { "aria-label": "Keys", close: () => dialog.remove() },
    h("h2", null, "Keys"), h("dl", { class: "facts" }, keys.map(([key, text]) => h("div", null, h("dt", null, h("kbd", null, key)), h("dd", null, text)))),
    h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")));
  document.body.append(dialog);
  dialog.showModal();
}

setInterval(tick, 1000);
document.addEventListener("online", () => announce("The connection is back."));
start();
