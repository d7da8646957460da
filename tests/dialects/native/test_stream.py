"""A native stream, cut anywhere: the client gets the upstream's frames, the failure, or one beginning."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.dialects import json_body
from gateway.dialects.chat.response.calls.tool_arguments import CUT
from gateway.dialects.native.answer import to_answered
from gateway.dialects.native.stream import NativeStream
from gateway.dialects.native.thinking import without_foreign_thinking
from gateway.dialects.reply import Reply
from gateway.errors import Overloaded, UpstreamError
from gateway.messages import events
from gateway.messages.fold import fold_stream
from gateway.messages.notes import Note
from gateway.upstream.models.target import to_target
from tests.support.messages_server import BEGINNING, BLOCK_START, ENDING, MESSAGE, START, STREAM, event, text_delta
from tests.support.streams import read_events

REPLY = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()), input_estimate=7)
PING = event("ping")
STOP = event("message_stop")
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def stream(*, opened: bool = False) -> NativeStream:
    return NativeStream(REPLY, opened=opened)


def expected(told: bytes) -> bytes:
    return told.replace(PING, b"").replace(b'"claude-of-the-upstream"', b'"asked"')


def run(converter: NativeStream, *pieces: bytes) -> bytes:
    return b"".join([converter.feed(piece) for piece in pieces]) + converter.end()


@pytest.mark.parametrize("crlf", [False, True])
def test_stream_cut_at_any_byte_arrives_the_same(crlf: bool) -> None:
    told = STREAM.replace(b"\n", b"\r\n") if crlf else STREAM
    for cut in range(len(told) + 1):
        converter = stream()
        assert run(converter, told[:cut], told[cut:]) == expected(STREAM)
        assert converter.done
        assert (converter.usage["input_tokens"], converter.usage["output_tokens"]) == (12, 5)
        assert (converter.stop_reason, converter.origin.model) == ("end_turn", "claude-of-the-upstream")


def test_stream_that_ends_at_any_byte_fails_and_shows_whole_frames_only() -> None:
    for end in range(STREAM.index(b"event: message_stop") - len(b"\n\n")):
        converter = stream()
        shown = run(converter, STREAM[:end])
        assert isinstance(converter.failure, UpstreamError), end
        assert expected(STREAM).startswith(shown)
        assert not shown or shown.endswith(b"\n\n")
        assert bool(shown) == converter.started


@pytest.mark.parametrize("rest", [b"", b"data: [DONE]\n\n", b"event: message_st"])
def test_stream_without_its_last_event_is_whole_once_it_has_its_stop_reason(rest: bytes) -> None:
    end = STREAM.index(b"event: message_stop")
    converter = stream()
    shown = converter.feed(STREAM[:end] + rest)
    assert converter.is_finished
    assert shown + converter.end() == expected(STREAM)
    assert (converter.failure, converter.done, converter.is_finished) == (None, True, False)


@pytest.mark.parametrize("rest", [b"", b"event: message_st"])
def test_connection_that_breaks_behind_the_stop_reason_ends_a_whole_answer(rest: bytes) -> None:
    end = STREAM.index(b"event: message_stop")
    converter = stream()
    shown = converter.feed(STREAM[:end] + rest)
    assert shown + converter.fail(UpstreamError("The connection broke.")) == expected(STREAM)
    assert (converter.failure, converter.done) == (None, True)


def test_no_event_is_shown_before_the_first_content() -> None:
    converter = stream()
    assert converter.feed(BEGINNING + PING) == b""
    assert not converter.started
    assert converter.feed(text_delta("a")) == expected(BEGINNING) + text_delta("a")


def test_error_before_content_leaves_room_for_another_attempt() -> None:
    converter = stream()
    assert converter.feed(BEGINNING + OVERLOADED) == b""
    assert isinstance(converter.failure, Overloaded)
    assert not converter.started


def test_committed_stream_gets_pings_and_one_beginning_with_exact_usage_at_its_end() -> None:
    converter = stream()
    opening = converter.open()
    assert opening.endswith(events.PING)
    assert converter.feed(BEGINNING) == b""
    assert converter.feed(PING) == events.PING
    assert not converter.started
    told = opening + run(converter, text_delta("a") + ENDING)
    assert told.count(b"event: message_start") == 1
    message = fold_stream(told)
    assert message["usage"]["input_tokens"] == 12
    assert message["usage"]["output_tokens"] == 5


def test_second_attempt_after_the_beginning_sends_no_other() -> None:
    assert not run(stream(opened=True), STREAM).startswith(b"event: message_start")


def test_done_marks_comments_and_unnamed_frames_become_plain_events() -> None:
    unnamed = b"data: " + orjson.dumps({"type": "content_block_stop", "index": 0}) + b"\n\n"
    told = b": OPENROUTER PROCESSING\n\n" + STREAM.replace(event("content_block_stop", index=0), unnamed)
    assert run(stream(), told + b"data: [DONE]\n\n") == expected(STREAM)


def test_left_stream_is_metered_by_its_start_and_an_estimate() -> None:
    converter = stream()
    converter.feed(BEGINNING + text_delta("four" * 10))
    converter.feed(text_delta("four" * 10))
    assert converter.usage["input_tokens"] == 12
    assert 18 <= converter.usage["output_tokens"] <= 22
    assert converter.origin.estimated


@pytest.mark.parametrize("label", [b"", b" \n"])
def test_json_labelled_as_a_stream_is_read_as_a_message(label: bytes) -> None:
    message: dict[str, Any] = {**START, "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    converter = stream()
    told = run(converter, label + orjson.dumps(message))
    assert fold_stream(told)["content"] == [{"type": "text", "text": "hi", "citations": None}]


def test_block_without_deltas_is_content() -> None:
    block = event("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "x"})
    converter = stream()
    converter.feed(BEGINNING.replace(BLOCK_START, b"") + block)
    assert converter.started


def test_signatures_of_other_models_are_sealed_in_streams_and_json() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig-1"}
    redacted = {"type": "redacted_thinking", "data": "data-1"}
    blocks = (
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
        + event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
        + event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "sig-1"})
        + event("content_block_stop", index=0)
        + event("content_block_start", index=1, content_block=redacted)
        + event("content_block_stop", index=1)
    )
    keyring = Keyring((("t", b"secret"),), "acme")
    for model, is_raw in (("claude-opus-4-5", True), ("deepseek-v4", False)):
        reply = Reply("msg_1", "req_1", "asked", model, keyring)
        told = run(NativeStream(reply), BEGINNING.replace(BLOCK_START, b"") + blocks, ENDING.partition(b"\n\n")[2])
        json = to_answered(orjson.dumps({**START, "content": [signed, redacted]}), reply)
        for content in (fold_stream(told)["content"], json.message["content"]):
            assert (content == [signed, redacted]) == is_raw
            request: Any = {"messages": [{"role": "assistant", "content": content}]}
            opened, _ = without_foreign_thinking(request, to_target(model), keyring, drops_all=False)
            assert opened["messages"][0]["content"] == [signed, redacted]
            moved, notes = without_foreign_thinking(request, to_target("glm-5"), keyring, drops_all=False)
            assert is_raw or (moved["messages"] == [] and notes)


def test_chat_chunks_are_not_taken_for_messages() -> None:
    converter = stream()
    converter.feed(b'data: {"choices":[]}\n\n')
    assert isinstance(converter.failure, UpstreamError)


def unnamed(frame: bytes) -> bytes:
    return frame.partition(b"\n")[2]


def unspaced(frame: bytes) -> bytes:
    return frame.replace(b"event: ", b"event:").replace(b"data: ", b"data:")


def numbered(frame: bytes) -> bytes:
    return b"id: 7\n" + frame


def untyped(frame: bytes) -> bytes:
    return re.sub(rb'"type":"(?:content_block|message)_\w+",?', b"", frame)


def untyped_with_a_mark(frame: bytes) -> bytes:
    return untyped(frame).replace(b"event: message_stop\ndata: {}", b"event: message_stop\ndata: [DONE]")


def misnamed(frame: bytes) -> bytes:
    return re.sub(rb"event: (?:content_block|message)_\w+", b"event: message", frame)


@pytest.mark.parametrize("spell", [unnamed, unspaced, numbered, untyped, untyped_with_a_mark, misnamed])
def test_frames_in_other_spellings_arrive_as_the_canonical_ones(spell: Callable[[bytes], bytes]) -> None:
    signed = event("content_block_start", index=1, content_block={"type": "redacted_thinking", "data": "data-1"})
    frames = [BEGINNING.partition(b"\n\n")[0] + b"\n\n", BLOCK_START, text_delta("a"), event("ping")]
    frames += [event("content_block_stop", index=0), signed, event("content_block_stop", index=1)]
    frames += [frame + b"\n\n" for frame in ENDING.split(b"\n\n")[1:-1]]
    reply = Reply("msg_1", "req_1", "asked", "deepseek-v4", Keyring((("t", b"secret"),), "acme"))
    told, plain = (run(NativeStream(reply), *pieces) for pieces in (map(spell, frames), frames))
    assert b"data-1" not in told
    assert fold_stream(told) == fold_stream(plain)
    assert re.findall(rb"event: (\w+)", told) == re.findall(rb"event: (\w+)", plain)


def test_text_about_the_type_of_an_event_is_no_type() -> None:
    text = '{"type":"content_block_delta"}'
    told = untyped(text_delta(text)) + text_delta(text)
    shown = run(stream(), BEGINNING, told, event("content_block_stop", index=0), LAST)
    assert fold_stream(shown)["content"] == [{"type": "text", "text": text * 2}]


@pytest.mark.parametrize("name", ["exception", "fatal"])
def test_failure_under_another_name_of_its_event_is_one(name: str) -> None:
    converter = stream()
    converter.feed(BEGINNING + OVERLOADED.replace(b"event: error", f"event: {name}".encode()))
    assert isinstance(converter.failure, Overloaded)


def test_usage_and_fields_that_the_upstream_left_out_are_filled_in() -> None:
    bare = event("message_start", message={"type": "message", "role": "assistant", "content": []})
    end = event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")
    converter = stream()
    told = run(converter, bare + BLOCK_START + text_delta("four" * 10) + event("content_block_stop", index=0) + end)
    message = fold_stream(told)
    assert (message["id"], message["model"]) == ("msg_1", "asked")
    assert message["usage"]["input_tokens"] == 7
    assert 9 <= message["usage"]["output_tokens"] <= 11
    assert converter.origin.estimated


def test_stop_sequence_that_the_upstream_left_out_is_null() -> None:
    """vLLM 0.32 leaves out what is null."""
    body = {name: value for name, value in MESSAGE.items() if name != "stop_sequence"}
    reply = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()))
    written = to_answered(orjson.dumps(body), reply).written
    assert written is None
    assert to_answered(orjson.dumps(body), reply).message["stop_sequence"] is None
    ending = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
    shown = run(stream(), BEGINNING, text_delta("Hello"), event("content_block_stop", index=0), ending, STOP)
    assert b'"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}' in shown


def test_changed_message_that_nests_too_deeply_is_a_failure_of_the_upstream() -> None:
    deep = b'{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": %b%b}}' % (b"[" * 300, b"]" * 300)
    body = orjson.dumps({name: value for name, value in MESSAGE.items() if name not in ("stop_sequence", "content")})
    with pytest.raises(UpstreamError, match="nests too deeply"):
        to_answered(body[:-1] + b', "content": [%b]}' % deep, Reply("msg_1", "req_1", "asked", "m", Keyring(())))


def test_call_without_input_has_an_empty_one() -> None:
    """vLLM 0.32 writes a call without arguments so, and llama.cpp the start of each."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "look"}
    reply = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()))
    answered = to_answered(orjson.dumps({**MESSAGE, "content": [call]}), reply)
    assert (answered.written, answered.message["content"]) == (None, [{**call, "input": {}}])
    start = event("content_block_start", index=0, content_block=call)
    shown = run(stream(), event("message_start", message=START), start, ENDING)
    assert fold_stream(shown)["content"] == [{**call, "input": {}}]


