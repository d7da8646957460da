"""The number of calls that a server takes before each of its streams becomes slower, learned from their speed. Pure.

An engine with fair sharing serves calls at full speed up to a number of them, and divides its speed beyond it: one
whose streams have 80 % of full speed with 50 calls takes 40. Batches keep below this number by a margin beside live
requests, and go beyond it from time to time for as long as one measurement takes, to see whether it has grown.
"""

from collections import deque
from dataclasses import dataclass, field
from math import ceil, floor, inf
from statistics import fmean, median, stdev
from typing import Final

from gateway.upstream.capacity.lane import less_margin

# Where it begins: few enough to show the full speed of most servers.
FIRST_BOUND: Final = 4.0
# Full speed is the median over the streams of these seconds, of the share FEWEST with the fewest calls beside them. The
# best ones would not do, since speeds differ by a tenth and more without any load.
FULL_SECONDS: Final = 600.0
FEWEST: Final = 1 / 3
MIN_FOR_FULL: Final = 5
MAX_STREAMS: Final = 1000
# Models whose speeds are kept, up to 0.1 MB each: some servers take any name, which clients choose.
MAX_MODELS: Final = 50
# Speed now is the mean of the last streams that began after the last change, of these seconds or of the fewest that do.
RECENT_SECONDS: Final = 20.0
MIN_RECENT: Final = 10
MAX_RECENT: Final = 500
# Parts of full speed: below the first the server has too many calls, above the second it could have more.
SLOW: Final = 0.95
FULL: Final = 0.965
# From this number on, streams whose speed is still uncertain are not at full speed.
ENOUGH: Final = 200
# Calls of a trial, as a multiple of the bound: until a trial has shown a slower speed, and afterwards.
FIRST_TRIAL: Final = 1.25
TRIAL: Final = 1.06
# Seconds between trials. A trial confirms the bound when it ends with one that differs by at most CONFIRMED; each that
# does makes the pause longer, and any other result makes it the first one again.
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 3600.0
PAUSE_GROWTH: Final = 4
CONFIRMED: Final = 0.1
# Live requests are slower during a trial. Trials take at most this part of the time, so that no p99 shows them. It is
# more only where one takes longer than this part of LONGEST_PAUSE.
TRIAL_SHARE: Final = 1 / 200
# There are no trials while less than this part of what is allowed is in use.
IN_USE: Final = 0.8
# Batches keep a call where live requests take all others: its speed shows when there is room again.
LEAST: Final = 1


@dataclass(frozen=True, slots=True)
class Stream:
    """A finished stream: calls in flight beside it, its tokens a second, and its duration in seconds."""

    at: float
    in_flight: int
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


@dataclass(frozen=True, slots=True)
class Measurement:
    """Means of recent streams: calls in flight, speed as a part of full speed, and its standard error."""

    calls: float
    part: float
    error: float
    count: int

    @property
    def is_full(self) -> bool:
        return self.part - self.error >= FULL

    @property
    def is_slow(self) -> bool:
        return self.part + self.error < SLOW

    @property
    def is_uncertain(self) -> bool:
        return self.part + self.error >= FULL and self.count < ENOUGH


@dataclass(slots=True)
class Knee:
    """`bound` is the number as far as it is known. Call `step` once a second."""

    bound: float = FIRST_BOUND
    _tries: bool = True  # whether a trial is under way
    _judged: float = 0.0  # the bound at the end of the last trial; 0 before one has shown a slower speed
    _pause: float = FIRST_PAUSE
    _next_trial: float = 0.0
    _changed_at: float = -inf
    _speeds: dict[str, Speeds] = field(default_factory=dict)  # by model, the latest last
    # With the speed as a part of full speed.
    _recent: deque[tuple[Stream, float]] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))

    @property
    def allowed(self) -> float:
        """Return the number of calls, with live ones, up to which batches may begin theirs."""
        if self._tries:
            return max(self.bound + 1, self.bound * (TRIAL if self._judged else FIRST_TRIAL))
        return less_margin(self.bound)

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
            self._recent.append((stream, stream.speed / full))

    def step(self, now: float) -> None:
        found = self._measure(now)
        if found is None:
            return
        if self._tries:
            self._judge_trial(found, now)
        elif found.is_slow:
            self._pause_trials(FIRST_PAUSE, now)
            self._change(found.calls * found.part, now)
        elif found.is_full and found.calls > self.bound:  # more live requests than the bound
            self._change(found.calls, now)
        elif now >= self._next_trial and found.calls >= IN_USE * self.allowed:
            self._change(self.bound, now, tries=True)

    def room(self, live: int, processes: int) -> int:
        """Return the number of calls that one of `processes` may have in flight for batches."""
        return max(LEAST, floor((self.allowed - live) / max(1, processes)))

    def _measure(self, now: float) -> Measurement | None:
        """Return the speed of recent streams, None while they are too few."""
        recent = self._recent
        while len(recent) > MIN_RECENT and recent[0][0].at < now - RECENT_SECONDS:
            recent.popleft()
        if len(recent) < MIN_RECENT:
            return None
        parts = [part for _, part in recent]
        calls = fmean([stream.in_flight for stream, _ in recent])
        return Measurement(calls, fmean(parts), stdev(parts) / len(parts) ** 0.5, len(parts))

    def _judge_trial(self, found: Measurement, now: float) -> None:
        if found.is_full and found.calls > self.bound:
            self._change(found.calls, now, tries=True)
        elif found.is_full:
            if self._judged and found.calls < IN_USE * self.bound:
                self._change(self.bound, now)
        elif not found.is_uncertain:
            bound = found.calls * found.part if found.is_slow else self.bound
            is_confirmed = abs(bound - self._judged) <= CONFIRMED * self._judged
            longest = min(LONGEST_PAUSE, (now - self._changed_at) / TRIAL_SHARE)
            self._pause_trials(min(longest, PAUSE_GROWTH * self._pause) if is_confirmed else FIRST_PAUSE, now)
            self._judged = bound
            self._change(bound, now)

    def _pause_trials(self, seconds: float, now: float) -> None:
        self._pause, self._next_trial = seconds, now + seconds

    def _change(self, bound: float, now: float, *, tries: bool = False) -> None:
        """Measure anew, with this bound."""
        self.bound, self._tries, self._changed_at = max(1.0, bound), tries, now
        self._recent.clear()
