"""When Redis is left alone, and when it is tried again."""

import pytest

from gateway.cache.breaker import FAILURES, OPEN_SECONDS, WITHIN_SECONDS, Breaker
from tests.cache.conftest import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.admits()
        breaker.failed()
    return breaker


def test_a_row_of_failures_opens_it(clock: Clock) -> None:
    breaker = opened(clock)
    assert (breaker.state, breaker.admits()) == ("open", False)


def test_failures_that_are_far_apart_do_not(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(3 * FAILURES):
        breaker.failed()
        clock.now += WITHIN_SECONDS / (FAILURES - 1) + 0.1
    assert breaker.state == "closed"


def test_one_call_tries_and_its_success_closes_it(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += OPEN_SECONDS
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.admits() for _ in range(3)] == [True, True, True]
    breaker.failed()
    assert breaker.state == "closed", "earlier failures are forgotten"


def test_its_failure_opens_it_for_as_long_again(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += OPEN_SECONDS
    assert breaker.admits()
    breaker.failed()
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
