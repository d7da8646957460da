"""Speed of a server's streams by the number of calls beside them, and the number from which it falls. Pure.

An engine with fair sharing serves calls at full speed up to a number of them, its knee, and beyond it each stream gets
the part knee / calls. `SpeedCurve.knee` fits that curve to the streams by least squares.
"""

from dataclasses import dataclass, field
from math import log
from typing import Final

# Streams are averaged by their number of calls, in classes this wide.
CLASS_WIDTH: Final = 1.05
# A mean forgets: beyond this number, each stream counts as one in MAX_COUNT.
MAX_COUNT: Final = 100
# Streams of a class that show how much speeds vary.
MIN_FOR_NOISE: Final = 5
# Standard deviation of the speeds of streams with equally many calls, as parts of full speed: before it is known, which
# counts as FIRST_COUNT streams, and at least.
FIRST_NOISE: Final = 0.2
FIRST_COUNT: Final = 10
LEAST_NOISE: Final = 0.03
# A curve with a knee must be closer to the streams than one without by this part of the noise, in variances; and
# streams beyond it must be this slow, since full speed itself is known to a few percent only.
EVIDENCE: Final = 16.0
EVIDENCE_TO_KEEP: Final = 4.0
SLOW: Final = 0.96
MIN_COUNT: Final = 10
# Near the knee some streams were beyond it for a part of their time: if there are others, these do not count.
FAR: Final = 1.08


@dataclass(slots=True)
class SpeedClass:
    """Streams with about as many calls. `part`: mean speed as a part of full speed; `at`: time of the last stream."""

    calls: float = 0.0
    part: float = 0.0
    count: int = 0
    at: float = 0.0

    def add(self, calls: float, part: float, at: float) -> None:
        self.count = min(self.count + 1, MAX_COUNT)
        self.calls += (calls - self.calls) / self.count
        self.part += (part - self.part) / self.count
        self.at = at

    @property
    def slowness(self) -> float:
        """Return the squared error of the assumption that these streams are at full speed."""
        return self.count * min(0.0, self.part - 1) ** 2


@dataclass(slots=True)
class SpeedCurve:
    variance: float = FIRST_NOISE**2
    _measured: int = FIRST_COUNT  # streams in the variance
    _classes: dict[int, SpeedClass] = field(default_factory=dict)

    def add(self, calls: float, part: float, at: float) -> None:
        """Add a stream: mean number of calls in flight, at least 1, and its speed as a part of full speed."""
        found = self._classes.setdefault(round(log(calls) / log(CLASS_WIDTH)), SpeedClass())
        if found.count >= MIN_FOR_NOISE:
            self._measured = min(self._measured + 1, MAX_COUNT)
            self.variance += ((part - found.part) ** 2 - self.variance) / self._measured
        found.add(calls, part, at)

    def knee(self, *, is_known: bool = False) -> float | None:
        """Return the number of calls beyond which the speed falls, None while streams do not show that it does.

        `is_known`: they have shown it before, and less evidence is enough.
        """
        classes = self._sorted()
        before = 0.0  # error of the classes at full speed
        least, beyond = float("inf"), classes[:0]
        flat = sum(found.slowness for found in classes)
        for start, found in enumerate(classes):
            knee = _fit(classes[start:])
            if knee <= classes[-1].calls:
                error = before + sum(one.count * (one.part - min(1, knee / one.calls)) ** 2 for one in classes[start:])
                if error < least:
                    least, beyond = error, classes[start:]
            before += found.slowness
        evidence = (flat - least) / max(self.variance, LEAST_NOISE**2)
        if evidence < (EVIDENCE_TO_KEEP if is_known else EVIDENCE):
            return None
        if not is_known and _mean_part(beyond) >= SLOW:
            return None
        knee = _fit(beyond)
        far = [found for found in beyond if found.calls >= FAR * knee]
        return _fit(far) if sum(found.count for found in far) >= MIN_COUNT else knee

    def reached(self, slower: float) -> float:
        """Return the number of calls that enough streams had or exceeded to notice if they were slower by this part."""
        streams = min(MAX_COUNT, max(MIN_COUNT, EVIDENCE * self.variance / slower**2))
        for found in reversed(self._sorted()):
            streams -= found.count
            if streams <= 0:
                return found.calls
        return 0.0

    def last_beyond(self, calls: float) -> float:
        """Return the time of the last stream with more calls, minus infinity if there is none."""
        return max((found.at for found in self._classes.values() if found.calls > calls), default=float("-inf"))

    def forget(self, *, beyond: float = float("inf"), before: float = float("-inf")) -> None:
        """Forget streams with more calls than `beyond`, and classes without a stream since `before`."""
        kept = {name: one for name, one in self._classes.items() if one.calls <= beyond and one.at >= before}
        self._classes = kept

    def _sorted(self) -> list[SpeedClass]:
        return sorted(self._classes.values(), key=lambda found: found.calls)


def _fit(classes: list[SpeedClass]) -> float:
    """Return the knee that fits best if all of these are beyond it."""
    parts = sum(found.count * found.part / found.calls for found in classes)
    return parts / sum(found.count / found.calls**2 for found in classes)


def _mean_part(classes: list[SpeedClass]) -> float:
    return sum(found.count * found.part for found in classes) / sum(found.count for found in classes)
