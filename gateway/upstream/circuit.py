"""The circuit breaker of an upstream, or of one of its models: whether a call may start, and how many at once. Pure.

    CLOSED ──pressure──► PAUSED ──time──► CLOSED          no call starts for a time; then half as many at once
      └─failures in a row─► OPEN ──probe accepted──► CLOSED   no call starts for a time; then one at a time, as a probe

As in the literature, calls flow through a closed circuit and not through an open one. The window, the number of calls
at once, is halved once per incident and grows by one for each window of successes (AIMD, as in TCP): concurrency adapts
to limits that upstreams do not publish, and to live traffic that shares them. A call that began before an incident
carries no new information about it. Times are seconds of one monotonic clock.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

from gateway.upstream.trouble import ACCOUNT_DELAY, MAX_RETRY_AFTER, Trouble

OPEN_AFTER: Final = 5
# Until the first probe; doubled with each probe that fails.
FIRST_OPEN: Final = 5.0
MAX_OPEN: Final = 60.0
# After a 429 without a time to wait.
PAUSE: Final = 1.0
# When to ask again after the window was full.
CROWDED: Final = 0.5


class State(Enum):
    CLOSED = "closed"
    PAUSED = "paused"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call's entry into one circuit, from `enter` to `leave`."""

    started: float
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """News for the other processes: no call starts for so many seconds. `state` is PAUSED or OPEN."""

    seconds: float
    state: State


@dataclass(frozen=True, slots=True)
class PeerState:
    """The shared state of the circuit. `stamp` names the incident: a later one has a larger stamp."""

    left: float
    is_open: bool
    stamp: int


@dataclass(slots=True)
class Circuit:
    """`most` bounds the window: the number of calls that this process could make."""

    most: int
    window: float = inf
    state: State = State.CLOSED
    until: float = -inf
    in_flight: int = 0
    failures: int = 0  # in a row
    openings: int = 0  # in a row
    incident: float = -inf  # when the last one began
    stamp: int = 0

    def wait(self, now: float) -> float:
        """Seconds until a call may start; as a probe if the circuit is open."""
        if now < self.until:
            return self.until - now
        if self.state is State.PAUSED:
            self.state = State.CLOSED
        if self.state is State.OPEN:
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
        """The upstream has begun to answer. True if that closes an open circuit."""
        if self.state is not State.OPEN:
            self.failures = 0
            return False
        if ticket.started <= self.incident:
            return False
        self.close()
        return True

    def close(self) -> None:
        self.state, self.until, self.failures, self.openings = State.CLOSED, -inf, 0, 0

    def failed(self, ticket: Ticket, trouble: Trouble, retry_after: float | None, now: float) -> Opened | None:
        """Return what the other processes have to know, None if they know it."""
        known = ticket.started <= self.incident
        if known and self.state is State.CLOSED:
            return None  # of an earlier incident
        self.failures += 1
        asked = min(retry_after or 0.0, MAX_RETRY_AFTER)
        if self.state is State.OPEN and not ticket.probe:
            return self._extend(now + asked, now)
        if ticket.probe or trouble is Trouble.ACCOUNT or self.failures >= OPEN_AFTER:
            return self._open(trouble, asked, now)
        if trouble is not Trouble.PRESSURE:
            return None
        if known:
            return self._extend(now + asked, now)
        return self._stop(State.PAUSED, asked or PAUSE, now)

    def learn(self, peers: PeerState | None, now: float) -> None:
        """Take over the shared state; None if the circuit is closed for the other processes."""
        if peers is None:
            if self.state is State.OPEN and self.stamp:
                self.close()
            self.stamp = 0
            return
        state = State.OPEN if peers.is_open else State.PAUSED
        if peers.stamp > self.stamp and (peers.is_open or peers.left > 0):
            if self.state is State.CLOSED:
                self._stop(state, peers.left, now)
            self.stamp = peers.stamp
        if self.state is not State.CLOSED:
            self.state = State.OPEN if peers.is_open else self.state
            self.until = max(self.until, now + peers.left)

    def _open(self, trouble: Trouble, asked: float, now: float) -> Opened:
        self.openings += 1
        seconds = min(MAX_OPEN, FIRST_OPEN * 2 ** min(self.openings - 1, 8))
        if trouble is Trouble.ACCOUNT:
            seconds = ACCOUNT_DELAY
        return self._stop(State.OPEN, max(seconds, asked), now)

    def _stop(self, state: State, seconds: float, now: float) -> Opened:
        if self.state is State.CLOSED:  # otherwise it is the same incident
            self.window = max(1.0, min(self.window, self.in_flight) / 2)
            self.incident = now
        self.state, self.until = state, max(self.until, now + seconds)
        return Opened(seconds, state)

    def _extend(self, until: float, now: float) -> Opened | None:
        if until <= self.until:
            return None
        self.until = until
        return Opened(until - now, self.state)
