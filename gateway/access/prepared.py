"""Parts of an admission that all requests of a client share. They are built once and cached by `Admission`."""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import orjson

from gateway.access.directory import ScopeRules
from gateway.access.periods import NEVER, period_of
from gateway.access.refusals import LimitHeaders
from gateway.access.reservation import LIMITS, RATES, Counted, to_counted
from gateway.redis import scripts
from gateway.redis.keys import Keys
from gateway.redis.link import PackedCall

NO_GROUPS: Final = frozenset[str]()
LEASE_MS: Final = 60_000  # two renewals may fail before it ends


@dataclass(frozen=True, slots=True)
class PreparedScopes:
    """Scopes of a client, with the prepared call of `admit.lua` without its values (None without Redis).

    Valid from `begins` to `ends`, in Unix seconds, while the periods of all its budgets are current. `budget_names`:
    scope and name of each budget. `groups`: all model groups that the client has limits for; `scopes` includes those
    that it was prepared for. `most_input`: the lowest limit of input tokens.
    """

    scopes: tuple[ScopeRules, ...]
    counted: Counted
    admit: PackedCall | None
    headers: LimitHeaders
    budget_names: tuple[tuple[str, str], ...] = field(repr=False)
    begins: int
    ends: int
    groups: frozenset[str] = NO_GROUPS
    most_input: float = inf


def prepare(
    of_client: tuple[ScopeRules, ...], keys: Keys | None, now: float, groups: frozenset[str] = NO_GROUPS
) -> PreparedScopes:
    """Prepare the admission of a client's requests for models of these groups. `now`: Unix seconds."""
    scopes = tuple(scope for scope in of_client if not scope.group or scope.group in groups)
    rules = [_to_rules(scope, now) for scope in scopes]
    rules = [one for one in rules if one["limits"] or one["budgets"]]
    counted = to_counted(rules)
    several = [(scope["name"], budget) for scope in counted.budgets for budget in scope["budgets"]]
    admit = None
    if keys is not None:
        names = (keys.access.leases, keys.access.reservations, keys.access.versions)
        versions = {scope.record: scope.version for scope in scopes}
        constants = (orjson.dumps(rules), len(versions), *versions, *versions.values(), *counted.values, LEASE_MS)
        admit = PackedCall(scripts.ADMIT, (*names, *map(keys.scope, counted.names)), constants, arguments=2)
    return PreparedScopes(
        scopes,
        counted,
        admit,
        LimitHeaders(
            tuple(kind for kind in RATES if any(kind in one["limits"] for one in rules)),
            tuple(budget["amount"] for _, budget in several),
        ),
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
        "limits": {name: getattr(limits, name) for name in LIMITS if getattr(limits, name) is not None},
        "budgets": budgets,
    }
