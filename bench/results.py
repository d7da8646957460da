"""Results of a comparison as plain values, kept in a file, and read one figure at a time.

A figure is named `case.field`, as in `small.answer_cpu`; its values are by round, so that a ratio is taken within one
round: its noise hits all targets alike. Only sound runs count, since figures of wrong answers are useless.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import Report
from bench.measure import Machine

RESULTS = Path(__file__).parent / "results"

# Derived fields: that field of the target, less the same field of another.
LESS = {
    "added_p50": ("latency_p50", "direct"),
    "observed_cpu": ("answer_cpu", "quiet"),
}


@dataclass(frozen=True, slots=True)
class Startup:
    """`first_answers`: seconds to the first sound answer, of every start. Memory: before any load, per open stream."""

    first_answers: list[float]
    idle_mib: float
    stream_kib: float


@dataclass(frozen=True, slots=True)
class Run:
    """One target under one case, once."""

    round: int
    case: str
    target: str
    report: Report


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left_out` says why a target could not be measured."""

    machine: Machine
    options: dict[str, Any]
    startups: dict[str, Startup] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)


def figure(comparison: Comparison, target: str, name: str) -> dict[int, float]:
    """The values of `case.field` by round; of `start.seconds`, `memory.idle_mib` and `memory.stream_kib` by attempt."""
    case, attribute = name.split(".")
    if case in ("start", "memory"):
        startup = comparison.startups.get(target)
        return _of_startup(startup, attribute) if startup else {}
    if attribute in LESS:
        plain, other = LESS[attribute]
        ours, theirs = (figure(comparison, one, f"{case}.{plain}") for one in (target, other))
        return {number: ours[number] - theirs[number] for number in ours.keys() & theirs.keys()}
    return {
        run.round: float(getattr(run.report, attribute))
        for run in comparison.runs
        if (run.case, run.target) == (case, target) and run.report.sound
    }


def middle(values: Mapping[int, float]) -> float | None:
    return median(values.values()) if values else None


def unsound(comparison: Comparison, target: str) -> list[Run]:
    return [run for run in comparison.runs if run.target == target and not run.report.sound]


def store(comparison: Comparison) -> Path:
    """Write it under RESULTS, in a file named by its date. Returns the path."""
    return store_json("compare", comparison.machine, asdict(comparison))


def store_json(kind: str, machine: Machine, content: dict[str, Any], directory: Path = RESULTS) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{kind}-{machine.date[:19].replace(':', '')}.json"
    path.write_text(json.dumps(content, indent=1))
    return path


def latest(kind: str, directory: Path = RESULTS) -> Path:
    """The newest stored file of that kind. Raises FileNotFoundError."""
    found = sorted(directory.glob(f"{kind}-*.json"))
    if not found:
        raise FileNotFoundError(f"no {kind} has been run yet: nothing in {directory}")
    return found[-1]


def read(path: Path) -> Comparison:
    raw = json.loads(path.read_text())
    return Comparison(
        machine=Machine(**raw["machine"]),
        options=raw["options"],
        startups={name: Startup(**startup) for name, startup in raw["startups"].items()},
        left_out=raw["left_out"],
        runs=[Run(**(run | {"report": Report(**run["report"])})) for run in raw["runs"]],
    )


def _of_startup(startup: Startup, attribute: str) -> dict[int, float]:
    if attribute == "seconds":
        return dict(enumerate(startup.first_answers))
    return {0: float(getattr(startup, attribute))}
