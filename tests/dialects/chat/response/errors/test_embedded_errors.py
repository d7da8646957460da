"""Failures inside a 200: recognition, the party at fault, and that none is taken for the end of an answer."""

import pytest

from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.errors.embedded_errors import error_in
from gateway.errors import (
    BillingProblem,
    CredentialsRefused,
    GatewayError,
    InvalidRequest,
    MalformedOutput,
    Overloaded,
    RateLimited,
    UpstreamError,
    UpstreamTimedOut,
)
from tests.support.streams import DONE, Json, chunk, convert, finish, reply, say, sse, usage

WORDS = "the engine went down"

# Bodies in the place of an answer, and the error that each means.
FAILURES: dict[str, tuple[Json, type[GatewayError]]] = {
    "an error object": ({"error": {"message": WORDS}}, UpstreamError),
    "an error in words": ({"error": WORDS}, UpstreamError),
    "an error beside choices": ({"error": {"message": WORDS}, "choices": []}, UpstreamError),
    "an object that is an error": ({"object": "error", "message": WORDS, "code": 500}, UpstreamError),
    "a type that is an error": ({"type": "error", "message": WORDS}, UpstreamError),
    "a detail in words": ({"detail": WORDS}, UpstreamError),
    "a detail that is a list": ({"detail": [{"loc": ["body", "x"], "msg": WORDS}]}, UpstreamError),
    "a message alone": ({"message": WORDS}, UpstreamError),
    "a message and a code": ({"message": WORDS, "code": "500"}, UpstreamError),
    "a message and a code in words": ({"message": WORDS, "code": "ModelError"}, UpstreamError),
    "a code that is a status": ({"message": WORDS, "code": 429}, RateLimited),
    "an error_code that is a status": ({"error_msg": WORDS, "error_code": 503}, Overloaded),
    "a code that no status is": ({"msg": WORDS, "code": 1234}, UpstreamError),
    "no success": ({"success": False, "errors": [{"code": 7009, "message": WORDS}]}, UpstreamError),
    "a list of errors": ({"errors": [{"message": WORDS}]}, UpstreamError),
    "Tencent's": ({"Response": {"Error": {"Code": "FailedOperation", "Message": WORDS}}}, UpstreamError),
    "MiniMax's lack of money": (
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "balance too low"}},
        BillingProblem,
    ),
    "MiniMax's rate limit": ({"base_resp": {"status_code": 1002, "status_msg": WORDS}}, RateLimited),
    "MiniMax's key": ({"base_resp": {"status_code": 2049, "status_msg": WORDS}}, CredentialsRefused),
    "MiniMax's parameters": ({"base_resp": {"status_code": 2013, "status_msg": WORDS}}, InvalidRequest),
    "MiniMax's own failure": ({"base_resp": {"status_code": 1000, "status_msg": WORDS}}, UpstreamError),
    "MiniMax's beside an answer": (
        {"choices": [{"delta": {"content": ""}}], "base_resp": {"status_code": 1027, "status_msg": WORDS}},
        InvalidRequest,
    ),
    "a lack of money in words": ({"code": 1113, "msg": "Insufficient balance"}, BillingProblem),
    "a rate limit in words": ({"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"}, RateLimited),
    "a rate limit by its type": ({"error": {"type": "rate_limit_exceeded", "message": WORDS}}, RateLimited),
    "an overload by its type": ({"error": {"type": "overloaded", "message": WORDS}}, Overloaded),
    "a key in words": ({"message": "Invalid API key provided"}, CredentialsRefused),
    "a timeout in words": ({"error": "upstream request timed out"}, UpstreamTimedOut),
    "a parameter in words": ({"code": 7, "message": "invalid parameter: top_k"}, InvalidRequest),
    "a refusal by its type": (
        {"error": {"type": "invalid_request_error", "message": "the model is overloaded with tools"}},
        InvalidRequest,
    ),
}


def failure_of(stream: bytes) -> GatewayError:
    failure = convert(stream).failure
    assert failure is not None
    return failure


