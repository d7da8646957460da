"""Circuit breaker for Redis: consecutive failures open it for a while, then one trial call is let through."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog

from gateway.telemetry.metrics import CACHE_UP

log = structlog.get_logger()

FAILURES: Final = 5
WITHIN_SECONDS: Final = 10.0
OPEN_SECONDS: Final = 5.0

State = Literal["closed", "open", "trying"]


@dataclass(slots=True)
class Breaker:
    """`closed` lets every call through; `open` none; then one is let through to try, which closes or opens it."""

    clock: Callable[[], float]
    state: State = "closed"
    _failed_at: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES))
    _opened_at: float = 0.0

    def __post_init__(self) -> None:
        CACHE_UP.set(1)

    def admits(self) -> bool:
        """Ask before a call, and report its end with `succeeded` or `failed`."""
        if self.state == "closed":
            return True
        if self.clock() - self._opened_at < OPEN_SECONDS:
            return False
        # A trial call that never ends must not block all others.
        self.state, self._opened_at = "trying", self.clock()
        return True

    def succeeded(self) -> None:
        if self.state == "closed":
            return
        self.state = "closed"
        self._failed_at.clear()
        CACHE_UP.set(1)
        log.info("cache_redis_recovered")

    def failed(self) -> None:
        now = self.clock()
        self._failed_at.append(now)
        if self.state == "trying":
            self.state, self._opened_at = "open", now
        elif self.state == "closed" and self._is_too_much(now):
            self.state, self._opened_at = "open", now
            CACHE_UP.set(0)
            log.warning("cache_redis_given_up", failures=FAILURES, seconds=OPEN_SECONDS)

    def _is_too_much(self, now: float) -> bool:
        return len(self._failed_at) == FAILURES and now - self._failed_at[0] <= WITHIN_SECONDS
