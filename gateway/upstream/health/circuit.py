"""One circuit breaker: whether a call may start, and how many at once. Pure.

    CLOSED ──pressure──► PAUSED ──time──► CLOSED              no call starts for a time; then half as many at once
      └─failures in a row─► OPEN ──probe accepted──► CLOSED   no call starts for a time; then one at a time, as a probe

As in the literature, calls flow through a closed circuit and not through an open one. A circuit that several sources
share (models of an upstream, tenants of a model, batches of a tenant) does not take the word of one of them: it opens
or pauses only if another one fails as well and none has been served lately. A failure of one source only concerns the
circuit of that source, so a tenant with requests that the upstream rejects stops no other tenant.

The window, the number of calls at once, is halved once per incident and grows with each success, by about one for each
window of them: concurrency adapts to limits that upstreams do not publish, and to live traffic that shares them. A call
that began before an incident carries no new information about it. Times are seconds of one monotonic clock.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Final

from gateway.upstream.health.trouble import MAX_RETRY_AFTER, Trouble

# Consecutive failures. Fewer would open it on a burst of unrelated errors; each costs an item a retry.
OPEN_AFTER: Final = 5
# Until the first probe. Doubled with each probe that fails, unless others may probe: a shared circuit asks another one.
FIRST_OPEN: Final = 5.0
MAX_OPEN: Final = 60.0
# After a 429 without a time to wait.
PAUSE: Final = 1.0
# When to ask again after the window was full.
CROWDED: Final = 0.1
# The number of sources that must have failed before a circuit that they share opens.
QUORUM: Final = 2
# A shared circuit stays closed while it has served any of them this recently. Also, how long a 429 of one source counts
# as evidence for the next one's, if it does not ask for longer.
RECENT: Final = 5.0
# A window is forgotten this long after its incident, once no call is in flight.
FORGET_WINDOW: Final = 30.0
# Calls in flight that are asked for the same pause are not news one by one.
SAME_TIME: Final = 0.05
# Calls to choose a probe from, and when to ask again while one is under way.
PROBE_CHOICE: Final = 8
PROBED: Final = 1.0


def doubled(first: float, most: float, openings: int) -> float:
    """Return the seconds for which a circuit opens: twice as many with each of its openings in a row."""
    return min(most, first * float(2 ** min(openings - 1, 8)))


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
class FailedCall:
    """`source` names the caller: the next narrower circuit. `retry_after` is the upstream's request."""

    trouble: Trouble
    retry_after: float | None = None
    source: str = ""

    @property
    def asked(self) -> float:
        return min(self.retry_after or 0.0, MAX_RETRY_AFTER)


