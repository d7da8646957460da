"""Rates and concurrency of one process, without Redis: the bounds to the request and to the second."""

import pytest

from gateway.access.local_rates import LocalRates
from gateway.access.records import RateLimits
from tests.support.clock import Clock

SCOPE = "key:a"


def rates(processes: int = 1) -> tuple[LocalRates, Clock]:
    clock = Clock()
    return LocalRates(processes, clock=clock), clock


def test_a_minutes_requests_are_admitted_at_once_and_one_more_each_interval() -> None:
    local, clock = rates()
    limits = ((SCOPE, RateLimits(requests=4)),)
    assert [local.admit(limits, 0) for _ in range(5)] == [None] * 4 + [(SCOPE, "requests", 15.0)]
    clock.now += 15
    assert local.admit(limits, 0) is None
    assert local.admit(limits, 0) == (SCOPE, "requests", 15.0)


def test_clock_that_begins_at_zero_owes_nothing() -> None:
    local = LocalRates(clock=Clock(0.0))
    limits = ((SCOPE, RateLimits(requests=60)),)
    assert [local.admit(limits, 0) for _ in range(61)] == [None] * 60 + [(SCOPE, "requests", 1.0)]


def test_input_tokens_up_to_exactly_the_limit_are_admitted() -> None:
    local, clock = rates()
    limits = ((SCOPE, RateLimits(input_tokens=600)),)
    assert local.admit(limits, 600) is None
    assert local.admit(limits, 1) == (SCOPE, "input_tokens", pytest.approx(0.1))
    clock.now += 60
    assert local.admit(limits, 601) == (SCOPE, "input_tokens", pytest.approx(0.1))


def test_output_of_exactly_a_minutes_worth_refuses_the_next_request() -> None:
    local, clock = rates()
    limits = ((SCOPE, RateLimits(output_tokens=60)),)
    assert local.admit(limits, 0) is None
    local.settle((SCOPE,), 60)
    assert local.admit(limits, 0) == (SCOPE, "output_tokens", 0.0)
    clock.now += 1
    assert local.admit(limits, 0) is None


def test_refusal_by_one_scope_takes_nothing_from_the_others() -> None:
    local, _ = rates()
    both = ((SCOPE, RateLimits(requests=1)), ("tenant:red", RateLimits(concurrency=1)))
    assert local.admit((both[1],), 0) is None
    assert local.admit(both, 0) == ("tenant:red", "concurrency", 1.0)
    local.settle(("tenant:red",), 0)
    assert local.admit(both, 0) is None
    assert local.admit((both[0],), 0) is not None


def test_processes_divide_a_limit_and_each_keeps_one() -> None:
    local, _ = rates(3)
    limits = ((SCOPE, RateLimits(requests=9, concurrency=2)),)
    assert local.admit(limits, 0) is None
    assert local.admit(limits, 0) == (SCOPE, "concurrency", 1.0)
    local.settle((SCOPE,), 0)
    for _ in range(2):
        assert local.admit(limits, 0) is None
        local.settle((SCOPE,), 0)
    assert local.admit(limits, 0) == (SCOPE, "requests", 20.0)


def test_raised_limit_lets_in_the_difference_at_once_and_a_lowered_one_adds_no_debt() -> None:
    local, clock = rates()

    def left(requests: int | None) -> int:
        for number in range(200):
            if local.admit(((SCOPE, RateLimits(requests=requests, input_tokens=9)),), 0) is not None:
                return number
        return 200

    assert left(2) == 2
    assert left(10) == 8
    assert left(None) == 200
    assert left(10) == 0, "what was used while there was no limit does not count"
    clock.now += 30
    assert (left(5), left(5)) == (2, 0)
    clock.now += 60
    assert left(5) == 5
