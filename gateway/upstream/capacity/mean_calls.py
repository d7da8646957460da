"""Mean number of calls in flight over a time, from counts at moments of it. Pure."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

# Counts that are kept: with ten a second, those of a minute and more. A stream that takes longer is judged by its end.
MAX_COUNTS: Final = 1000


@dataclass(slots=True)
class MeanCalls:
    """Times are seconds of a monotonic clock. Each count holds until the next one."""

    _times: list[float] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _sums: list[float] = field(default_factory=list)  # of the counts, each times its seconds, before each time

    def note(self, at: float, calls: int) -> None:
        total = self._sum_before(at) if self._times else 0.0
        self._times.append(at)
        self._counts.append(calls)
        self._sums.append(total)
        if len(self._times) >= 2 * MAX_COUNTS:
            for kept in (self._times, self._counts, self._sums):
                del kept[:MAX_COUNTS]

    def between(self, since: float, until: float) -> float:
        """Return the mean, as far as counts go back; 0 without any."""
        if not self._times:
            return 0.0
        since = max(since, self._times[0])
        if until <= since:
            return self._counts[-1]
        return (self._sum_before(until) - self._sum_before(since)) / (until - since)

    def _sum_before(self, at: float) -> float:
        index = bisect_right(self._times, at) - 1
        return self._sums[index] + self._counts[index] * (at - self._times[index])
