"""Circuit breaker for calls to Redis: after a number of failures no call is made for a while, then a single one."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["closed", "open", "trying"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """So many `failures` within so many seconds open a breaker, for `open_seconds`."""

    failures: int
    within: float
    open_seconds: float


def _ignore(is_closed: bool) -> None:
    """Ignore changes of a breaker that is not watched."""


@dataclass(slots=True)
class Breaker:
    """`closed` lets every call through; `open` none; `trying` a single one, whose end closes or opens it.

    `changed` is called with True when it closes again and with False when it opens.
    """

    clock: Callable[[], float]
    tolerance: Tolerance
    changed: Callable[[bool], None] = _ignore
    state: State = "closed"
    _failed_at: deque[float] = field(init=False)
    _opened_at: float = 0.0

    def __post_init__(self) -> None:
        self._failed_at = deque(maxlen=self.tolerance.failures)

    def admits(self) -> bool:
        """Ask before a call; report its end with `succeeded` or `failed`."""
        if self.state == "closed":
            return True
        if self.clock() - self._opened_at < self.tolerance.open_seconds:
            return False
        # The end of a call that tries may never be reported: the next one follows after as long again.
        self.state, self._opened_at = "trying", self.clock()
        return True

    def succeeded(self) -> None:
        if self.state == "closed":
            return
        self.state = "closed"
        self._failed_at.clear()
        self.changed(True)

    def failed(self) -> None:
        now = self.clock()
        self._failed_at.append(now)
        if self.state == "trying":
            self.state, self._opened_at = "open", now
        elif self.state == "closed" and self._is_too_much(now):
            self.state, self._opened_at = "open", now
            self.changed(False)

    def _is_too_much(self, now: float) -> bool:
        return len(self._failed_at) == self.tolerance.failures and now - self._failed_at[0] <= self.tolerance.within