def start(index: int, kind: str, **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index: int, **fields: str) -> bytes:
    """A delta by the field that it adds to."""
    (name,) = fields
    kind = {"partial_json": "input_json_delta"}.get(name, f"{name}_delta")
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


TEXT, THOUGHT = {"text": ""}, {"thinking": "", "signature": ""}
CALL = {"id": "toolu_1", "name": "look", "input": {}}
LAST = ENDING.partition(b"\n\n")[2]
IN_ORDER = (
    start(0, "thinking", **THOUGHT) + delta(0, thinking="Hm") + delta(0, signature="s") + stop(0)
    + start(1, "text", **TEXT) + delta(1, text="a") + delta(1, text="b") + stop(1)
    + start(2, "tool_use", **CALL) + delta(2, partial_json='{"a":') + delta(2, partial_json="1}") + stop(2)
    + start(3, "server_tool_use", **CALL) + delta(3, partial_json="{}") + stop(3)
    + start(4, "unknown") + event("content_block_delta", index=4, delta={"type": "unknown_delta"}) + stop(4)
)  # fmt: skip

# Blocks as servers write them, and the blocks that the client gets.
DISORDERED: dict[str, tuple[bytes, list[tuple[str, Any]]]] = {
    "a block begins under the index of an open one": (
        start(0, "text", **TEXT) + delta(0, text="-") + start(0, "thinking", **THOUGHT) + delta(0, thinking="Hm")
        + stop(0) + start(1, "text", **TEXT) + delta(1, text="a") + delta(1, text="b") + stop(1),
        [("text", "-"), ("thinking", "Hm"), ("text", "ab")],
    ),
    "the end of thinking comes after the next block (llama.cpp)": (
        start(0, "thinking", thinking="") + delta(0, thinking="Hm")
        + start(1, "tool_use", id="toolu_1", name="look") + delta(1, partial_json='{"a"') + delta(1, partial_json=":1}")
        + delta(0, signature="") + stop(0) + stop(1),
        [("thinking", "Hm"), ("tool_use", {"a": 1})],
    ),
    "thinking comes in a block of text": (
        start(0, "text", **TEXT) + delta(0, thinking="H") + delta(0, thinking="m") + delta(0, text="a")
        + delta(0, text="b") + stop(0),
        [("thinking", "Hm"), ("text", "ab")],
    ),
    "text comes after a call without a block": (
        start(0, "tool_use", **CALL) + delta(0, partial_json="{}") + delta(0, text="a") + stop(0),
        [("tool_use", {}), ("text", "a")],
    ),
    "an index is skipped": (
        start(0, "thinking", **THOUGHT) + delta(0, thinking="Hm") + stop(0)
        + start(2, "tool_use", **CALL) + delta(2, partial_json='{"a":1}') + stop(2)
        + start(3, "text", **TEXT) + delta(3, text="a") + delta(3, text="b") + stop(3),
        [("thinking", "Hm"), ("tool_use", {"a": 1}), ("text", "ab")],
    ),
    "indexes begin at 1": (
        start(1, "text", **TEXT) + delta(1, text="a") + delta(1, text="b") + stop(1),
        [("text", "ab")],
    ),
    "the ends are missing": (
        start(0, "text", **TEXT) + delta(0, text="a") + start(1, "tool_use", **CALL) + delta(1, partial_json="{}"),
        [("text", "a"), ("tool_use", {})],
    ),
    "blocks end that never began": (
        stop(0) + start(0, "text", **TEXT) + delta(0, text="a") + stop(0) + stop(1) + stop(0),
        [("text", "a")],
    ),
    "no block begins": (delta(0, text="a") + delta(0, text="b") + stop(0), [("text", "ab")]),
    "an empty delta is of another block (litellm)": (
        start(0, "thinking", **THOUGHT) + delta(0, thinking="Hm") + delta(0, partial_json="") + delta(0, text="")
        + stop(0) + delta(0, text="") + start(1, "tool_use", **CALL) + delta(1, partial_json='{"a":1}') + stop(1),
        [("thinking", "Hm"), ("tool_use", {"a": 1})],
    ),
    "an empty block comes first": (
        start(0, "text", **TEXT) + stop(0) + start(1, "text", **TEXT) + delta(1, text="a") + stop(1),
        [("text", "a")],
    ),
    "an empty text without an end comes first": (
        start(0, "text", **TEXT) + start(1, "text", **TEXT) + delta(1, text="a") + stop(1),
        [("text", "a")],
    ),
    "a text has nothing but an empty delta": (
        b"".join((start(0, "text", **TEXT), delta(0, text=""), stop(0)))
        + b"".join((start(1, "text", **TEXT), delta(1, text="a"), stop(1))),
        [("text", "a")],
    ),
    "an empty text comes last": (
        start(0, "text", **TEXT) + delta(0, text="a") + stop(0) + start(1, "text", **TEXT) + stop(1),
        [("text", "a")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DISORDERED)
def test_blocks_out_of_order_are_put_in_order(case: str) -> None:
    frames, blocks = DISORDERED[case]
    told = event("message_start", message=START) + frames + LAST
    for pieces in ([told], [frame + b"\n\n" for frame in told.split(b"\n\n")[:-1]]):
        content = fold_stream(run(stream(), *pieces))["content"]
        assert all("signature" in block for block in content if block["type"] == "thinking")
        fields = {"text": "text", "thinking": "thinking", "tool_use": "input"}
        assert [(block["type"], block[fields[block["type"]]]) for block in content] == blocks


def test_blocks_in_order_arrive_as_they_were_written_however_they_are_cut() -> None:
    last = LAST.replace(b"end_turn", b"tool_use")
    told = event("message_start", message=START) + IN_ORDER + last
    for cut in range(0, len(told), 3):
        assert run(stream(), told[:cut], told[cut:]) == expected(told)


@pytest.mark.parametrize("told_reason", [{"stop_reason": "end_turn"}, {"stop_reason": None}, {}, None])
@pytest.mark.parametrize(("kind", "reason"), [("text", "end_turn"), ("tool_use", "tool_use")])
def test_stop_reason_is_that_of_the_blocks_where_the_upstream_has_none_or_has_calls(
    told_reason: dict[str, Any] | None, kind: str, reason: str
) -> None:
    block = start(0, "tool_use", **CALL) if kind == "tool_use" else start(0, "text", **TEXT) + delta(0, text="a")
    ends = [] if told_reason is None else [event("message_delta", delta=told_reason, usage={"output_tokens": 5})]
    converter = stream()
    message = fold_stream(run(converter, event("message_start", message=START), block, stop(0), *ends, STOP))
    assert (message["stop_reason"], message["stop_sequence"], converter.stop_reason) == (reason, None, reason)
    content = [CALL | {"type": "tool_use"}] if kind == "tool_use" else MESSAGE["content"]
    body = {name: value for name, value in MESSAGE.items() if name != "stop_reason"} | (told_reason or {})
    reply = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()))
    assert to_answered(orjson.dumps({**body, "content": content}), reply).message["stop_reason"] == reason


