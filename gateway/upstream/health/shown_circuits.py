"""Circuits of several processes of one host, for the `/status` of their parent: a small file of each in a directory.

The directory is that of their metrics. A file without recent writes belongs to a process that has ended.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

# Between two writes; a file of which several are missing counts no more.
WRITE_SECONDS: Final = 1.0
STALE_SECONDS: Final = 5.0

State = dict[str, Any]


def write_states(directory: Path, states: Sequence[State]) -> None:
    """Write the states of this process, as `LiveCircuits.states` returns them."""
    path = directory / f"circuits-{os.getpid()}.json"
    unfinished = path.with_suffix(".new")
    unfinished.write_bytes(orjson.dumps(states))
    unfinished.replace(path)


def read_states(directory: Path, wall: Callable[[], float] = time.time) -> list[State]:
    """Return each circuit once, with the number of processes in which it is not closed, and the longest wait."""
    merged: dict[str, State] = {}
    for path in sorted(directory.glob("circuits-*.json")):
        try:
            is_stale = wall() - path.stat().st_mtime > STALE_SECONDS
            states = [] if is_stale else orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        for state in states:
            known = merged.setdefault(state["circuit"], {**state, "processes": 0})
            known["processes"] += 1
            if state["seconds"] >= known["seconds"]:
                known.update(state)
    return list(merged.values())
