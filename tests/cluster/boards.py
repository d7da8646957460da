"""Pictures of Grafana's four boards, drawn from a live Prometheus: `python -m tests.cluster.boards FOLDER`.

Grafana itself is not part of this: the panels of deploy/grafana/boards.toml are laid out in the same grid and drawn
plainly, so that a reader sees what each board shows. Needs haproxy, redis-server, prometheus and chromium.
"""

import asyncio
import html
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
from playwright.async_api import async_playwright

from deploy.dashboards import BOARDS, COLOURS, WIDTH, Board, Panel, place
from tests.cluster.cluster import CLIENT_KEY, Cluster, running
from tests.cluster.programs import MissingProgram, Prometheus
from tests.cluster.queries import chosen, labels_of
from tests.console.browser import ARGUMENTS, chromium

TRAFFIC_SECONDS: Final = 150.0
STEP_SECONDS: Final = 3
CLIENTS: Final = 6
MODELS: Final = ("sim/text-40", "sim/stream-40-d20", "sim/tool", "sim/thinking", "sim/html-200", "sim/error-429")
ITEMS: Final = 9000
# A column of the grid, and a chart's height and margin on the left, in pixels.
COLUMN, HEIGHT, LEFT = 46, 130, 56
UNKNOWN_LABEL: Final = re.compile(r"\{\{\w+\}\}")
PALETTE: Final = ("#3b6fd4", "#d9822b", "#2f9e6e", "#8a5cc7", "#c2455e", "#5b8a99", "#a3852c", "#7a7a7a")
NAMED: Final = {"green": "#2f9e6e", "red": "#c2455e", "purple": "#8a5cc7", "orange": "#d9822b", "blue": "#3b6fd4"}
STYLE: Final = """
body { margin: 16px; width: 1248px; font: 12px/1.4 system-ui, sans-serif; color: #24292f; background: #f4f5f7 }
h1 { font-size: 18px; margin: 0 0 2px } h2 { font-size: 13px; margin: 14px 0 6px; color: #57606a }
p { margin: 0; color: #57606a } .grid { display: grid; grid-template-columns: repeat(24, 1fr); gap: 8px }
.panel { background: #fff; border: 1px solid #d8dee4; border-radius: 4px; padding: 8px; overflow: hidden }
.panel b { display: block; margin-bottom: 4px } .stat { font-size: 24px; font-weight: 600 }
.legend span { margin-right: 10px; white-space: nowrap } .legend i { display: inline-block; width: 9px; height: 3px;
margin-right: 4px; vertical-align: middle } table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid #eaeef2; padding: 2px 4px } td + td { text-align: right } svg { display: block; width: 100% }
text { font: 10px system-ui, sans-serif; fill: #57606a }
"""


async def main(folder: Path) -> None:
    begun = time.time()
    async with running(slots=16, batch_seconds="0.05-0.4") as cluster:
        await traffic(cluster)
        assert cluster.prometheus is not None
        pages = {board.name: await page_of(board, cluster.prometheus, begun) for board in BOARDS}
    await photograph(pages, folder)


