"""JSON answers: the message, its origin, the errors that a success may hold; and that a stream has the same message."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.dialects.base import Origin
from gateway.dialects.chat.response.convert import to_message
from gateway.errors import GatewayError, NotFound, RateLimited, UpstreamError
from gateway.messages.envelope import open_envelope
from gateway.messages.fold import fold_events
from gateway.messages.notes import Note
from tests.support.streams import (
    DONE,
    KEYRING,
    Json,
    call_part,
    calls_during,
    chunk,
    completion,
    convert,
    cut,
    reply,
    sse,
)


def test_every_required_key_is_there_and_nulls_are_explicit() -> None:
    answered = to_message(completion({"content": "Hi"}, usage={"prompt_tokens": 3, "completion_tokens": 1}), reply())
    assert answered.message == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": [{"type": "text", "text": "Hi", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 1,
            "service_tier": "standard",
        },
    }
    assert answered.notes == ()


@pytest.mark.parametrize("message", [{"content": ""}, {"content": None}, {}, None])
def test_an_empty_answer_is_a_message_without_content(message: Any) -> None:
    answered = to_message(completion(message, usage={"prompt_tokens": 3}), reply()).message
    assert (answered["content"], answered["stop_reason"]) == ([], "end_turn")
    assert answered["usage"]["input_tokens"] == 3


ORIGINS: dict[str, tuple[Json, Origin]] = {
    "OpenRouter": (
        {"provider": "Acme", "usage": {"completion_tokens": 1, "cost": 0.5}},
        Origin("acme/writer-2", "Acme", "gen-1", 0.5, estimated=False),
    ),
    "an upstream that tells little": ({"model": None, "id": 7}, Origin(estimated=True)),
    "an upstream without cost": ({"usage": {"completion_tokens": 1}}, Origin("acme/writer-2", None, "gen-1")),
    "empty words": ({"model": "", "provider": "", "id": "", "usage": {}}, Origin(estimated=True)),
}


@pytest.mark.parametrize("case", ORIGINS)
def test_the_origin_of_an_answer_from(case: str) -> None:
    fields, origin = ORIGINS[case]
    assert to_message({**completion({"content": "Hi"}), **fields}, reply()).origin == origin


def test_mended_arguments_are_noted() -> None:
    calls = [call_part(None, '"{}"', "call_1", "f"), call_part(None, "", "call_2", "g")]
    answered = to_message(completion({"tool_calls": calls}), reply())
    assert answered.notes == (Note("changed", "content.0.input", "the upstream's tool arguments were not valid JSON"),)


BROKEN: dict[str, tuple[Any, str]] = {
    "a list": ([], "not a chat completion"),
    "null": (None, "not a chat completion"),
    "no choices": ({"id": "gen-1"}, "holds no choices"),
    "empty choices": ({"choices": []}, "holds no choices"),
    "choices of another shape": ({"choices": {"0": {}}}, "choices of an unknown shape"),
    "a choice of another shape": ({"choices": ["Hi"]}, "choices of an unknown shape"),
    "a message of another shape": (completion("Hi"), "a delta of an unknown shape"),
    "content of another shape": (completion({"content": 5}), "content of an unknown shape"),
    "reasoning of another shape": (completion({"reasoning": 5}), "reasoning of an unknown shape"),
    "details of another shape": (completion({"reasoning_details": {"0": "Hm"}}), "reasoning of an unknown shape"),
    "a detail of another shape": (completion({"reasoning_details": ["Hm"]}), "reasoning of an unknown shape"),
    "a detail without a text": (completion({"reasoning_details": [{"data": "Hm"}]}), "reasoning of an unknown shape"),
    "calls of another shape": (completion({"tool_calls": 5}), "tool calls of an unknown shape"),
    "a call of another shape": (completion({"tool_calls": ["f"]}), "a tool call of an unknown shape"),
    "a function of another shape": (completion({"tool_calls": [{"function": "f"}]}), "a tool call of an unknown shape"),
    "an old call of another shape": (completion({"function_call": "f"}), "a tool call of an unknown shape"),
    "a call without a name": (completion({"tool_calls": [{"id": "c", "function": {}}]}), "a tool call without a name"),
    "a call without a function": (completion({"tool_calls": [{"id": "c"}]}), "a tool call without a name"),
    "arguments that are no object": (completion({"tool_calls": [call_part(0, "[1]", "c", "f")]}), "not a JSON object"),
    "arguments of another shape": (completion({"tool_calls": [call_part(0, [1], "c", "f")]}), "not a JSON object"),
    "a finish of error": (completion({"content": "Hi"}, "error"), "failed while it was answering"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_answer_is_an_error(case: str) -> None:
    answer, words = BROKEN[case]
    with pytest.raises(UpstreamError, match=words):
        to_message(answer, reply())


def test_depth_beyond_writing_is_an_error() -> None:
    deep: Json = {}
    for _ in range(300):
        deep = {"a": deep}
    for message in (
        {"tool_calls": [call_part(0, deep, "c", "f")]},
        {"reasoning_details": [{"type": "new", "a": deep}]},
    ):
        with pytest.raises(UpstreamError, match="too deeply"):
            to_message(completion(message), reply())


ERRORS: dict[str, tuple[Json, type[GatewayError]]] = {
    "beside the choices": ({**completion({"content": "Hi"}), "error": {"code": 429, "message": "slow"}}, RateLimited),
    "instead of the choices": ({"error": {"code": "404", "message": "no model"}}, NotFound),
    "in the choice": (completion({"content": "Hi"}, "error", error={"code": 429, "message": "slow"}), RateLimited),
    "instead of everything": ({"object": "error", "message": "slow", "code": 429}, RateLimited),
}


@pytest.mark.parametrize("place", ERRORS)
def test_an_error_inside_a_success_is_raised(place: str) -> None:
    answer, kind = ERRORS[place]
    with pytest.raises(kind):
        to_message(answer, reply())


# Whole answers, as JSON and as a stream of fragments: the message must be one and the same.

WORDS = st.text(alphabet=["a", " ", "é", "🌍", '"', "\\", "\n"], min_size=1, max_size=8)
VALUES = st.none() | st.booleans() | st.integers(-9, 9) | WORDS | st.lists(WORDS, max_size=2)
INPUTS = st.dictionaries(WORDS, VALUES, max_size=3)
ENTRIES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("reasoning.text"), "text": WORDS}),
        st.fixed_dictionaries({"type": st.just("reasoning.text"), "text": WORDS, "signature": WORDS}),
        st.fixed_dictionaries({"type": st.just("reasoning.summary"), "summary": WORDS}),
        st.fixed_dictionaries({"type": st.just("reasoning.encrypted"), "data": WORDS}),
        st.fixed_dictionaries({"type": st.just("reasoning.new"), "more": INPUTS}),
    ),
    max_size=3,
)
CALLS = st.lists(st.tuples(st.sampled_from(["f", "g.h"]), INPUTS), max_size=3)
MODELS = st.sampled_from(["acme/writer", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro"])


@st.composite
def answers(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """The message of a chat completion, and its deltas."""
    message: Json = {}
    deltas: list[Json] = []
    entries = [{**entry, "index": index} for index, entry in enumerate(draw(ENTRIES))]
    if entries:
        message["reasoning_details"] = entries
        deltas += [{"reasoning_details": [part]} for entry in entries for part in entry_parts(draw, entry)]
    elif draw(st.booleans()):
        message["reasoning"] = draw(WORDS)
        deltas += [{"reasoning": part} for part in parts(draw, message["reasoning"])]
    if draw(st.booleans()):
        message["content"] = draw(WORDS)
        deltas += [{"role": "assistant", "content": part} for part in parts(draw, message["content"])]
    calls = [
        call_part(index, orjson.dumps(arguments).decode(), f"call {index}", name)
        for index, (name, arguments) in enumerate(draw(CALLS))
    ]
    message["tool_calls"] = calls
    deltas += riffled(draw, [call_deltas(draw, call) for call in calls])
    return message, deltas


def parts(draw: st.DrawFn, text: str) -> list[str]:
    positions = draw(st.sets(st.integers(0, len(text)), max_size=3))
    return [text[start:end] for start, end in pairwise([0, *sorted(positions), len(text)])]


def entry_parts(draw: st.DrawFn, entry: Json) -> list[Json]:
    """Text in fragments, then the signature alone, as OpenRouter sends them."""
    name = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(entry["type"])
    if name is None:
        return [entry]
    rest = {key: value for key, value in entry.items() if key not in (name, "signature")}
    fragments: list[Json] = [{**rest, name: part} for part in parts(draw, entry[name])]
    return fragments + ([{**rest, "signature": entry["signature"]}] if "signature" in entry else [])


def call_deltas(draw: st.DrawFn, call: Json) -> list[Json]:
    pieces = [call_part(call["index"], piece) for piece in parts(draw, call["function"]["arguments"])]
    return [
        {"tool_calls": [part]} for part in (call_part(call["index"], "", call["id"], call["function"]["name"]), *pieces)
    ]


def riffled(draw: st.DrawFn, lines: list[list[Json]]) -> list[Json]:
    """All calls begin in their order; then their pieces come in any, each call's own kept."""
    order = [line.pop(0) for line in lines]
    while waiting := [line for line in lines if line]:
        order.append(draw(st.sampled_from(waiting)).pop(0))
    return order


