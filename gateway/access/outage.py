"""Money that may be spent while Redis is unavailable: a small part of the amount that each budget had left.

Each process has a pot for each budget: 5 % of the remaining amount, at most a configured sum, divided by the number of
processes. So an outage neither stops every client under a budget nor removes all limits. The spending is recorded when
Redis is back.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.access.records import NANO

BudgetOutage = Literal["bounded", "open", "closed"]
BudgetName = tuple[str, str]  # scope and budget

SHARE: Final = 0.05
# Maximum age of a remaining amount when the outage begins.
SEEN_SECONDS: Final = 10.0
# Interval between two readings of a budget in use.
SEE_SECONDS: Final = 1.0
NEVER_SEEN: Final = (float("-inf"), 0)
# After this long without Redis, requests under a budget are refused.
OUTAGE_SECONDS: Final = 600.0
# Budgets with a noted remaining amount: those of the latest requests.
MAX_SEEN: Final = 1000
DEFAULT_MOST: Final = 5 * NANO


@dataclass(slots=True)
class OutageMoney:
    """Pots of this process. `most`: nano-dollars per budget, for all `processes` together."""

    rule: BudgetOutage = "bounded"
    most: int = DEFAULT_MOST
    processes: int = 1
    clock: Callable[[], float] = time.monotonic
    _seen: dict[BudgetName, tuple[float, int]] = field(default_factory=dict)  # time, and remaining nano-dollars
    _pots: dict[BudgetName, int] = field(default_factory=dict)
    _since: float | None = None  # start of the outage

    def see(self, left: Mapping[BudgetName, int]) -> None:
        """Note the remaining nano-dollars of budgets, which Redis has just reported. This ends an outage."""
        self._since = None
        if self._pots:
            self._pots.clear()
        now = self.clock()
        for name, amount in left.items():
            self._seen.pop(name, None)
            self._seen[name] = (now, amount)
        while len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]

    def is_due(self, name: BudgetName) -> bool:
        """Return True if the remaining amount of a budget should be noted again: once a second, and after an outage."""
        at, _ = self._seen.get(name, NEVER_SEEN)
        return self._since is not None or self.clock() - at >= SEE_SECONDS

    def seen(self) -> list[BudgetName]:
        """Return the budgets of the latest requests."""
        return list(self._seen)

    def admit(self, budgets: Iterable[BudgetName], want: int, least: int) -> int | None:
        """Reserve up to `want` nano-dollars of each budget. Return the amount, or None if it is less than `least`."""
        if self.rule == "open":
            return want
        now = self.clock()
        self._since = now if self._since is None else self._since
        names = list(budgets)
        if self.rule == "closed" or now - self._since > OUTAGE_SECONDS:
            return None
        granted = min([want, *(self._pot(name) for name in names)])
        if granted < least or granted <= 0 < want:
            return None
        for name in names:
            self._pots[name] -= granted
        return granted

    def settle(self, budgets: Iterable[BudgetName], granted: int, cost: int) -> None:
        """Return the unused part of a reservation to the pots."""
        for name in budgets:
            if name in self._pots:
                self._pots[name] += granted - cost

    def _pot(self, name: BudgetName) -> int:
        if name not in self._pots:
            at, left = self._seen.get(name, NEVER_SEEN)
            is_recent = self._since is not None and self._since - at <= SEEN_SECONDS
            whole = min(int(left * SHARE), self.most) if is_recent else 0
            self._pots[name] = max(0, whole) // max(1, self.processes)
        return self._pots[name]
