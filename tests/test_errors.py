"""Errors in the terms of Anthropic's API: the status and type of each, and the body a client reads."""

from typing import Any

import anthropic
import httpx2
import pytest

from gateway import errors
from gateway.errors import GatewayError, InternalError, InvalidRequest, Overloaded, RateLimited, to_envelope

# Class: status, type, worth another attempt, what the official SDK raises.
TABLE: dict[type[GatewayError], tuple[int, str, bool, type[anthropic.APIStatusError]]] = {
    errors.InvalidRequest: (400, "invalid_request_error", False, anthropic.BadRequestError),
    errors.MethodNotAllowed: (405, "invalid_request_error", False, anthropic.APIStatusError),
    errors.UpgradeRequired: (426, "invalid_request_error", False, anthropic.APIStatusError),
    errors.UnsupportedMedia: (415, "invalid_request_error", False, anthropic.APIStatusError),
    errors.OutputLimitReached: (400, "invalid_request_error", False, anthropic.BadRequestError),
    errors.Unauthenticated: (401, "authentication_error", False, anthropic.AuthenticationError),
    errors.BillingProblem: (402, "billing_error", False, anthropic.APIStatusError),
    errors.PermissionDenied: (403, "permission_error", False, anthropic.PermissionDeniedError),
    errors.NotFound: (404, "not_found_error", False, anthropic.NotFoundError),
    errors.RequestTimedOut: (408, "timeout_error", False, anthropic.APIStatusError),
    errors.Conflict: (409, "conflict_error", False, anthropic.ConflictError),
    errors.PreconditionFailed: (412, "conflict_error", False, anthropic.APIStatusError),
    errors.RequestTooLarge: (413, "request_too_large", False, anthropic.APIStatusError),
    errors.RateLimited: (429, "rate_limit_error", True, anthropic.RateLimitError),
    errors.BudgetSpent: (429, "billing_error", False, anthropic.RateLimitError),
    errors.InternalError: (500, "api_error", False, anthropic.InternalServerError),
    errors.CredentialsRefused: (500, "api_error", False, anthropic.InternalServerError),
    errors.Misconfigured: (500, "api_error", False, anthropic.InternalServerError),
    errors.UpstreamError: (502, "api_error", True, anthropic.InternalServerError),
    errors.UpstreamUnreachable: (502, "api_error", True, anthropic.InternalServerError),
    errors.AnswerCut: (502, "api_error", True, anthropic.InternalServerError),
    errors.EmptyAnswer: (502, "api_error", True, anthropic.InternalServerError),
    errors.MalformedOutput: (502, "api_error", True, anthropic.InternalServerError),
    errors.Unavailable: (503, "api_error", False, anthropic.InternalServerError),
    errors.StoreAway: (503, "api_error", False, anthropic.InternalServerError),
    errors.UpstreamTimedOut: (504, "timeout_error", True, anthropic.InternalServerError),
    errors.Overloaded: (529, "overloaded_error", True, anthropic.InternalServerError),
    errors.CircuitOpen: (529, "overloaded_error", True, anthropic.InternalServerError),
    errors.UpstreamFull: (529, "overloaded_error", True, anthropic.InternalServerError),
}


def all_kinds(kind: type[GatewayError] = GatewayError) -> set[type[GatewayError]]:
    """Return the kinds of `gateway.errors`; those that another module raises and catches are not in the tree."""
    own = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    return {kind}.union(*(all_kinds(one) for one in own))


def test_the_table_and_the_tree_in_the_docstring_name_every_error() -> None:
    assert set(TABLE) == all_kinds() - {GatewayError}
    for kind in TABLE:
        assert f" {kind.__name__} " in f"{errors.__doc__}".replace("\n", " ")


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
@pytest.mark.covers("Errors · Anthropic's envelope, types and statuses")
def test_each_error_has_its_status_and_type(kind: type[GatewayError]) -> None:
    status, name, retryable, _ = TABLE[kind]
    assert (kind.status, kind.type, kind.retryable) == (status, name, retryable)


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_the_official_sdk_raises_its_own_kind(kind: type[GatewayError]) -> None:
    error = kind("said so")

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(kind.status, json=to_envelope(error, "req_1"))

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="k", base_url="http://gateway.test", http_client=http, max_retries=0) as client,
        pytest.raises(TABLE[kind][3]) as raised,
    ):
        client.models.retrieve("m")
    assert (raised.value.status_code, raised.value.type) == (kind.status, kind.type)


ENVELOPES: dict[str, tuple[GatewayError, dict[str, Any]]] = {
    "a message alone": (InternalError("broken"), {"type": "api_error", "message": "broken"}),
    "a code": (
        InvalidRequest("no", code="thread_not_found"),
        {"type": "invalid_request_error", "message": "no", "details": {"error_code": "thread_not_found"}},
    ),
    "details": (
        Overloaded("full", details={"upstream_error_type": "x"}),
        {"type": "overloaded_error", "message": "full", "details": {"upstream_error_type": "x"}},
    ),
    "details and a code": (
        InvalidRequest("no", code="c", details={"paths": ["a"]}),
        {"type": "invalid_request_error", "message": "no", "details": {"paths": ["a"], "error_code": "c"}},
    ),
    "hints that travel as headers": (
        RateLimited("slow", retry_after=3, should_retry=True),
        {"type": "rate_limit_error", "message": "slow"},
    ),
}


@pytest.mark.parametrize("case", ENVELOPES)
def test_the_envelope_of(case: str) -> None:
    error, body = ENVELOPES[case]
    assert to_envelope(error, "req_7") == {"type": "error", "error": body, "request_id": "req_7"}


def test_making_an_envelope_leaves_the_error_as_it_was() -> None:
    error = InvalidRequest("no", code="c", details={"paths": []})
    to_envelope(error, "req_1")
    assert error.details == {"paths": []}


def test_an_error_reads_as_its_message() -> None:
    assert str(InvalidRequest("model: Field required")) == "model: Field required"