def opened(message: Json) -> Json:
    """Return it with its envelopes open, since the order of keys in them is free."""
    return {
        **message,
        "content": [{name: contents(value) for name, value in block.items()} for block in message["content"]],
    }


def contents(value: Any) -> Any:
    envelope = open_envelope(value, KEYRING) if isinstance(value, str) else None
    return value if envelope is None else envelope


@given(answer=answers(), model=MODELS, shown=st.booleans(), counted=st.booleans(), data=st.data())
@settings(max_examples=200)
def test_a_stream_folds_to_the_json_answer(
    answer: tuple[Json, list[Json]], model: str, shown: bool, counted: bool, data: st.DataObject
) -> None:
    message, deltas = answer
    to = reply(upstream_model=model, show_thinking=shown)
    fields = {"usage": {"prompt_tokens": 9, "completion_tokens": 4}} if counted else {}
    stream = sse(*[chunk(delta) for delta in deltas], chunk({}, "stop", **fields)) + DONE
    told = convert(cut(stream, data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=3))), to)
    answered = to_message(completion(message, "stop", **fields), to)
    assert told.failure is None
    assert opened(fold_events(told.events)) == opened(answered.message)
    assert told.stream.notes == answered.notes


TAGGED = ["<think>why</think>yes", "\n <think>why</think> yes", " <thin", "<b>"]
BESIDE: list[Json] = [
    {},
    {"role": "assistant", "refusal": None, "tool_calls": [], "reasoning": "", "annotations": None},
    {"refusal": "I will not."},
    {"reasoning": "Well."},
    {"reasoning_details": []},
    {"tool_calls": [call_part(0, "{}", "call_1", "look")]},
    {"images": [{"image_url": {"url": "data:"}}]},
    {"a field of tomorrow": 1},
]


