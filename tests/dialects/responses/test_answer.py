"""Answers of the Responses API: the same message as JSON and as a stream that is cut anywhere."""

import re
from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.dialects import json_body
from gateway.dialects.reply import Reply
from gateway.dialects.responses.answer import ChunkWriter
from gateway.dialects.responses.items import to_reasoning_items
from gateway.dialects.responses.stream import ResponsesStream
from gateway.errors import BillingProblem, GatewayError, InvalidRequest, Overloaded, RateLimited, UpstreamError
from gateway.messages.envelope import Envelope, open_envelope
from gateway.messages.fold import fold_stream
from tests.support.responses_events import CALLS, CUSTOM, MESSAGE, REASONING, events, response, to_stream

KEYRING = Keyring((("t", b"secret"),), "acme")
ITEMS = [REASONING, MESSAGE, *CALLS, CUSTOM]


def stream(*, collects: bool = False) -> ResponsesStream:
    reply = Reply("msg_1", "req_1", "asked", "gpt-6", KEYRING, offered=frozenset({"read", "list", "patch"}))
    return ResponsesStream(reply, collects=collects)


def told(converter: ResponsesStream, *pieces: bytes) -> bytes:
    return b"".join([converter.feed(piece) for piece in pieces]) + converter.end()


def collected(*pieces: bytes) -> dict[str, Any]:
    converter = stream(collects=True)
    assert told(converter, *pieces) == b""
    assert converter.failure is None
    return converter.message()


WHOLE = collected(to_stream(ITEMS))


def test_items_become_blocks_in_order() -> None:
    kinds = [block["type"] for block in WHOLE["content"]]
    assert kinds == ["thinking", "text", "tool_use", "tool_use", "tool_use"]
    thinking, text, *calls = WHOLE["content"]
    assert thinking["thinking"] == "First.Second."
    assert text["text"] == "Hello wörld"
    assert [call["input"] for call in calls] == [{"path": 'a "b"'}, {}, {"input": CUSTOM["input"]}]
    assert WHOLE["stop_reason"] == "tool_use"
    assert (WHOLE["model"], WHOLE["id"]) == ("asked", "msg_1")
    usage = WHOLE["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (20, 10, 20)
    assert usage["output_tokens_details"] == {"thinking_tokens": 8}


@pytest.mark.covers("Thinking · OpenAI's encrypted reasoning and summaries")
def test_reasoning_is_sealed_with_its_id_parts_and_encrypted_content() -> None:
    envelope = open_envelope(WHOLE["content"][0]["signature"], KEYRING)
    assert isinstance(envelope, Envelope)
    kinds: list[Any] = [(entry["type"], entry.get("id")) for entry in envelope.entries]
    assert kinds == [("reasoning.summary", "rs_1"), ("reasoning.summary", "rs_1"), ("reasoning.encrypted", "rs_1")]


def test_stream_cut_at_any_byte_gives_the_same_message() -> None:
    whole = to_stream(ITEMS)
    for cut in range(0, len(whole) + 1, 7):
        assert collected(whole[:cut], whole[cut:]) == WHOLE
    assert fold_stream(told(stream(), whole))["content"] == WHOLE["content"]


def test_json_gives_the_same_message() -> None:
    assert collected(orjson.dumps(response(ITEMS))) == WHOLE


@pytest.mark.parametrize(
    "kept",
    [
        ("response.output_item.done", "response.completed"),
        ("response.completed",),
        ("response.output_item.added", "response.output_item.done", "response.completed"),
    ],
)
def test_events_that_are_missing_are_made_up_from_later_ones(kept: tuple[str, ...]) -> None:
    chosen = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events(ITEMS) if event["type"] in kept]
    assert collected(*chosen)["content"] == WHOLE["content"]


def sent(*chosen: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in chosen)


