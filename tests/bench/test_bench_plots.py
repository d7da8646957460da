"""Charts are well-formed SVG with points at the places that the axes show."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.plots import PLOTS, draw
from bench.svg import HEIGHT, NAMESPACE, WIDTH, Chart, Series, axis, render, short
from bench.sweep import SWEEPS, Point, Sweep
from tests.bench.bench_samples import MACHINE, answering, report

SVG = f"{{{NAMESPACE}}}"


def chart(*points: tuple[float, float], log: bool = False) -> Chart:
    return Chart("Cost & <size>", "bytes", "µs", [Series("ours", points, "#0969da")], log_x=log, log_y=log)


def test_a_chart_is_well_formed_and_escapes_its_words() -> None:
    root = ET.fromstring(render(chart((0, 1), (10, 5))))
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title") == "Cost & <size>"


@pytest.mark.parametrize("log", [False, True], ids=["linear", "logarithmic"])
def test_every_point_lies_on_the_paper_and_higher_values_lie_higher(log: bool) -> None:
    root = ET.fromstring(render(chart((1, 3), (10, 40), (2500, 7000), log=log)))
    places = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter(f"{SVG}circle")]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)


@pytest.mark.parametrize(
    ("values", "logarithmic", "ticks"),
    [
        pytest.param([3, 48], False, [0, 10, 20, 30, 40, 50], id="linear from zero in round steps"),
        pytest.param([0.0], False, [0, 0.2], id="nothing but zero still has a span"),
        pytest.param([1, 256], True, [1, 2, 5, 10, 20, 50, 100, 200, 500], id="few decades are divided"),
        pytest.param([1000, 8e6], True, [1e3, 1e4, 1e5, 1e6, 1e7], id="many are not"),
        pytest.param([5, 5], True, [5, 10], id="one value still has a span"),
    ],
)
def test_ticks_are_round_and_span_all_values(values: list[float], logarithmic: bool, ticks: list[float]) -> None:
    assert list(axis(values, logarithmic).ticks) == ticks


@pytest.mark.parametrize(
    ("value", "logarithmic"), [(-1.0, False), (0.0, True)], ids=["below zero", "zero on a log axis"]
)
def test_a_value_without_a_place_is_refused(value: float, logarithmic: bool) -> None:
    with pytest.raises(ValueError, match="no place on the axis"):
        axis([value, 1.0], logarithmic)


def test_a_chart_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        render(chart())


def test_tick_labels_are_short() -> None:
    assert [short(value) for value in (0.5, 20, 1500, 2e6)] == ["0.5", "20", "1.5k", "2M"]


def test_each_sweep_has_its_charts_and_each_chart_a_line_per_target_of_medians(tmp_path: Path) -> None:
    streaming = report(deltas=39)
    points = [
        *(Point("size", size, "gateway", answering(cost)) for size, cost in ((1000, 10), (1000, 30), (1000, 20))),
        Point("size", 1000, "bare", answering(20)),
        Point("connections", 1, "gateway", report()),
        Point("streams", 10, "gateway", streaming, memory_mib=80.0, idle_mib=60.0),
    ]
    written = draw(Sweep(MACHINE, points), tmp_path)
    assert [path.name for path in written] == [plot.file for plot in PLOTS]
    root = ET.parse(tmp_path / "cpu-by-size.svg").getroot()
    heights = {dot.attrib["cy"] for dot in root.iter(f"{SVG}circle")}
    assert len(root.findall(f"{SVG}polyline")) == 2
    assert len(heights) == 1, "the median of 10, 30 and 20 lies where the other's 20 lies"


def test_every_plot_draws_a_sweep_that_there_is() -> None:
    assert {plot.sweep for plot in PLOTS} == set(SWEEPS)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(Point("size", 1000, "gateway", answering(10, bad=1)), id="an answer was bad"),
        pytest.param(Point("streams", 1000, "gateway", report(deltas=3000)), id="a quarter of the deltas was missing"),
    ],
)
def test_a_point_at_which_the_target_did_not_keep_up_is_not_drawn(tmp_path: Path, point: Point) -> None:
    assert draw(Sweep(MACHINE, [point]), tmp_path) == []