async def traffic(cluster: Cluster) -> None:
    """Send requests of several kinds, in waves, beside a batch."""
    ends_at = time.monotonic() + TRAFFIC_SECONDS
    chance = random.Random(1)

    async def client(session: aiohttp.ClientSession) -> None:
        while (left := ends_at - time.monotonic()) > 0:
            [model] = chance.choices(MODELS, (40, 30, 12, 12, 3, 3))
            async with session.post("/v1/messages", json=body_of(model, stream=chance.random() < 0.6)) as answer:
                await answer.read()
            await asyncio.sleep(chance.expovariate(12 if int(left) // 30 % 2 else 5))

    headers = {"x-api-key": CLIENT_KEY}
    async with aiohttp.ClientSession(cluster.url, headers=headers) as session, asyncio.TaskGroup() as group:
        requests = [{"custom_id": f"item-{n}", "params": body_of("sim/text-40", stream=None)} for n in range(ITEMS)]
        async with session.post("/v1/messages/batches", json={"requests": requests}) as answer:
            answer.raise_for_status()
        for _ in range(CLIENTS):
            group.create_task(client(session))


def body_of(model: str, *, stream: bool | None) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Tell me."}]}
    return body if stream is None else {**body, "stream": stream}


async def page_of(board: Board, prometheus: Prometheus, begun: float) -> str:
    parts = [f"<h1>{html.escape(board.title)}</h1><p>{html.escape(board.description)}</p>"]
    for row in board.rows:
        parts.append(f"<h2>{html.escape(row.title)}</h2><div class=grid>")
        for panel, grid in place(row.panels, 0)[0]:
            size = f"grid-column: {grid['x'] + 1} / span {grid['w']}"
            inner = await draw(panel, prometheus, begun)
            parts.append(f'<div class=panel style="{size}"><b>{html.escape(panel.title)}</b>{inner}</div>')
        parts.append("</div>")
    assert WIDTH == 24, "the grid of the style"
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{''.join(parts)}"


async def draw(panel: Panel, prometheus: Prometheus, begun: float) -> str:
    if panel.kind in ("stat", "table"):
        found = [
            (legend, one)
            for query, legend in panel.queries
            for one in (await prometheus.ask("query", query=chosen(query)))["result"]
        ]
        if panel.kind == "stat":
            return stat(panel, [float(one["value"][1]) for _, one in found])
        rows = [(labels_of(one["metric"]), legend, float(one["value"][1])) for legend, one in found]
        return table(panel, rows)
    series = []
    for query, legend in panel.queries:
        found = await prometheus.ask(
            "query_range", query=chosen(query), start=str(begun), end=str(time.time()), step=str(STEP_SECONDS)
        )
        for one in found["result"]:
            points = [(float(at), float(value)) for at, value in one["values"] if value not in ("NaN", "+Inf")]
            series.append((name_of(legend, one["metric"]), points))
    shape = heatmap if panel.kind == "heatmap" else chart
    return shape(panel, [one for one in series if one[1]])


def name_of(legend: str, metric: dict[str, str]) -> str:
    for label, value in metric.items():
        legend = legend.replace("{{" + label + "}}", value)
    return UNKNOWN_LABEL.sub("", legend).strip() or labels_of(metric) or "none"


def stat(panel: Panel, values: Sequence[float]) -> str:
    if not values:
        return "<span class=stat>No traffic</span>"
    value = values[0]
    is_red = (panel.red_above is not None and value >= panel.red_above) or (
        panel.red_below is not None and value < panel.red_below
    )
    return f'<span class=stat style="color: {NAMED["red" if is_red else "green"]}">{shown(value, panel.unit)}</span>'


def table(panel: Panel, rows: Sequence[tuple[str, str, float]]) -> str:
    """One line for each set of labels, one column for each query."""
    columns = list(dict.fromkeys(legend for _, legend, _ in rows))
    lines: dict[str, dict[str, str]] = {"": dict(zip(columns, columns, strict=True))}
    for labels, legend, value in rows:
        lines.setdefault(labels, {})[legend] = shown(value, panel.unit)
    cells = [[labels, *[line.get(one, "") for one in columns]] for labels, line in lines.items()]
    parts = ["".join(f"<td>{html.escape(text)}</td>" for text in line) for line in cells]
    return f"<table><tr>{'</tr><tr>'.join(parts)}</tr></table>"


Series = Sequence[tuple[str, list[tuple[float, float]]]]


def chart(panel: Panel, series: Series) -> str:
    if not series:
        return "<p>No traffic</p>"
    times = [at for _, points in series for at, _ in points]
    first, last, top = min(times), max(times) + 1e-9, max(value for _, points in series for _, value in points) or 1.0
    width, lines, legend = COLUMN * panel.width, [], []
    for number, (name, points) in enumerate(series):
        colour = next((NAMED[c] for word, c in COLOURS.items() if word in name.split() and c in NAMED), None)
        colour = colour or PALETTE[number % len(PALETTE)]
        across, up = (width - LEFT) / (last - first), (HEIGHT - 26) / top
        path = " ".join([f"{LEFT + (at - first) * across:.1f},{HEIGHT - 16 - value * up:.1f}" for at, value in points])
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if number < len(PALETTE):
            legend.append(f'<span><i style="background: {colour}"></i>{html.escape(name)}</span>')
    levels = [(shown(top, panel.unit), 10.0), (shown(top / 2, panel.unit), (HEIGHT - 6) / 2)]
    return frame(width, [*levels, (shown(0.0, panel.unit), HEIGHT - 16.0)], (first, last), lines) + (
        f"<div class=legend>{''.join(legend)}</div>"
    )


def heatmap(panel: Panel, series: Series) -> str:
    """Seconds upwards, one row a bucket; the darker, the more of that moment's requests."""
    if not series:
        return "<p>No traffic</p>"
    bounds = sorted(series, key=lambda one: float(one[0].replace("+Inf", "inf")))
    times = [at for at, _ in bounds[-1][1]]
    first, last, width, height = min(times), max(times) + 1e-9, COLUMN * panel.width, (HEIGHT - 26) / len(bounds)
    wide, cells = (width - LEFT) * STEP_SECONDS / (last - first), []
    below: dict[float, float] = {}
    for row, (_, points) in enumerate(bounds):
        whole = dict(bounds[-1][1])
        for at, value in points:
            share = (value - below.get(at, 0.0)) / whole[at] if whole.get(at) else 0.0
            x, y = (at - first) / (last - first) * (width - LEFT - wide) + LEFT, HEIGHT - 16 - (row + 1) * height
            cells.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{height:.1f}" fill="#3b6fd4"'
                f' fill-opacity="{share:.2f}"/>'
            )
        below = dict(points)
    names = [(name, HEIGHT - 16 - (row + 1) * height + 4) for row, (name, _) in enumerate(bounds) if row % 3 == 0]
    return frame(width, [(f"{name} s", y) for name, y in names], (first, last), cells)


def frame(width: int, levels: Sequence[tuple[str, float]], span: tuple[float, float], inner: Sequence[str]) -> str:
    """Return a drawing with its scale on the left, by height, and the time below."""
    grid = [
        f'<line x1="{LEFT}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eaeef2"/>'
        f'<text x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{text}</text>'
        for text, y in levels
    ]
    for x, anchor, at in ((LEFT, "start", span[0]), (width, "end", span[1])):
        clock = time.strftime("%H:%M:%S", time.gmtime(at))
        grid.append(f'<text x="{x}" y="{HEIGHT - 3}" text-anchor="{anchor}">{clock}</text>')
    return f'<svg viewBox="0 0 {width} {HEIGHT}">{"".join((*grid, *inner))}</svg>'


def shown(value: float, unit: str) -> str:
    match unit:
        case "percentunit":
            return f"{value:.1%}"
        case "currencyUSD":
            return f"${value:,.4f}"
        case "s":
            return f"{value:.2f} s" if value >= 1 or value == 0 else f"{value * 1000:.3g} ms"
        case "bytes":
            return f"{value / 1e6:,.1f} MB"
        case "reqps":
            return f"{value:.3g}/s"
        case "bool_yes_no":
            return "yes" if value else "no"
        case _:
            return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"


async def photograph(pages: dict[str, str], folder: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        for name, content in pages.items():
            await page.set_content(content)
            await page.screenshot(path=folder / f"board-{name}.png", full_page=True)
        await browser.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures")))
    except MissingProgram as error:
        sys.exit(str(error))
