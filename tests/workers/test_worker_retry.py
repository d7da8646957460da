"""Which failures end an item, which postpone it and how long, and what each says of the upstream."""

import pytest

from gateway import errors
from gateway.errors import GatewayError
from gateway.upstream.trouble import Trouble, trouble_of
from workers.retry import MAX_ATTEMPTS, Again, next_try

FINAL = {
    "the client's params are wrong": errors.InvalidRequest("x"),
    "the key may not": errors.PermissionDenied("x"),
    "no such model": errors.NotFound("x"),
    "too large": errors.RequestTooLarge("x"),
    "our own fault": errors.InternalError("x"),
    "the upstream says that trying again is useless": errors.Overloaded("x", should_retry=False),
}


@pytest.mark.parametrize("error", FINAL.values(), ids=FINAL)
def test_what_is_final_is_the_items_result_at_once(error: GatewayError) -> None:
    assert trouble_of(error) is Trouble.NONE
    assert next_try(error, tries=0, chance=0.5) is None


# Error, tries before, chance: delay, tries after; and the trouble it means.
POSTPONED = {
    "a first failure waits up to 2 s": (errors.UpstreamError("x"), 0, 1.0, Again(2.0, 1), Trouble.FAILURE),
    "with full jitter": (errors.UpstreamError("x"), 0, 0.25, Again(0.5, 1), Trouble.FAILURE),
    "and twice as long each time": (errors.UpstreamTimedOut("x"), 3, 1.0, Again(16.0, 4), Trouble.FAILURE),
    "up to a minute": (errors.UpstreamTimedOut("x"), 6, 1.0, Again(60.0, 7), Trouble.FAILURE),
    "overload counts": (errors.Overloaded("x"), 1, 0.5, Again(2.0, 2), Trouble.PRESSURE),
    "being told how long is a floor": (
        errors.Overloaded("x", retry_after=30),
        0,
        0.5,
        Again(30.5, 1),
        Trouble.PRESSURE,
    ),
    "that does not shorten the backoff": (
        errors.Overloaded("x", retry_after=1),
        5,
        1.0,
        Again(60.0, 6),
        Trouble.PRESSURE,
    ),
    "nor exceeds ten minutes": (errors.Overloaded("x", retry_after=9e9), 0, 0.0, Again(600.0, 1), Trouble.PRESSURE),
    "a 429 does not count": (errors.RateLimited("x", retry_after=30), 7, 0.0, Again(30.0, 7), Trouble.PRESSURE),
    "nor does a connection that was never made": (
        errors.UpstreamUnreachable("x"),
        7,
        0.0,
        Again(0.0, 7),
        Trouble.UNREACHABLE,
    ),
    "nor an account without credit": (
        errors.BillingProblem("x", should_retry=False),
        7,
        0.0,
        Again(60.0, 7),
        Trouble.ACCOUNT,
    ),
    "nor a key that is refused": (
        errors.CredentialsRefused("x", should_retry=False),
        0,
        0.5,
        Again(90.0, 0),
        Trouble.ACCOUNT,
    ),
    "nor settings that cannot be sent": (errors.Misconfigured("x"), 0, 0.5, Again(90.0, 0), Trouble.ACCOUNT),
}


@pytest.mark.parametrize(("error", "tries", "chance", "again", "trouble"), POSTPONED.values(), ids=POSTPONED)
def test_what_may_pass_is_tried_again(
    error: GatewayError, tries: int, chance: float, again: Again, trouble: Trouble
) -> None:
    assert next_try(error, tries, chance) == again
    assert trouble_of(error) is trouble


def test_the_last_attempt_that_counts_is_the_result() -> None:
    assert next_try(errors.UpstreamError("x"), MAX_ATTEMPTS - 2, 0.5) is not None
    assert next_try(errors.UpstreamError("x"), MAX_ATTEMPTS - 1, 0.5) is None


def test_a_process_that_stops_gives_the_item_to_another() -> None:
    assert next_try(errors.Unavailable("the gateway is shutting down"), 3, 0.0) == Again(1.0, 3)
