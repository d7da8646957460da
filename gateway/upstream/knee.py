"""The number of calls that a server takes before each of its streams becomes slower, learned from their speed. Pure.

An engine with fair sharing serves calls at full speed up to a number of them, and divides its speed beyond it. The
bound grows while the streams are as fast as those of a server with few calls, and shrinks once they are slower. Batches
keep below it beside live requests: a bound that learns from refusals alone lets the live p99 rise by half (simulated).
"""

from collections import deque
from dataclasses import dataclass, field
from math import floor
from statistics import median
from typing import Final

from gateway.upstream.lane import BATCH_SHARE

# Where it begins: few enough to show the full speed of most servers.
FIRST_BOUND: Final = 8.0
# Full speed is the best tenth of the streams in these seconds.
BEST_SECONDS: Final = 600.0
BEST: Final = 0.9
# Speed now is the median of these seconds, or of the last streams where they are few.
RECENT_SECONDS: Final = 10.0
MIN_RECENT: Final = 5
MAX_RECENT: Final = 500
# Below this part of full speed the bound shrinks. In a model it was 30 to 42 for a true 40, with live requests 1 %
# slower (tests/upstream/test_knee.py).
FULL_SPEED: Final = 0.93
SHRINKS: Final = 0.95
GROWS: Final = 1.0125
# It changes only while this part of it is in use.
IN_USE: Final = 0.8
MAX_SPEEDS: Final = 2000
# Batches keep a call where live requests take all others: its speed shows when there is room again.
LEAST: Final = 1


@dataclass(slots=True)
class Knee:
    """Call `step` once a second. Speeds are tokens a second of one stream."""

    bound: float = FIRST_BOUND
    _full: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)  # by model
    _recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))  # parts of it
    _has_news: bool = False

    def note(self, model: str, speed: float, now: float, *, may_be_full: bool = True) -> None:
        """Note a finished stream. `may_be_full`: unless batches have taken more calls than the bound."""
        speeds = self._full.setdefault(model, deque(maxlen=MAX_SPEEDS))
        if may_be_full:
            speeds.append((now, speed))
        full = _best(speeds, now)
        if full:
            self._recent.append((now, speed / full))
            self._has_news = True

    def step(self, in_flight: int, now: float) -> None:
        while len(self._recent) > MIN_RECENT and self._recent[0][0] < now - RECENT_SECONDS:
            self._recent.popleft()
        if not self._has_news or len(self._recent) < MIN_RECENT or in_flight < IN_USE * self.bound:
            return
        self._has_news = False
        if median(part for _, part in self._recent) < FULL_SPEED:
            self.bound = max(1.0, self.bound * SHRINKS)
        else:
            self.bound *= GROWS

    def room(self, live: int, processes: int) -> int:
        """Return the number of calls that this one of so many processes may have in flight for batches."""
        return max(LEAST, floor((self.bound * BATCH_SHARE - live) / max(1, processes)))


def _best(speeds: deque[tuple[float, float]], now: float) -> float:
    while speeds and speeds[0][0] < now - BEST_SECONDS:
        speeds.popleft()
    ordered = sorted(speed for _, speed in speeds)
    return ordered[int(BEST * (len(ordered) - 1))] if len(ordered) >= MIN_RECENT else 0.0
