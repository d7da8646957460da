"""One timer for all the waits of a connection: first byte, idle, total, lying idle.

A deadline that moves away, as with every chunk of a stream, costs one comparison; the timer looks at it when it fires
and sets itself again. So a busy connection makes a timer once in a while instead of one per chunk.
"""

import asyncio
from collections.abc import Callable
from math import inf


def nothing() -> None:
    """Do nothing; the callback of a retired watchdog."""


class Watchdog:
    """A deadline that may move at any time, on one timer. The timer is reset only when it fires or the deadline comes
    nearer.

    `deadline` is in the loop's time; `inf` waits for nothing.
    """

    __slots__ = ("_armed_for", "_loop", "_on_expiry", "_timer", "deadline")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_expiry: Callable[[], None]) -> None:
        self.deadline = inf
        self._armed_for = inf
        self._loop = loop
        self._on_expiry = on_expiry
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, deadline: float) -> None:
        self.deadline = deadline
        if deadline < self._armed_for:
            self._arm()

    def stop(self) -> None:
        self.deadline = self._armed_for = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def retire(self) -> None:
        """Stop for good, and let go of whom to call: the connection, which refers to this."""
        self.stop()
        self._on_expiry = nothing

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = self.deadline
        self._timer = self._loop.call_at(self.deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._armed_for = inf
        if self._loop.time() >= self.deadline:
            self.deadline = inf
            self._on_expiry()
        elif self.deadline < inf:
            self._arm()
