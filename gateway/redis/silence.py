"""Limits how long a request waits for a silent server, where it can continue without the answer.

After a call without an answer none is made for AWAY_SECONDS, so that only the requests of the first moment wait. Calls
that queue behind others that are answered do not count as unanswered. Time in which this process was too busy to read
replies does not count either: a late event loop must not look like an outage. `answer_limit` limits the whole wait.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import Overloaded, StoreAway
from gateway.process.tasks import CANCEL_AGAIN_SECONDS
from gateway.redis.failures import CANNOT_BE_REACHED, NO_ANSWER

# Much longer than an answer takes. With the cache's limit of 50 ms a request waits for 130 ms in all.
SILENT_SECONDS: Final = 0.08
AWAY_SECONDS: Final = 1.0
# Turns of the event loop after the time is over, in which replies that have arrived are read. A reply takes several of
# them. With an idle loop they take a fraction of a millisecond.
GRACE_TURNS: Final = 30
# A call looks this often how late the loop is.
LOOKS: Final = 8


@dataclass(slots=True)
class SilenceLimit:
    """`seconds` without an answer to any call end a call. Share one among the calls to a server."""

    seconds: float = SILENT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _answered_at: float = float("-inf")
    _away_until: float = float("-inf")

    @property
    def is_away(self) -> bool:
        """Whether the server did not serve a call a moment ago."""
        return self.clock() < self._away_until

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Raises StoreAway without an answer in time, or if there was none a moment ago."""
        if self.is_away:
            raise StoreAway(CANNOT_BE_REACHED, reason=NO_ANSWER)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(None) as timeout:
                watch = _Watch(self, timeout, loop.time(), task)
                watch.wait()
                try:
                    yield
                finally:
                    watch.stop()
        except (StoreAway, Overloaded):
            self.note_silence()
            raise
        except TimeoutError:
            self.note_silence()
            raise StoreAway(CANNOT_BE_REACHED, reason=NO_ANSWER) from None
        self._answered_at = loop.time()

    def note_answer(self, at: float) -> None:
        """Note that the server has answered at this time of the event loop."""
        self._answered_at = at

    def note_silence(self) -> None:
        """Make no call for AWAY_SECONDS."""
        self._away_until = self.clock() + AWAY_SECONDS

    def ends_at(self, begun: float) -> float:
        """Return when a call that began then has waited for too long, unless another one is answered before."""
        return max(begun, self._answered_at) + self.seconds


@dataclass(slots=True)
class _Watch:
    """Timer of one call. `again`: cancellations beyond that of `timeout`."""

    limit: SilenceLimit
    timeout: asyncio.Timeout
    begun: float
    task: asyncio.Task[object] = field(repr=False)
    again: int = 0
    _handle: asyncio.Handle | None = None
    _due: float = 0.0
    _busy: float = 0.0  # seconds in which the loop could not read

    def wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = min(self._ends_at(), loop.time() + self.limit.seconds / LOOKS)
        self._handle = loop.call_at(self._due, self._look, GRACE_TURNS)

    def _ends_at(self) -> float:
        return self.limit.ends_at(self.begun) + self._busy

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        for _ in range(self.again):
            self.task.uncancel()

    def _look(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns == GRACE_TURNS:
            self._busy += loop.time() - self._due
        if loop.time() < self._ends_at():
            self.wait()
        elif turns:
            self._handle = loop.call_soon(self._look, turns - 1)
        else:
            self.timeout.reschedule(loop.time())
            self._handle = loop.call_later(CANCEL_AGAIN_SECONDS, self._insist)

    def _insist(self) -> None:
        """Cancel again what has swallowed the cancellation: redis-py may, once, before Python 3.12."""
        self.again += 1
        self.task.cancel()
        self._handle = asyncio.get_running_loop().call_later(CANCEL_AGAIN_SECONDS, self._insist)