# A model, what its server reports at the end, and the stop reason that the client gets.
ENDED: list[tuple[str, dict[str, Any], str]] = [
    ("qwen3", {"stop_reason": "end_turn", "stop_sequence": "STOP"}, "stop_sequence"),
    ("qwen3", {"stop_reason": "max_tokens", "stop_sequence": "STOP"}, "max_tokens"),
    ("qwen3", {"stop_reason": "end_turn", "stop_sequence": ""}, "end_turn"),
    ("claude-opus-5", {"stop_reason": "end_turn", "stop_sequence": "STOP"}, "end_turn"),
    ("glm-5", {"stop_reason": "stop"}, "end_turn"),
    ("glm-5", {"stop_reason": "length"}, "max_tokens"),
    ("glm-5", {"stop_reason": "tool_calls"}, "end_turn"),  # without a call
    ("claude-opus-5", {"stop_reason": "tool_use"}, "tool_use"),
    ("glm-5", {"stop_reason": "sensitive"}, "refusal"),
    ("claude-opus-5", {"stop_reason": "a_word_of_tomorrow"}, "a_word_of_tomorrow"),
]


@pytest.mark.parametrize(("model", "ended", "reason"), ENDED)
def test_stop_sequence_that_a_server_names_is_the_stop_reason(model: str, ended: dict[str, Any], reason: str) -> None:
    reply = Reply("msg_1", "req_1", "asked", model, Keyring((("t", b"secret"),), "acme"))
    end = event("message_delta", delta=ended, usage={"output_tokens": 5}) + STOP
    assert fold_stream(run(NativeStream(reply), BEGINNING + text_delta("a") + stop(0) + end))["stop_reason"] == reason
    assert to_answered(orjson.dumps({**MESSAGE, **ended}), reply).message["stop_reason"] == reason


