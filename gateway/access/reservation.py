"""Values of admission: what a request needs at most, what it was granted, and what it used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

RATES: Final = ("requests", "input_tokens", "output_tokens")
LIMITS: Final = (*RATES, "concurrency")


@dataclass(slots=True)
class Need:
    """The most that a request may take: `want` nano-dollars, or `least` with a smaller answer; `input` tokens.

    `unpriced`: the model, if its price is not known.
    """

    want: int = 0
    least: int = 0
    input: int = 0
    unpriced: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """The scopes that a request counts in: those with a limit or a budget. `values`: as `_scopes.lua` reads them.

    `budgets`: those of each scope that has some, with the period that the request was admitted in; what was not
    reserved in Redis, or is corrected later, is counted by them.
    """

    names: tuple[str, ...] = ()
    values: tuple[str | int, ...] = field(default=(0,), repr=False)
    budgets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


NOWHERE: Final = Counted()


def to_counted(rules: Iterable[Mapping[str, Any]]) -> Counted:
    """Return scopes as they were stored: `name`, `limits` by kind, and `budgets`."""
    several = list(rules)
    values: list[str | int] = [len(several)]
    for scope in several:
        limits, budgets = scope.get("limits", {}), scope["budgets"]
        values += (scope["name"], *(int(limits[kind]) if kind in limits else "" for kind in LIMITS), len(budgets))
        for budget in budgets:
            values += (budget["name"], *(int(budget[part]) for part in ("amount", "start", "ends", "window")))
    of_budgets = [{"name": scope["name"], "budgets": scope["budgets"]} for scope in several if scope["budgets"]]
    return Counted(tuple(scope["name"] for scope in several), tuple(values), tuple(of_budgets))


@dataclass(frozen=True, slots=True)
class Grant:
    """A reservation. `money`: nano-dollars. `header_lines`: the state of the limits, for the reply.

    `is_local`: kept in this process, not in Redis.
    """

    id: str
    money: int
    counted: Counted = NOWHERE
    header_lines: str = field(default="", repr=False)
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Used:
    """The use of a finished request: `cost` in nano-dollars, `sums` names it in the sums of the day.

    `requests` is 0 for the correction of an earlier entry.
    """

    cost: int
    input: int
    output: int
    entry: Mapping[str, Any] = field(repr=False)
    sums: str
    requests: int = 1

    @property
    def cached(self) -> tuple[int, int]:
        """Return the tokens read from a cache, and written to one."""
        return self.entry.get("cache_read", 0), self.entry.get("cache_write", 0)


NOTHING: Final = Used(0, 0, 0, {}, "")
# The use of a request of a dead process: the amount granted to it.
GRANTED: Final = Used(-1, 0, 0, {}, "")
