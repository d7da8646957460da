"""Replies of limits and budgets: headers with their state, in Anthropic's names, and the errors for refusals."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import ceil
from typing import Any, Final

import orjson

from gateway.access.directory import ScopeRules
from gateway.access.records import DEPLOYMENT, to_dollars
from gateway.errors import BudgetSpent, GatewayError, RateLimited
from gateway.json_values import to_time

Headers = tuple[tuple[str, str], ...]

KINDS: Final = {
    "requests": "requests per minute",
    "input_tokens": "input tokens per minute",
    "output_tokens": "output tokens per minute",
    "concurrency": "concurrent requests",
}
UNIFIED: Final = "anthropic-ratelimit-unified"
STATUS: Final = f"{UNIFIED}-status"
RESET: Final = f"{UNIFIED}-reset"
OVERAGE_RESET: Final = f"{UNIFIED}-overage-reset"
UTILIZATION: Final = f"{UNIFIED}-overage-utilization"
SURPASSED: Final = f"{UNIFIED}-overage-surpassed-threshold"
CLAIM: Final = (f"{UNIFIED}-representative-claim", "overage")
OVERAGE_STATUS: Final = f"{UNIFIED}-overage-status"
# Shares of a budget at which Claude Code shows a notice.
NOTICES: Final = (0.95, 0.75)
LIMIT_HEADERS: Final = {
    kind: tuple(f"anthropic-ratelimit-{kind.replace('_', '-')}-{what}" for what in ("limit", "remaining", "reset"))
    for kind in KINDS
}
PERIOD_WORDS: Final = {"day": "daily", "week": "weekly", "month": "monthly"}


def to_state(raw: bytes | str) -> Mapping[str, Any]:
    """Read the script's state of the limits: by kind the tightest, and all budgets."""
    state = orjson.loads(raw)
    return state if isinstance(state, dict) else {}  # Lua writes an empty table as a list


def to_headers(state: Mapping[str, Any]) -> Headers:
    """Return the headers for the tightest limit of each kind (limit, remaining, when it is full again) and budget."""
    headers: list[tuple[str, str]] = []
    for kind, names in LIMIT_HEADERS.items():
        if kind in state:
            limit, remaining, full_at = state[kind]
            headers += zip(names, (limit, remaining, _to_time(full_at)), strict=True)
    if "budgets" in state:
        share, ends = max([(int(spent) / max(1, int(amount)), end) for _, _, spent, _, amount, end in state["budgets"]])
        if share < 1:
            headers += _money_headers(int(share * 100) / 100, ends)
    return tuple(headers)


@lru_cache(maxsize=256)  # limits are full again at the same few seconds: with little use, in this one
def _to_time(seconds: str) -> str:
    return to_time(int(seconds))


@lru_cache(maxsize=256)
def _money_headers(share: float, ends: str) -> Headers:
    """The headers with which Claude Code shows its user how much of a spending cap is used, in hundredths."""
    notice = next((one for one in NOTICES if share >= one), None)
    status = "allowed" if notice is None else "allowed_warning"
    headers = (
        (STATUS, status),
        CLAIM,
        (OVERAGE_STATUS, status),
        (UTILIZATION, f"{share:.2f}"),
        (RESET, ends),
        (OVERAGE_RESET, ends),
    )
    return headers if notice is None else (*headers, (SURPASSED, f"{notice:.2f}"))


def _spent_headers(scope: str, period: str, ends: int) -> Headers:
    """Without a representative claim, on which Claude Code would show its fixed sentence instead of the error's."""
    pool = ((f"{UNIFIED}-overage-scope", "group_pool"),) if scope == DEPLOYMENT or scope.startswith("tenant:") else ()
    word = PERIOD_WORDS.get(period)
    return (
        (STATUS, "rejected"),
        (RESET, str(ends)),
        (OVERAGE_RESET, str(ends)),
        (UTILIZATION, "1"),
        (SURPASSED, "1"),
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
        seconds = max(1, ceil(wait))
        text = f"Limit of {who}: {limit} {KINDS[kind]}. Try again in {_to_span(seconds)}."
        return RateLimited(text, retry_after=min(60, seconds))
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


def _to_span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{ceil(seconds / 60)} minutes"


def left_of(state: Mapping[str, Any], taken: int) -> Mapping[tuple[str, str], int]:
    """Return what is neither spent nor held of each budget, by scope and name, once `taken` is held too."""
    budgets = state.get("budgets", ())
    return {
        (scope, name): int(amount) - int(spent) - int(held) - taken for scope, name, spent, held, amount, _ in budgets
    }
