"""Memory, CPU time, file descriptors and age of processes, read from Linux's /proc.

prometheus_client's own `process_*` metrics cover one process, and are missing in its multiprocess mode. These have the
process as a label: its place among the children, or `parent`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PROC: Final = Path("/proc")
# Name, type and help of each metric, in the order of `read_process`.
PROCESS_METRICS: Final = (
    ("gateway_process_resident_bytes", "gauge", "Memory of a process"),
    ("gateway_process_cpu_seconds_total", "counter", "CPU time of a process"),
    ("gateway_process_open_fds", "gauge", "File descriptors of a process"),
    ("gateway_process_start_time_seconds", "gauge", "When a process was started, in seconds since 1970"),
)
FAMILIES: Final = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}


class ProcessCollector(Collector):
    """`pids`: processes by their label."""

    def __init__(self, pids: Callable[[], Mapping[str, int]], proc: Path = PROC) -> None:
        self._pids = pids
        self._proc = proc

    def describe(self) -> tuple[()]:
        return ()

    def collect(self) -> Iterator[Metric]:
        found = {child: figures for child, pid in self._pids().items() if (figures := read_process(pid, self._proc))}
        for at, (name, kind, meaning) in enumerate(PROCESS_METRICS):
            family = FAMILIES[kind](name, meaning, labels=["child"])
            for child, figures in found.items():
                family.add_metric([child], figures[at])
            yield family


def read_process(pid: int, proc: Path = PROC) -> tuple[float, float, float, float] | None:
    """Return the figures of a process; None if it has ended, or on a system without /proc."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
        pages = int((proc / str(pid) / "statm").read_text().split()[1])
        descriptors = len(list((proc / str(pid) / "fd").iterdir()))
        booted = _boot_time(proc)
    except (OSError, ValueError):
        # The process has ended meanwhile, or this is not Linux.
        return None
    fields = stat.rpartition(")")[2].split()  # behind the program's name, which may hold spaces
    ticks = os.sysconf("SC_CLK_TCK")
    cpu, started = (int(fields[11]) + int(fields[12])) / ticks, int(fields[19]) / ticks
    return pages * os.sysconf("SC_PAGE_SIZE"), cpu, descriptors, booted + started


@lru_cache(maxsize=4)
def _boot_time(proc: Path) -> float:
    """Return the boot time in Unix seconds. Raises ValueError if /proc does not show it."""
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    raise ValueError("no btime")
