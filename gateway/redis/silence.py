"""Limits how long a request waits for a silent server, where it can continue without the answer.

After a call without an answer none is made for AWAY_SECONDS, so that only the requests of the first moment wait. Calls
that queue behind others that are answered do not count as unanswered. Time in which this process was too busy to read
replies does not count either: a late event loop must not look like an outage. `answer_limit` limits the whole wait.
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
        """Note that the server has answered at this time of the event loop."""
        self._answered_at = at

    def note_silence(self) -> None:
        """Make no call for AWAY_SECONDS."""
        self._away_until = self.clock() + AWAY_SECONDS

    def ends_at(self, begun: float) -> float:
        """Return when a call that began then has waited for too long, unless another one is answered before."""
        return max(begun, self._answered_at) + self.seconds
