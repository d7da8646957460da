"""Thousands of streams at once: each must get its own deltas, complete and in order, and all memory must be freed.

Every request has its own mark, which the simulated upstream puts into each delta of the answer, and which the load
generator checks. First all streams run to their end. Then as many are opened again, and their clients leave halfway.
After each phase, the proxy's open files must return to the earlier number. A proxy needs two files per stream; if the
limit on open files is too low for one process, several share the streams.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from bench.cases import question, write_body
from bench.load import Report, Shape, end_load
from bench.measure import Machine, machine, memory_mib, open_files, raise_file_limit
from bench.report import machine_line, number, table
from bench.sweep import instances_for
from bench.targets import Recipe, Stage, Target, running, running_stage

OPEN_RATE = 1000  # streams opened per second
PATIENCE = 100.0  # seconds until open files must be back: longer than any pool keeps an idle connection
FILES_KEPT = 64  # that may stay open: a few pooled connections
GROWTH_MOST = 1.15  # of memory, from the first thousands of streams to the second
MEMORY_MOST_MIB = 1024  # of all processes, for 10,000 streams
SECONDS_ALL_OPEN = 10  # at least; each stream has a delta a second

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Level:
    """Connections and memory that the proxy holds at a moment."""

    moment: str
    memory_mib: float
    files: int
    upstream_connections: int


@dataclass(frozen=True, slots=True)
class Holding:
    """`faults` are sentences, none when all is well. `report` is that of the streams that ran to their end."""

    machine: Machine
    target: str
    processes: int
    streams: int
    deltas_each: int
    report: Report
    levels: list[Level] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def hold(recipe: Recipe, streams: int, say: Say) -> Holding:
    """Run it on one target. Raises StartError, CompilerError."""
    processes = instances_for(streams, raise_file_limit())
    opening = ceil(streams / OPEN_RATE)
    deltas_each, look_at = opening + SECONDS_ALL_OPEN, opening + SECONDS_ALL_OPEN / 2
    patience = 3 * (opening + deltas_each)
    whole = Shape(streams, patience, 0, streams, OPEN_RATE, "message_stop", deltas_each, marks=True)
    leaving = Shape(streams, look_at + 1, 0, open_rate=OPEN_RATE, marks=True)
    with running_stage() as stage, running(recipe, stage, processes) as target:
        body = question(f"stream-{deltas_each}-d1000-mark", stream=True, text="mark:00000000")
        write_body(target.directory / "bodies" / "marked.json", body, model_prefix=recipe.model_prefix)
        levels = [_level("idle", target, stage)]
        say(f"{target.name}: {streams} streams of {deltas_each} deltas in {processes} process(es), to their end")
        ended = _open_all(whole, look_at, target, stage, levels)
        say(f"{target.name}: as many again, whose clients leave in the middle")
        left = _open_all(leaving, look_at, target, stage, levels)
    faults = find_faults(ended, left, levels, streams)
    return Holding(machine(), target.name, processes, streams, deltas_each, ended, levels, faults)


def find_faults(whole: Report, left: Report, levels: list[Level], streams: int) -> list[str]:
    """Return sentences on the faults. `levels` are idle, open, after, open again, after."""
    idle, first, after, second, at_last = levels
    faults = [
        (whole.answers != streams, f"{whole.answers} of {streams} streams came whole to their end"),
        (whole.bad, f"{whole.bad} bad answers, statuses {whole.statuses}"),
        (whole.short_answers, f"{whole.short_answers} streams lacked deltas"),
        (whole.foreign + left.foreign, f"{whole.foreign + left.foreign} deltas had another stream's mark"),
        (whole.disordered + left.disordered, f"{whole.disordered + left.disordered} deltas came out of order"),
        (left.bad, f"{left.bad} bad answers before the clients left"),
        (_kept(after, idle), f"{after.files - idle.files} files stayed open after all streams had ended"),
        (_kept(at_last, idle), f"{at_last.files - idle.files} files stayed open after the clients had left"),
        (first.memory_mib > MEMORY_MOST_MIB, f"{first.memory_mib:.0f} MiB of memory were taken"),
        (
            second.memory_mib > first.memory_mib * GROWTH_MOST,
            f"memory grew from {first.memory_mib:.0f} to {second.memory_mib:.0f} MiB from one time to the next",
        ),
    ]
    return [sentence for wrong, sentence in faults if wrong]


def render(holding: Holding) -> str:
    rows = [
        [level.moment, number(level.memory_mib), str(level.files), str(level.upstream_connections)]
        for level in holding.levels
    ]
    return "\n\n".join(
        [
            machine_line(holding.machine),
            table(
                [f"{holding.target}, {holding.streams} streams", "memory MiB", "open files", "to the upstream"], rows
            ),
            _summary(holding),
            "\n".join(f"FAULT: {fault}" for fault in holding.faults) or "No fault found.",
        ]
    )


def _summary(holding: Holding) -> str:
    report, (idle, first) = holding.report, holding.levels[:2]
    per_stream = (first.memory_mib - idle.memory_mib) * 1024 / holding.streams
    return (
        f"{report.answers} streams whole, {report.deltas} deltas, {report.foreign} of them another's, "
        f"{report.disordered} out of order; {report.delta_cpu:.1f} µs of CPU per delta, opening included; delay p50 "
        f"{report.delay_p50 / 1000:.1f} ms, p99 {report.delay_p99 / 1000:.1f} ms; {per_stream:.1f} KiB per stream; "
        f"{holding.processes} process(es)"
    )


def _kept(level: Level, idle: Level) -> bool:
    return level.files > idle.files + FILES_KEPT


def _level(moment: str, target: Target, stage: Stage) -> Level:
    processes = target.processes()
    return Level(moment, memory_mib(processes), open_files(processes), stage.open_connections())


def _open_all(shape: Shape, look_at: float, target: Target, stage: Stage, levels: list[Level]) -> Report:
    """Load the target, and add the levels when all streams are open and when they are over."""
    load = target.start("marked", shape)
    time.sleep(look_at)
    levels.append(_level("all open", target, stage))
    report = end_load(load)
    levels.append(_settled("over", target, stage, levels[0].files))
    return report


def _settled(moment: str, target: Target, stage: Stage, files: int) -> Level:
    """Wait until open files are back, or for PATIENCE; the moment says how long that took."""
    begin = time.monotonic()
    while True:
        level = _level(moment, target, stage)
        seconds = time.monotonic() - begin
        if level.files <= files + FILES_KEPT or seconds > PATIENCE:
            return Level(f"{moment}, {seconds:.0f} s later", level.memory_mib, level.files, level.upstream_connections)
        time.sleep(0.5)
