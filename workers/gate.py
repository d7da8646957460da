"""What one worker knows of an upstream, or of one of its models: whether a call may start, and how many at once. Pure.

    OPEN ──pressure──► PAUSED ──time──► OPEN       nobody starts before a time; then half as many calls at once
      └─failures in a row─► BROKEN ──probe──► OPEN   nobody starts before a time; then one call, whose success opens

The window, the number of calls at once, is halved once for each incident and grows by one for each window of successes
(AIMD, as TCP does): concurrency adapts to a limit that no upstream tells, and to live traffic that shares it. A call
that began before an incident says nothing new about it. Times are of one monotonic clock, in seconds.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

from workers.retry import ACCOUNT_DELAY, MAX_RETRY_AFTER, Trouble

BREAK_AFTER: Final = 5
# Until the first probe, doubled with each that fails.
FIRST_BREAK: Final = 5.0
MAX_BREAK: Final = 60.0
# After a 429 that does not say how long to wait.
PAUSE: Final = 1.0
# What is refused for want of room is offered again after about this.
CROWDED: Final = 0.5


class State(Enum):
    OPEN = "open"
    PAUSED = "paused"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call's right to run, from `enter` to `leave`."""

    started: float
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Shut:
    """For the other workers to know: no call starts for so many seconds."""

    seconds: float
    broken: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What they have made known. `stamp` names the incident: a later one has a larger stamp."""

    left: float
    broken: bool
    stamp: int


@dataclass(slots=True)
class Gate:
    """`most` bounds the window; it is the worker's number of slots."""

    most: int
    window: float = inf
    state: State = State.OPEN
    until: float = -inf
    in_flight: int = 0
    failures: int = 0  # in a row
    breaks: int = 0  # in a row
    incident: float = -inf  # when the last one began
    stamp: int = 0

    def wait(self, now: float) -> float:
        """Seconds until a call may start, as a probe if the gate is broken."""
        if now < self.until:
            return self.until - now
        if self.state is State.PAUSED:
            self.state = State.OPEN
        if self.state is State.BROKEN:
            return 0.0
        return CROWDED if self.in_flight >= max(1, int(min(self.window, self.most))) else 0.0

    def enter(self, now: float, *, probe: bool = False) -> Ticket:
        self.in_flight += 1
        return Ticket(now, probe)

    def leave(self, ticket: Ticket, *, succeeded: bool) -> None:
        self.in_flight -= 1
        if succeeded and ticket.started > self.incident and self.window < self.most:
            self.window += 1 / self.window

    def accepted(self, ticket: Ticket) -> bool:
        """The upstream has begun to answer. True when that opens a broken gate."""
        if self.state is not State.BROKEN:
            self.failures = 0
            return False
        if ticket.started <= self.incident:
            return False
        self.open()
        return True

    def open(self) -> None:
        self.state, self.until, self.failures, self.breaks = State.OPEN, -inf, 0, 0

    def failed(self, ticket: Ticket, trouble: Trouble, retry_after: float | None, now: float) -> Shut | None:
        """What the others should know, if it is news."""
        known = ticket.started <= self.incident
        if known and self.state is State.OPEN:
            return None  # of an incident that is over
        self.failures += 1
        told = min(retry_after or 0.0, MAX_RETRY_AFTER)
        if self.state is State.BROKEN and not ticket.probe:
            return self._extend(now + told, now)
        if ticket.probe or trouble is Trouble.ACCOUNT or self.failures >= BREAK_AFTER:
            return self._break(trouble, told, now)
        if trouble is not Trouble.PRESSURE:
            return None
        if known:
            return self._extend(now + told, now)
        return self._shut(State.PAUSED, told or PAUSE, now)

    def learn(self, seen: Seen | None, now: float) -> None:
        """What the others know, None when nothing is the matter there."""
        if seen is None:
            if self.state is State.BROKEN and self.stamp:
                self.open()
            self.stamp = 0
            return
        state = State.BROKEN if seen.broken else State.PAUSED
        if seen.stamp > self.stamp and (seen.broken or seen.left > 0):
            if self.state is State.OPEN:
                self._shut(state, seen.left, now)
            self.stamp = seen.stamp
        if self.state is not State.OPEN:
            self.state = State.BROKEN if seen.broken else self.state
            self.until = max(self.until, now + seen.left)

    def _break(self, trouble: Trouble, told: float, now: float) -> Shut:
        self.breaks += 1
        seconds = min(MAX_BREAK, FIRST_BREAK * 2 ** min(self.breaks - 1, 8))
        if trouble is Trouble.ACCOUNT:
            seconds = ACCOUNT_DELAY
        return self._shut(State.BROKEN, max(seconds, told), now)

    def _shut(self, state: State, seconds: float, now: float) -> Shut:
        if self.state is State.OPEN:  # else it is the same incident
            self.window = max(1.0, min(self.window, self.in_flight) / 2)
            self.incident = now
        self.state, self.until = state, max(self.until, now + seconds)
        return Shut(seconds, broken=state is State.BROKEN)

    def _extend(self, until: float, now: float) -> Shut | None:
        if until <= self.until:
            return None
        self.until = until
        return Shut(until - now, broken=self.state is State.BROKEN)
