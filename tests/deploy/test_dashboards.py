"""Grafana's boards: they name metrics and labels that exist, and their panels do not overlap."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

import gateway.telemetry.metrics
import workers.metrics
from deploy.dashboards import BOARDS, WIDTH, all_panels, main, queries, to_json

ROOT = Path(__file__).parents[2]
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
# Labels that Prometheus adds, and those of the process collector, which is none of prometheus_client's metrics.
ADDED = {"job", "instance", "le"}
PROCESS = {
    f"gateway_process_{name}": {"child"}
    for name in ("resident_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds")
}
KNOWN: dict[str, set[str]] = {
    metric._name + suffix: set(metric._labelnames)
    for module in (gateway.telemetry.metrics, workers.metrics)
    for metric in vars(module).values()
    if isinstance(metric, MetricWrapperBase)
    for suffix in SUFFIXES[metric._type]
} | {"up": set(), **PROCESS}


def panels_of(board: dict[str, Any]) -> list[dict[str, Any]]:
    return list(all_panels(board["panels"]))


@pytest.mark.parametrize(("title", "query"), queries())
def test_query_names_metrics_and_labels_that_exist(title: str, query: str) -> None:
    names = re.findall(r"\b(gateway_\w+|up)\b", query)
    assert names, title
    assert [name for name in names if name not in KNOWN] == []
    allowed = ADDED.union(*(KNOWN[name] for name in names))
    for name, selector in re.findall(r"\b(gateway_\w+|up)\{([^}]*)\}", query):
        used = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', selector))
        assert used <= KNOWN[name] | ADDED, title
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in group.split(",")} <= allowed, title


def test_a_legend_made_of_labels_names_every_series_of_its_query() -> None:
    panels = [panel for board in BOARDS for row in board.rows for panel in row.panels]
    labelled = [query for panel in panels for query, legend in panel.queries if "{{" in legend]
    assert len(labelled) > 20
    assert [query for query in labelled if "vector(" in query] == []


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_panels_do_not_overlap_and_have_ids_units_and_help(board: Any) -> None:
    panels = panels_of(to_json(board))
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        inside_collapsed = any(panel in row.get("panels", ()) for row in panels)
        assert not (cells & taken) or inside_collapsed, panel["title"]
        taken |= set() if inside_collapsed else cells
        assert max(x for x, _ in cells) < WIDTH
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_check_finds_a_board_that_was_edited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deploy.dashboards.FOLDER", tmp_path)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "money.json").write_text(json.dumps({}))
    assert main(["--check"]) == 1


def test_boards_in_the_repository_are_those_of_the_table() -> None:
    assert main(["--check"]) == 0
    files = sorted(path.stem for path in (ROOT / "deploy/grafana").glob("*.json"))
    assert files == sorted(board.name for board in BOARDS)
