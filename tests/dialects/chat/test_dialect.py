"""The chat dialect as the exchange uses it: whole answers under wrong labels, line separators, usage in odd places."""

from typing import Any

import orjson
import pytest

from gateway.context import Context
from gateway.dialects.base import Answered, Asking, Prepared
from gateway.dialects.chat.dialect import ChatDialect
from gateway.errors import OutputLimitReached
from gateway.messages.prompt import to_prompt
from gateway.messages.replay import to_events
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.exchanges import KEYRING

DIALECT = ChatDialect(KEYRING)
ROUTE = Route("m", Upstream("up", "http://up/v1"), "chat", to_target("m", COMPATIBLE))
HELLO = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)


def prepared() -> Prepared:
    return DIALECT.prepare(to_prompt(dict(HELLO), 100, Context("req_1")), ROUTE, Asking("msg_1", "req_1", "acme"))


def answer_of(body: bytes) -> Answered:
    return DIALECT.answer(body, prepared())


def completion(**usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, **usage}}


@pytest.mark.parametrize("start", [b"", b"\n", b": comment\n\n", b"event: message\n"])
def test_event_stream_labelled_as_json_is_read_as_a_stream(start: bytes) -> None:
    answered = answer_of(start + STREAM)
    assert answered.message["content"][0]["text"] == "Hello"
    assert answered.message["usage"]["input_tokens"] == 9


@pytest.mark.parametrize("end", [b"data: [DONE]", b"\n\ndata: [DONE]\n\n", b""])
def test_done_after_a_json_answer_is_left_out(end: bytes) -> None:
    assert answer_of(orjson.dumps(completion()) + end).message["content"][0]["text"] == "Hello"


def test_line_separators_are_escaped_in_streams() -> None:
    text = "one\u2028two\u2029three\u0085four “quoted”"
    chunk = orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]})
    converter = DIALECT.stream(prepared(), opened=False)
    events = converter.feed(b"data: " + chunk + b"\n\ndata: [DONE]\n\n").decode()
    assert events.splitlines() == events.split("\n")[:-1]
    deltas = [orjson.loads(line[6:]) for line in events.split("\n") if "text_delta" in line]
    assert "".join(delta["delta"]["text"] for delta in deltas) == text
    replayed = to_events({**answer_of(STREAM).message, "content": [{"type": "text", "text": text}]}).decode()
    assert replayed.splitlines() == replayed.split("\n")[:-1]


USAGES = {
    "cached tokens beside the count (Moonshot)": ({"cached_tokens": 60}, (40, 60, 0, 7)),
    "written tokens in vLLM's word": ({"prompt_tokens_details": {"created_cache_tokens": 30}}, (70, 0, 30, 7)),
    "written tokens at the top": ({"cache_creation_tokens": 30}, (70, 0, 30, 7)),
    "reasoning beside completion (xAI)": (
        {"total_tokens": 207, "completion_tokens_details": {"reasoning_tokens": 100}},
        (100, 0, 0, 107),
    ),
    "reasoning within completion": ({"completion_tokens_details": {"reasoning_tokens": 5}}, (100, 0, 0, 7)),
    "counts as floats": ({"prompt_tokens": 9.0, "completion_tokens": 2.0}, (9, 0, 0, 2)),
}


@pytest.mark.parametrize(("usage", "expected"), USAGES.values(), ids=USAGES)
def test_usage_is_read_wherever_it_stands(usage: dict[str, Any], expected: tuple[int, ...]) -> None:
    counted = answer_of(orjson.dumps(completion(**usage))).message["usage"]
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    assert tuple(counted[name] for name in names) == expected


def test_usage_within_the_choice_is_read_in_streams() -> None:
    converter = DIALECT.stream(prepared(), opened=False)
    end = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 100, "completion_tokens": 7}}
    converter.feed(STREAM.split(b"\n\n")[0] + b"\n\ndata: " + orjson.dumps({"choices": [end]}) + b"\n\n")
    assert (converter.usage["input_tokens"], converter.usage["output_tokens"]) == (100, 7)


def test_usage_of_zeros_gives_way_to_an_estimate() -> None:
    answered = answer_of(orjson.dumps(completion(prompt_tokens=0, completion_tokens=0, total_tokens=0)))
    assert answered.origin.estimated
    assert answered.message["usage"]["output_tokens"] > 0


def test_cost_with_a_provider_key_of_ones_own_includes_the_providers_price() -> None:
    body = completion(cost=0.0001, is_byok=True, cost_details={"upstream_inference_cost": 0.02})
    assert answer_of(orjson.dumps(body)).origin.cost == pytest.approx(0.0201)


def test_a_limit_reached_before_any_text_is_an_answer() -> None:
    words = "Could not finish the message because max_tokens or model output limit was reached."
    body = orjson.dumps({"error": {"message": words, "type": "invalid_request_error"}})
    error = DIALECT.error(400, {}, body, prepared())
    assert isinstance(error, OutputLimitReached)
    assert (error.substitute.message["content"], error.substitute.message["stop_reason"]) == ([], "max_tokens")
    assert error.substitute.origin.estimated
