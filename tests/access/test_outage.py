"""Money that may be spent while Redis is unavailable."""

from gateway.access.outage import MAX_SEEN, OUTAGE_SECONDS, SEEN_SECONDS, OutageMoney
from tests.support.clock import Clock

NAME = ("key:a", "month/UTC")


def money(**options: object) -> tuple[OutageMoney, Clock]:
    clock = Clock(0.0)
    return OutageMoney(most=1000, clock=clock, **options), clock  # type: ignore[arg-type]


def test_budget_that_was_not_seen_shortly_before_the_outage_allows_nothing() -> None:
    pot, clock = money()
    pot.see({NAME: 1000})
    clock.now = SEEN_SECONDS + 0.1
    assert pot.admit([NAME], 10, 1) is None
    assert pot.admit([("key:b", "day/UTC")], 10, 1) is None


def test_budget_seen_exactly_ten_seconds_before_the_outage_allows_its_part() -> None:
    pot, clock = money()
    pot.see({NAME: 1000})
    clock.now = SEEN_SECONDS
    assert pot.admit([NAME], 10, 1) == 10


def test_twentieth_of_what_was_left_is_allowed_and_given_back_when_unused() -> None:
    pot, _ = money()
    pot.see({NAME: 1000})
    assert pot.admit([NAME], 40, 1) == 40
    assert pot.admit([NAME], 40, 1) == 10
    assert pot.admit([NAME], 40, 1) is None
    pot.settle([NAME], 40, 5)
    assert pot.admit([NAME], 40, 1) == 35


def test_request_without_cost_is_allowed_with_an_empty_pot() -> None:
    pot, _ = money()
    assert pot.admit([NAME], 0, 0) == 0


def test_several_budgets_grant_the_smallest_and_each_is_charged() -> None:
    pot, _ = money()
    other = ("tenant:red", "day/UTC")
    pot.see({NAME: 1000, other: 200})
    assert pot.admit([NAME, other], 50, 1) == 10
    assert pot.admit([NAME], 50, 1) == 40


def test_long_outage_ends_the_allowance_and_redis_begins_a_new_one() -> None:
    pot, clock = money()
    pot.see({NAME: 1000})
    assert pot.admit([NAME], 5, 1) == 5
    clock.now = OUTAGE_SECONDS + 1
    assert pot.admit([NAME], 5, 1) is None
    pot.see({NAME: 1000})
    assert pot.admit([NAME], 50, 1) == 50


def test_open_allows_all_and_closed_nothing() -> None:
    assert money(rule="open")[0].admit([NAME], 10**12, 1) == 10**12
    closed, _ = money(rule="closed")
    closed.see({NAME: 1000})
    assert closed.admit([NAME], 10, 1) is None


def test_budgets_seen_last_are_kept_up_to_a_number() -> None:
    pot, _ = money()
    names = [(f"key:{number}", "day/UTC") for number in range(MAX_SEEN + 2)]
    for name in names[:MAX_SEEN]:
        pot.see({name: 1000})
    assert len(pot.seen()) == MAX_SEEN
    pot.see({names[0]: 1000, **dict.fromkeys(names[MAX_SEEN:], 1000)})
    assert pot.seen() == [*names[3:MAX_SEEN], names[0], *names[MAX_SEEN:]]


def test_open_rule_allows_all_and_closed_nothing() -> None:
    for rule, granted in (("open", 10**15), ("closed", None)):
        pot, _ = money(rule=rule)
        pot.see({NAME: 1000})
        assert pot.admit([NAME], 10**15, 1) == granted
        pot.settle([NAME], 10, 5)


def test_outage_of_exactly_ten_minutes_still_allows_a_part() -> None:
    pot, clock = money()
    pot.see({NAME: 1000})
    assert pot.admit([NAME], 5, 1) == 5
    clock.now = OUTAGE_SECONDS
    assert pot.admit([NAME], 5, 5) == 5


def test_part_is_bounded_and_shared_by_processes() -> None:
    pot, _ = money(processes=4)
    pot.see({NAME: 10**9})
    assert pot.admit([NAME], 10**9, 1) == 250
    overdrawn, _ = money()
    overdrawn.see({NAME: -100})
    assert overdrawn.admit([NAME], 10, 0) is None