def test_input_that_a_call_begins_with_comes_as_a_delta_too() -> None:
    """Claude Code joins deltas, and leaves out the input of the block's start."""
    frames = start(0, "tool_use", **CALL | {"input": {"a": 1}}) + stop(0)
    shown = run(stream(), event("message_start", message=START), frames, LAST)
    assert events.delta(0, events.TOOL_INPUT, '{"a":1}') in shown
    doubled = start(0, "tool_use", **CALL | {"input": {"a": 1}}) + delta(0, partial_json='{"a":1}') + stop(0)
    content = fold_stream(run(stream(), event("message_start", message=START), doubled, LAST))["content"]
    assert content[0]["input"] == {"a": 1}


def test_call_without_arguments_may_have_empty_deltas() -> None:
    frames = start(0, "tool_use", **CALL) + delta(0, partial_json="") + delta(0, partial_json="") + stop(0)
    shown = run(stream(), event("message_start", message=START), frames, LAST)
    assert fold_stream(shown)["content"][0]["input"] == {}


def test_usage_within_the_last_delta_is_taken() -> None:
    end = event("message_delta", delta={"stop_reason": "end_turn", "usage": {"output_tokens": 15}})
    converter = stream()
    message = fold_stream(run(converter, BEGINNING + text_delta("a") + stop(0) + end + STOP))
    assert message["usage"]["output_tokens"] == converter.usage["output_tokens"] == 15
    assert converter.has_usage