BEGUN = {"type": "response.output_item.added", "output_index": 0}
# Streams that have content in `done` events only: the events before the last one, and the expected block.
DONE_ALONE: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "arguments": (
        [
            {**BEGUN, "item": {**CALLS[0], "arguments": ""}},
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": CALLS[0]["arguments"]},
        ],
        {"input": {"path": 'a "b"'}},
    ),
    "arguments that the item lacks (LM Studio)": (
        [
            {**BEGUN, "item": {**CALLS[0], "arguments": ""}},
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": CALLS[0]["arguments"]},
            {"type": "response.output_item.done", "output_index": 0, "item": {**CALLS[0], "arguments": "{}"}},
        ],
        {"input": {"path": 'a "b"'}},
    ),
    "the input of a custom tool": (
        [
            {**BEGUN, "item": {**CUSTOM, "input": ""}},
            {"type": "response.custom_tool_call_input.done", "output_index": 0, "input": CUSTOM["input"]},
            {"type": "response.output_item.done", "output_index": 0, "item": CUSTOM},
        ],
        {"input": {"input": CUSTOM["input"]}},
    ),
    "text": ([{"type": "response.output_text.done", "output_index": 0, "text": "Hello"}], {"text": "Hello"}),
    "a refusal": ([{"type": "response.refusal.done", "output_index": 0, "refusal": "No."}], {"text": "No."}),
}


@pytest.mark.parametrize("case", DONE_ALONE)
@pytest.mark.parametrize("last", ["response.completed", "response.done"])
def test_content_that_comes_with_done_events_alone_is_read(case: str, last: str) -> None:
    told_events, expected = DONE_ALONE[case]
    (block,) = collected(sent(*told_events, {"type": last, "response": response([])}))["content"]
    assert {name: block[name] for name in expected} == expected


def test_call_of_a_tool_that_only_the_upstream_has_is_left_out_with_a_note() -> None:
    hosted = {"type": "custom_tool_call", "id": "ct", "call_id": "xs_1", "name": "x_keyword_search", "input": "{}"}
    for pieces in ((to_stream([hosted, MESSAGE]),), (orjson.dumps(response([hosted, MESSAGE])),)):
        converter = stream(collects=True)
        told(converter, *pieces)
        assert [block["type"] for block in converter.message()["content"]] == ["text"]
        assert converter.stop_reason == "end_turn"
        assert [note.field for note in converter.notes] == ["content"]


@pytest.mark.parametrize("details", [None, {}, {"reason": None}])
def test_incomplete_response_without_details_has_reached_its_limit(details: Any) -> None:
    body = {**response([MESSAGE]), "status": "incomplete", "incomplete_details": details}
    message = collected(sent({"type": "response.incomplete", "response": body}))
    assert message["stop_reason"] == "max_tokens"


def test_items_without_an_index_are_distinguished_by_their_ids() -> None:
    bare = [{name: value for name, value in event.items() if name != "output_index"} for event in events(ITEMS)]
    told_once = b"".join([b"data: " + orjson.dumps(event) + b"\n\n" for event in bare])
    assert collected(told_once)["content"] == WHOLE["content"]


def test_stream_without_its_last_event_fails_after_what_was_whole() -> None:
    last = list(events(ITEMS))[-1]
    cut = to_stream(ITEMS)[: -len(orjson.dumps(last)) - 40]
    converter = stream()
    shown = told(converter, cut)
    assert b"content_block_start" in shown
    assert isinstance(converter.failure, UpstreamError)


@pytest.mark.parametrize(("reason", "stop"), [("max_output_tokens", "max_tokens"), ("content_filter", "refusal")])
def test_incomplete_response_has_its_reason(reason: str, stop: str) -> None:
    whole = to_stream([MESSAGE], "incomplete", incomplete_details={"reason": reason})
    assert collected(whole)["stop_reason"] == stop


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("rate_limit_exceeded", "Rate limit reached", RateLimited),
        ("insufficient_quota", "You exceeded your current quota", BillingProblem),
        ("server_is_overloaded", "Our servers are overloaded", Overloaded),
        ("context_length_exceeded", "Your input exceeds the context window of this model.", InvalidRequest),
        ("server_error", "The server had an error", UpstreamError),
    ],
)
@pytest.mark.parametrize("form", ["failed", "flat", "nested"])
def test_failure_in_a_stream_has_its_class(form: str, code: str, message: str, kind: type[GatewayError]) -> None:
    error = {"code": code, "message": message}
    event: dict[str, Any] = {"type": "error", **error} if form == "flat" else {"type": "error", "error": error}
    if form == "failed":
        event = {"type": "response.failed", "response": response([], status="failed", error=error)}
    converter = stream()
    converter.feed(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)))
    assert isinstance(converter.failure, kind)
    assert not converter.started


def test_refusal_is_text_and_a_stop_reason() -> None:
    refusing = {**MESSAGE, "content": [{"type": "refusal", "refusal": "I cannot."}]}
    message = collected(orjson.dumps(response([refusing])))
    assert message["content"][0]["text"] == "I cannot."
    assert message["stop_reason"] == "refusal"


