"""Circuit breaker for calls to Redis: after some failures it allows no call for a while, then a single one. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["closed", "open", "trying"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`failures` within `within` seconds open a breaker for `open_seconds`."""

    failures: int
    within: float
    open_seconds: float


def _ignore(reason: str | None) -> None:
    """Ignore changes of a breaker that is not watched."""


@dataclass(slots=True)
class Breaker:
    """Circuit breaker. `closed` allows every call, `open` none, and `trying` one, which closes or opens it by its
    result.

    `changed` is called with the reason of the last failure when it opens, and with None when it closes.
    """

    clock: Callable[[], float]
    tolerance: Tolerance
    changed: Callable[[str | None], None] = _ignore
    state: State = "closed"
    _failed_at: deque[float] = field(init=False)
    _opened_at: float = 0.0
    _succeeded_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._failed_at = deque(maxlen=self.tolerance.failures)

    def admits(self) -> bool:
        """Return True if a call may be made. Report its end with `succeeded`, `failed` or `was_late`."""
        if self.state == "closed":
            return True
        if self.clock() - self._opened_at < self.tolerance.open_seconds:
            return False
        # The end of a call that tries may never be reported: the next one follows after as long again.
        self.state, self._opened_at = "trying", self.clock()
        return True

    def succeeded(self) -> None:
        self._succeeded_at = self.clock()
        if self.state == "closed":
            return
        self.state = "closed"
        self._failed_at.clear()
        self.changed(None)

    def was_late(self, reason: str, sent_at: float) -> None:
        """Report a call without an answer in time. It does not count as a failure if another call has succeeded since
        it was sent: then this process was busy."""
        if self._succeeded_at <= sent_at:
            self.failed(reason)

    def failed(self, reason: str) -> None:
        now = self.clock()
        self._failed_at.append(now)
        is_full = len(self._failed_at) == self.tolerance.failures
        if self.state == "trying":
            self.state, self._opened_at = "open", now
        elif self.state == "closed" and is_full and now - self._failed_at[0] <= self.tolerance.within:
            self.state, self._opened_at = "open", now
            self.changed(reason)