@pytest.mark.parametrize("case", FAILURES)
@pytest.mark.covers("Errors · an error inside a 200")
def test_a_failure_in_place_of_an_answer_is_an_error(case: str) -> None:
    value, kind = FAILURES[case]
    assert type(failure_of(sse(value) + DONE)) is kind
    with pytest.raises(GatewayError) as raised:
        to_message(value, reply())
    assert type(raised.value) is kind


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_in_the_middle_of_an_answer_ends_it_as_an_error(case: str) -> None:
    value, kind = FAILURES[case]
    for ending in (DONE, sse(usage()) + DONE, b""):
        result = convert(sse(say("The first hal"), value) + ending)
        assert type(result.failure) is kind
        assert [event["type"] for event in result.events][-1] == "content_block_delta"


@pytest.mark.parametrize("case", ["a detail in words", "a message alone", "an error in words", "a list of errors"])
def test_the_words_of_a_failure_are_handed_on(case: str) -> None:
    assert WORDS in failure_of(sse(FAILURES[case][0])).message


HARMLESS: dict[str, Json] = {
    "nothing": {},
    "no error": {"error": None},
    "an empty error": {"error": ""},
    "an empty answer": {"object": "chat.completion.chunk", "choices": []},
    "usage with a code": {"choices": [], "usage": {"prompt_tokens": 1}, "code": 5},
    "a good code": {"code": 0, "message": "Success"},
    "a good code in words": {"code": "Success", "message": "done"},
    "MiniMax's good end": {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
    "a ping": {"type": "ping"},
    "a ping with words": {"type": "heartbeat", "message": "still here"},
    "a place in a queue": {"status": "queued", "message": "3 before you"},
    "a filter's result": {"choices": [], "prompt_filter_results": [{"severity": "safe"}]},
    "an answer of another API": {"message": {"role": "assistant", "content": ""}, "done": False},
}


@pytest.mark.parametrize("case", HARMLESS)
def test_text_without_a_failure_is_none(case: str) -> None:
    assert error_in(HARMLESS[case], None, reply()) is None
    result = convert(sse(HARMLESS[case], say("a"), HARMLESS[case], finish()) + DONE)
    assert (result.failure, result.stop["stop_reason"]) == (None, "end_turn")


@pytest.mark.parametrize("name", ["code", "message", "detail", "msg", "success", "error_code"])
def test_a_part_of_an_answer_may_use_any_word(name: str) -> None:
    """iFlytek sends `code` and `message` with each chunk."""
    result = convert(sse({**say("a"), name: False}, {**say("b"), name: "x"}, {**finish(), name: 10}) + DONE)
    assert result.failure is None


NAMED: dict[str, tuple[bytes, str]] = {
    "an object": (b'data: {"message":"the engine went down","code":"500"}', WORDS),
    "an error object": (b'data: {"error":{"message":"the engine went down"}}', WORDS),
    "words": (b"data: the engine went down", WORDS),
    "what looks like a chunk": (b"data: " + sse(say("a")).removeprefix(b"data: ").strip(), "did not say why"),
    "a list": (b'data: ["the engine went down"]', WORDS),
    "null": (b"data: null", "did not say why"),
    "nothing": (b"data:", "did not say why"),
    "no data": (b"id: 7", "did not say why"),
}


@pytest.mark.parametrize("case", NAMED)
@pytest.mark.parametrize("before", [[], [say("The first hal")], [say("a"), say("b"), say("c")]], ids=len)
def test_event_named_error_is_an_error_with_any_data(case: str, before: list[Json]) -> None:
    data, words = NAMED[case]
    stream = sse(*before) + b"event: error\n" + data + b"\n\n"
    assert failure_of(stream + DONE).message
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))], [stream.rstrip()]):
        failure = convert(pieces).failure
        assert isinstance(failure, UpstreamError)
        if case in ("an object", "an error object", "words"):
            assert words in failure.message


def test_an_event_named_error_has_its_status() -> None:
    named = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    assert type(failure_of(sse(say("a")) + named)) is Overloaded