@pytest.mark.parametrize(
    ("content", "blocks"),
    [
        ("fine", [{"type": "text", "text": "fine"}]),
        ([{**CALL, "type": "tool_use", "input": '{"a": 1}'}], [{**CALL, "type": "tool_use", "input": {"a": 1}}]),
        ([{**CALL, "type": "tool_use", "input": ""}], [{**CALL, "type": "tool_use", "input": {}}]),
        ([{"type": "thinking", "thinking": "Hm"}], [{"type": "thinking", "thinking": "Hm", "signature": ""}]),
    ],
    ids=["a text", "arguments as JSON", "no arguments", "thinking without a signature"],
)
def test_content_in_other_forms_becomes_blocks(content: Any, blocks: list[Any]) -> None:
    reply = Reply("msg_1", "req_1", "asked", "glm-5", Keyring(()))
    answered = to_answered(orjson.dumps({**MESSAGE, "content": content}), reply)
    assert (answered.message["content"], answered.written) == (blocks, None)


def test_error_event_with_words_alone_keeps_them() -> None:
    converter = stream()
    run(converter, BEGINNING + text_delta("a") + event("error", error="gpu lost"))
    assert isinstance(converter.failure, UpstreamError)
    assert converter.failure.message == "gpu lost"


def test_renumbered_blocks_keep_what_else_is_repaired_in_them() -> None:
    frames = (
        start(3, "tool_use", id="toolu_1", name="look") + stop(3) + start(4, "redacted_thinking", data="d") + stop(4)
    )
    reply = Reply("msg_1", "req_1", "asked", "deepseek-v4", Keyring((("t", b"secret"),), "acme"))
    content = fold_stream(run(NativeStream(reply), event("message_start", message=START) + frames + LAST))["content"]
    assert content[0]["input"] == {}
    assert content[1]["data"].startswith("gw2.")


def test_renumbered_events_may_lack_their_type() -> None:
    frames = start(1, "text", **TEXT) + delta(1, text="a") + stop(1)
    untyped = re.sub(rb'"type":"content_block_\w+",', b"", frames)
    told = run(stream(), event("message_start", message=START), untyped, LAST)
    assert told == run(
        stream(), event("message_start", message=START), untyped.replace(b'"index":1', b'"index":0'), LAST
    )


@pytest.mark.parametrize(
    "mixed",
    [
        start(0, "tool_use", **CALL) + start(1, "tool_use", **CALL) + delta(0, partial_json="{}"),
        start(0, "text", **TEXT) + delta(0, text="a") + delta(1, text="b") + delta(0, text="c"),
        delta(0, partial_json="{}"),
    ],
    ids=["two calls at once", "two texts at once", "arguments of no call"],
)
def test_parts_of_several_blocks_at_once_are_an_error_rather_than_one_block(mixed: bytes) -> None:
    for pieces in ([mixed], [frame + b"\n\n" for frame in mixed.split(b"\n\n")[:-1]]):
        converter = stream()
        run(converter, event("message_start", message=START), *pieces, LAST)
        assert isinstance(converter.failure, UpstreamError)
        assert "mixes" in converter.failure.message


def test_answers_have_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MAX_BODY_BYTES", 1000)
    message = orjson.dumps({**START, "content": [{"type": "text", "text": "a" * 1000}]})
    collecting = NativeStream(Reply("msg_1", "req_1", "asked", "m", Keyring(())), collects=True)
    for converter, told in ((stream(), message), (collecting, BEGINNING + text_delta("a" * 1000))):
        run(converter, told)
        assert isinstance(converter.failure, UpstreamError)
        assert "larger" in converter.failure.message


@pytest.mark.parametrize("collects", [False, True])
@pytest.mark.parametrize(
    "odd",
    [
        event("content_block_delta", index=0, delta=5),
        event("content_block_delta", index=0, delta={"type": []}),
        event("content_block_start", index=1, content_block=5),
        event("content_block_start", index=1, content_block={"type": "", "id": "a"}),
        event("content_block_start", index=1, content_block={"type": "tool_use", "id": "a", "name": None, "input": {}}),
        b"event: content_block_delta\ndata: {oops\n\n",
    ],
    ids=["a delta of no form", "a type of no form", "a block of no form", "no type", "no name", "no JSON"],
)
def test_stream_with_an_event_that_cannot_be_read_is_an_upstream_error(odd: bytes, collects: bool) -> None:
    stream = NativeStream(Reply("msg_1", "req_1", "asked", "m", Keyring(())), collects=collects)
    told = run(stream, BEGINNING + text_delta("Hel") + odd + ENDING)
    assert isinstance(stream.failure, UpstreamError)
    assert b"message_stop" not in told


@pytest.mark.parametrize(
    "empty",
    [
        event("content_block_delta", index=0, delta={"type": "text_delta"}),
        event("content_block_delta", index=0, delta={}),
        event("content_block_delta", index=0, delta=None),
        event("content_block_delta", index=0),
    ],
    ids=["no text", "nothing", "null", "no delta"],
)
def test_delta_without_content_adds_nothing(empty: bytes) -> None:
    message = fold_stream(run(stream(), BEGINNING + text_delta("Hel") + empty + text_delta("lo") + ENDING))
    assert [block["text"] for block in message["content"]] == ["Hello"]


@pytest.mark.parametrize("block", [None, {}], ids=["null", "nothing"])
def test_block_that_its_start_says_nothing_of_begins_with_its_first_delta(block: Any) -> None:
    begun = event("message_start", message=START) + event("content_block_start", index=0, content_block=block)
    message = fold_stream(run(stream(), begun + text_delta("Hello") + ENDING))
    assert message["content"] == [{"type": "text", "text": "Hello"}]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "", "signature": None},
        {"type": "thinking", "thinking": None, "signature": None},
        {"type": "thinking"},
        {"thinking": ""},
    ],
    ids=["no signature", "nulls", "nothing else", "no type"],
)
def test_start_of_thinking_has_the_fields_that_clients_join(block: Any) -> None:
    thought = event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm"})
    begun = event("message_start", message=START) + event("content_block_start", index=0, content_block=block)
    message = fold_stream(run(stream(), begun + thought + ENDING))
    assert message["content"] == [{"type": "thinking", "thinking": "Hm", "signature": ""}]


