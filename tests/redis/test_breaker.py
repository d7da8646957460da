"""Pauses of calls to Redis, and new attempts."""

import pytest

from gateway.redis.breaker import Breaker, Tolerance
from tests.cache.conftest import Clock

FAILURES, WITHIN_SECONDS, OPEN_SECONDS = 5, 10.0, 5.0
TOLERANCE = Tolerance(FAILURES, WITHIN_SECONDS, OPEN_SECONDS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, TOLERANCE)
    for _ in range(FAILURES):
        assert breaker.admits()
        breaker.failed("x")
    return breaker


def test_a_row_of_failures_opens_it(clock: Clock) -> None:
    breaker = opened(clock)
    assert (breaker.state, breaker.admits()) == ("open", False)


def test_failures_that_are_far_apart_do_not(clock: Clock) -> None:
    breaker = Breaker(clock, TOLERANCE)
    for _ in range(3 * FAILURES):
        breaker.failed("x")
        clock.now += WITHIN_SECONDS / (FAILURES - 1) + 0.1
    assert breaker.state == "closed"


def test_one_call_tries_and_its_success_closes_it(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += OPEN_SECONDS
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.admits() for _ in range(3)] == [True, True, True]
    breaker.failed("x")
    assert breaker.state == "closed", "earlier failures are forgotten"


def test_its_failure_opens_it_for_as_long_again(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += OPEN_SECONDS
    assert breaker.admits()
    breaker.failed("x")
    clock.now += OPEN_SECONDS - 0.1
    assert not breaker.admits()
    clock.now += 0.1
    assert breaker.admits()


def test_a_try_that_is_never_heard_of_again_does_not_keep_it_shut(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += OPEN_SECONDS
    assert breaker.admits()
    clock.now += OPEN_SECONDS
    assert breaker.admits()


def test_each_change_is_reported_once_with_its_reason(clock: Clock) -> None:
    told: list[str | None] = []
    breaker = Breaker(clock, Tolerance(2, WITHIN_SECONDS, OPEN_SECONDS), told.append)
    for reason in ("first", "second", "third"):
        breaker.failed(reason)
    clock.now += OPEN_SECONDS
    assert breaker.admits()
    breaker.succeeded()
    breaker.succeeded()
    assert told == ["second", None]


def test_a_single_failure_opens_one_that_tolerates_none(clock: Clock) -> None:
    breaker = Breaker(clock, Tolerance(1, 0.0, OPEN_SECONDS))
    breaker.failed("x")
    assert not breaker.admits()


def test_a_late_call_is_no_failure_when_another_has_succeeded_since_it_was_sent(clock: Clock) -> None:
    breaker = Breaker(clock, Tolerance(1, 0.0, OPEN_SECONDS))
    sent_at = clock.now
    clock.now += 0.01
    breaker.succeeded()
    breaker.was_late("x", sent_at)
    assert breaker.state == "closed"
    breaker.was_late("x", clock.now)
    assert breaker.state == "open"
