"""Count machine instructions with valgrind's callgrind, which is repeatable on a busy machine.

Instruction counts leave out the kernel's work, waits and caches. But they show a change of 1 %, which no clock on a
shared machine can.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

from bench.targets import StartError

TOOL = "valgrind"
CONTROL = "callgrind_control"


def under_callgrind(command: str, out: Path) -> str:
    """Return the command under callgrind, with counting off. Raises StartError where valgrind is not installed."""
    if shutil.which(TOOL) is None or shutil.which(CONTROL) is None:
        raise StartError("counting instructions needs valgrind (Debian: apt-get install valgrind)")
    return f"{TOOL} --quiet --tool=callgrind --instr-atstart=no --callgrind-out-file={shlex.quote(str(out))} {command}"


class Counter:
    """Counts what a process that runs under callgrind does between `begin` and `end`."""

    def __init__(self, pid: int, out: Path) -> None:
        self._pid = pid
        self._out = out
        self._dumps = 0

    def begin(self) -> None:
        self._control("-i", "on")

    def end(self) -> int:
        """Instructions since `begin`."""
        self._control("-i", "off")
        self._control("-d", "counted")
        self._dumps += 1
        dump = self._out.with_name(f"{self._out.name}.{self._dumps}")
        totals = [line for line in dump.read_text(errors="replace").splitlines() if line.startswith("totals:")]
        return int(totals[-1].split()[1])

    def _control(self, *arguments: str) -> None:
        command = [CONTROL, *arguments, str(self._pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartError(f"{CONTROL} failed: {done.stdout}{done.stderr}")
