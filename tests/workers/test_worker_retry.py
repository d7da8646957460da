"""Which failures end an item, which postpone it and how long, and what each says of the upstream."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gateway import errors
from gateway.batches.splitter import Item
from gateway.errors import GatewayError
from gateway.upstream.health.circuit import FailedCall
from gateway.upstream.health.circuits import Permit
from gateway.upstream.health.trouble import Trouble, trouble_of
from workers.attempt import report
from workers.execute import to_failed
from workers.retry import MAX_ATTEMPTS, Again, History, next_try

FINAL = {
    "the client's params are wrong": errors.InvalidRequest("x"),
    "the key may not": errors.PermissionDenied("x"),
    "no such model": errors.NotFound("x"),
    "too large": errors.RequestTooLarge("x"),
    "our own fault": errors.InternalError("x"),
    "the upstream says that trying again is useless": errors.Overloaded("x", should_retry=False),
}


@pytest.mark.parametrize("error", FINAL.values(), ids=FINAL)
def test_a_final_failure_is_the_items_result_at_once(error: GatewayError) -> None:
    assert trouble_of(error) is Trouble.NONE
    assert next_try(error, History(), chance=0.5) is None


def test_item_that_the_gateway_could_not_serve_is_tried_again_after_a_second_or_two_and_not_counted() -> None:
    assert next_try(errors.Unavailable("stopping"), History(3, 1), chance=0.5) == Again(1.5, History(3, 1))


# Error, history, chance: delay, history then; and the trouble it means.
POSTPONED = {
    "a first failure waits up to 2 s": (
        (errors.UpstreamError("x"), History(), 1.0),
        Again(2.0, History(1)),
        Trouble.FAILURE,
    ),
    "with full jitter": ((errors.UpstreamError("x"), History(), 0.25), Again(0.5, History(1)), Trouble.FAILURE),
    "and twice as long each time": (
        (errors.UpstreamTimedOut("x"), History(3), 1.0),
        Again(16.0, History(4)),
        Trouble.FAILURE,
    ),
    "up to a minute": ((errors.UpstreamTimedOut("x"), History(6), 1.0), Again(60.0, History(7)), Trouble.FAILURE),
    "overload counts": ((errors.Overloaded("x"), History(1), 0.5), Again(2.0, History(2)), Trouble.PRESSURE),
    "retry-after is a floor": (
        (errors.Overloaded("x", retry_after=30), History(), 0.5),
        Again(30.5, History(1)),
        Trouble.PRESSURE,
    ),
    "that does not shorten the backoff": (
        (errors.Overloaded("x", retry_after=1), History(5), 1.0),
        Again(60.0, History(6)),
        Trouble.PRESSURE,
    ),
    "nor exceeds ten minutes": (
        (errors.Overloaded("x", retry_after=9e9), History(), 0.0),
        Again(600.0, History(1)),
        Trouble.PRESSURE,
    ),
    "a 429 does not count": (
        (errors.RateLimited("x", retry_after=30), History(7), 0.0),
        Again(30.0, History(7, 1)),
        Trouble.PRESSURE,
    ),
    "the first 429 waits up to a second": (
        (errors.RateLimited("x"), History(), 1.0),
        Again(1.0, History(0, 1)),
        Trouble.PRESSURE,
    ),
    "each 429 in a row doubles that, up to a minute": (
        (errors.RateLimited("x"), History(0, 9), 1.0),
        Again(60.0, History(0, 10)),
        Trouble.PRESSURE,
    ),
    "a failure that counts ends the row": (
        (errors.UpstreamError("x"), History(0, 9), 1.0),
        Again(2.0, History(1)),
        Trouble.FAILURE,
    ),
    "a connection that was never made does not count": (
        (errors.UpstreamUnreachable("x"), History(7), 0.0),
        Again(0.0, History(7, 1)),
        Trouble.UNREACHABLE,
    ),
    "nor does an account without credit": (
        (errors.BillingProblem("x", should_retry=False), History(7), 0.0),
        Again(60.0, History(7, 1)),
        Trouble.ACCOUNT,
    ),
    "nor a key that is refused": (
        (errors.CredentialsRefused("x", should_retry=False), History(), 0.5),
        Again(90.0, History(0, 1)),
        Trouble.ACCOUNT,
    ),
    "nor settings that cannot be sent": (
        (errors.Misconfigured("x"), History(), 0.5),
        Again(90.0, History(0, 1)),
        Trouble.ACCOUNT,
    ),
}


@pytest.mark.parametrize(("attempt", "again", "trouble"), POSTPONED.values(), ids=POSTPONED)
def test_a_failure_that_may_pass_is_tried_again(
    attempt: tuple[GatewayError, History, float], again: Again, trouble: Trouble
) -> None:
    assert next_try(*attempt) == again
    assert trouble_of(attempt[0]) is trouble


def test_the_last_attempt_that_counts_is_the_result() -> None:
    assert next_try(errors.UpstreamError("x"), History(MAX_ATTEMPTS - 2), 0.5) is not None
    assert next_try(errors.UpstreamError("x"), History(MAX_ATTEMPTS - 1), 0.5) is None


def test_output_that_cannot_be_read_twice_is_the_result_also_after_other_failures() -> None:
    malformed = errors.MalformedOutput("x")
    for earlier in (0, 1):
        again = next_try(malformed, History(earlier), 0.5)
        assert again is not None
        assert next_try(malformed, again.history, 0.5) is None


@dataclass
class Reports:
    """Takes down the reports of a permit."""

    reports: list[str] = field(default_factory=list)

    def accepted(self, permit: Permit) -> None:
        self.reports.append("accepted")

    def failed(self, permit: Permit, call: FailedCall) -> None:
        self.reports.append("failed")


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (errors.UpstreamError("x"), ["failed"]),
        (errors.MalformedOutput("x"), ["accepted"]),
        (errors.InvalidRequest("x"), ["accepted"]),
        (errors.InternalError("x"), []),
    ],
    ids=["a failure", "output that cannot be read", "a refusal", "a fault of the gateway"],
)
def test_circuit_learns_of_failures_of_the_upstream_only(error: GatewayError, reported: list[str]) -> None:
    circuits = Reports()
    report(Permit(cast(Any, circuits)), to_failed(Item("a", b"{}", "m", ""), "req_1", error, sent=True))
    assert circuits.reports == reported


def test_no_credit_counts_against_the_item_while_the_model_serves_others() -> None:
    error = errors.BillingProblem("This request requires more credits, or fewer max_tokens.", should_retry=False)
    assert next_try(error, History(2, 1), 0.0, others_served=True) == Again(60.0, History(3))
    assert next_try(error, History(MAX_ATTEMPTS - 1), 0.0, others_served=True) is None


def test_a_process_that_stops_gives_the_item_to_another() -> None:
    assert next_try(errors.Unavailable("the gateway is shutting down"), History(3, 1), 0.0) == Again(1.0, History(3, 1))
