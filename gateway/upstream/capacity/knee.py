"""The number of calls that a server takes before each of its streams becomes slower, learned from their speed. Pure.

An engine with fair sharing serves calls at full speed up to a number of them, and divides its speed beyond it: one
whose streams have 80 % of full speed with 50 calls takes 40. Batches keep below this number by a margin beside live
requests, and go beyond it from time to time until enough streams have ended, to see whether it has grown.
"""

from collections import deque
from dataclasses import dataclass, field
from math import ceil, floor, inf
from statistics import fmean, median, stdev
from typing import Final

from gateway.upstream.capacity.lane import less_margin
from gateway.upstream.capacity.speed_curve import SpeedCurve

# Where it begins: few enough to show the full speed of most servers. Until a trial has shown a slower speed, batches
# have as many also where live requests take more: so the speed shows sooner.
FIRST_BOUND: Final = 4.0
# Full speed is the median over the streams of these seconds, of the share FEWEST with the fewest calls beside them. The
# best ones would not do, since speeds differ by a tenth and more without any load.
FULL_SECONDS: Final = 600.0
FEWEST: Final = 1 / 3
MIN_FOR_FULL: Final = 10
MAX_STREAMS: Final = 1000
# Models with speeds that are kept, up to 0.1 MB each: some servers take any name, which clients choose.
MAX_MODELS: Final = 50
# Speed now is the mean of the last streams that began after the last change, of these seconds.
RECENT_SECONDS: Final = 20.0
MIN_RECENT: Final = 10
MAX_RECENT: Final = 500
# Below this part of full speed the server has become slower, if the mean is CERTAINTY of its standard errors below it.
SLOW: Final = 0.95
CERTAINTY: Final = 3.0
# Calls of a trial, as a multiple of the bound: until a trial has shown a slower speed, and afterwards. A trial that
# shows none, where streams slower by NOTICED would have been noticed, raises the bound.
FIRST_TRIAL: Final = 1.5
FIRST_NOTICED: Final = 0.3
TRIAL: Final = 1.2
NOTICED: Final = 0.1
# Seconds from the last stream with more calls than the bound to the next trial. Each trial that confirms the bound, by
# one that differs by at most CONFIRMED, makes them more. Live requests are slower during a trial, until its
# streams have ended, and no p99 of a longer time should show it.
FIRST_PAUSE: Final = 15.0
LONGEST_PAUSE: Final = 3600.0
PAUSE_GROWTH: Final = 5
CONFIRMED: Final = 0.1
# Batches keep a call where live requests take all others: its speed shows when there is room again.
LEAST: Final = 1


@dataclass(frozen=True, slots=True)
class Stream:
    """A finished stream: mean number of calls in flight with it, its tokens a second, and its duration in seconds."""

    at: float
    in_flight: float
    speed: float
    seconds: float = 0.0


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
            self._full = median(stream.speed for stream in calm) if len(calm) >= MIN_FOR_FULL else 0.0
            self._computed_at = now
        return self._full


@dataclass(slots=True)
class Knee:
    """`bound` is the number as far as it is known. Call `step` once a second."""

    bound: float = FIRST_BOUND
    _is_found: bool = False  # whether streams with more calls were slower; otherwise a trial is under way
    _judged: float = 0.0  # the bound at the end of the last trial; 0 before one has shown a slower speed
    _pause: float = FIRST_PAUSE
    _changed_at: float = -inf
    _curve: SpeedCurve = field(default_factory=SpeedCurve)
    _speeds: dict[str, Speeds] = field(default_factory=dict)  # by model, the latest last
    # With the speed as a part of full speed.
    _recent: deque[tuple[Stream, float]] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))

    @property
    def allowed(self) -> float:
        """Return the number of calls, with live ones, up to which batches may begin theirs."""
        if self._is_found:
            return less_margin(self.bound)
        return max(self.bound + 1, self.bound * (TRIAL if self._judged else FIRST_TRIAL))

    def note(self, model: str, stream: Stream, *, is_bounded: bool = True) -> None:
        """Note a finished stream. `is_bounded`: batches keep to what is allowed at present."""
        speeds = self._speeds.pop(model, None) or Speeds()
        if len(self._speeds) >= MAX_MODELS:
            del self._speeds[next(iter(self._speeds))]
        self._speeds[model] = speeds
        if is_bounded or stream.in_flight <= self.bound:
            speeds.add(stream)
        full = speeds.full_speed(stream.at)
        if full and stream.at - stream.seconds >= self._changed_at:
            part = stream.speed / full
            self._curve.add(max(1.0, stream.in_flight), part, stream.at)
            self._recent.append((stream, part))

    def step(self, now: float) -> None:
        if self._is_found and self._slowed(now):
            return
        if self._is_found and max(self._changed_at, self._curve.last_beyond(self.bound)) < now - self._pause:
            self._curve.forget(beyond=self.bound)
            self._is_found = False
            self._change(now)
        knee = self._curve.knee(is_known=self._is_found)
        if knee is None:
            reached = self._curve.reached(NOTICED if self._judged else FIRST_NOTICED)
            if reached > self.bound:
                self.bound, self._is_found = reached, False
            return
        self.bound = max(1.0, knee)
        if not self._is_found:
            is_confirmed = abs(self.bound - self._judged) <= CONFIRMED * self._judged
            self._pause = min(LONGEST_PAUSE, PAUSE_GROWTH * self._pause) if is_confirmed else FIRST_PAUSE
            self._is_found, self._judged = True, self.bound
            self._change(now)

    def room(self, live: int, processes: int) -> int:
        """Return the number of calls that one of `processes` may have in flight for batches."""
        room = (self.allowed - live) / max(1, processes)
        first = 0.0 if self._judged else FIRST_BOUND / max(1, processes)
        return max(LEAST, floor(max(room, first)))

    def _slowed(self, now: float) -> bool:
        """Lower the bound if streams have become slow with no more calls than it, and forget what was known."""
        while self._recent and self._recent[0][0].at < now - RECENT_SECONDS:
            self._recent.popleft()
        if len(self._recent) < MIN_RECENT:
            return False
        parts = [part for _, part in self._recent]
        calls, part = fmean([stream.in_flight for stream, _ in self._recent]), fmean(parts)
        if calls > self.bound or part + CERTAINTY * stdev(parts) / len(parts) ** 0.5 >= SLOW:
            return False
        self.bound, self._pause = max(1.0, calls * part), FIRST_PAUSE
        self._curve.forget(beyond=self.bound, before=now - RECENT_SECONDS)
        self._change(now)
        return True

    def _change(self, now: float) -> None:
        """Count only streams that begin from now on as recent ones."""
        self._changed_at = now
        self._recent.clear()
