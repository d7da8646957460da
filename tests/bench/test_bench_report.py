"""The tables of a comparison, and the file it is kept in."""

from dataclasses import asdict
from pathlib import Path

import pytest

from bench import results
from bench.report import number, passed, render, table
from bench.results import Startup
from tests.bench.bench_samples import MACHINE, answering, comparison, report

STARTUPS = {"gateway": Startup([0.5], 60.0, 20.0), "bare": Startup([0.3], 30.0, 28.0)}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(12345.6, "12,346", id="large figures have no decimals"),
        pytest.param(46.25, "46.2", id="tens have one"),
        pytest.param(1.234, "1.23", id="ones have two"),
        pytest.param(0.0125, "0.013", id="fractions have three"),
        pytest.param(-3.5, "-3.50", id="below zero as above"),
        pytest.param(None, "–", id="what was not measured is a dash"),
        pytest.param(float("nan"), "–", id="so is what cannot be divided"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_table_lines_up() -> None:
    assert table(["name", "µs"], [["a", "1"], ["longer", "1,000"]]).splitlines() == [
        "| name   |    µs |",
        "| ------ | ----: |",
        "| a      |     1 |",
        "| longer | 1,000 |",
    ]


def test_a_case_shows_each_target_and_its_ratio_to_bare() -> None:
    text = render(comparison({("small", "gateway"): [answering(150)], ("small", "bare"): [answering(100)]}))
    gateway = next(line for line in text.splitlines() if line.startswith("| gateway"))
    assert [cell.strip() for cell in gateway.split("|")[2:-1]] == ["150", "500", "0.300", "0.900", "1.50"]


def test_streams_are_shown_by_delta() -> None:
    text = render(comparison({("stream10", "bare"): [report(deltas=2000, delay_p50=200, delay_p99=900)]}))
    bare = next(line for line in text.splitlines() if line.startswith("| bare"))
    assert [cell.strip() for cell in bare.split("|")[2:-1]] == ["50.0", "1,000", "0.200", "0.900", "1.00"]


def test_what_went_wrong_is_said() -> None:
    measured = comparison({("small", "bare"): [answering(100, bad=3, statuses={"200": 1000, "500": 3})]})
    measured.left_out["nginx"] = "it is not well"
    text = render(measured)
    assert "nginx was left out: it is not well" in text
    assert "bare answered small badly in round 0, which is left out: 3 bad of 1003" in text


@pytest.mark.parametrize(
    ("ours", "bad", "started", "outcome"),
    [
        pytest.param(100, 0, True, True, id="every must is met"),
        pytest.param(900, 0, True, False, id="a must is missed"),
        pytest.param(100, 1, True, False, id="an answer was bad"),
        pytest.param(100, 0, False, False, id="the gateway did not start"),
    ],
)
def test_a_run_passes_only_with(ours: float, bad: int, started: bool, outcome: bool) -> None:
    runs = {("small", "gateway"): [answering(ours, bad=bad)], ("small", "bare"): [answering(100)]}
    assert passed(comparison(runs, STARTUPS if started else {})) is outcome


def test_a_stored_comparison_reads_back_as_it_was(tmp_path: Path) -> None:
    made = comparison({("small", "gateway"): [answering(100)], ("one", "bare"): [report()]}, STARTUPS)
    path = results.store_json("compare", MACHINE, asdict(made), tmp_path / "results")
    assert results.read(path) == made
    assert results.latest("compare", tmp_path / "results") == path


def test_showing_what_was_never_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no sweep has been run yet"):
        results.latest("sweep", tmp_path)
