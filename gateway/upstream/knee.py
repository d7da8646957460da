"""The number of calls that a server takes before each of its streams becomes slower, learned from their speed. Pure.

An engine with fair sharing serves calls at full speed up to a number of them, and divides its speed beyond it. The
bound grows while the streams are as fast as those of a server with few calls, and shrinks once they are slower. Batches
keep below it beside live requests: a bound that learns from refusals alone lets the live p99 rise by half (simulated).
"""

from collections import deque
from dataclasses import dataclass, field
from math import ceil, floor, inf
from statistics import median
from typing import Final

from gateway.upstream.lane import less_margin

# Where it begins: few enough to show the full speed of most servers.
FIRST_BOUND: Final = 8.0
# Full speed is the median over the streams of these seconds, of the share FEWEST with the fewest calls beside them. The
# best ones would not do, since speeds differ by a tenth and more without any load.
FULL_SECONDS: Final = 600.0
FEWEST: Final = 1 / 3
MAX_STREAMS: Final = 1000
# Speed now is the median of these seconds, or of the last streams where they are few.
RECENT_SECONDS: Final = 5.0
MIN_RECENT: Final = 5
MAX_RECENT: Final = 500
# Below this part of full speed the bound shrinks, and from this part on it grows.
SLOW: Final = 0.95
FULL_SPEED: Final = 0.98
SHRINKS: Final = 0.95
GROWS: Final = 1.0125
# At most this, to the number of live calls alone.
JUMPS: Final = 1.2
# It changes only while this part of it is in use.
IN_USE: Final = 0.8
# Batches keep a call where live requests take all others: its speed shows when there is room again.
LEAST: Final = 1


@dataclass(frozen=True, slots=True)
class Stream:
    """A finished stream: calls in flight beside it, and its tokens a second."""

    at: float
    in_flight: int
    speed: float


@dataclass(slots=True)
class Speeds:
    """Streams of one model, from which full speed is known."""

    _streams: deque[Stream] = field(default_factory=lambda: deque(maxlen=MAX_STREAMS))
    _full: float = 0.0
    _computed_at: float = -inf

    def add(self, stream: Stream) -> None:
        self._streams.append(stream)

    def full_speed(self, now: float) -> float:
        """Return it, 0 while it is not known. It is computed once a second."""
        if now - self._computed_at >= 1.0:
            while self._streams and self._streams[0].at < now - FULL_SECONDS:
                self._streams.popleft()
            calm = sorted(self._streams, key=lambda stream: stream.in_flight)[: ceil(FEWEST * len(self._streams))]
            self._full = median(stream.speed for stream in calm) if len(calm) >= MIN_RECENT else 0.0
            self._computed_at = now
        return self._full


@dataclass(slots=True)
class Knee:
    """Call `step` once a second."""

    bound: float = FIRST_BOUND
    _speeds: dict[str, Speeds] = field(default_factory=dict)  # by model
    _recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))  # parts of it
    _has_news: bool = False

    def note(self, model: str, stream: Stream, *, is_bounded: bool = True) -> None:
        """Note a finished stream. `is_bounded`: batches keep below the bound at present."""
        speeds = self._speeds.setdefault(model, Speeds())
        if is_bounded or stream.in_flight <= self.bound:
            speeds.add(stream)
        full = speeds.full_speed(stream.at)
        if full:
            self._recent.append((stream.at, stream.speed / full))
            self._has_news = True

    def step(self, in_flight: int, live: int, now: float) -> None:
        while len(self._recent) > MIN_RECENT and self._recent[0][0] < now - RECENT_SECONDS:
            self._recent.popleft()
        if not self._has_news or len(self._recent) < MIN_RECENT or in_flight < IN_USE * self.bound:
            return
        self._has_news = False
        speed = median(part for _, part in self._recent)
        if speed < SLOW:
            self.bound = max(1.0, self.bound * SHRINKS)
        elif speed >= FULL_SPEED:
            self.bound = max(self.bound * GROWS, min(live, self.bound * JUMPS))

    def room(self, live: int, processes: int) -> int:
        """Return the number of calls that one of `processes` may have in flight for batches."""
        return max(LEAST, floor((less_margin(self.bound) - live) / max(1, processes)))
