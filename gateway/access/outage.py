"""Money that may be spent while Redis is unavailable: a small part of each budget's rest shortly before.

Each process has a pot for each budget: 5 % of its rest, at most a configured amount, shared out among the processes
that were seen. So an outage neither stops every client under a budget nor leaves budgets open. What was spent is
recorded when Redis is back.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.access.records import NANO

BudgetOutage = Literal["bounded", "open", "closed"]
BudgetName = tuple[str, str]  # scope and budget

SHARE: Final = 0.05
# What was left counts if it was seen this long before the outage.
SEEN_SECONDS: Final = 10.0
# Between two looks at a budget that is in use.
SEE_SECONDS: Final = 1.0
NEVER_SEEN: Final = (float("-inf"), 0)
# After this long without Redis, requests under a budget are refused.
OUTAGE_SECONDS: Final = 600.0
# Budgets that are looked at while Redis answers: those of the latest requests.
MAX_SEEN: Final = 1000
DEFAULT_MOST: Final = 5 * NANO


@dataclass(slots=True)
class OutageMoney:
    """`most`: nano-dollars of one budget, for all processes together. `processes`: those that share a budget."""

    rule: BudgetOutage = "bounded"
    most: int = DEFAULT_MOST
    processes: int = 1
    clock: Callable[[], float] = time.monotonic
    _seen: dict[BudgetName, tuple[float, int]] = field(default_factory=dict)  # when, and what was left
    _pots: dict[BudgetName, int] = field(default_factory=dict)
    _since: float | None = None

    def see(self, left: Mapping[BudgetName, int]) -> None:
        """Note what is left of budgets, as Redis has just said, which ends an outage."""
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
        """Return True if what is left of a budget should be noted again, and after an outage."""
        at, _ = self._seen.get(name, NEVER_SEEN)
        return self._since is not None or self.clock() - at >= SEE_SECONDS

    def seen(self) -> list[BudgetName]:
        """Return the budgets of requests of the last minutes, and forget those of earlier ones."""
        return list(self._seen)

    def admit(self, budgets: Iterable[BudgetName], want: int, least: int) -> int | None:
        """Reserve money of each budget. Return how much, None where that is less than `least`."""
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
        """Give back what a request has not used."""
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