@pytest.mark.parametrize(
    "odd",
    [
        {"id": None},
        {"id": 7, "model": None},
        {"role": None, "type": None},
        {"content": [{"type": "text", "text": ""}]},
        {"usage": 5},
        {"usage": {"output_tokens": 1}},
        {"usage": {"input_tokens": None, "output_tokens": 1}},
        {"usage": {"input_tokens": "many", "output_tokens": -1}},
    ],
    ids=str,
)
def test_message_start_has_what_clients_read_of_it(odd: dict[str, Any]) -> None:
    told = run(stream(), event("message_start", message={**START, **odd}) + STREAM.partition(b"\n\n")[2])
    begun = read_events(told)[0]["message"]
    assert all(isinstance(begun[name], str) for name in ("id", "type", "role", "model"))
    assert begun["content"] == []
    counts = begun["usage"]
    assert all(type(counts[name]) is int and counts[name] >= 0 for name in ("input_tokens", "output_tokens"))
    assert fold_stream(told)["content"] == [{"type": "text", "text": "Hello"}]


def test_calls_have_an_id_each() -> None:
    """Some servers leave ids out, and some give one to all calls of an answer."""
    calls = [{"type": "tool_use", "name": "look", "input": {}, **given} for given in ({}, {"id": "a"}, {"id": "a"})]
    reply = Reply("msg_1", "req_1", "asked", "m", Keyring(()))
    answered = to_answered(orjson.dumps({**MESSAGE, "content": calls}), reply).message["content"]
    starts = [
        event("content_block_start", index=place, content_block=call) + stop(place) for place, call in enumerate(calls)
    ]
    streamed = fold_stream(run(stream(), event("message_start", message=START), *starts, ENDING))["content"]
    for blocks in (answered, streamed):
        assert [block["id"] for block in blocks] == ["toolu_msg_1_0", "a", "toolu_msg_1_2"]


def test_usage_of_nulls_is_estimated() -> None:
    nulls = {"input_tokens": None, "output_tokens": None}
    ending = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=nulls)
    start = event("message_start", message={**START, "usage": nulls})
    usage = fold_stream(run(stream(), start, BLOCK_START, text_delta("Hello"), stop(0), ending, STOP))["usage"]
    reply = Reply("msg_1", "req_1", "asked", "m", Keyring(()), input_estimate=7)
    answered = to_answered(orjson.dumps({**MESSAGE, "usage": nulls}), reply)
    for counts in (usage, answered.message["usage"]):
        assert counts["input_tokens"] == 7
        assert counts["output_tokens"] > 0
    assert answered.origin.estimated


def test_corrected_event_that_nests_too_deeply_is_a_failure_of_the_upstream() -> None:
    deep = b"[" * 400 + b"]" * 400
    call = {"type": "tool_use", "name": "look", "input": {}, "more": "DEEP"}
    start = event("content_block_start", index=0, content_block=call).replace(b'"DEEP"', deep)
    passing = stream()
    run(passing, event("message_start", message=START), start)
    assert isinstance(passing.failure, UpstreamError)


SIGNED = {"thinking": "hm", "signature": "SIG"}
ODD_DELTAS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "the signature beside the thinking": (
        start(0, "thinking", thinking="")
        + event("content_block_delta", index=0, delta={"type": "thinking_delta", **SIGNED}),
        {"type": "thinking", **SIGNED},
    ),
    "a text in the start": (start(0, "text", text="Hi"), {"type": "text", "text": "Hi"}),
    "a text in the start and behind it": (
        start(0, "text", text="H") + delta(0, text="i"),
        {"type": "text", "text": "Hi"},
    ),
    "thinking in the start": (start(0, "thinking", **SIGNED), {"type": "thinking", **SIGNED}),
    "no text in the start": (start(0, "text", text=None) + delta(0, text="Hi"), {"type": "text", "text": "Hi"}),
    "null before a text": (
        start(0, "text", text="") + delta(0, text=None) + delta(0, text="Hi"),
        {"type": "text", "text": "Hi"},
    ),
    "no type": (
        start(0, "text", text="") + event("content_block_delta", index=0, delta={"text": "Hi"}),
        {"type": "text", "text": "Hi"},
    ),
    "arguments as an object": (
        start(0, "tool_use", **CALL) + delta(0, partial_json={"a": 1}),
        {"type": "tool_use", **CALL, "input": {"a": 1}},
    ),
    "arguments under another name": (
        start(0, "tool_use", **CALL)
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "input": {}}),
        {"type": "tool_use", **CALL, "input": {}},
    ),
}


def joined(shown: bytes) -> dict[str, Any]:
    """The first block as Claude Code folds it: what a block began with is left out."""
    block: dict[str, Any] = {}
    arguments = ""
    for frame in shown.split(b"\n\n"):
        told = orjson.loads(frame.partition(b"data: ")[2] or b"{}")
        if told.get("type") == "content_block_start":
            empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}
            block = told["content_block"] | empty.get(told["content_block"]["type"], {})
        elif told.get("type") == "content_block_delta":
            change = told["delta"]
            arguments += change.get("partial_json", "")
            for part in ("text", "thinking", "signature"):
                if part in change:
                    block[part] += change[part]
    return block | ({"input": orjson.loads(arguments or "{}")} if block["type"] == "tool_use" else {})


