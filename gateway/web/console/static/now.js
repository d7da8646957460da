// Now: is it healthy, and what happens? Live by server-sent events.

import { get, withFilters } from "./api.js";
import { add, announce, badge, h, replace, table, tableRow } from "./dom.js";
import { lineChart } from "./chart.js";
import { COLUMNS, filterForm } from "./exchanges.js";
import { count, dollars, percent, rate, seconds } from "./format.js";

// Cards of a narrow screen take six times the height of a row.
const SHOWN = matchMedia("(max-width: 700px)").matches ? 15 : 50;
const ROWS_A_FRAME = 5;

export async function nowPage({ main }) {
  const [overview, list] = await Promise.all([get("/api/overview"), get(withFilters("/api/exchanges", { limit: SHOWN }))]);
  const top = h("div");
  const rows = h("div", { class: "live" });
  const state = h("span", { class: "quiet", role: "status" });
  const pause = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
  replace(main, h("h1", { class: "hidden" }, "Now"), top,
    h("section", { class: "card" },
      h("div", { class: "headline" }, h("h2", null, "Latest exchanges"), h("div", { class: "actions" }, state, pause)),
      filterForm(), rows));
  showOverview(top, overview);
  let shown = list.data;
  const showRows = () => replace(rows, table("Latest exchanges", COLUMNS, shown, noRows()));
  showRows();
  follow({ pause, state, onOverview: (value) => showOverview(top, value), onRow: (row) => {
    shown = [row, ...shown].slice(0, SHOWN);
    const body = rows.querySelector("tbody");
    if (!body) { showRows(); return; }
    body.prepend(tableRow(COLUMNS, row));
    if (body.children.length > SHOWN && body.lastElementChild !== document.activeElement?.closest("tr")) body.lastElementChild.remove();
  } });
}

function noRows() {
  return [h("p", null, "No exchange yet. Send one:"),
    h("pre", null, "curl http://127.0.0.1:8080/v1/messages -H 'content-type: application/json' -H 'x-api-key: KEY' \\\n  -d '{\"model\": \"MODEL\", \"max_tokens\": 100, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'")];
}

/** Live events while the page is seen. Of many new rows some are drawn each frame; those that would not stay are left out. */
function follow({ pause, state, onOverview, onRow }) {
  let source = null;
  let isPaused = false;
  let waiting = [];
  let skipped = 0;
  const draw = () => {
    waiting = waiting.slice(-SHOWN);
    waiting.splice(0, ROWS_A_FRAME).forEach(onRow);
    if (waiting.length) requestAnimationFrame(draw);
  };
  const show = (text) => { if (state.textContent !== text) state.textContent = text; };
  const open = () => {
    if (source || isPaused || document.hidden) return;
    source = new EventSource(withFilters("/api/events"));
    source.addEventListener("open", () => show("live"));
    source.addEventListener("exchange", (event) => {
      if (!waiting.length) requestAnimationFrame(draw);
      waiting.push(JSON.parse(event.data));
    });
    source.addEventListener("skipped", (event) => { skipped += Number(event.data); show(`live · ${count(skipped)} more not shown`); });
    source.addEventListener("overview", (event) => onOverview(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      show("connecting…");
      if (source?.readyState === EventSource.CLOSED) { source = null; setTimeout(open, 3000); }
    });
  };
  const close = () => { source?.close(); source = null; };
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (isPaused) { close(); show("paused"); } else open();
  });
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  open();
}

let openFigures = new Set();

function showOverview(top, overview) {
  const { tiles, fleet, problems } = overview;
  openFigures = new Set([...top.querySelectorAll("figure")].flatMap((figure, number) => (figure.querySelector("details")?.open ? [number] : [])));
  if (openFigures.size) return; // the figures are open: keep them
  replace(top,
    h("section", { class: "problems", "aria-label": "Problems" }, problems.length ? problems.map(problemRow)
      : h("p", { class: "fine" }, badge("good", "No problems"), ` ${plural(fleet["front end"], "front end")}, ${plural(fleet.worker, "worker")}, ${plural(overview.batches, "batch", "batches")} under way`)),
    h("div", { class: "tiles" },
      tile("Requests", `${rate(tiles.requests_per_second)} /s`, "the last minute", "/"),
      tile("Failed", percent(tiles.failed_share), "of the last minute", "/errors", tiles.failed_share > 0.05 && "bad"),
      tile("First content, p95", seconds(tiles.first_content_p95), "of streams, the last minute", "/"),
      tile("Cost", dollars(tiles.cost), tiles.cost_of, "/spend")),
    h("div", { class: "charts" },
      lineChart("Exchanges a second", overview.series, [
        { name: "live", values: overview.series.live, kind: "area" },
        { name: "batch", values: overview.series.batch },
        { name: "failed", values: overview.series.failed }], rate),
      lineChart("First content of streams", overview.series, [
        { name: "p50", values: overview.series.p50 }, { name: "p95", values: overview.series.p95 }], seconds)));
  const errors = problems.filter((one) => one.severity === "error").length;
  if (errors) announce(`${errors} problems. ${problems[0].text}`);
}

const plural = (number, one, several = `${one}s`) => `${count(number)} ${number === 1 ? one : several}`;

function problemRow({ severity, text, help }) {
  return h("p", { class: "problem-row" }, badge(severity === "error" ? "bad" : "warn", severity), h("span", null, ` ${text}. `),
    h("span", { class: "quiet" }, "What helps: ", h("code", null, help)));
}

function tile(name, value, note, href, kind) {
  const element = h("a", { class: `tile ${kind || ""}`, href });
  add(element, [h("span", { class: "tile-name" }, name), h("strong", null, value), h("span", { class: "quiet" }, note)]);
  return element;
}
