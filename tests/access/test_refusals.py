"""Replies of limits and budgets: texts, headers and times to wait."""

import pytest

from gateway.access.directory import ScopeRules
from gateway.access.records import DEPLOYMENT, NANO, Allowance, Budget, Period, RateLimits
from gateway.access.refusals import LimitHeaders, to_refusal
from gateway.errors import BudgetSpent, GatewayError, RateLimited

NOON = 1_798_804_800  # 2027-01-01 12:00 UTC
AT = "on 2027-01-01 at 13:00 UTC."
UNIFIED = "anthropic-ratelimit-unified"


def refused(
    kind: str, wait: float, *budgets: Budget, scope: str = "key:a", spent: int = 0, limits: int | None = 5
) -> GatewayError:
    other = ScopeRules("tenant:red", "", "0", Allowance(), "tenant red")
    rules = ScopeRules(scope, "", "0", Allowance(RateLimits(requests=limits), budgets), "key ci")
    return to_refusal(scope, kind, wait, (other, rules), spent=spent, now=NOON)


@pytest.mark.parametrize(
    ("wait", "span", "retry_after"),
    [
        (0.0, "1 s", 1),
        (0.2, "1 s", 1),
        (1.1, "2 s", 2),
        (60.0, "60 s", 60),
        (119.0, "119 s", 60),
        (119.5, "2 minutes", 60),
        (121.0, "3 minutes", 60),
    ],
)
def test_refusal_of_a_rate_says_when_to_try_again(wait: float, span: str, retry_after: int) -> None:
    error = refused("requests", wait)
    assert isinstance(error, RateLimited)
    assert error.message == f"Limit of key ci: 5 requests per minute. Try again in {span}."
    assert error.retry_after == retry_after


def test_money_that_is_held_asks_to_try_again_soon() -> None:
    error = refused("held:day/UTC", 2.0, Budget(NANO, "month"), Budget(2 * NANO, "day"))
    assert isinstance(error, RateLimited)
    assert "what is left of the budget of key ci ($2.00)" in error.message
    assert error.retry_after == 2


@pytest.mark.parametrize(
    ("budget", "spent", "text"),
    [
        (Budget(NANO, "day"), NANO, f"$1.00 per day, is used up. It is renewed {AT}"),
        (
            Budget(NANO, "day"),
            NANO - 1,
            f"$1.00 per day, has $0.000000001 left, and this request may cost more. It is renewed {AT}",
        ),
        (Budget(NANO, "total"), 2 * NANO, "$1.00 in all, is used up."),
        (
            Budget(NANO, "rolling", window=90),
            NANO,
            f"$1.00 in 90 seconds, is used up. It has room again {AT}",
        ),
    ],
)
def test_spent_budget_says_what_is_left_and_when_it_is_renewed(budget: Budget, spent: int, text: str) -> None:
    error = refused(budget.name, 3600.0, budget, spent=spent)
    assert isinstance(error, BudgetSpent)
    assert error.message == f"The budget of key ci, {text}"
    assert (error.retry_after, error.should_retry, error.code) == (3600.0, False, "enforced_spend_limit_reached")


@pytest.mark.parametrize(
    ("period", "scope", "word", "is_shared"),
    [
        ("day", "key:a", "daily", False),
        ("week", DEPLOYMENT, "weekly", True),
        ("month", "tenant:blue", "monthly", True),
        ("total", "user:ann", None, False),
    ],
)
def test_headers_of_a_spent_budget_name_its_period_and_who_shares_it(
    period: Period, scope: str, word: str | None, is_shared: bool
) -> None:
    headers = dict(refused(f"{period}/UTC", 60.4, Budget(NANO, period), scope=scope).headers)
    assert headers[f"{UNIFIED}-status"] == "rejected"
    assert headers[f"{UNIFIED}-reset"] == headers[f"{UNIFIED}-overage-reset"] == str(NOON + 60)
    assert headers.get(f"{UNIFIED}-overage-period") == word
    assert headers.get(f"{UNIFIED}-overage-scope") == ("group_pool" if is_shared else None)
    assert f"{UNIFIED}-representative-claim" not in headers


@pytest.mark.parametrize(
    ("spent", "share", "notice"),
    [
        (0, "0.00", None),
        (749, "0.74", None),
        (750, "0.75", "0.75"),
        (949, "0.94", "0.75"),
        (950, "0.95", "0.95"),
        (999, "0.99", "0.95"),
    ],
)
def test_headers_of_a_budget_show_the_share_of_the_fullest_one(spent: int, share: str, notice: str | None) -> None:
    headers = dict(LimitHeaders((), (1000, 1000)).to_pairs([0, 0, 7, spent, 0, 9]))
    assert headers[f"{UNIFIED}-overage-utilization"] == share
    assert headers[f"{UNIFIED}-reset"] == "9"
    assert headers.get(f"{UNIFIED}-overage-surpassed-threshold") == notice
    assert headers[f"{UNIFIED}-status"] == ("allowed" if notice is None else "allowed_warning")


def test_budget_without_room_has_no_headers_of_an_admission() -> None:
    for spent, amount in ((1000, 1000), (1001, 1000), (1, 0)):
        assert LimitHeaders((), (amount,)).to_lines([spent, 0, 7]) == ""


def test_state_of_limits_is_written_with_what_is_left_of_budgets() -> None:
    limits, state = LimitHeaders(("requests",), (10, 20)), [5, 3, 1798804800, 4, 3, 9, 1, 0, 8]
    headers = dict(limits.to_pairs(state))
    assert headers["anthropic-ratelimit-requests-limit"] == "5"
    assert headers["anthropic-ratelimit-requests-remaining"] == "3"
    assert headers["anthropic-ratelimit-requests-reset"] == "2027-01-01T12:00:00Z"
    assert headers[f"{UNIFIED}-overage-utilization"] == "0.40"
    assert headers[f"{UNIFIED}-overage-reset"] == "9"
    assert "anthropic-ratelimit-input-tokens-limit" not in headers
    assert limits.left(state, 2) == [1, 17]


def test_repeated_admission_has_no_state() -> None:
    limits = LimitHeaders(("requests",), (10,))
    assert (limits.to_lines([]), limits.to_pairs([])) == ("", ())