@pytest.mark.parametrize("case", ODD_DELTAS)
def test_content_in_an_unusual_delta_reaches_clients_that_join_deltas(case: str) -> None:
    frames, block = ODD_DELTAS[case]
    reason = "tool_use" if block["type"] == "tool_use" else "end_turn"
    end = event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 5})
    told = event("message_start", message=START) + frames + stop(0) + end + STOP
    whole = joined(run(stream(), told))
    assert whole == block
    for cut in range(0, len(told), 11):
        converter = stream()
        assert joined(converter.feed(told[:cut]) + converter.feed(told[cut:]) + converter.end()) == block


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 0, "output_tokens": 5}, (12, 0)),
        ({"input_tokens": "14", "output_tokens": "5"}, (14, 0)),
        ({"input_tokens": 0, "cache_read_input_tokens": 12, "output_tokens": 5}, (0, 12)),
    ],
)
def test_input_of_the_last_delta_is_never_less_than_counted(usage: dict[str, Any], tokens: tuple[int, int]) -> None:
    begun = event("message_start", message={**START, "usage": {"input_tokens": 12, "output_tokens": 1}})
    end = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage)
    converter = stream()
    shown = run(converter, begun + start(0, "text", text="") + delta(0, text="a") + stop(0) + end + STOP)
    told = fold_stream(shown)["usage"]
    for counts in (told, converter.usage):
        assert (counts["input_tokens"], counts.get("cache_read_input_tokens") or 0) == tokens
        assert counts["output_tokens"] == 5


def test_input_that_is_not_counted_is_estimated() -> None:
    converter = NativeStream(Reply("msg_1", "req_1", "asked", "qwen3", Keyring(()), input_estimate=7))
    begun = event("message_start", message={name: value for name, value in START.items() if name != "usage"})
    run(converter, begun + start(0, "text", text="") + delta(0, text="a") + stop(0) + LAST)
    assert converter.usage["input_tokens"] == 7


TEXT_BLOCK = {"type": "text", "text": "Hi"}
ODD_BLOCKS: dict[str, tuple[list[Any], list[Any]]] = {
    "no text": ([{"type": "text", "text": None}, TEXT_BLOCK], [TEXT_BLOCK]),
    "a mere text, and null": (["Hi", None], [TEXT_BLOCK]),
    "a text without a type": ([{"text": "Hi"}], [TEXT_BLOCK]),
    "thinking that is null": (
        [{"type": "thinking", "thinking": None, "signature": None}],
        [{"type": "thinking", "thinking": "", "signature": ""}],
    ),
}


@pytest.mark.parametrize("case", ODD_BLOCKS)
def test_unusual_blocks_of_an_answer_are_usual_ones(case: str) -> None:
    told, blocks = ODD_BLOCKS[case]
    reply = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()))
    answered = to_answered(orjson.dumps({**MESSAGE, "content": told}), reply)
    assert (answered.message["content"], answered.written) == (blocks, None)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input_tokens": "9", "output_tokens": "5"}, (9, 5)),
        ({"input_tokens": 9.0, "output_tokens": 5.0}, (9, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 5}, (9, 5)),
        ({"output_tokens": 5}, (7, 5)),
        ({"input_tokens": 9}, (9, 2)),
        ({"input_tokens": 9, "output_tokens": None}, (9, 2)),
        ({"input_tokens": -9, "output_tokens": True}, (7, 2)),
        ({"input_tokens": "many", "output_tokens": [5]}, (7, 2)),
        ({}, (7, 2)),
    ],
)
def test_unusual_counts_of_an_answer_are_numbers(usage: dict[str, Any], counts: tuple[int, int]) -> None:
    reply = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()), input_estimate=7)
    answered = to_answered(orjson.dumps({**MESSAGE, "usage": usage}), reply)
    shown = answered.message["usage"]
    assert (shown["input_tokens"], shown["output_tokens"], answered.written) == (*counts, None)


CALL_START = event(
    "content_block_start", index=0, content_block={"type": "tool_use", "id": "t1", "name": "look", "input": {}}
)


def call_stream(*pieces: str, stop_reason: str | None = "tool_use", tokens: int = 5) -> bytes:
    deltas = [
        event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
        for piece in pieces
    ]
    reason = event(
        "message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage={"output_tokens": tokens}
    )
    start = event("message_start", message=START)
    return b"".join([start, CALL_START, *deltas, event("content_block_stop", index=0), reason, event("message_stop")])


def arguments_of(told: bytes) -> str:
    payloads = [orjson.loads(line[6:]) for line in told.split(b"\n") if line.startswith(b"data: ")]
    deltas = [payload["delta"] for payload in payloads if payload["type"] == "content_block_delta"]
    return "".join([delta["partial_json"] for delta in deltas])


