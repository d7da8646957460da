"""Values of admission: the most that a request may need, its reservation, and its actual use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

RATES: Final = ("requests", "input_tokens", "output_tokens")
LIMITS: Final = (*RATES, "concurrency")


@dataclass(slots=True)
class Need:
    """The most that a request may use: `want` nano-dollars, or `least` with a shorter answer, and `input` tokens.

    `unpriced`: name of a model without a known price.
    """

    want: int = 0
    least: int = 0
    input: int = 0
    unpriced: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """The scopes of a request that have a limit or a budget. `values`: the arguments that `_scopes.lua` reads.

    `budgets`: for each scope with budgets, its name and budgets with the periods of the admission. Uses that were not
    reserved in Redis, and later corrections, are counted in these periods.
    """

    names: tuple[str, ...] = ()
    values: tuple[str | int, ...] = field(default=(0,), repr=False)
    budgets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


NOWHERE: Final = Counted()


def to_counted(rules: Iterable[Mapping[str, Any]]) -> Counted:
    """Convert stored scopes, each with `name`, `limits` by kind, and `budgets`."""
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
    """A reservation. `money`: nano-dollars. `header_lines`: state of the limits, for the reply's header.

    `is_local`: made by this process alone, not in Redis.
    """

    id: str
    money: int
    counted: Counted = NOWHERE
    header_lines: str = field(default="", repr=False)
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Used:
    """Actual use of a finished request: `cost` in nano-dollars, `input` and `output` in tokens.

    `entry`: its entry in the usage stream. `sums`: field of the day's sums, `tenant|user|key|model|provider`; empty for
    a request that made no call. `requests` is 0 for a correction of an earlier entry.
    """

    cost: int
    input: int
    output: int
    entry: Mapping[str, Any] = field(repr=False)
    sums: str
    requests: int = 1

    @property
    def cached(self) -> tuple[int, int]:
        """Return the tokens read from a cache, and those written to one."""
        return self.entry.get("cache_read", 0), self.entry.get("cache_write", 0)


NOTHING: Final = Used(0, 0, 0, {}, "")
# Use of a request of a process that died: the granted amount is charged.
GRANTED: Final = Used(-1, 0, 0, {}, "")
