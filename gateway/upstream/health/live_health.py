"""Health of one upstream, or of one model at it, as live calls find it. Pure.

    CLOSED ──5 failures in a row, half of 10 s, a stall──► OPEN ──time──► one probe ──success──► CLOSED
      └──429, 503──► PAUSED ──time──► CLOSED                                └──failure──► OPEN, twice as long

A result counts only if its call began after the last incident: answers that were under way when a circuit opened do not
close it again. A *stall* is found before timeouts find it: several calls without a byte for some seconds.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Final

from gateway.upstream.health.circuit import State, doubled

# To be named without `State`: Python 3.11 takes as long for a member of an enum as for fifteen other attributes.
CLOSED: Final = State.CLOSED
OPEN: Final = State.OPEN

# Consecutive failures, or as many among a share of recent calls (below).
OPEN_AFTER: Final = 5
# Of this many failures, and of all calls in these seconds.
SHARE: Final = 0.5
SHARE_SECONDS: Final = 10.0
# Measured in simulation: opening for 5 to 60 s saves 1 failed call a minute and returns to the upstream 13 s later.
FIRST_OPEN: Final = 2.0
MAX_OPEN: Final = 30.0
# Calls without a byte, for how long, and without a success for as long.
STALLED_CALLS: Final = 5
STALL_SECONDS: Final = 5.0
# A candidate without an alternative is refused for a stall only, and for less time.
FIRST_STALL_ALONE: Final = 1.0
MAX_STALL_ALONE: Final = 10.0
# A probe without a result leaves its turn to another call after this.
PROBE_SECONDS: Final = 10.0
# Retries may add this share to an upstream's calls, so that they do not double its load while it is slow; and some more
# for an upstream with few calls.
RETRY_SHARE: Final = 0.1
SPARE_RETRIES: Final = 3


@dataclass(slots=True, eq=False)
class HealthTicket:
    """A call in progress. `probe`: it decides about an open circuit."""

    started: float
    probe: bool = False


@dataclass(slots=True)
class Second:
    """Counts of one second."""

    at: int
    calls: int = 0
    failures: int = 0
    retries: int = 0


@dataclass(slots=True)
class Calm:
    """Whether all circuits of a process are closed, which spares requests a look at each of their candidates."""

    holds: bool = True


@dataclass(slots=True)
class LiveHealth:
    """`calm` is shared by all circuits of a process."""

    calm: Calm = field(default_factory=Calm)
    state: State = State.CLOSED
    until: float = -inf
    opened: float = -inf  # when the last incident began
    stalled: bool = False  # the circuit is open because of a stall
    missing: str = ""  # the circuit is open because the upstream does not have the model: its words
    is_unreported: bool = False  # the stall has not been reported
    openings: int = 0  # in a row
    failures: int = 0  # in a row
    succeeded: float = -inf
    stamp: int = 0  # the shared incident's
    in_flight: int = 0  # calls of this process
    _probe_until: float = -inf
    _waiting: dict[HealthTicket, None] = field(default_factory=dict)  # no byte yet, the oldest first
    _seconds: deque[Second] = field(default_factory=deque)
    _second_ends: float = -inf  # of the last of them

    def wait(self, now: float, *, alone: bool = False) -> float:
        """Return the seconds until a call may start. `alone`: the route has no other candidate."""
        if len(self._waiting) >= STALLED_CALLS:
            self._find_stall(now)
        if self.state is CLOSED:
            return 0.0
        if alone:
            # A server that answers some calls is busy: it queues the others.
            if not self.stalled or self.in_flight > len(self._waiting):
                return 0.0
            seconds = doubled(FIRST_STALL_ALONE, MAX_STALL_ALONE, self.openings)
            return max(0.0, min(self.until, self.opened + seconds) - now)
        if now < self.until:
            return self.until - now
        if self.state is State.PAUSED:
            self.state = State.CLOSED
            return 0.0
        return max(0.0, self._probe_until - now)

    @property
    def is_idle(self) -> bool:
        """Return True if the circuit is closed and no call is in flight."""
        return self.state is State.CLOSED and not self.in_flight

    def enter(self, now: float, *, retry: bool = False) -> HealthTicket:
        """Begin a call. Only after `wait` has returned 0."""
        ticket = HealthTicket(now)
        if self.state is OPEN and now >= self.until:
            ticket.probe = True
            self._probe_until = now + PROBE_SECONDS
        second = self._second(now)
        second.calls += 1
        if retry:
            second.retries += 1
        self._waiting[ticket] = None
        self.in_flight += 1
        return ticket

    def note_header(self, ticket: HealthTicket) -> None:
        """Note the first byte."""
        self._waiting.pop(ticket, None)

    def leave(self, ticket: HealthTicket) -> None:
        """End a call, also without a result: a probe leaves its turn to another."""
        self._waiting.pop(ticket, None)
        self.in_flight -= 1
        if ticket.probe:
            self._probe_until = -inf

    def note_success(self, ticket: HealthTicket, now: float) -> bool:
        """Note that an answer has begun. Return True if that closes the circuit."""
        self._waiting.pop(ticket, None)
        if ticket.started <= self.opened:
            return False
        self.succeeded = now
        self.failures = 0
        if self.state is not OPEN:
            return False
        self.close()
        return True

    def close(self) -> None:
        self.state, self.until, self.stalled = State.CLOSED, -inf, False
        self.failures = self.openings = 0
        self._probe_until = -inf
        self._seconds.clear()
        self._second_ends = -inf

    def note_failure(self, ticket: HealthTicket, now: float) -> bool:
        """Note a failure. Return True if it opens the circuit, or keeps it open for longer."""
        self._waiting.pop(ticket, None)
        if ticket.started <= self.opened:
            return False
        if ticket.probe:
            self.open(now)
            return True
        self.failures += 1
        self._second(now).failures += 1
        if self.state is State.OPEN or not (self.failures >= OPEN_AFTER or self._fails_often()):
            return False
        self.open(now)
        return True

    def open(self, now: float, *, stalled: bool = False, seconds: float | None = None) -> None:
        """Open the circuit, for twice the last duration unless `seconds` are given."""
        self.calm.holds = False
        self.openings += 1
        self.state, self.stalled, self.opened, self.missing = State.OPEN, stalled, now, ""
        self.until = now + (doubled(FIRST_OPEN, MAX_OPEN, self.openings) if seconds is None else seconds)
        self._probe_until = -inf

    def pause(self, now: float, seconds: float) -> None:
        """Start no call for this long; no failure."""
        self.calm.holds = False
        if self.state is not State.OPEN:
            self.state = State.PAUSED
        self.until = max(self.until, now + seconds)

    def allows_retry(self, now: float) -> bool:
        """Return True while retries are few among the calls of the last seconds."""
        self._second(now)
        calls = sum(second.calls for second in self._seconds)
        return sum(second.retries for second in self._seconds) < RETRY_SHARE * calls + SPARE_RETRIES

    def learn(self, left: float, stamp: int, now: float, *, is_open: bool) -> None:
        """Take over the state that another process has shared. A circuit that is open here stays open as long."""
        if stamp <= self.stamp or left <= 0:
            return
        self.stamp = stamp
        if not is_open:
            self.pause(now, left)
        elif self.state is State.OPEN:
            self.until = max(self.until, now + left)
        else:
            self.open(now, seconds=left)

    def _find_stall(self, now: float) -> None:
        """Open the circuit if too many calls have waited too long for a byte."""
        if now - self.succeeded < STALL_SECONDS or self.state is State.OPEN:
            return
        youngest = next(islice(self._waiting, STALLED_CALLS - 1, None))
        if now - youngest.started >= STALL_SECONDS and youngest.started > self.opened:
            self.open(now, stalled=True)
            self.is_unreported = True

    def _fails_often(self) -> bool:
        failures = sum(second.failures for second in self._seconds)
        return failures >= OPEN_AFTER and failures >= SHARE * sum(second.calls for second in self._seconds)

    def _second(self, now: float) -> Second:
        """Return the counts of this second, and forget those of long ago."""
        if now < self._second_ends:
            return self._seconds[-1]
        at = int(now)
        latest = Second(at)
        self._second_ends = at + 1.0
        self._seconds.append(latest)
        while self._seconds[0].at <= at - SHARE_SECONDS:
            self._seconds.popleft()
        return latest
