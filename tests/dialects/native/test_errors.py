"""Errors of upstreams that speak Messages."""

from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.dialects.native.answer import to_answered
from gateway.dialects.native.errors import to_error
from gateway.dialects.native.stream import NativeStream
from gateway.dialects.reply import Reply
from gateway.errors import BillingProblem, GatewayError, MalformedOutput, Overloaded, RateLimited, UpstreamError

REPLY = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()))

NO_ROOM = "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length"
# A prompt that is too long, in the words of servers, and what the client reads.
ENDPOINT = (
    "This endpoint's maximum context length is 9000 tokens. "
    "However, you requested about 9600 tokens (9100 of text input, 500 in the output)."
)
TOO_LONG = [
    ("prompt is too long: 210000 tokens > 200000 maximum", "prompt is too long: 210000 tokens > 200000 maximum"),
    (NO_ROOM, NO_ROOM),
    (ENDPOINT, "prompt is too long: 9100 tokens > 9000 maximum"),
    ("maximum context length exceeded", "prompt is too long: it does not fit into the context of this model"),
]


@pytest.mark.parametrize(("words", "told"), TOO_LONG)
def test_overflow_reaches_the_client_in_anthropics_words(words: str, told: str) -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    error = to_error(400, {}, orjson.dumps(body), REPLY)
    assert (error.status, error.message) == (400, told)
    assert error.should_retry is False


def test_lack_of_money_in_a_type_of_the_vendors_own_is_the_accounts() -> None:
    details = {"type": "insufficient_balance_error", "message": "insufficient balance (1008)"}
    with pytest.raises(BillingProblem):
        to_answered(orjson.dumps({"type": "error", "error": details}), REPLY)


def test_other_refusals_keep_their_words() -> None:
    details = {"type": "invalid_request_error", "message": "messages.1: thinking blocks cannot be modified", "x": 1}
    assert to_error(400, {}, orjson.dumps({"type": "error", "error": details}), REPLY).relayed == details


def test_output_that_a_server_cannot_read_is_asked_for_again() -> None:
    words = "1 validation error for AnthropicContentBlock\ninput\n  Input should be a valid dictionary"
    details = {"type": "invalid_request_error", "message": words}
    error = to_error(400, {}, orjson.dumps({"type": "error", "error": details}), REPLY)
    assert isinstance(error, MalformedOutput)
    assert (error.status, error.relayed) == (400, details)


IN_OTHER_FORMS: dict[str, tuple[dict[str, Any], type[GatewayError], str]] = {
    "OpenAI's": ({"error": {"message": "Rate limit reached", "code": 429}}, RateLimited, "Rate limit reached"),
    "vLLM's": (
        {"error": {"message": "slots are full", "type": "InternalServerError", "code": 503}},
        Overloaded,
        "slots are full",
    ),
    "words alone": ({"error": "gpu lost"}, UpstreamError, "gpu lost"),
}


@pytest.mark.parametrize("form", IN_OTHER_FORMS)
def test_failure_in_another_form_keeps_its_words_and_its_code(form: str) -> None:
    payload, kind, words = IN_OTHER_FORMS[form]
    body = orjson.dumps(payload)
    for frame in (b"data: " + body, b"event: error\ndata: " + body):
        stream = NativeStream(REPLY)
        stream.feed(frame + b"\n\n")
        assert (type(stream.failure), stream.failure.message) == (kind, words)
    with pytest.raises(kind, match=words):
        to_answered(body, REPLY)


def test_problem_document_in_place_of_a_message_is_a_failure() -> None:
    with pytest.raises(RateLimited, match="slow down"):
        to_answered(orjson.dumps({"status": 429, "title": "Too Many Requests", "detail": "slow down"}), REPLY)


def test_error_event_of_plain_words_keeps_them() -> None:
    stream = NativeStream(REPLY)
    stream.feed(b"event: error\ndata: gpu lost\n\n")
    assert isinstance(stream.failure, UpstreamError)
    assert stream.failure.message == "gpu lost"


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (301, "invalid_request_error", (400, "invalid_request_error")),
        (400, "overloaded_error", (529, "overloaded_error")),
        (401, "overloaded_error", (500, "api_error")),
        (429, "invalid_request_error", (429, "rate_limit_error")),
        (500, "overloaded_error", (529, "overloaded_error")),
        (500, "invalid_request_error", (400, "invalid_request_error")),
        (503, "invalid_request_error", (529, "overloaded_error")),
        (529, "overloaded_error", (529, "overloaded_error")),
        (503, "overloaded_error", (503, "overloaded_error")),
        (529, "api_error", (529, "api_error")),
        (422, "invalid_request_error", (422, "invalid_request_error")),
        (409, "conflict_error", (409, "conflict_error")),
    ],
)
def test_status_and_type_of_a_failure_agree(status: int, kind: str, told: tuple[int, str]) -> None:
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": "nope"}})
    error = to_error(status, {}, body, REPLY)
    assert (error.status, error.type) == told
