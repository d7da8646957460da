"""The same figures over a range: request sizes, open streams, connections. `bench.plots` draws what it stores."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.cases import conversation, question, write_body
from bench.load import Report, Shape, end_load
from bench.measure import Machine, machine, memory_mib, raise_file_limit
from bench.targets import Recipe, Target, running, running_stage

WARM = 0.5
OPEN_RATE = 500  # streams opened per second: few enough for every target
STREAM_MODEL = "stream-1000-d500"  # for longer than any point takes
DELTAS_A_SECOND = 2  # of each stream
ENOUGH = 0.95  # of the due deltas, for a target that keeps up; less two at the edges of the counted time
SETTLE = 1.0
FILES_BESIDE_STREAMS = 500  # open files of a proxy besides two per stream


@dataclass(frozen=True, slots=True)
class Point:
    """One target at one place of a sweep. Memory only where streams are held: of all its processes, and before."""

    sweep: str
    at: int
    target: str
    report: Report
    memory_mib: float | None = None
    idle_mib: float | None = None

    @property
    def kept_up(self) -> bool:
        """Whether all answers were sound and all streams were open: only then does the point say anything."""
        if self.sweep != "streams":
            return self.report.sound
        due = self.at * DELTAS_A_SECOND * self.report.seconds
        return self.report.sound and self.report.deltas >= due * ENOUGH - 2


@dataclass(frozen=True, slots=True)
class Sweep:
    machine: Machine
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Extent:
    """Extent of a sweep: targets, rounds, seconds at each place, and the last place."""

    names: Sequence[str]
    rounds: int
    seconds: float
    most: int | None = None


Say = Callable[[str], None]
Take = Callable[[Target, int, float, float], Point]


def sweep(recipes: Sequence[Recipe], extent: Extent, say: Say) -> Sweep:
    """Measure the recipes at every place of the named sweeps; targets take turns at each place."""
    files = raise_file_limit()
    found = Sweep(machine())
    with running_stage() as stage:
        for name in [name for name in extent.names for _ in range(extent.rounds)]:
            take, every = SWEEPS[name]
            places = [place for place in every if extent.most is None or place <= extent.most]
            instances = instances_for(max(places, default=0), files) if name == "streams" else 1
            with ExitStack() as stack:
                targets = [stack.enter_context(running(recipe, stage, instances)) for recipe in recipes]
                for point in _points(take, places, targets, extent.seconds):
                    found.points.append(point)
                    say(_line(point))
    return found


def instances_for(streams: int, file_limit: int) -> int:
    """Return the number of processes that hold `streams`, each with two open files."""
    return 1 + streams * 2 // (file_limit - FILES_BESIDE_STREAMS)


def read(path: Path) -> Sweep:
    raw = json.loads(path.read_text())
    points = [Point(**(point | {"report": Report(**point["report"])})) for point in raw["points"]]
    return Sweep(Machine(**raw["machine"]), points)


def _points(take: Take, places: Sequence[int], targets: Sequence[Target], seconds: float) -> Iterator[Point]:
    idle = {target.name: memory_mib(target.processes()) for target in targets}
    for place in places:
        for target in targets:
            yield take(target, place, seconds, idle[target.name])


def _at_size(target: Target, size: int, seconds: float, _idle: float) -> Point:
    write_body(target.directory / "bodies" / "sized.json", conversation(size), model_prefix=target.recipe.model_prefix)
    shape = Shape(connections=4, seconds=seconds, warm=WARM, expect='"message"')
    return Point("size", size, target.name, target.load("sized", shape))


def _with_connections(target: Target, connections: int, seconds: float, _idle: float) -> Point:
    shape = Shape(connections, seconds, WARM, expect='"message"')
    return Point("connections", connections, target.name, target.load("small", shape))


def _with_streams(target: Target, streams: int, seconds: float, idle: float) -> Point:
    body = question(STREAM_MODEL, stream=True)
    write_body(target.directory / "bodies" / "held.json", body, model_prefix=target.recipe.model_prefix)
    warm = streams / OPEN_RATE + 1.5  # until all are open and the first gap, which is random, is over
    load = target.start("held", Shape(streams, seconds, warm, open_rate=OPEN_RATE))
    time.sleep(warm + seconds * 0.8)
    busy = memory_mib(target.processes())
    report = end_load(load)
    time.sleep(SETTLE)
    return Point("streams", streams, target.name, report, busy, idle)


SWEEPS: dict[str, tuple[Take, tuple[int, ...]]] = {
    "size": (_at_size, (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000, 4_000_000, 8_000_000)),
    "connections": (_with_connections, (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    "streams": (_with_streams, (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000)),
}


def _line(point: Point) -> str:
    report = point.report
    memory = "" if point.memory_mib is None else f"  {point.memory_mib:.0f} MiB"
    bad = "" if point.kept_up else f"  DID NOT KEEP UP: {report.bad} bad, {report.deltas} deltas, {report.statuses}"
    cost = (
        f"{report.delta_cpu:.1f} µs/delta, delay p99 {report.delay_p99} µs"
        if report.deltas
        else f"{report.answer_cpu:.0f} µs/answer, p99 {report.latency_p99} µs"
    )
    return f"  {point.sweep} {point.at:,}  {point.target}  {cost}{memory}{bad}"
