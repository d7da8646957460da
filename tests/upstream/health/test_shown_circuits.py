"""Circuits of several processes, as their parent shows them."""

import os
from pathlib import Path

from gateway.upstream.health.shown_circuits import STALE_SECONDS, read_states, write_states

OPEN = {"circuit": "a", "state": "open", "stalled": False, "seconds": 4.0}
PAUSED = {"circuit": "b", "state": "paused", "stalled": False, "seconds": 1.0}


def test_circuits_of_all_processes_are_merged_and_those_of_ended_ones_left_out(tmp_path: Path) -> None:
    write_states(tmp_path, [OPEN, PAUSED])
    own = tmp_path / f"circuits-{os.getpid()}.json"
    own.rename(tmp_path / "circuits-1.json")
    write_states(tmp_path, [{**OPEN, "seconds": 9.0}])
    (tmp_path / "circuits-2.json").write_bytes(b"[{")
    assert read_states(tmp_path) == [{**OPEN, "seconds": 9.0, "processes": 2}, {**PAUSED, "processes": 1}]
    later = own.stat().st_mtime + STALE_SECONDS + 1
    assert read_states(tmp_path, lambda: later) == []
    write_states(tmp_path, [])
    os.utime(tmp_path / "circuits-1.json", (1, 1))
    assert read_states(tmp_path) == []
