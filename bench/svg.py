"""A line chart as SVG: linear or logarithmic axes, a grid and a legend. This is too little for a library."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.etree import ElementTree as ET

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 64, 52
INK, GRID, PAPER = "#24292f", "#d8dee4", "#ffffff"
FONT = "system-ui, sans-serif"
NAMESPACE = "http://www.w3.org/2000/svg"


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to a position between 0 and 1. A logarithmic one spans whole decades or their 2 and 5."""

    ticks: Sequence[float]
    logarithmic: bool

    def place(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            return (log10(value) - log10(low)) / (log10(high) - log10(low))
        return (value - low) / (high - low)


def render(chart: Chart) -> str:
    """The document. Raises ValueError on a chart without points, or with one below zero or, on a log axis, at it."""
    points = [point for series in chart.series for point in series.points]
    if not points:
        raise ValueError(f"nothing to draw in {chart.title!r}")
    x_axis, y_axis = axis([x for x, _ in points], chart.log_x), axis([y for _, y in points], chart.log_y)
    root = ET.Element("svg", xmlns=NAMESPACE, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    root.set("font-family", FONT)
    ET.SubElement(root, "title").text = chart.title
    ET.SubElement(root, "rect", width=str(WIDTH), height=str(HEIGHT), fill=PAPER)
    _text(root, chart.title, LEFT, 24, size=15, weight="600")
    _grid(root, x_axis, y_axis)
    _text(root, chart.x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, anchor="middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    label = _text(root, chart.y_label, 16, middle, anchor="middle")
    label.set("transform", f"rotate(-90 16 {middle:.0f})")
    for number, series in enumerate(chart.series):
        _line(root, series, x_axis, y_axis)
        _legend(root, series, number / max(4, len(chart.series)))
    return ET.tostring(root, encoding="unicode")


def axis(values: Sequence[float], logarithmic: bool) -> Axis:
    low, high = min(values), max(values)
    if low < 0 or (logarithmic and low == 0):
        raise ValueError(f"{low} has no place on the axis")
    return Axis(_log_ticks(low, high) if logarithmic else _linear_ticks(high), logarithmic)


def short(value: float) -> str:
    """1500 as 1.5k, 2000000 as 2M."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _linear_ticks(high: float) -> list[float]:
    raw = (high or 1.0) / 5
    magnitude = 10 ** floor(log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    return [round(step * number, 10) for number in range(ceil(high / step) + 1 if high else 2)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 in each decade where there are few, else the decades; from below the lowest to above the highest."""
    factors = (1, 2, 5) if high / low <= 1000 else (1,)
    decades = range(floor(log10(low)), ceil(log10(high)) + 2)
    every = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    first = max(tick for tick in every if tick <= low * 1.0001)
    last = min(tick for tick in every if tick >= high * 0.9999 and tick > first)
    return [tick for tick in every if first <= tick <= last]


def _at(x: float, y: float) -> tuple[float, float]:
    """Return the place on the paper of a place on the axes."""
    return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)


def _grid(root: ET.Element, x_axis: Axis, y_axis: Axis) -> None:
    for tick in x_axis.ticks:
        x, bottom = _at(x_axis.place(tick), 0)
        _rule(root, (x, TOP), (x, bottom))
        _text(root, short(tick), x, bottom + 18, anchor="middle")
    for tick in y_axis.ticks:
        left, y = _at(0, y_axis.place(tick))
        _rule(root, (left, y), (WIDTH - RIGHT, y))
        _text(root, short(tick), left - 8, y + 4, anchor="end")


def _rule(root: ET.Element, start: tuple[float, float], end: tuple[float, float], colour: str = GRID) -> ET.Element:
    ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return ET.SubElement(root, "line", {name: f"{at:.1f}" for name, at in ends.items()}, stroke=colour)


def _line(root: ET.Element, series: Series, x_axis: Axis, y_axis: Axis) -> None:
    places = [_at(x_axis.place(x), y_axis.place(y)) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    line = ET.SubElement(root, "polyline", {"stroke-width": "2"}, points=path, fill="none", stroke=series.colour)
    if series.dashed:
        line.set("stroke-dasharray", "6 4")
    for x, y in places:
        ET.SubElement(root, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3", fill=series.colour)


def _legend(root: ET.Element, series: Series, place: float) -> None:
    x = LEFT + place * (WIDTH - LEFT)
    line = _rule(root, (x, 44), (x + 24, 44), series.colour)
    line.set("stroke-width", "2")
    if series.dashed:
        line.set("stroke-dasharray", "6 4")
    _text(root, series.name, x + 30, 48)


def _text(
    root: ET.Element, text: str, x: float, y: float, *, anchor: str = "start", size: int = 12, weight: str = "400"
) -> ET.Element:
    look = {"text-anchor": anchor, "font-size": str(size), "font-weight": weight, "fill": INK}
    element = ET.SubElement(root, "text", look, x=f"{x:.1f}", y=f"{y:.1f}")
    element.text = text
    return element