@pytest.mark.parametrize(
    ("pieces", "meant"),
    [
        (("{'a': ", "'b'}"), '{"a": "b"}'),
        (('{"a": "b\n', 'c",}'), '{"a": "b\\nc"}'),
        (('"{\\"a\\": ', '1}"'), '{"a": 1}'),
        (("{}", '{"a": 1}'), '{"a": 1}'),
        (("{}",), "{}"),
        ((), ""),
        (('{"a": 1}', "}"), '{"a": 1}'),
        (('{"a": "b"',), '{"a": "b"}'),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_arguments_that_are_nearly_json_are_repaired_but_for_claudes(
    pieces: tuple[str, ...], meant: str, together: bool
) -> None:
    data = call_stream(*pieces)
    for model, wanted in (("other-model", meant), ("claude-x", "".join(pieces))):
        stream = NativeStream(replace(REPLY, upstream_model=model))
        parts = [data] if together else [part + b"\n\n" for part in data.split(b"\n\n")[:-1]]
        told = b"".join([stream.feed(part) for part in parts])
        assert stream.failure is None
        assert arguments_of(told) == wanted
        assert stream.done
        is_noted = [note.text for note in stream.notes] == ["changed:content.0.input"]
        assert is_noted == (wanted != "".join(pieces) and pieces[0] != "{}")


OTHERS = replace(REPLY, upstream_model="other-model", max_tokens=9)
# The arguments, the upstream's reason, and how many tokens it counts.
CUT_CALLS: dict[str, tuple[str, str | None, int]] = {
    "at the limit": ('{"a": 1, "b": "c', "max_tokens", 9),
    "at the limit, by another name": ('{"a": 1, "b": "c', "length", 9),
    "within a number at the limit": ('{"a": 1, "b": 2', "max_tokens", 9),
    "within a number at a limit that is not told": ('{"a": 1, "b": 2', "tool_use", 9),
    "where no brackets complete it": ('{"a": 1, "b": "c', "tool_use", 5),
    "without a reason": ('{"a": 1, "b": 2', None, 5),
}


@pytest.mark.parametrize("case", CUT_CALLS)
@pytest.mark.parametrize("size", [1, 5, 100])
def test_cut_call_ends_in_null_and_is_never_one_to_run(case: str, size: int) -> None:
    arguments, reason, tokens = CUT_CALLS[case]
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    told = call_stream(*pieces, stop_reason=reason, tokens=tokens)
    streamed, collected = NativeStream(OTHERS), NativeStream(OTHERS, collects=True)
    block = {"type": "tool_use", "id": "t", "name": "f", "input": arguments}
    whole = {**MESSAGE, "content": [block], "stop_reason": reason, "usage": {"output_tokens": tokens}}
    messages = [fold_stream(run(streamed, told))]
    run(collected, told)
    messages.append(collected.message())
    answered = to_answered(orjson.dumps(whole), OTHERS)
    for message in (*messages, answered.message):
        assert message["content"][0]["input"] == {"a": 1, "b": None}
        assert message["stop_reason"] == "max_tokens"
    assert streamed.notes == collected.notes == answered.notes == (Note("changed", "content.0.input", CUT),)


def test_call_that_may_be_cut_by_a_stop_sequence_is_not_to_be_run() -> None:
    stream = NativeStream(replace(OTHERS, sent_stop_sequences=("END",)))
    message = fold_stream(run(stream, call_stream('{"a": "b"')))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
    assert message["content"][0]["input"] == {"a": None}


def test_unfinished_call_before_another_block_lacks_its_brackets_only() -> None:
    begun, _, _ = call_stream('{"a": "b"').partition(event("message_delta")[:20])
    second = start(1, "tool_use", id="t2", name="g", input={}) + delta(1, partial_json='{"c": "d') + stop(1)
    ended = event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 5})
    message = fold_stream(run(NativeStream(OTHERS), begun + second + ended + STOP))
    assert [block["input"] for block in message["content"]] == [{"a": "b"}, {"c": None}]


def test_cut_call_of_claude_is_passed_on_unread_and_collected_with_null() -> None:
    told = call_stream('{"a": 1, "b": "c', stop_reason="max_tokens")
    assert run(stream(), told).endswith(told[-200:])
    collected = NativeStream(REPLY, collects=True)
    run(collected, told)
    message = collected.message()
    assert (message["content"][0]["input"], message["stop_reason"]) == ({"a": 1, "b": None}, "max_tokens")
    assert [note.reason for note in collected.notes] == [CUT]


def test_arguments_that_cannot_be_an_object_are_an_error_of_the_upstream() -> None:
    converter = NativeStream(OTHERS)
    run(converter, call_stream("rm -rf"))
    assert isinstance(converter.failure, UpstreamError)


def test_start_without_a_list_of_content_is_completed() -> None:
    broken = event("message_start", message={**START, "content": None})
    told = NativeStream(REPLY).feed(broken + STREAM.removeprefix(event("message_start", message=START)))
    assert orjson.loads(told.split(b"\n")[1][6:])["message"]["content"] == []


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": 5},
        {"type": "text", "text": ["a"]},
        {"type": "thinking", "thinking": {}},
        {"type": "tool_use", "id": "a", "input": {}},
        {"type": "tool_use", "id": "a", "name": "", "input": {}},
        {"id": "a"},
        5,
    ],
    ids=str,
)
def test_whole_answer_with_a_block_that_cannot_be_read_is_an_upstream_error(block: Any) -> None:
    reply = Reply("msg_1", "req_1", "asked", "claude-opus-4-5", Keyring(()), input_estimate=7)
    with pytest.raises(UpstreamError, match="cannot be read"):
        to_answered(orjson.dumps({**MESSAGE, "content": [block]}), reply)


@pytest.mark.parametrize("ending", [{}, None, 5, "end"], ids=str)
@pytest.mark.parametrize("reason", ["max_tokens", None])
def test_last_delta_without_a_reason_keeps_the_one_before(ending: Any, reason: str | None) -> None:
    before = event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 3})
    last = event("message_delta", delta=ending, usage={"output_tokens": 5})
    told = run(stream(), BEGINNING + text_delta("Hello") + stop(0) + before + last + STOP)
    message = fold_stream(told)
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == (reason or "end_turn", 5)


def test_empty_text_of_a_whole_answer_is_left_out() -> None:
    content = [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]
    assert to_answered(orjson.dumps({**MESSAGE, "content": content}), REPLY).message["content"] == content[1:]
