"""Figures of processes as Linux reports them: descendants, memory, open files, and the machine.

The load generator itself reads CPU times, at the start and the end of the counted time.
"""

import os
import platform
import resource
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROC = Path("/proc")
PACKAGES = ("aiohttp", "httptools", "hiredis", "orjson", "pydantic", "redis", "structlog", "uvloop")


@dataclass(frozen=True, slots=True)
class Machine:
    """Place and time of a run. Its figures are only meaningful together with these."""

    date: str
    commit: str
    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    load_average: float
    versions: dict[str, str]


def _optimisation() -> str:
    """Describe how this interpreter was built. Without PGO and LTO it takes 5 to 15 % more CPU (2026-11).

    Debian and Ubuntu optimise theirs by rules of their own, which leave no mark.
    """
    if Path(sys.executable).resolve().is_relative_to("/usr/bin"):
        return "of the distribution"
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return ", ".join(
        name if flag in arguments else f"no {name}"
        for name, flag in (("PGO", "--enable-optimizations"), ("LTO", "--with-lto"))
    )


def process_tree(root: int) -> list[int]:
    """`root` and every process that descends from it, at this moment."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    return tree


def memory_mib(pids: Iterable[int]) -> float:
    """Proportional set size: memory shared by several of the processes counts once."""
    return sum(_pss_kib(pid) for pid in pids) / 1024


def open_files(pids: Iterable[int]) -> int:
    return sum(_count(PROC / str(pid) / "fd") for pid in pids)


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes."""
    return sum(_ticks(pid) for pid in pids) / os.sysconf("SC_CLK_TCK")


def raise_file_limit() -> int:
    """Lift this process's limit on open files as far as it may be, for the processes it starts too. Returns it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def machine() -> Machine:
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        cpu=_field("cpuinfo", "model name"),
        cores=os.cpu_count() or 0,
        memory_mib=int(_field("meminfo", "MemTotal").split()[0]) // 1024,
        kernel=platform.release(),
        load_average=os.getloadavg()[0],
        versions={"python": f"{platform.python_version()} ({_optimisation()})", **_package_versions()},
    )


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:  # it has ended meanwhile
        return None


def _ticks(pid: int) -> int:
    try:
        fields = (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _pss_kib(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _count(directory: Path) -> int:
    try:
        return sum(1 for _ in directory.iterdir())
    except OSError:
        return 0


def _field(file: str, name: str) -> str:
    lines = (PROC / file).read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "0")


def _package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The short commit, with a plus where the tree differs from it; empty outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return described.stdout.strip()
