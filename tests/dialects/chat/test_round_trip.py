"""The gateway accepts its own answers when a client gives them back, and can convert them for any upstream."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.response.convert import to_message
from gateway.errors import GatewayError
from gateway.messages.fold import fold_events
from gateway.messages.validation import check_count_tokens_request, check_messages_request
from gateway.messages.validation.blank_text import EMPTY
from gateway.threads.thread import Held, merged, to_turn
from tests.support import conversions as ways
from tests.support.bodies import PNG
from tests.support.streams import Json, call_part, chunk, completion, convert, finish, reply, sse

TARGETS = (ways.CLAUDE, ways.GEMINI, ways.GPT, ways.DEEPSEEK, ways.STRICT, ways.OPENAI, ways.OPENAI_PLAIN)
UPSTREAM_MODELS = ("acme/writer", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro", "deepseek/deepseek-v4")
VERSIONS = ("2023-06-01", "2026-10-21")

WORDS = st.sampled_from(
    ["a", "So.", "\n", "\n\n", " ", "\t", "\u00a0", "\u2028", "<think>", "</think>", "END", "é😀", ""]
)
TEXTS = st.lists(WORDS, max_size=3).map("".join)
IDS = st.sampled_from(["call_0", "call_1", "functions.f:0", "", None, "a b", "é", 5])
NAMES = st.sampled_from(["f", "g", "f", "mcp__s__f", "functions.f", "f<|channel|>commentary", "x" * 300, " ", "é"])
ARGUMENTS = st.sampled_from(
    ["", "{}", '{"a":1}', "null", '"{}"', '{"a":"\\n"}', '{"a":', '{"a":"b', "1}", {"a": 1}, None]
)
ENTRIES = st.sampled_from(
    [
        {"type": "reasoning.text", "text": "Hm", "index": 0},
        {"type": "reasoning.text", "signature": "S", "index": 0},
        {"type": "reasoning.text", "text": "\n", "signature": "S", "index": 1, "format": "anthropic-claude-v1"},
        {"type": "reasoning.summary", "summary": "Hm", "id": "r", "format": "openai-responses-v1"},
        {"type": "reasoning.encrypted", "data": "D", "id": "r"},
        {"type": "reasoning.later", "any": [1]},
    ]
)
ANNOTATIONS = st.sampled_from(
    [
        {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", "end_index": 1}},
        {"type": "url_citation", "url_citation": {"url": "https://b.example", "title": "B", "content": "c"}},
        {"type": "file", "file": {"hash": "h", "name": "n.pdf", "content": [{"type": "text", "text": "t"}]}},
    ]
)
IMAGES = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}},
    ]
)


def part(index: int | None, fragment: Any, call_id: Any, name: str | None) -> Json:
    return call_part(index, fragment, call_id, name)


CALLS = st.builds(part, st.sampled_from([0, 0, 1, 2, None]), ARGUMENTS, IDS, NAMES | st.none())
DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, TEXTS),
    st.builds(lambda text: {"content": text}, TEXTS),
    st.builds(lambda text: {"reasoning": text}, TEXTS),
    st.builds(lambda text: {"reasoning_content": text}, TEXTS),
    st.builds(lambda entry: {"reasoning_details": [entry]}, ENTRIES),
    st.builds(lambda calls: {"tool_calls": calls}, st.lists(CALLS, min_size=1, max_size=2)),
    st.builds(lambda text: {"refusal": text}, TEXTS),
    st.builds(lambda annotation: {"content": "a", "annotations": [annotation]}, ANNOTATIONS),
    st.builds(lambda image: {"images": [image]}, IMAGES),
    st.builds(lambda text: {"audio": {"transcript": text, "data": "QQ=="}}, TEXTS),
    st.just({"reasoning_details": []}),
)
REPLIES = st.builds(
    reply,
    upstream_model=st.sampled_from(UPSTREAM_MODELS),
    show_thinking=st.booleans(),
    shows_images=st.booleans(),
    think_tags=st.booleans(),
    stop_sequences=st.sampled_from([(), (), ("END",), ("\n",)]),
)
REASONS = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


def streamed(deltas: list[Json], reason: str, to: Any) -> Json | None:
    """Return the message of a stream of these; None where it fails."""
    result = convert(sse(*map(chunk, deltas), finish(reason)), to)
    return None if result.failure is not None else fold_events(result.events)


def whole(deltas: list[Json], reason: str, to: Any) -> Json | None:
    """The message of a JSON answer that says much the same."""
    message: Json = {}
    for delta in deltas:
        for name, value in delta.items():
            message[name] = message[name] + value if isinstance(value, str) and name in message else value
    try:
        return to_message(completion(message, reason), to).message
    except GatewayError:
        return None


def next_turn(message: Json) -> Json:
    """Return the user's reply: results of its calls, or a text."""
    calls = [block for block in message["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": "done"} for block in calls]
    return {"role": "user", "content": [*results, {"type": "text", "text": "Go on."}]}


def check_is_accepted(message: Json) -> None:
    """Check at every door, in every version, alone and as the later of two like it, and again as the last message."""
    question = {"role": "user", "content": "Hello"}
    said = {"role": "assistant", "content": message["content"]}
    turns = [question, said, next_turn(message), said, next_turn(message)]
    bodies = [{"model": "any", "max_tokens": 100, "messages": turns}]
    if not any(block["type"] == "tool_use" for block in message["content"]):
        bodies.append({"model": "any", "max_tokens": 100, "messages": [question, said]})
    held = Held({}, [to_turn({"messages": [question]}, message)], message["stop_reason"])
    bodies.append(merged({"model": "any", "max_tokens": 100, "messages": [next_turn(message)]}, held))
    for body in bodies:
        for version in VERSIONS:
            copy = orjson.loads(orjson.dumps(body))  # as a client's body arrives
            check_count_tokens_request(copy, version=version, betas=frozenset())
            request, notes = check_messages_request(copy, version=version, betas=frozenset())
            assert {note.reason for note in notes} <= (set() if message["content"] else {EMPTY})
        for target in TARGETS:
            if target.prefill or body["messages"][-1]["role"] == "user":
                check_calls(to_chat_request(request, target, ways.KEYRING).body["messages"])


def check_calls(messages: Any) -> None:
    """Each call has its result, under one id."""
    assert orjson.dumps(messages)
    called = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert called == answered


@pytest.mark.parametrize("to_answer", [streamed, whole])
@given(deltas=st.lists(DELTAS, max_size=6), reason=REASONS, to=REPLIES)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_every_message_is_accepted_when_it_comes_back(to_answer: Any, deltas: list[Json], reason: str, to: Any) -> None:
    message = to_answer(deltas, reason, to)
    if message is not None:
        check_is_accepted(message)
