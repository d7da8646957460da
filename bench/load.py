"""Run the load generator, and read its report."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.programs import program


@dataclass(frozen=True, slots=True)
class Shape:
    """Amount and duration of a load. See `src/load.c` for the meaning of each field."""

    connections: int
    seconds: float
    warm: float = 0.0
    requests: int | None = None
    open_rate: int | None = None
    expect: str | None = None
    deltas_each: int = 0
    marks: bool = False
    turns: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Report of the load generator. Times are in microseconds, -1 if nothing was measured."""

    answers: int
    bad: int
    short_answers: int
    seconds: float
    reconnects: int
    waiting_max: int
    bytes: int
    latency_p50: int
    latency_p99: int
    latency_max: int
    first_p50: int
    first_p99: int
    deltas: int
    delay_p50: int
    delay_p99: int
    delay_max: int
    foreign: int
    disordered: int
    cpu_seconds: float
    load_cpu_seconds: float
    statuses: dict[str, int]

    @property
    def answer_cpu(self) -> float:
        """Microseconds of CPU per answer."""
        return self.cpu_seconds * 1e6 / self.answers if self.answers else float("nan")

    @property
    def delta_cpu(self) -> float:
        """Microseconds of CPU per streamed delta."""
        return self.cpu_seconds * 1e6 / self.deltas if self.deltas else float("nan")

    @property
    def answer_rate(self) -> float:
        return self.answers / self.seconds

    @property
    def answer_gap(self) -> float:
        """Microseconds from one answer to the next, over all connections."""
        return self.seconds * 1e6 / self.answers if self.answers else float("nan")

    @property
    def delta_rate(self) -> float:
        return self.deltas / self.seconds

    @property
    def slowest(self) -> int:
        """Microseconds that the slowest request took, or had waited at the end without an answer."""
        return max(self.latency_max, self.waiting_max)

    @property
    def sound(self) -> bool:
        """Return True if there were answers and all of them were sound; otherwise the other figures are useless."""
        return self.bad == 0 and self.foreign == 0 and (self.answers > 0 or self.deltas > 0)


def start_load(
    ports: Sequence[int], pids: Sequence[int], path: str, headers: Sequence[str], body: Path, shape: Shape
) -> "subprocess.Popen[bytes]":
    options: list[tuple[str, Any]] = [
        ("-p", ",".join(map(str, ports))),
        ("-P", ",".join(map(str, pids))),
        ("-u", path),
        ("-b", body),
        ("-c", shape.connections),
        ("-d", shape.seconds),
        ("-w", shape.warm),
        ("-n", shape.requests),
        ("-o", shape.open_rate),
        ("-e", shape.expect),
        ("-D", shape.deltas_each or None),
        *(("-H", header) for header in headers),
    ]
    command = [str(program("load")), *(["-m"] if shape.marks else []), *(["-t"] if shape.turns else [])]
    for option, value in options:
        if value is not None:
            command += [option, str(value)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def end_load(process: "subprocess.Popen[bytes]") -> Report:
    """Wait for the load generator's end and read what it found."""
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    return Report(**json.loads(said))