@given(
    text=st.text(max_size=20) | st.sampled_from(TAGGED),
    beside=st.sampled_from(BESIDE),
    tags=st.booleans(),
    stops=st.sampled_from([(), ("a", "b")]),
    model=MODELS,
    counted=st.booleans(),
)
@example(text=TAGGED[1], beside={}, tags=True, stops=(), model="m", counted=True)
def test_plain_text_gives_the_message_that_it_gives_piece_by_piece(
    text: str, beside: Json, tags: bool, stops: tuple[str, ...], model: str, counted: bool
) -> None:
    to = reply(upstream_model=model, think_tags=tags, stop_sequences=stops)
    fields: Json = {"usage": {"prompt_tokens": 9, "completion_tokens": 4}} if counted else {}
    content = [{"type": "text", "text": text}] if text else None
    whole, parts = (to_message(completion({"content": said, **beside}, **fields), to) for said in (text, content))
    assert opened(whole.message) == opened(parts.message)
    assert (whole.origin, whole.notes) == (parts.origin, parts.notes)


# Messages that are text alone, and what is expected of their upstream.
PLAIN: dict[str, tuple[Json, Json]] = {
    "text": ({"content": "Hi"}, {}),
    "text with its role": ({"role": "assistant", "content": "Hi"}, {}),
    "text beside empty fields": ({"content": "Hi", "refusal": None, "tool_calls": [], "reasoning": ""}, {}),
    "a tag where none is looked for": ({"content": "<b>Hi</b>"}, {}),
    "text without a tag where one is looked for": ({"content": "Hi"}, {"think_tags": True}),
}


@pytest.mark.parametrize("case", PLAIN)
def test_plain_text_goes_the_short_way(case: str) -> None:
    message, fields = PLAIN[case]
    assert calls_during("add_pieces", lambda: to_message(completion(message), reply(**fields))) == 0


def test_other_messages_go_the_full_way() -> None:
    message = {"content": "Hi", "reasoning": "Well."}
    assert calls_during("add_pieces", lambda: to_message(completion(message), reply())) == 1
