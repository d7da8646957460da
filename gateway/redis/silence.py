"""Limit how long a request waits for a silent server, for requests that can continue without the answer.

After a call without an answer no call is made for AWAY_SECONDS, so that only the requests of the first moment wait.
Calls that queue behind others that are answered do not count as unanswered. Neither does time in which this process was
too busy to read replies: a late event loop must not look like an outage. `answer_limit` limits the whole wait.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gateway.errors import Overloaded, StoreAway
from gateway.redis.failures import CANNOT_BE_REACHED, NO_ANSWER
from gateway.redis.patience import waiting

# Much longer than an answer takes. With the cache's limit of 50 ms a request waits for 130 ms in all.
SILENT_SECONDS: Final = 0.08
AWAY_SECONDS: Final = 1.0


@dataclass(slots=True)
class SilenceLimit:
    """Calls end after `seconds` without an answer to any call. Share one limit among all calls to a server."""

    seconds: float = SILENT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _answered_at: float = float("-inf")
    _away_until: float = float("-inf")

    @property
    def is_away(self) -> bool:
        """Return True if the server recently did not answer."""
        return self.clock() < self._away_until

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Limit the calls in this context. Raises StoreAway without an answer in time, or shortly after such a call."""
        if self.is_away:
            raise StoreAway(CANNOT_BE_REACHED, reason=NO_ANSWER)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with waiting(lambda: self.ends_at(begun), self.seconds):
                yield
        except (StoreAway, Overloaded):
            self.note_silence()
            raise
        except TimeoutError:
            self.note_silence()
            raise StoreAway(CANNOT_BE_REACHED, reason=NO_ANSWER) from None
        self._answered_at = loop.time()

    def note_answer(self, at: float) -> None:
        """Note an answer of the server at this time of the event loop."""
        self._answered_at = at

    def note_silence(self) -> None:
        """Make no call for AWAY_SECONDS."""
        self._away_until = self.clock() + AWAY_SECONDS

    def ends_at(self, begun: float) -> float:
        """Return when a call that began then has waited too long, unless another call is answered before."""
        return max(begun, self._answered_at) + self.seconds
