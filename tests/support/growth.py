"""Growth of a function's work with its input: lines that it runs and bytes that it allocates, without a clock.

Lines show loops within loops, allocated bytes show text and lists that are copied again for every piece. Both are the
same in each run. Work inside one C call that allocates nothing, such as `in` on a list, is not seen.
"""

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

Work = Callable[[], object]


@dataclass(slots=True)
class Spent:
    lines: int = 0
    allocated: int = 0


def spent_on(work: Work) -> Spent:
    """Count the lines and bytes of `work`. Memory that one line allocates and frees counts by its peak."""
    lines = allocated = before = 0
    traced, reset = tracemalloc.get_traced_memory, tracemalloc.reset_peak

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines, allocated, before
        current, peak = traced()
        lines += 1
        if peak > before:
            allocated += peak - before
        if peak > current:
            reset()
        before = current
        return line

    earlier = sys.gettrace()
    tracemalloc.start()
    before = traced()[0]
    reset()
    sys.settrace(line)
    try:
        work()
    finally:
        sys.settrace(earlier)
        tracemalloc.stop()
    return Spent(lines, allocated)


def growth_of(prepare: Callable[[int], Work], n: int) -> tuple[float, float]:
    """Return the factors by which lines and bytes grow from the work on n to that on 10 n."""
    prepare(n)()  # fills caches, and imports
    small, large = spent_on(prepare(n)), spent_on(prepare(10 * n))
    return large.lines / max(small.lines, 1), large.allocated / max(small.allocated, 1)