@dataclass(frozen=True, slots=True)
class Opened:
    """News for the other processes: no call starts for `seconds`. `state` is PAUSED or OPEN."""

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
    """`most` bounds the window: the number of calls that this process could make. `shared`: by several sources."""

    most: int
    shared: bool = False
    window: float = inf
    limit: float = inf  # calls in flight when the last incident began
    state: State = State.CLOSED
    until: float = -inf
    in_flight: int = 0
    probing: bool = False
    failures: int = 0  # in a row
    openings: int = 0  # in a row
    incident: float = -inf  # when the last one began
    served: float = -inf  # when the upstream last accepted a call
    stamp: int = 0
    _counted: float = -inf  # when the last of the failures in a row was counted
    _failing: set[str] = field(default_factory=set)  # sources of the failures in a row
    _pressed: dict[str, float] = field(default_factory=dict)  # until when the pressure that a source met counts

    def wait(self, now: float) -> float:
        """Return the seconds until a call may start; as a probe if the circuit is open."""
        if now < self.until:
            return self.until - now
        if self.state is State.PAUSED:
            self.state = State.CLOSED
        if self.in_flight == 0 and now - self.incident >= FORGET_WINDOW:
            self.window = self.limit = inf
        if self.room() > 0:
            return 0.0
        return PROBED if self.probing else CROWDED

    def room(self) -> int:
        """Return the number of calls that may start, once the time of a circuit that is not closed has passed."""
        if self.state is State.OPEN:
            return 0 if self.probing else PROBE_CHOICE
        return max(1, int(min(self.window, self.most))) - self.in_flight

    def is_idle(self, now: float) -> bool:
        """True if the circuit is closed and no call uses it."""
        paused = self.state is State.PAUSED and now < self.until
        return self.in_flight == 0 and self.state is not State.OPEN and not paused

    def enter(self, now: float) -> Ticket:
        self.in_flight += 1
        return Ticket(now)

    def probe(self, ticket: Ticket) -> Ticket:
        """Make the call the probe of an open circuit."""
        self.probing = True
        return Ticket(ticket.started, probe=True)

    def leave(self, ticket: Ticket, *, succeeded: bool) -> None:
        self.in_flight -= 1
        self.probing = self.probing and not ticket.probe
        if succeeded and ticket.started > self.incident and self.window < self.most:
            # By one for each window of successes up to the limit found last, and ever faster beyond it.
            self.window += max(1.0, self.window - self.limit) / self.window

    def accepted(self, ticket: Ticket, now: float) -> bool:
        """The upstream has begun to answer. True if that closes an open circuit."""
        if self.state is State.OPEN and ticket.started <= self.incident:
            return False
        self.served = now
        closes = self.state is State.OPEN
        if closes:
            self.close()
        self.failures = 0
        self._failing.clear()
        return closes

    def close(self) -> None:
        self.state, self.until, self.failures, self.openings = State.CLOSED, -inf, 0, 0
        self._failing.clear()

    def failed(self, ticket: Ticket, failure: FailedCall, now: float) -> Opened | None:
        """Return what the other processes have to know, None if nothing or if they know it."""
        known = ticket.started <= self.incident
        if known and self.state is State.CLOSED:
            return None  # of an earlier incident
        if ticket.probe:
            return self._open(failure.asked, now)
        if self.state is State.OPEN or (known and failure.trouble is Trouble.PRESSURE):
            until = now + failure.asked
            if until <= self.until + SAME_TIME:
                return None
            self.until = until
            return Opened(until - now, self.state)
        # All calls under way meet the same pressure; failures are each one's own.
        if failure.trouble is not Trouble.PRESSURE or ticket.started > self._counted:
            self.failures += 1
            self._counted = now
        self._failing.add(failure.source)
        if (
            self.failures >= OPEN_AFTER
            and self._is_common(len(self._failing))
            and not (self.shared and now - self.served < RECENT)
        ):
            return self._open(failure.asked, now)
        if failure.trouble is not Trouble.PRESSURE or not self._is_pressed(failure, now):
            return None
        return self._stop(State.PAUSED, failure.asked or PAUSE, now)

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

    def _is_common(self, sources: int) -> bool:
        return not self.shared or sources >= QUORUM

    def _is_pressed(self, failure: FailedCall, now: float) -> bool:
        """True if enough sources have met pressure lately, with the source of this failure."""
        self._pressed = {source: until for source, until in self._pressed.items() if until > now}
        self._pressed[failure.source] = now + max(RECENT, failure.asked)
        return self._is_common(len(self._pressed))

    def _open(self, asked: float, now: float) -> Opened:
        self.openings += 1
        seconds = doubled(FIRST_OPEN, MAX_OPEN, 1 if self.shared else self.openings)
        return self._stop(State.OPEN, max(seconds, asked), now)

    def _stop(self, state: State, seconds: float, now: float) -> Opened:
        if self.state is State.CLOSED:  # otherwise it is the same incident
            self.limit = min(self.window, self.in_flight)
            self.window = max(1.0, self.limit / 2)
            self.incident = now
        self.state, self.until = state, max(self.until, now + seconds)
        return Opened(seconds, state)
