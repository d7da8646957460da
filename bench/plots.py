"""The charts of a sweep, one SVG file each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.svg import Chart, Series, render
from bench.sweep import Point, Sweep

COLOURS = {"gateway": "#0969da", "bare": "#8250df", "nginx": "#1a7f37", "litellm": "#cf222e"}
OTHERS = ("#bf8700", "#57606a", "#bc4c00")


@dataclass(frozen=True, slots=True)
class Plot:
    """`lines`: suffix of the target's name in the legend, and the value of a point; None where it has none."""

    file: str
    sweep: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[tuple[str, Callable[[Point], float | None]], ...]
    log_x: bool = True
    log_y: bool = False


def _milliseconds(value: int) -> float | None:
    return value / 1000 if value > 0 else None


PLOTS = (
    Plot(
        "latency-by-connections.svg",
        "connections",
        "Latency of a small request against load",
        "connections, each sending its next request at once",
        "milliseconds",
        (
            ("p50", lambda point: _milliseconds(point.report.latency_p50)),
            ("p99", lambda point: _milliseconds(point.report.latency_p99)),
        ),
        log_y=True,
    ),
    Plot(
        "rate-by-connections.svg",
        "connections",
        "Small requests answered by one process",
        "connections, each sending its next request at once",
        "answers per second",
        (("", lambda point: point.report.answer_rate),),
    ),
    Plot(
        "cpu-by-size.svg",
        "size",
        "CPU per request against its size",
        "bytes of the request",
        "microseconds",
        (("", lambda point: point.report.answer_cpu),),
        log_y=True,
    ),
    Plot(
        "cpu-by-streams.svg",
        "streams",
        "CPU per delta against open streams, two deltas a second each",
        "open streams",
        "microseconds",
        (("", lambda point: point.report.delta_cpu),),
    ),
    Plot(
        "memory-by-streams.svg",
        "streams",
        "Memory against open streams",
        "open streams",
        "MiB, all processes",
        (("", lambda point: point.memory_mib),),
        log_x=False,
    ),
)


def draw(sweep: Sweep, directory: Path) -> list[Path]:
    """Write the charts for which the sweep has points. Returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in PLOTS:
        points = [point for point in sweep.points if point.sweep == plot.sweep and point.kept_up]
        if points:
            path = directory / plot.file
            path.write_text(render(chart(plot, points)) + "\n")
            written.append(path)
    return written


def chart(plot: Plot, points: list[Point]) -> Chart:
    targets = list(dict.fromkeys(point.target for point in points))
    spare = iter(OTHERS)
    colours = {target: COLOURS.get(target) or next(spare) for target in targets}
    series = [
        Series(f"{target} {suffix}".strip(), values, colours[target], dashed=number > 0)
        for target in targets
        for number, (suffix, value) in enumerate(plot.lines)
        if (values := _by_place([point for point in points if point.target == target], value))
    ]
    return Chart(plot.title, plot.x_label, plot.y_label, series, log_x=plot.log_x, log_y=plot.log_y)


def _by_place(points: list[Point], value: Callable[[Point], float | None]) -> list[tuple[float, float]]:
    """The median over the rounds at each place, in order."""
    found: dict[int, list[float]] = {}
    for point in points:
        measured = value(point)
        if measured is not None:
            found.setdefault(point.at, []).append(measured)
    return [(float(at), median(values)) for at, values in sorted(found.items())]
