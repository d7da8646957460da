"""The parts of an admission that requests of one client have in common, made once for many of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import orjson

from gateway.access.directory import ScopeRules
from gateway.access.periods import NEVER, period_of
from gateway.access.refusals import KINDS
from gateway.redis import scripts
from gateway.redis.keys import Keys
from gateway.redis.link import PackedCall

NO_GROUPS: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class PreparedScopes:
    """Scopes as the script takes them: `rules` is their JSON, `admit` the call without its values; None without Redis.

    It is right from `begins` to `ends`, in Unix seconds, while all periods of its budgets are current ones. `budgets`:
    those of each scope that has some. `budget_names`: scope and name of each. `groups`: all model groups that the
    client has limits for; `scopes` has the limits of those that it was prepared for. `most_input`: the least limit of
    input tokens.
    """

    scopes: tuple[ScopeRules, ...]
    names: tuple[str, ...]
    admit: PackedCall | None
    rules: bytes = field(repr=False)
    budgets: tuple[Mapping[str, Any], ...] = field(repr=False)
    budget_names: tuple[tuple[str, str], ...] = field(repr=False)
    begins: int
    ends: int
    groups: frozenset[str] = NO_GROUPS
    most_input: float = inf


def prepare(
    of_client: tuple[ScopeRules, ...], keys: Keys | None, now: float, groups: frozenset[str] = NO_GROUPS
) -> PreparedScopes:
    """Prepare for a client's requests for models of these groups."""
    scopes = tuple(scope for scope in of_client if not scope.group or scope.group in groups)
    rules = [_to_rules(scope, now) for scope in scopes]
    budgets = tuple({"name": one["name"], "budgets": one["budgets"]} for one in rules if one["budgets"])
    several = [(scope["name"], budget) for scope in budgets for budget in scope["budgets"]]
    admit = None
    if keys is not None:
        of_all = (keys.access.leases, keys.access.reservations, keys.access.versions)
        admit = PackedCall(scripts.ADMIT, (*of_all, *(keys.scope(scope.name) for scope in scopes)), arguments=3)
    return PreparedScopes(
        scopes,
        tuple(scope.name for scope in scopes),
        admit,
        orjson.dumps(rules),
        budgets,
        tuple((scope, budget["name"]) for scope, budget in several),
        max((budget["start"] for _, budget in several), default=0),
        min((budget["ends"] for _, budget in several), default=NEVER),
        frozenset(scope.group for scope in of_client if scope.group),
        min((limit for scope in scopes if (limit := scope.allowance.limits.input_tokens) is not None), default=inf),
    )


def _to_rules(scope: ScopeRules, now: float) -> dict[str, Any]:
    limits = scope.allowance.limits
    budgets = []
    for budget in scope.allowance.budgets:
        start, ends = period_of(budget.period, budget.time_zone, now)
        window, name = budget.window, budget.name
        budgets.append({"name": name, "amount": budget.amount, "start": start, "ends": ends, "window": window})
    return {
        "name": scope.name,
        "record": scope.record,
        "version": scope.version,
        "limits": {name: getattr(limits, name) for name in KINDS if getattr(limits, name) is not None},
        "budgets": budgets,
    }
