"""Reply headers with the state of limits and budgets, under Anthropic's names, and the errors for refusals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from math import ceil
from operator import truediv
from typing import Final

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


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """Headers for the state of a client's limits. `kinds`: its limited rates. `amounts`: of its budgets.

    `state` is the script's list: for each kind the tightest limit, what remains of it, and Unix seconds when it is full
    again; then for each budget nano-dollars spent and held before the request, and Unix seconds of its end. It is empty
    for a repeated admission.
    """

    kinds: tuple[str, ...]
    amounts: tuple[int, ...]
    _rates: str = field(init=False, repr=False)
    _divisors: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [name for kind in self.kinds for name in LIMIT_HEADERS[kind]]
        object.__setattr__(self, "_rates", "".join(f"{name}: %s\r\n" for name in names))
        object.__setattr__(self, "_divisors", tuple(max(1, amount) for amount in self.amounts))

    def to_lines(self, state: Sequence[int]) -> str:
        """Return the header lines, each with its line end."""
        if not state:
            return ""
        end = 3 * len(self.kinds)
        values: list[str | int] = list(state[:end])
        values[2::3] = map(_to_time, state[2:end:3])
        lines = self._rates % tuple(values)
        if not self.amounts:
            return lines
        shares = map(truediv, state[end::3], self._divisors)
        share, ends = max(zip(shares, state[end + 2 :: 3], strict=True))
        return lines if share >= 1 else lines + _money_lines(int(share * 100), ends)

    def to_pairs(self, state: Sequence[int]) -> Headers:
        """Return the headers as names and values."""
        pairs = [line.partition(": ") for line in self.to_lines(state).splitlines()]
        return tuple((name, value) for name, _, value in pairs)

    def left(self, state: Sequence[int], taken: int) -> list[int]:
        """Return the remaining nano-dollars of each budget, once `taken` is reserved as well."""
        first = 3 * len(self.kinds)
        several = zip(self.amounts, state[first::3], state[first + 1 :: 3], strict=True) if state else ()
        return [amount - spent - held - taken for amount, spent, held in several]


@lru_cache(maxsize=256)  # many requests share the few seconds at which limits are full again
def _to_time(seconds: int) -> str:
    return to_time(seconds)


@lru_cache(maxsize=256)
def _money_lines(percent: int, ends: int) -> str:
    """Return the headers from which Claude Code shows the used share of a spending cap. `percent`: whole percents."""
    share = percent / 100
    notice = next((one for one in NOTICES if share >= one), None)
    status = "allowed" if notice is None else "allowed_warning"
    headers = [
        (STATUS, status),
        CLAIM,
        (OVERAGE_STATUS, status),
        (UTILIZATION, f"{share:.2f}"),
        (RESET, ends),
        (OVERAGE_RESET, ends),
    ]
    if notice is not None:
        headers.append((SURPASSED, f"{notice:.2f}"))
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


def _spent_headers(scope: str, period: str, ends: int) -> Headers:
    """Return the headers of a spent budget.

    They have no representative claim: with one, Claude Code shows a fixed sentence instead of the error's message.
    """
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
    """Return the error for a refusal by `admit`.

    `kind`: a rate, the name of a budget, or `held:` and the name of a budget that requests in flight hold. `wait`:
    seconds until another attempt may succeed. `spent`: nano-dollars. `now`: Unix seconds.
    """
    rules = next(one for one in scopes if one.name == scope)
    who = rules.label
    if kind in KINDS:
        limit = getattr(rules.allowance.limits, kind)
        seconds = max(1, ceil(wait))
        span = f"{seconds} s" if seconds < 120 else f"{ceil(seconds / 60)} minutes"
        text = f"Limit of {who}: {limit} {KINDS[kind]}. Try again in {span}."
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
