"""Timeout for replies that does not count the time in which this process was too busy to read them.

In a paused or starved process, timers expire before replies that arrived long ago have been read. With asyncio's own
timeout, that would look like an outage of the server.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.process.tasks import CANCEL_AGAIN_SECONDS

# Turns of the event loop after the time is over, in which replies that have arrived are read. A reply takes several of
# them, and some more if a connection must be opened first. With an idle loop they take a fraction of a millisecond.
GRACE_TURNS: Final = 30
# A call looks this often how late the loop is.
LOOKS: Final = 8


def within(seconds: float) -> AbstractAsyncContextManager[None]:
    """Raise TimeoutError after this time, not counting the time lost to other work."""
    ends_at = asyncio.get_running_loop().time() + seconds
    return waiting(lambda: ends_at, seconds)


@asynccontextmanager
async def waiting(ends_at: Callable[[], float], seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after `ends_at`, a time of the event loop that may move, plus the time lost to other work.

    `seconds`: the usual duration. The delay of the loop is checked eight times in it.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    async with asyncio.timeout(None) as timeout:
        watch = _Watch(ends_at, seconds / LOOKS, timeout, task, loop.time())
        watch.wait()
        try:
            yield
        finally:
            watch.stop()


@dataclass(slots=True)
class _Watch:
    """Timer of one call. `again`: number of repeated cancellations, beyond that of `timeout`."""

    ends_at: Callable[[], float]
    every: float
    timeout: asyncio.Timeout
    task: asyncio.Task[object] = field(repr=False)
    _due: float
    again: int = 0
    _handle: asyncio.Handle | None = None
    _busy: float = 0.0  # seconds in which the loop could not read

    def wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = min(self.ends_at() + self._busy, loop.time() + self.every)
        self._handle = loop.call_at(self._due, self._look, GRACE_TURNS)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        for _ in range(self.again):
            self.task.uncancel()

    def _look(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns == GRACE_TURNS:
            self._busy += loop.time() - self._due
        if loop.time() < self.ends_at() + self._busy:
            self.wait()
        elif turns:
            self._handle = loop.call_soon(self._look, turns - 1)
        else:
            self.timeout.reschedule(loop.time())
            self._handle = loop.call_later(CANCEL_AGAIN_SECONDS, self._insist)

    def _insist(self) -> None:
        """Cancel again after a swallowed cancellation: redis-py may swallow one, before Python 3.12."""
        self.again += 1
        self.task.cancel()
        self._handle = asyncio.get_running_loop().call_later(CANCEL_AGAIN_SECONDS, self._insist)