@pytest.mark.parametrize("name", ["ping", "heartbeat", "keepalive"])
@pytest.mark.parametrize("data", [b"data: 2026-11-29 12:00:00", b'data: {"type":"ping"}', b"data:", b"id: 1"])
def test_the_data_of_a_sign_of_life_are_left(name: str, data: bytes) -> None:
    sign = b"event: " + name.encode() + b"\n" + data + b"\n\n"
    result = convert(sign + sse(say("a")) + sign + sse(say("b"), finish()) + sign + DONE)
    assert (result.failure, [block["text"] for block in result.blocks]) == (None, ["ab"])


def test_events_of_other_names_are_chunks() -> None:
    stream = b"event: message\n" + sse(say("a")) + b"event: done\n" + sse(finish()) + DONE
    assert [block["text"] for block in convert(stream).blocks] == ["a"]


@pytest.mark.parametrize("name", ["error", "detail", "message"])
def test_failure_written_as_broken_json_is_an_error(name: str) -> None:
    """transformers 5.19 writes its exception's text between the quotes as it is, over several lines."""
    raw = f'data: {{"{name}": "json parser could not parse region as JSON.\nContent: {{\n\n'.encode()
    for stream in (sse(say("a")) + raw, raw, raw.rstrip()):
        failure = failure_of(stream)
        assert type(failure) is UpstreamError
        assert failure.message.startswith("json parser could not parse region as JSON.")


EMPTY: dict[str, bytes] = {
    "nothing but the end": DONE,
    "comments and the end": b": waiting\n\n" + DONE,
    "usage and the end": sse(usage()) + DONE,
    "no choice": sse({"id": "x", "choices": []}) + DONE,
    "a role and the end": sse(chunk({"role": "assistant", "content": ""})) + DONE,
    "white space and the end": sse(say("\n")) + DONE,
}


@pytest.mark.parametrize("case", EMPTY)
def test_a_stream_without_content_and_reason_is_no_answer(case: str) -> None:
    failure = failure_of(EMPTY[case])
    assert isinstance(failure, UpstreamError)
    assert failure.retryable


def test_a_finish_reason_without_content_is_an_answer() -> None:
    assert convert(sse(chunk({"role": "assistant"}), finish()) + DONE).failure is None


FAILURE_SHAPES: dict[str, bytes] = {
    "an event named exception": b'event: exception\ndata: {"message":"gpu lost"}\n\n',
    "an event named fatal": b"event: fatal\ndata: gpu lost\n\n",
    "an exception as a field": b'data: {"exception":"gpu lost"}\n\n',
    "a short name": b'data: {"err":"gpu lost"}\n\n',
    "a fault of a proxy": b'data: {"fault":{"faultstring":"gpu lost"}}\n\n',
    "an exception of AWS": b'data: {"modelStreamErrorException":{"message":"gpu lost"}}\n\n',
    "an event of Responses": b'data: {"type":"response.failed","response":{"error":{"message":"gpu lost"}}}\n\n',
    "an error within data": b'data: {"data":{"error":"gpu lost"}}\n\n',
    "an error in a list": b'data: [{"error":{"message":"gpu lost"}}]\n\n',
    "an error within the delta": b'data: {"choices":[{"index":0,"delta":{"error":"gpu lost"}}]}\n\n',
    "an error under its description": b'data: {"error parsing tool call":"gpu lost"}\n\n',
    "a flag beside its words": b'data: {"error":true,"message":"gpu lost"}\n\n',
}


@pytest.mark.parametrize("case", FAILURE_SHAPES)
def test_a_failure_of_any_shape_is_never_an_end_of_turn(case: str) -> None:
    for before in (sse(say("The first hal")), b""):
        failure = failure_of(before + FAILURE_SHAPES[case] + DONE)
        assert type(failure) in (UpstreamError, MalformedOutput)
        assert failure.message.removeprefix("error parsing tool call: ") == "gpu lost"


@pytest.mark.parametrize("name", ["model_error_rate", "errors_total", "is_error", "terror"])
def test_names_that_only_resemble_a_failure_are_none(name: str) -> None:
    beside = sse({"id": "x", "choices": [], name: 0}, {"object": "info", name: ""})
    assert convert(sse(say("a")) + beside + sse(finish()) + DONE).failure is None