def test_plain_reasoning_text_of_other_servers_is_thinking() -> None:
    plain = {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    message = collected(orjson.dumps(response([plain, MESSAGE])))
    assert message["content"][0]["thinking"] == "hm"


def test_items_that_were_never_finished_are_finished_by_the_last_event() -> None:
    items = [MESSAGE, *CALLS, CUSTOM]
    kept = [event for event in events(items) if event["type"] != "response.output_item.done"]
    assert collected(*[b"data: " + orjson.dumps(event) + b"\n\n" for event in kept])["content"] == WHOLE["content"][1:]


def test_last_event_without_the_reasoning_adds_nothing_to_other_items() -> None:
    *before, last = events(ITEMS)
    last["response"]["output"] = ITEMS[1:]
    frames = [b"data: " + orjson.dumps(event) + b"\n\n" for event in (*before, last)]
    assert collected(*frames)["content"] == WHOLE["content"]


def test_body_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MAX_BODY_BYTES", 100)
    converter = stream()
    told(converter, orjson.dumps(response(ITEMS)))
    assert isinstance(converter.failure, UpstreamError)
    assert "larger" in converter.failure.message


@pytest.mark.parametrize(
    ("model", "limit", "stop"),
    [("qwen3", 20, "max_tokens"), ("qwen3", 5, "max_tokens"), ("qwen3", 21, "end_turn"), ("gpt-6", 20, "end_turn")],
)
def test_answer_that_its_limit_cut_has_that_reason_where_the_server_says_completed(
    model: str, limit: int, stop: str
) -> None:
    reply = Reply("msg_1", "req_1", "asked", model, KEYRING, max_tokens=limit)
    for body in (to_stream([MESSAGE]), orjson.dumps(response([MESSAGE]))):
        converter = ResponsesStream(reply, collects=True)
        told(converter, body)
        assert converter.message()["stop_reason"] == stop


def test_item_whose_id_changes_with_each_event_stays_one() -> None:
    chosen = [{**event, "item_id": f"odd_{place}"} for place, event in enumerate(events(ITEMS))]
    for place, each in enumerate(chosen):
        if "item" in each:
            each["item"] = {**each["item"], "id": f"item_{place}"}
    message = collected(sent(*chosen))
    assert [block["type"] for block in message["content"]] == [block["type"] for block in WHOLE["content"]]
    envelope = open_envelope(message["content"][0]["signature"], KEYRING)
    assert isinstance(envelope, Envelope)
    assert len({entry.get("id") for entry in envelope.entries}) == 1
    assert [entry["type"] for entry in envelope.entries] == [*["reasoning.summary"] * 2, "reasoning.encrypted"]


def test_cancelled_response_is_a_failure() -> None:
    converter = stream()
    told(converter, to_stream([MESSAGE], "cancelled"))
    assert isinstance(converter.failure, UpstreamError)


def test_reasoning_item_without_an_id_is_sent_back_without_one() -> None:
    item = {name: value for name, value in REASONING.items() if name != "id"}
    delta = {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "Hm"}
    writer = ChunkWriter("gpt-6")
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    chunks = [chunk for event in (delta, done) for chunk in writer.to_chunks(event)]
    entries = [entry for chunk in chunks for entry in chunk["choices"][0]["delta"].get("reasoning_details", ())]
    assert entries
    assert ["id" in sent for sent in to_reasoning_items(entries)] == [False]


SAID = {"type": "text", "text": "Hello wörld", "citations": None}
SECOND = {**MESSAGE, "id": "msg_2", "content": [{"type": "output_text", "text": "Bye"}]}
OBJECT = {**CALLS[0], "arguments": {"path": "a"}}
DRAWN = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}
SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
PLAIN_CONTENT = {**MESSAGE, "content": "Hello wörld"}
READ_CALL = {"path": "a"}


