"""Limit how long a request waits for Redis.

Each call has a maximum duration, and after a call without an answer no call is made for a while. So only the requests
of the first moment wait for a server that is frozen or cut off. Time in which this process could not read replies does
not count.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import GatewayError, StoreAway
from gateway.redis.breaker import Breaker, Tolerance
from gateway.redis.failures import CANNOT_BE_REACHED, NO_ANSWER
from gateway.redis.patience import within

# A batch call is refused within 2 s.
ANSWER_SECONDS: Final = 1.5
# Only silence is a failure: a refusal comes at once.
TOLERANCE: Final = Tolerance(failures=1, within=0.0, open_seconds=2.0)


@dataclass(slots=True)
class AnswerLimit:
    """Limit for one server. Processes without clients, such as workers, use none."""

    seconds: float = ANSWER_SECONDS
    clock: Callable[[], float] = time.monotonic
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.clock, TOLERANCE)

    @asynccontextmanager
    async def call(self, extra_seconds: float = 0.0) -> AsyncIterator[None]:
        """Limit the calls in this context. Raises StoreAway without an answer in time, or shortly after such a call."""
        if not self.breaker.admits():
            raise StoreAway(CANNOT_BE_REACHED, reason=NO_ANSWER)
        sent_at = self.clock()
        try:
            async with within(self.seconds + extra_seconds):
                yield
        except TimeoutError as error:
            self.breaker.was_late(NO_ANSWER, sent_at)
            raise StoreAway(CANNOT_BE_REACHED, reason=NO_ANSWER) from error
        except GatewayError:
            self.breaker.succeeded()
            raise
        self.breaker.succeeded()
