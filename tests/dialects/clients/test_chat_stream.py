"""Messages streams as chunks of a chat completion, and messages as completions."""

from typing import Any

import orjson
import pytest

from gateway.dialects.chat.client.answer import to_completion
from gateway.dialects.chat.client.stream import KEEP_ALIVE, ChatStream
from gateway.dialects.clients.tools import ToolRegistry
from gateway.errors import InvalidRequest, Overloaded, RateLimited, UpstreamError
from gateway.messages.events import PING, error_event
from gateway.messages.replay import to_events
from tests.support.streams import DONE

USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 3,
    "cache_creation": None,
    "output_tokens": 7,
    "service_tier": None,
    "output_tokens_details": {"thinking_tokens": 2},
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "Hm.\n", "signature": "sig"},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "text", "text": "Let me “look”.", "citations": None},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "x"}},
        {"type": "tool_use", "id": "call_2", "name": "patch", "input": {"input": "*** Begin\n"}},
        {"type": "tool_use", "id": "call_3", "name": "none", "input": {}},
    ],
    "usage": USAGE,
}


def registry() -> ToolRegistry:
    tools = ToolRegistry()
    tools.declare_all([{"type": "custom", "custom": {"name": "patch"}}], "tools")
    return tools


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    frames = [frame for frame in data.split(b"\n\n") if frame.startswith(b"data: {")]
    return [orjson.loads(frame[6:]) for frame in frames]