@pytest.mark.parametrize(
    ("items", "content"),
    [
        ([MESSAGE, SECOND], ["Hello wörld\n\nBye"]),
        ([OBJECT], [READ_CALL]),
        ([PLAIN_CONTENT], ["Hello wörld"]),
        ([{**MESSAGE, "content": None}, CALLS[1]], [{}]),
    ],
)
def test_unusual_items_keep_their_content(items: list[Any], content: list[Any]) -> None:
    message = collected(orjson.dumps(response(items)))
    assert [block.get("text", block.get("input")) for block in message["content"]] == content
    added = [{"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(items)]
    end = {"type": "response.completed", "response": response(items)}
    streamed = collected(*[b"data: %b\n\n" % orjson.dumps(event) for event in (*added, end)])
    assert streamed["content"] == message["content"]


def test_two_messages_stay_apart_in_a_stream() -> None:
    assert [block["text"] for block in collected(to_stream([MESSAGE, SECOND]))["content"]] == ["Hello wörld\n\nBye"]


@pytest.mark.parametrize("name", ["response.reasoning.delta", "response.reasoning_summary.delta"])
@pytest.mark.parametrize("delta", ["Hm", {"text": "Hm"}])
def test_reasoning_of_older_events_is_thinking_and_repeats_no_text(name: str, delta: Any) -> None:
    text = {"type": "response.output_text.delta", "output_index": 1, "item_id": "m", "delta": "Hello wörld"}
    shown = [{"type": name, "output_index": 0, "item_id": "r", "delta": delta}, text]
    end = {"type": "response.completed", "response": response([MESSAGE])}  # without the reasoning
    thinking, said = collected(*[b"data: %b\n\n" % orjson.dumps(event) for event in (*shown, end)])["content"]
    assert (thinking["thinking"], said) == ("Hm", SAID)


def test_image_of_an_answer_is_a_block() -> None:
    reply = Reply("msg_1", "req_1", "asked", "gpt-6", KEYRING, shows_images=True)
    converter = ResponsesStream(reply, collects=True)
    told(converter, orjson.dumps(response([DRAWN])))
    [block] = converter.message()["content"]
    assert block["source"] == {"type": "base64", "media_type": "image/png", "data": DRAWN["result"]}


@pytest.mark.parametrize("kind", ["web_search_call", "mcp_call", "local_shell_call"])
def test_calls_of_the_upstreams_own_tools_are_noted_once(kind: str) -> None:
    converter = stream(collects=True)
    searched = [{**SEARCHED, "type": kind}, {**SEARCHED, "type": kind, "id": "ws_2"}, MESSAGE]
    told(converter, orjson.dumps(response(searched)))
    assert (converter.message()["content"], len(converter.notes)) == ([SAID], 1)


def test_citations_of_files_are_noted() -> None:
    cited = {**MESSAGE["content"][0], "annotations": [{"type": "file_citation", "file_id": "f"}]}
    converter = stream(collects=True)
    told(converter, orjson.dumps(response([{**MESSAGE, "content": [cited]}])))
    assert [note.text for note in converter.notes] == ["dropped:content"]


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_response_that_is_not_finished_is_a_failure(status: str) -> None:
    converter = stream()
    told(converter, orjson.dumps(response([], status=status)))
    assert isinstance(converter.failure, UpstreamError)


def test_counts_by_the_names_of_chat_are_read() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 5}
    counts = collected(orjson.dumps(response([MESSAGE], usage=usage)))["usage"]
    assert (counts["input_tokens"], counts["output_tokens"]) == (9, 5)


def test_chunks_of_chat_are_read() -> None:
    choices: list[Any] = [
        {"index": 0, "delta": {"content": "Hello wörld"}},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks = [b"data: %b\n\n" % orjson.dumps({"choices": [choice]}) for choice in choices]
    assert collected(*chunks, b"data: [DONE]\n\n")["content"] == [SAID]


@pytest.mark.parametrize("kind", [None, "server_overloaded", "error"])
@pytest.mark.parametrize("is_within", [True, False])
def test_event_named_error_is_a_failure_whatever_type_its_data_have(kind: str | None, is_within: bool) -> None:
    error = {"code": "server_is_overloaded", "message": "Overloaded."} | ({} if kind is None else {"type": kind})
    converter = stream()
    told(converter, b"event: error\ndata: " + orjson.dumps({"error": error} if is_within else error) + b"\n\n")
    assert isinstance(converter.failure, Overloaded)


def test_types_in_the_names_of_events_only_are_read() -> None:
    typed = to_stream(ITEMS)
    untyped = re.sub(rb'(?:event: [^\n]*\n)?data: {"type":"(response\.[\w.]+)",', rb"event: \1\ndata: {", typed)
    assert untyped.count(b'"type":"response.') == 0 < untyped.count(b"event: response.")
    for cut in range(0, len(untyped), 61):
        assert collected(untyped[:cut], untyped[cut:]) == WHOLE
