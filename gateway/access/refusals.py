"""Replies of limits and budgets: headers with their state, in Anthropic's names, and the errors for refusals."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

import orjson

from gateway.access.directory import ScopeRules
from gateway.access.records import DEPLOYMENT, to_dollars
from gateway.errors import BudgetSpent, GatewayError, RateLimited

Headers = tuple[tuple[str, str], ...]

KINDS: Final = {
    "requests": "requests per minute",
    "input_tokens": "input tokens per minute",
    "output_tokens": "output tokens per minute",
    "concurrency": "concurrent requests",
}
UNIFIED: Final = "anthropic-ratelimit-unified"
# Shares of a budget at which Claude Code shows a notice.
NOTICES: Final = (0.95, 0.75)
PERIOD_WORDS: Final = {"day": "daily", "week": "weekly", "month": "monthly"}


def to_headers(state: bytes | str) -> Headers:
    """Return the headers for the tightest limit of each kind (limit, remaining, when it is full again) and budget."""
    headers: list[tuple[str, str]] = []
    tightest = orjson.loads(state)  # an empty table of Lua is a list or an object
    for kind in [kind for kind in KINDS if kind in tightest]:
        limit, remaining, full_at = tightest[kind]
        reset = datetime.fromtimestamp(ceil(int(full_at) / 1000), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        start = f"anthropic-ratelimit-{kind.replace('_', '-')}"
        headers += [(f"{start}-limit", str(limit)), (f"{start}-remaining", str(remaining)), (f"{start}-reset", reset)]
    return (*headers, *_money_headers(tightest["budgets"])) if "budgets" in tightest else tuple(headers)


def _money_headers(budgets: Sequence[Sequence[Any]]) -> Headers:
    """The headers with which Claude Code shows its user how much of a spending cap is used."""
    share, ends = max((int(spent) / max(1, int(amount)), ends) for _, _, spent, _, amount, ends in budgets)
    if share >= 1:
        return ()
    notice = next((one for one in NOTICES if share >= one), None)
    status = "allowed" if notice is None else "allowed_warning"
    headers = [
        (f"{UNIFIED}-status", status),
        (f"{UNIFIED}-representative-claim", "overage"),
        (f"{UNIFIED}-overage-status", status),
        (f"{UNIFIED}-overage-utilization", f"{min(share, 0.99):.2f}"),
        (f"{UNIFIED}-reset", str(ends)),
        (f"{UNIFIED}-overage-reset", str(ends)),
    ]
    if notice is not None:
        headers.append((f"{UNIFIED}-overage-surpassed-threshold", f"{notice:.2f}"))
    return tuple(headers)


def _spent_headers(scope: str, period: str, ends: int) -> Headers:
    """Without a representative claim, on which Claude Code would show its fixed sentence instead of the error's."""
    pool = ((f"{UNIFIED}-overage-scope", "group_pool"),) if scope == DEPLOYMENT or scope.startswith("tenant:") else ()
    word = PERIOD_WORDS.get(period)
    return (
        (f"{UNIFIED}-status", "rejected"),
        (f"{UNIFIED}-reset", str(ends)),
        (f"{UNIFIED}-overage-reset", str(ends)),
        (f"{UNIFIED}-overage-utilization", "1"),
        (f"{UNIFIED}-overage-surpassed-threshold", "1"),
        *(((f"{UNIFIED}-overage-period", word),) if word is not None else ()),
        (f"{UNIFIED}-overage-disabled-reason", "org_spend_cap_reached"),
        *pool,
    )


def to_refusal(
    scope: str, kind: str, wait: float, scopes: tuple[ScopeRules, ...], *, spent: int = 0, now: float = 0.0
) -> GatewayError:
    """The error for a refusal by `admit`. `wait`: seconds until a new attempt may succeed; `now` in Unix seconds."""
    rules = next(one for one in scopes if one.name == scope)
    who = rules.label
    if kind in KINDS:
        limit = getattr(rules.allowance.limits, kind)
        seconds = min(60, max(1, ceil(wait)))
        return RateLimited(f"Limit of {who}: {limit} {KINDS[kind]}. Try again in {seconds} s.", retry_after=seconds)
    name = kind.removeprefix("held:")
    budget = next(one for one in rules.allowance.budgets if one.name == name)
    if kind.startswith("held:"):
        return RateLimited(
            f"Requests in flight hold what is left of the budget of {who} ({to_dollars(budget.amount)})."
            " Try again in 2 s.",
            retry_after=2,
        )
    end = datetime.fromtimestamp(now + wait, UTC)
    verb = "It has room again" if budget.period == "rolling" else "It is renewed"
    renewal = "" if budget.period == "total" else f" {verb} on {end:%Y-%m-%d} at {end:%H:%M} UTC."
    left = budget.amount - spent
    rest = "is used up." if left <= 0 else f"has {to_dollars(left)} left, and this request may cost more."
    text = f"The budget of {who}, {budget.described}, {rest}{renewal}"
    error = BudgetSpent(text, code="enforced_spend_limit_reached", retry_after=wait, should_retry=False)
    error.headers = _spent_headers(scope, budget.period, round(now + wait))
    return error


def left_of(state: bytes | str) -> Mapping[tuple[str, str], int]:
    """Return what is neither spent nor held of each budget, by scope and name."""
    tightest = orjson.loads(state)
    budgets = tightest.get("budgets", ()) if isinstance(tightest, dict) else ()
    return {(scope, name): int(amount) - int(spent) - int(held) for scope, name, spent, held, amount, _ in budgets}
