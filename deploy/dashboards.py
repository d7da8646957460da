"""Grafana's boards, written from the table of panels in deploy/grafana/boards.toml.

python -m deploy.dashboards [--check]
"""

import json
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "grafana"
WIDTH: Final = 24
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
# One colour for each outcome on all boards.
COLOURS: Final = {
    "succeeded": "green",
    "ok": "green",
    "errored": "red",
    "5xx": "red",
    "account": "purple",
    "gateway": "red",
    "upstream": "orange",
    "client": "blue",
    "expired": "yellow",
    "canceled": "yellow",
}
TILE: Final = {"width": 4, "height": 4}


LINK: Final = {"type": "dashboards", "title": "Dragoman", "tags": ["dragoman"], "keepTime": True, "includeVars": True}


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: expression and legend of each. `help`: what to do when it looks wrong."""

    title: str
    help: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    red_above: float | None = None
    red_below: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    name: str
    title: str
    description: str
    rows: tuple[Row, ...]


def read_boards() -> tuple[Board, ...]:
    """Read the table of panels. A tile is smaller than a chart."""
    boards = tomllib.loads((FOLDER / "boards.toml").read_text(encoding="utf-8"))["board"]
    return tuple(
        Board(
            board["name"],
            board["title"],
            board["description"],
            tuple(
                Row(row["title"], tuple(map(to_row_panel, row["panel"])), row.get("collapsed", False))
                for row in board["row"]
            ),
        )
        for board in boards
    )


def to_row_panel(panel: dict[str, Any]) -> Panel:
    size = TILE if panel.get("kind") == "stat" else {}
    return Panel(**{**size, **panel, "queries": tuple((query, legend) for query, legend in panel["queries"])})


BOARDS: Final = read_boards()


def to_json(board: Board) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row in board.rows:
        header = {"id": len(panels) + 1000, "type": "row", "title": row.title, "collapsed": row.collapsed, "panels": []}
        panels.append({**header, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        placed, height = place(row.panels, y + 1)
        inner = [to_panel(panel, grid) for panel, grid in placed]
        if row.collapsed:
            panels[-1]["panels"] = inner
            height = 0
        else:
            panels += inner
        y += 1 + height
    for number, panel in enumerate(all_panels(panels), 1):
        panel["id"] = number
    return {
        "uid": f"dragoman-{board.name}",
        "title": board.title,
        "description": board.description,
        "tags": ["dragoman"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables()},
        "links": [LINK],
        "panels": panels,
    }


def place(panels: Sequence[Panel], top: int) -> tuple[list[tuple[Panel, dict[str, int]]], int]:
    """Return where each panel goes, from left to right, and the height of all."""
    placed = []
    x, y, line = 0, top, 0
    for panel in panels:
        if x + panel.width > WIDTH:
            x, y, line = 0, y + line, 0
        placed.append((panel, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, line = x + panel.width, max(line, panel.height)
    return placed, y + line - top


def to_panel(panel: Panel, grid: dict[str, int]) -> dict[str, Any]:
    is_table = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query,
            "legendFormat": legend or "__auto",
            **({"format": "table", "instant": True} if is_table else {}),
            **({"format": "heatmap"} if panel.kind == "heatmap" else {}),
        }
        for number, (query, legend) in enumerate(panel.queries)
    ]
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    elif panel.red_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.red_below}]
    defaults = {"unit": panel.unit, "noValue": "No traffic", "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "id": 0,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": grid,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": [] if panel.kind == "stat" else overrides()},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
        **({"transformations": [{"id": "merge", "options": {}}]} if is_table else {}),
    }


def overrides() -> list[dict[str, Any]]:
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/\\b{name}\\b/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in COLOURS.items()
    ]


def variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    queries = (
        ("instance", "label_values(gateway_build_info, instance)"),
        ("model", "label_values(gateway_exchanges_total, model)"),
        ("tenant", "label_values(gateway_usage_tokens_total, tenant)"),
    )
    many = {"type": "query", "datasource": SOURCE, "multi": True, "includeAll": True, "allValue": ".*", "refresh": 2}
    return [source, *({"name": name, "query": query, **many} for name, query in queries)]


def all_panels(panels: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from panel.get("panels", ())


def queries() -> list[tuple[str, str]]:
    """Every panel's title and expression, for tests."""
    return [
        (f"{board.name}: {panel.title}", query)
        for board in BOARDS
        for row in board.rows
        for panel in row.panels
        for query, _ in panel.queries
    ]


def main(arguments: Sequence[str]) -> int:
    stale = []
    for board in BOARDS:
        path, text = FOLDER / f"{board.name}.json", json.dumps(to_json(board), indent=1) + "\n"
        if "--check" not in arguments:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"deploy/grafana: {', '.join(stale)} not up to date: run `make docs`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
