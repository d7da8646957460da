"""Write log lines from a separate thread, so that a full or stuck log never delays or fails a request.

Lines wait in a bounded buffer. Further lines are dropped and counted; once the log can be written again, one line
reports their number. A failed write is continued at the byte where it stopped, so no line is torn.
"""

import os
import re
import select
import stat
import threading
from collections.abc import Callable
from typing import Final

from gateway.telemetry.metrics import LOG_LINES_DROPPED

# Waking the thread costs as much as some thirty lines.
FLUSH_BYTES: Final = 64 * 1024
FLUSH_SECONDS: Final = 0.5
# About 10,000 lines, some seconds of a busy front end. A log that is stuck for longer would outgrow any buffer.
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
RETRY_SECONDS: Final = 1.0
# At exit. A log that is stuck must not delay the end of a process that its supervisor is about to kill.
CLOSE_SECONDS: Final = 1.0

_LINE_END: Final = re.compile(rb"\n")


class LogWriter:
    """structlog's logger over `write`, which may block and raise OSError. Logging from any thread does neither.

    `write` returns how many bytes it has taken. `dropped_line` is the line for a number of dropped lines.
    """

    def __init__(
        self,
        write: Callable[[memoryview], int],
        dropped_line: Callable[[int], bytes],
        *,
        every: float = FLUSH_SECONDS,
        retry: float = RETRY_SECONDS,
    ) -> None:
        self._write = write
        self._dropped_line = dropped_line
        self._every = every
        self._retry = retry
        self._lines: list[bytes] = []
        # No lock, which would take half of a call's time: each step on the list is one of the interpreter's own. A
        # thread that logs while lines are taken may miscount `_size`, until lines are taken again.
        self._size = 0
        self._dropped = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def flush(self) -> None:
        """Request a write. Returns at once."""
        self._wake.set()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Write the waiting lines, within `seconds`."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def write_waiting(self) -> None:
        """Write all waiting lines. Blocks until they are written; while closing, only until a write fails."""
        self._size = 0
        lines = self._lines[:]
        del self._lines[: len(lines)]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(self._dropped_line(dropped))
        data = memoryview(b"\n".join(lines) + b"\n" if lines else b"")
        while data:
            try:
                data = data[self._write(data) :]
            except OSError:  # no space left, a reader that has gone, a file system that was taken away: all may pass
                if self._closing.wait(self._retry):
                    return

    def _log(self, line: bytes) -> None:
        length = len(line) + 1
        if self._size + length > MAX_WAITING_BYTES:
            self._dropped += 1
            LOG_LINES_DROPPED.inc()
            return
        self._lines.append(line)
        self._size += length
        if self._size >= FLUSH_BYTES and not self._wake.is_set():
            self._wake.set()

    def _log_now(self, line: bytes) -> None:
        self._log(line)
        self._wake.set()

    debug = info = msg = _log
    warning = error = critical = exception = _log_now

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._every)
            self._wake.clear()
            self.write_waiting()
        self.write_waiting()  # what was logged meanwhile


def to_descriptor(descriptor: int) -> Callable[[memoryview], int]:
    """`write` for a LogWriter. Waits where another program has made the descriptor non-blocking.

    Processes may share a pipe: only writes of up to PIPE_BUF bytes are kept apart there (POSIX), so each write to one
    holds whole lines of up to this many bytes in all. Only a line that is longer itself may be torn.
    """
    is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)

    def write(data: memoryview) -> int:
        if is_pipe and len(data) > select.PIPE_BUF:
            data = _first_lines(data)
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            select.select([], [descriptor], [], RETRY_SECONDS)
            return 0

    return write


def _first_lines(data: memoryview) -> memoryview:
    """Return the whole lines that one write to a pipe keeps together; at least one."""
    last = bytes(data[: select.PIPE_BUF]).rfind(b"\n")
    if last >= 0:
        return data[: last + 1]
    end = _LINE_END.search(data, select.PIPE_BUF)
    return data[: end.end()] if end else data
