"""Rates and concurrency of this process alone, for deployments without Redis and for its outages.

Applies the same rule as `admit.lua`.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.access.records import RateLimits
from gateway.access.reservation import RATES

MINUTE = 60.0


@dataclass(slots=True)
class LocalRates:
    """Rates by virtual clocks (GCRA): up to a minute's worth may be used at once.

    Each of the `processes` has an equal share of every limit. `least_processes`: the processes of this host, known
    without Redis.
    """

    processes: int = 1
    least_processes: int = field(init=False)
    clock: Callable[[], float] = time.monotonic
    _clocks: dict[tuple[str, str], float] = field(default_factory=dict)
    _running: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _limits: dict[str, RateLimits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.least_processes = self.processes

    @property
    def share(self) -> float:
        return 1 / self.processes

    def admit(self, scopes: tuple[tuple[str, RateLimits], ...], input_tokens: int) -> tuple[str, str, float] | None:
        """Reserve in every scope. If one refuses, reserve nothing; return its name, the kind of limit and seconds."""
        now = self.clock()
        clocks: dict[tuple[str, str], float] = {}
        for name, limits in scopes:
            self._take_over(name, limits, now)
            for kind, cost in zip(RATES, (1, input_tokens, 0), strict=True):
                limit = getattr(limits, kind)
                if limit is None:
                    continue
                emission = MINUTE / max(1.0, limit * self.share)
                clock = max(now, self._clocks.get((name, kind), 0.0))
                over = clock + cost * emission - now - MINUTE
                if over > 0 or (kind == "output_tokens" and clock - now >= MINUTE):
                    return name, kind, over
                clocks[name, kind] = clock + cost * emission
            if limits.concurrency is not None and self._running[name] >= max(1, int(limits.concurrency * self.share)):
                return name, "concurrency", 1.0
        self._clocks.update(clocks)
        for name, _ in scopes:
            self._running[name] += 1
        return None

    def _take_over(self, name: str, limits: RateLimits, now: float) -> None:
        """Apply the current limits of a scope. Under a raised limit, earlier use is free again sooner."""
        before = self._limits.get(name)
        self._limits[name] = limits
        if before is None or before is limits:
            return
        for kind in RATES:
            old, new, clock = getattr(before, kind), getattr(limits, kind), self._clocks.get((name, kind), now)
            if old is not None and new is not None and old < new and clock > now:
                self._clocks[name, kind] = now + (clock - now) * old / new

    def settle(self, scopes: tuple[str, ...], output_tokens: int) -> None:
        """Count the answer's tokens, and the end of the request."""
        now = self.clock()
        for name in scopes:
            self._running[name] -= 1
            limit = self._limits[name].output_tokens
            if limit is not None:
                clock = max(now, self._clocks.get((name, "output_tokens"), 0.0))
                self._clocks[name, "output_tokens"] = clock + output_tokens * MINUTE / max(1.0, limit * self.share)