def joined(data: bytes) -> dict[str, Any]:
    """Fold chunks as the official SDKs do: texts and arguments are joined, calls are kept apart by index."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "reasoning_details": []}
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks_of(data):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content", "reasoning_details"):
                message[name] += delta.get(name, type(message[name])())
            for part in delta.get("tool_calls", ()):
                call = calls.setdefault(part["index"], {})
                if "function" in part and "function" in call:
                    call["function"]["arguments"] += part["function"]["arguments"]
                else:
                    call.update({name: value for name, value in part.items() if name != "index"})
            message["finish_reason"] = choice["finish_reason"]
    return {**message, "tool_calls": [calls[index] for index in sorted(calls)]}


def streamed(data: bytes, *, shows_usage: bool = False) -> bytes:
    return ChatStream(registry(), 5, shows_usage=shows_usage).feed(data)


def test_chunks_join_to_the_same_message_as_the_completion() -> None:
    completion = to_completion(MESSAGE, registry(), 5)
    choice = completion["choices"][0]
    told = joined(streamed(to_events(MESSAGE)))
    for name in ("content", "reasoning_content", "reasoning_details", "tool_calls"):
        assert told[name] == choice["message"][name]
    assert told["finish_reason"] == choice["finish_reason"] == "tool_calls"


@pytest.mark.covers("Chat clients · custom tools with grammars")
def test_thoughts_are_apart_and_empty_ones_are_left_out() -> None:
    thoughts = [{"type": "thinking", "thinking": text, "signature": "s"} for text in ("", "One", "", "Two")]
    message = {**MESSAGE, "content": [*thoughts, *MESSAGE["content"][2:]]}
    shown = to_completion(message, registry(), 5)["choices"][0]["message"]["reasoning_content"]
    assert shown == joined(streamed(to_events(message)))["reasoning_content"] == "One\n\nTwo"


def test_custom_tool_call_comes_back_as_raw_text() -> None:
    calls = to_completion(MESSAGE, registry(), 5)["choices"][0]["message"]["tool_calls"]
    assert calls[1] == {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin\n"}}
    assert calls[2]["function"]["arguments"] == "{}"


def test_usage_counts_the_whole_prompt() -> None:
    usage = to_completion(MESSAGE, registry(), 5)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (18, 7, 25)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 5
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 2


def test_usage_chunk_comes_only_when_asked_for() -> None:
    assert all(chunk["choices"] for chunk in chunks_of(streamed(to_events(MESSAGE))))
    last = chunks_of(streamed(to_events(MESSAGE), shows_usage=True))[-1]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 25


def test_id_name_type_and_role_come_once() -> None:
    chunks = chunks_of(streamed(to_events(MESSAGE)))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
    assert [part["id"] for part in parts if "id" in part] == ["call_1", "call_2", "call_3"]
    assert all("index" in part for part in parts)
    assert sum("role" in delta for delta in deltas) == 1


def test_stream_cut_at_every_byte_gives_the_same_chunks() -> None:
    events = to_events(MESSAGE)
    whole = streamed(events, shows_usage=True)
    for cut in range(1, len(events), 7):
        stream = ChatStream(registry(), 5, shows_usage=True)
        assert stream.feed(events[:cut]) + stream.feed(events[cut:]) == whole


@pytest.mark.covers("Chat clients · comments fill a silence")
def test_ping_becomes_a_comment() -> None:
    assert streamed(PING) == KEEP_ALIVE


@pytest.mark.covers("Chat clients · errors within a stream")
def test_error_ends_the_stream_with_openais_object_and_without_done() -> None:
    events = to_events(MESSAGE)
    begun = events[: events.index(b"event: content_block_stop")]
    told = streamed(begun + error_event(Overloaded("Too busy."), "req_1"))
    assert chunks_of(told)[-1]["error"]["code"] == "server_is_overloaded"
    assert DONE not in told


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimited("Slow down."), "rate_limit_exceeded"),
        (UpstreamError("Broken."), "server_error"),
        (InvalidRequest("prompt is too long: 9 tokens > 5 maximum"), "context_length_exceeded"),
    ],
)
def test_mid_stream_errors_have_openais_codes(error: Any, code: str) -> None:
    assert chunks_of(streamed(error_event(error, "req_1")))[0]["error"]["code"] == code


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "stop"),
        (None, "stop"),
        ("novel", "stop"),
    ],
)
def test_every_stop_reason_gives_a_finish_reason(stop_reason: str | None, finish_reason: str) -> None:
    message = {**MESSAGE, "stop_reason": stop_reason}
    assert to_completion(message, registry(), 5)["choices"][0]["finish_reason"] == finish_reason
    assert joined(streamed(to_events(message)))["finish_reason"] == finish_reason


def test_events_that_messages_may_add_are_left_out() -> None:
    data = to_events(MESSAGE)
    novel = b'event: novel\ndata: {"type":"novel"}\n\n'
    assert streamed(novel + data) == streamed(data)


def test_thinking_without_a_signature_is_converted() -> None:
    message = {**MESSAGE, "content": [{"type": "thinking", "thinking": "Hm."}]}
    told = joined(streamed(to_events(message)))
    assert (
        told["reasoning_content"] == to_completion(message, registry(), 5)["choices"][0]["message"]["reasoning_content"]
    )


CITED: dict[str, Any] = {
    **MESSAGE,
    "stop_reason": "end_turn",
    "content": [
        {"type": "text", "text": "So: ", "citations": None},
        {
            "type": "text",
            "text": "it is “so”.",
            "citations": [
                {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "x"},
                {"type": "web_search_result_location", "url": "https://b.example", "title": None, "cited_text": "y"},
                {"type": "char_location", "document_index": 0, "cited_text": "z"},
            ],
        },
        {"type": "text", "text": " End.", "citations": None},
    ],
}


def test_citations_of_pages_become_annotations_of_their_place_in_the_text() -> None:
    place = {"start_index": 4, "end_index": 15}
    expected = [
        {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", **place}},
        {"type": "url_citation", "url_citation": {"url": "https://b.example", "title": "https://b.example", **place}},
    ]
    assert to_completion(CITED, registry(), 5)["choices"][0]["message"]["annotations"] == expected
    told = ChatStream(registry(), 5, shows_usage=False).feed(to_events(CITED))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(told)]
    assert [entry for delta in deltas for entry in delta.get("annotations", ())] == expected
    assert "annotations" not in to_completion(MESSAGE, registry(), 5)["choices"][0]["message"]


IMAGE_BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
LINKED_BLOCK = {"type": "image", "source": {"type": "url", "url": "https://images.example.com/1.png"}}


def test_images_of_an_answer_reach_clients_where_openrouter_has_them() -> None:
    message = {**MESSAGE, "content": [IMAGE_BLOCK, LINKED_BLOCK], "stop_reason": "end_turn"}
    stream = ChatStream(ToolRegistry(), 5, shows_usage=False)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(stream.feed(to_events(message)))]
    streamed = [image for delta in deltas for image in delta.get("images", ())]
    whole = to_completion(message, ToolRegistry(), 5)["choices"][0]["message"]["images"]
    urls = ["data:image/png;base64,iVBORw0KGgo=", "https://images.example.com/1.png"]
    assert [image["image_url"]["url"] for image in streamed] == [image["image_url"]["url"] for image in whole] == urls
