"""Upstream failures as clients see them: status, type and hints by the table; words kept, secrets and addresses not."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.errors.client_error import (
    ERROR_TYPES,
    STATUS_ERRORS,
    to_embedded_error,
)
from gateway.dialects.chat.response.errors.error_body import MESSAGE_LIMIT, READ_LIMIT, read_body
from gateway.dialects.chat.response.errors.retry_hints import MAX_RETRY_AFTER, retry_after_of
from gateway.errors import (
    BillingProblem,
    CredentialsRefused,
    GatewayError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    UpstreamError,
    UpstreamTimedOut,
)
from tests.support.streams import reply
from tests.support.upstream_errors import error_body, failed

BY_STATUS: dict[int, type[GatewayError]] = {
    302: UpstreamError,
    400: InvalidRequest,
    401: CredentialsRefused,
    402: BillingProblem,
    403: PermissionDenied,
    404: NotFound,
    405: InvalidRequest,
    408: UpstreamTimedOut,
    409: UpstreamError,
    412: InvalidRequest,
    413: RequestTooLarge,
    415: InvalidRequest,
    418: InvalidRequest,
    421: UpstreamError,
    422: InvalidRequest,
    425: UpstreamError,
    429: RateLimited,
    498: Overloaded,
    500: UpstreamError,
    501: UpstreamError,
    502: UpstreamError,
    503: Overloaded,
    504: UpstreamTimedOut,
    524: UpstreamTimedOut,
    529: Overloaded,
}


@pytest.mark.parametrize("status", BY_STATUS)
def test_each_status_has_its_error(status: int) -> None:
    error = failed(status, error_body(code=status))
    assert type(error) is BY_STATUS[status]
    if status not in (401, 402):
        assert error.message == "told so"


def test_the_table_of_statuses_is_covered_above() -> None:
    assert set(STATUS_ERRORS) <= set(BY_STATUS)


BY_TYPE: dict[str, type[GatewayError]] = {
    "authentication": CredentialsRefused,
    "content_policy_violation": InvalidRequest,
    "context_length_exceeded": InvalidRequest,
    "invalid_prompt": InvalidRequest,
    "invalid_request": InvalidRequest,
    "max_tokens_exceeded": InvalidRequest,
    "not_found": NotFound,
    "payload_too_large": RequestTooLarge,
    "payment_required": BillingProblem,
    "permission_denied": PermissionDenied,
    "precondition_failed": InvalidRequest,
    "provider_overloaded": Overloaded,
    "rate_limit_exceeded": RateLimited,
    "refusal": InvalidRequest,
    "server": UpstreamError,
    "string_too_long": InvalidRequest,
    "timeout": UpstreamTimedOut,
    "token_limit_exceeded": InvalidRequest,
    "unprocessable": InvalidRequest,
    "image_too_large": InvalidRequest,
    "image_too_small": InvalidRequest,
    "image_not_found": InvalidRequest,
    "image_download_failed": InvalidRequest,
    "invalid_image": InvalidRequest,
    "unsupported_image_format": InvalidRequest,
    "unmapped": UpstreamError,
    "provider_unavailable": UpstreamError,
    "never heard of": UpstreamError,
}


def test_the_table_of_types_is_covered_above() -> None:
    assert set(ERROR_TYPES) <= set(BY_TYPE)


@pytest.mark.parametrize("place", ["beside the message", "in the metadata"])
@pytest.mark.parametrize("word", BY_TYPE)
@pytest.mark.covers("OpenRouter · moderation and guardrails")
def test_a_type_says_more_than_the_status(word: str, place: str) -> None:
    fields = {"error_type": word} if place == "beside the message" else {"metadata": {"error_type": word}}
    error = failed(500, error_body(**fields))
    assert type(error) is BY_TYPE[word]
    if type(error) not in (CredentialsRefused, BillingProblem) and word != "context_length_exceeded":
        assert error.details == {"upstream_error_type": word}


def test_an_upstream_error_type_is_cut_to_a_length() -> None:
    assert failed(500, error_body(error_type="x" * 1000)).details == {"upstream_error_type": "x" * 64}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("insufficient_quota", BillingProblem),
        ("invalid_api_key", CredentialsRefused),
        ("model_not_found", NotFound),
        ("rate_limit_exceeded", RateLimited),
        ("server_error", RateLimited),
    ],
)
def test_a_word_in_the_code_counts_where_it_is_known(code: str, kind: type[GatewayError]) -> None:
    assert type(failed(429, error_body(code=code))) is kind


def test_openrouters_type_says_more_than_a_word_in_the_code() -> None:
    error = failed(500, error_body(error_type="timeout", code="rate_limit_exceeded"))
    assert type(error) is UpstreamTimedOut
    assert error.details == {"upstream_error_type": "timeout"}


def test_account_errors_of_the_operator_hide_the_upstreams_words() -> None:
    wrong_key = failed(401, error_body("Incorrect API key provided: sk-or-v1-0123456789"))
    assert (wrong_key.status, wrong_key.should_retry) == (500, False)
    assert wrong_key.message == "The upstream refused the gateway's own credentials."
    no_credit = failed(402, error_body("Buy more at https://openrouter.ai/credits"))
    assert (no_credit.status, no_credit.should_retry) == (402, False)
    assert no_credit.message == "The gateway's account at the upstream has no credit left."


UNSAID = "The upstream refused the request with status 400 and did not say why."
BODIES: dict[str, tuple[bytes, str]] = {
    "OpenAI's and OpenRouter's": (b'{"error":{"message":"no such tool","code":400}}', "no such tool"),
    "a string": (b'{"error":"no such tool"}', "no such tool"),
    "bare fields": (b'{"object":"error","message":"no such tool","code":400}', "no such tool"),
    "a null error beside the message": (b'{"error":null,"message":"no such tool"}', "no such tool"),
    "FastAPI's": (b'{"detail":"no such tool"}', "no such tool"),
    "Gemini's list": (b'[{"error":{"message":"no such tool","code":400}}]', "no such tool"),
    "words in a provider's own": (
        b'{"error":{"message":"Provider returned error","metadata":{"raw":"no such tool","provider_name":"Acme"}}}',
        "Provider returned error: no such tool",
    ),
    "only a provider's own words": (b'{"error":{"metadata":{"raw":"no such tool"}}}', "no such tool"),
    "a provider's words that are there already": (
        b'{"error":{"message":"no such tool!","metadata":{"raw":"no such tool"}}}',
        "no such tool!",
    ),
    "reasons of a moderation": (
        b'{"error":{"message":"Flagged","metadata":{"reasons":["hate","harassment"],"flagged_input":"..."}}}',
        "Flagged (hate, harassment)",
    ),
    "no reasons": (b'{"error":{"message":"Flagged","metadata":{"reasons":[]}}}', "Flagged"),
    "reasons that are no list": (b'{"error":{"message":"Flagged","metadata":{"reasons":5}}}', "Flagged"),
    "a web page": (
        b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>",
        "The upstream answered with a web page: 502 Bad Gateway.",
    ),
    "a web page without a title": (b"<!DOCTYPE html><p>Oh", "The upstream answered with a web page."),
    "plain text": (b"tool 7 is unknown\n", "tool 7 is unknown"),
    "nothing": (b"", UNSAID),
    "a number": (b"7", UNSAID),
    "an empty list": (b"[]", UNSAID),
    "an empty object": (b"{}", UNSAID),
    "a list of words": (b'["a", "b", "a"]', "a; b"),
    "a message that is an object": (b'{"error":{"message":{"detail":"no such tool"}}}', "no such tool"),
    "a message without text": (b'{"error":{"message":{"a":1}}}', UNSAID),
    "errors in a list": (
        b'{"errors":[{"code":1,"message":"no such tool"},{"message":"nor this"}]}',
        "no such tool; nor this",
    ),
    "another name": (b'{"code":7,"msg":"no such tool"}', "no such tool"),
    "MiniMax's": (b'{"base_resp":{"status_code":7,"status_msg":"no such tool"}}', "no such tool"),
    "JSON within the message": (
        b'{"error":{"message":"{\\"error\\":{\\"message\\":\\"no such tool\\"}}"}}',
        "no such tool",
    ),
    "a Python literal within the message": (
        b"{\"message\":\"Error code: 400 - {'error': {'message': 'no such tool', 'param': None}}\"}",
        "no such tool",
    ),
    "Python's faults within the message": (
        b"{\"message\":\"1 validation error:\\n {'loc': 'body.stop', 'msg': 'too long', 'input': 'secret'}\"}",
        "stop: too long",
    ),
    "LiteLLM's wrapping": (
        b'{"error":{"message":"litellm.BadRequestError: OpenAIException - no such tool\\n\\nLiteLLM: model group x"}}',
        "no such tool",
    ),
    "a stack": (
        b'Traceback (most recent call last):\n  File "/srv/app.py", line 7, in run\nValueError: no such tool',
        "no such tool",
    ),
    "faults in a list": (
        b'{"detail":[{"loc":["body","top_k"],"msg":"must be positive","type":"x"},{"msg":"and whole"},5]}',
        "top_k: must be positive; and whole",
    ),
    "metadata that is no object": (b'{"error":{"message":"told so","metadata":[1]}}', "told so"),
    "control characters of 8 bits": (b'{"error":{"message":"a\\u009b31mb"}}', "a 31mb"),
    "control characters": (b'{"error":{"message":"a\\u0000\\n\\nb\\tc"}}', "a b c"),
}


@pytest.mark.parametrize("case", BODIES)
def test_the_message_from(case: str) -> None:
    body, message = BODIES[case]
    assert failed(400, body).message == message


def test_an_upstream_that_fails_without_a_word_has_not_refused() -> None:
    assert failed(520).message == "The upstream failed with status 520 and did not say why."


def test_a_model_that_the_upstream_does_not_have_is_not_found() -> None:
    error = failed(400, error_body("foo/bar is not a valid model ID"))
    assert (type(error), error.status) == (NotFound, 404)
    assert error.message == "foo/bar is not a valid model ID"


def test_a_long_message_is_cut() -> None:
    assert failed(400, error_body("ä" * 10_000)).message == "ä" * MESSAGE_LIMIT


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b'{"error":{"message":"m","param":"tools[0].function.name"}}', ("tools[0].function.name",)),
        (
            b'{"detail":[{"loc":["body","messages",1,"name"],"msg":"m"},{"loc":["body","user"],"msg":"m"}]}',
            ("messages.1.name", "user"),
        ),
        (b"{\"message\":\"1 validation error: {'loc': ('body', 'top_k'), 'msg': 'm'}\"}", ("top_k",)),
        (b'{"error":{"message":"m","param":null}}', ()),
        (b"user: m", ()),
    ],
)
def test_the_places_that_a_refusal_points_at_are_read(body: bytes, pointers: tuple[str, ...]) -> None:
    assert read_body(body).pointers == pointers


def test_an_echo_of_the_request_is_not_read_as_the_upstreams_words() -> None:
    echoed = {"detail": [{"loc": ["body", "user"], "msg": "too long", "input": "System message must be at the start"}]}
    assert "System" not in read_body(orjson.dumps(echoed)).words


def test_only_the_start_of_a_huge_message_is_read() -> None:
    message = failed(400, error_body("\n" * (READ_LIMIT - 10) + "a" * READ_LIMIT)).message
    assert message == "a" * 10


UNTOLD = "prompt is too long: it does not fit into the context of this model"
OVERFLOWS: dict[str, tuple[str, str]] = {
    "OpenAI": (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens.",
        "prompt is too long: 10000 tokens > 8192 maximum",
    ),
    "OpenRouter": (
        "This endpoint's maximum context length is 200000 tokens. However, you requested about 250000 tokens (240000 …",
        "prompt is too long: 250000 tokens > 200000 maximum",
    ),
    "xAI": (
        "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",
        "prompt is too long: 150000 tokens > 131072 maximum",
    ),
    "Anthropic": (
        "prompt is too long: 205001 tokens > 200000 maximum",
        "prompt is too long: 205001 tokens > 200000 maximum",
    ),
    "Gemini": (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "prompt is too long: 1200000 tokens > 1048576 maximum",
    ),
    "llama.cpp": (
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "prompt is too long: 5000 tokens > 4096 maximum",
    ),
    "Mistral": (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        "prompt is too long: 40000 tokens > 32768 maximum",
    ),
    "others": (
        "The context window of this model is 4096 tokens, the prompt has 5000.",
        "prompt is too long: 5000 tokens > 4096 maximum",
    ),
    "no numbers": ("Input is too long for requested model.", UNTOLD),
    "numbers that cannot be meant": (
        "The context window is 4096 tokens in version 2.",
        UNTOLD,
    ),
}


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("who", OVERFLOWS)
@pytest.mark.covers("Errors · overflow in the words that make clients compact")
def test_an_overflow_is_worded_so_that_clients_compact(who: str, status: int) -> None:
    message, wording = OVERFLOWS[who]
    error = failed(status, error_body(message))
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.should_retry) == (wording, False)


@pytest.mark.parametrize(
    ("estimate", "length", "wording"),
    [
        pytest.param(50, 40, "prompt is too long: 50 tokens > 40 maximum", id="the estimate, where it can be true"),
        pytest.param(40, 40, UNTOLD, id="none where the estimate would fit"),
        pytest.param(50, None, UNTOLD, id="none where the limit is unknown"),
    ],
)
def test_an_overflow_by_its_type_needs_no_words_and_gets_no_false_numbers(
    estimate: int, length: int | None, wording: str
) -> None:
    for fields in ({"metadata": {"error_type": "context_length_exceeded"}}, {"code": "context_length_exceeded"}):
        error = failed(502, error_body("no", **fields), input_estimate=estimate, context_length=length)
        assert (error.message, error.should_retry) == (wording, False)


def test_the_upstreams_own_numbers_win_over_the_estimate() -> None:
    said = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens"
    error = failed(400, error_body(said), input_estimate=99999, context_length=1000)
    assert error.message == "prompt is too long: 9000 tokens > 8192 maximum"


def test_an_answer_limit_that_is_too_high_is_no_overflow() -> None:
    message = "max_tokens is too large: 9000. The context window is 4096."
    assert failed(400, error_body(message)).message == message


def test_the_same_words_with_another_status_are_no_overflow() -> None:
    assert isinstance(failed(500, error_body("lost the context window")), UpstreamError)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("3600", MAX_RETRY_AFTER),
        ("999999999", MAX_RETRY_AFTER),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("1e3", None),
        ("٣", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after(said: str, seconds: float | None) -> None:
    assert retry_after_of({"retry-after": said}) == seconds
    assert failed(429, error_body(), {"retry-after": said}).retry_after == seconds


AVAILABILITY: dict[str, tuple[dict[str, Any], dict[str, str], tuple[float | None, bool | None]]] = {
    "retryable, later": ({"retryable": True, "retry_after": 7}, {}, (7.0, True)),
    "retryable, at once": ({"retryable": True, "retry_after": 0}, {}, (0.0, True)),
    "not retryable": ({"retryable": False}, {}, (None, False)),
    "the header says when": ({"retryable": True, "retry_after": 7}, {"retry-after": "3"}, (3.0, True)),
    "far too late": ({"retry_after": 9000.5}, {}, (MAX_RETRY_AFTER, None)),
    "nonsense": ({"retryable": "yes", "retry_after": -4}, {}, (None, None)),
    "words": ({"retry_after": "soon"}, {}, (None, None)),
}


@pytest.mark.parametrize("case", AVAILABILITY)
@pytest.mark.covers("OpenRouter · availability and fallback models in errors")
def test_availability(case: str) -> None:
    availability, headers, hints = AVAILABILITY[case]
    error = failed(503, {"error": {"error_type": "x", "http_status": 503, "availability": availability}}, headers)
    assert (error.retry_after, error.should_retry) == hints


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (["acme/a", "b:free"], "full (available instead: acme/a, b:free)"),
        (["m1", "m2", "m3", "m4"], "full (available instead: m1, m2, m3)"),
        ([7, None, "two words", "x" * 65, "http://host/path", "a/b"], "full (available instead: a/b)"),
        ([], "full"),
        ("acme/a", "full"),
        (None, "full"),
    ],
)
def test_the_models_that_would_answer_instead_are_named(models: Any, told: str) -> None:
    body = {"error": {"http_status": 503, "message": "full", "availability": {"fallback_models": models}}}
    assert failed(503, body).message == told


@pytest.mark.parametrize("availability", [None, [], "x", 5])
def test_availability_of_another_shape_is_ignored(availability: Any) -> None:
    error = failed(503, error_body(availability=availability))
    assert (error.retry_after, error.should_retry) == (None, None)


EMBEDDED: dict[str, tuple[Any, type[GatewayError]]] = {
    "a number": ({"code": 429, "message": "m"}, RateLimited),
    "a number as a string": ({"code": "429", "message": "m"}, RateLimited),
    "no code": ({"message": "m"}, UpstreamError),
    "a null code": ({"code": None, "http_status": 503, "message": "m"}, Overloaded),
    "a status instead of a code": ({"http_status": 404, "message": "m"}, NotFound),
    "another name for the status": ({"code": "parameter_missing", "status_code": 400, "message": "m"}, InvalidRequest),
    "a word": ({"code": "server_error", "message": "m"}, UpstreamError),
    "a word that is known": ({"code": "rate_limit_exceeded", "message": "m"}, RateLimited),
    "a number that is no status": ({"code": 1234, "message": "m"}, UpstreamError),
    "a success": ({"code": 200, "message": "m"}, UpstreamError),
    "no digits": ({"code": "²²²", "message": "m"}, UpstreamError),
    "a boolean": ({"code": True, "message": "m"}, UpstreamError),
    "OpenAI's type": ({"type": "invalid_request_error", "message": "m", "code": None}, InvalidRequest),
    "a type in the metadata": ({"code": 502, "message": "m", "metadata": {"error_type": "timeout"}}, UpstreamTimedOut),
    "only words": ("m", UpstreamError),
}


@pytest.mark.parametrize("case", EMBEDDED)
def test_an_error_inside_a_success(case: str) -> None:
    details, kind = EMBEDDED[case]
    error = to_embedded_error(details, reply())
    assert type(error) is kind
    assert error.message == "m"


FIELDS = st.sampled_from(
    [
        *("error", "code", "http_status", "message", "metadata", "error_type", "raw", "reasons", "type", "object"),
        *("detail", "availability", "retry_after", "retryable", "fallback_models"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=10,
)


@given(status=st.integers(100, 599), body=st.binary(max_size=40) | JSON.map(lambda value: str(value).encode()))
def test_any_body_makes_an_error(status: int, body: bytes) -> None:
    assert isinstance(failed(status, body), GatewayError)


@given(JSON)
def test_any_details_make_an_error(details: Any) -> None:
    error = to_embedded_error(details, reply())
    assert error.message
    assert len(error.message) <= MESSAGE_LIMIT
