"""A whole message as a stream, and a stream as a whole message: each gives back the other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.usage import estimated_usage
from gateway.dialects.reply import empty_message
from gateway.messages.events import MESSAGE_STOP, PING, message_start, without_start
from gateway.messages.fold import BlockCollector, fold_events
from gateway.messages.replay import SLICE, to_events
from tests.support.streams import Json, check_grammar, read_events, reply

CITATION = {"type": "char_location", "cited_text": "a", "document_index": 0, "start_char_index": 0, "end_char_index": 1}
BLOCKS: dict[str, Json] = {
    "text": {"type": "text", "text": "Hi", "citations": None},
    "empty text": {"type": "text", "text": "", "citations": None},
    "cited text": {"type": "text", "text": "Hi", "citations": [CITATION, {**CITATION, "document_index": 1}]},
    "long text": {"type": "text", "text": "é🌍" * SLICE, "citations": None},
    "thinking": {"type": "thinking", "thinking": "Hm" * SLICE, "signature": "s" * 5000},
    "thinking not shown": {"type": "thinking", "thinking": "", "signature": "s"},
    "redacted thinking": {"type": "redacted_thinking", "data": "d" * 5000},
    "a tool call": {"type": "tool_use", "id": "t", "name": "f", "input": {"a": ['"', {"b": None}]}},
    "a tool call without arguments": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    "a tool call of a toolset": {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}, "toolset_name": "x"},
    "a server's tool call": {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "a"},
    },
    "a server tool's result": {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"url": "u"}],
    },
    "a block of the future": {"type": "hologram", "text": "Hi", "frames": [1, 2]},
}


def message_of(*content: Json, **fields: Any) -> Json:
    usage = estimated_usage(100, 400)
    return {**empty_message(reply(), usage), "content": list(content), "stop_reason": "end_turn", **fields}


@pytest.mark.parametrize("case", BLOCKS)
def test_a_replayed_block_folds_to_itself(case: str) -> None:
    events = read_events(to_events(message_of(BLOCKS[case])))
    check_grammar(events, complete=True)
    assert fold_events(events) == message_of(BLOCKS[case])


def test_a_whole_message_keeps_the_order_of_its_blocks() -> None:
    message = message_of(*BLOCKS.values(), stop_reason="tool_use")
    assert fold_events(read_events(to_events(message))) == message


ENDS: dict[str, Json] = {
    "a refusal": {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": None, "explanation": None}},
    "a stop sequence": {"stop_reason": "stop_sequence", "stop_sequence": "END"},
    "a container": {"container": {"id": "container_1", "expires_at": "2026-11-22T00:00:00Z"}},
}


@pytest.mark.parametrize("case", ENDS)
def test_the_stop_reason_comes_at_the_end(case: str) -> None:
    message = message_of(BLOCKS["text"], **ENDS[case])
    events = read_events(to_events(message))
    start, delta = events[0]["message"], events[-2]["delta"]
    assert (start["content"], start["stop_reason"], start["stop_sequence"], start["stop_details"]) == (
        [],
        None,
        None,
        None,
    )
    assert delta == {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details", "container")}
    assert fold_events(events) == message


def test_output_tokens_and_cost_come_at_the_end() -> None:
    start, *_, delta, _ = read_events(to_events(message_of(), cost=0.5))
    assert (start["message"]["usage"]["input_tokens"], start["message"]["usage"]["output_tokens"]) == (100, 0)
    assert (delta["usage"]["output_tokens"], delta["usage"]["cost"]) == (100, 0.5)
    assert "cost" not in read_events(to_events(message_of()))[-2]["usage"]


def test_no_event_carries_more_than_a_slice() -> None:
    events = read_events(to_events(message_of(BLOCKS["long text"])))
    sizes = [len(event["delta"]["text"]) for event in events if event["type"] == "content_block_delta"]
    assert sizes == [SLICE, SLICE]


TEXTS = st.text(max_size=30)
GENERATED = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS, "citations": st.none()}),
        st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXTS, "signature": TEXTS}),
        st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": TEXTS}),
        st.fixed_dictionaries(
            {
                "type": st.just("tool_use"),
                "id": TEXTS,
                "name": TEXTS,
                "input": st.dictionaries(TEXTS, TEXTS, max_size=3),
            }
        ),
    ),
    max_size=4,
)


@given(GENERATED)
def test_any_message_folds_to_itself(content: list[Json]) -> None:
    message = message_of(*content)
    events = read_events(to_events(message))
    check_grammar(events, complete=True)
    assert fold_events(events) == message


def test_a_stream_less_its_start_goes_on_where_the_start_ended() -> None:
    stream = to_events(message_of(BLOCKS["text"]))
    start = message_start(read_events(stream)[0]["message"])
    assert start + without_start(stream) == stream


START: Json = {"type": "message_start", "message": message_of(stop_reason=None)}
TEXT_START: Json = {"type": "content_block_start", "index": 0, "content_block": BLOCKS["empty text"]}
TEXT_DELTA: Json = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
TEXT_STOP: Json = {"type": "content_block_stop", "index": 0}
DELTA: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
STOP: Json = {"type": "message_stop"}
WHOLE = [START, TEXT_START, TEXT_DELTA, TEXT_STOP, DELTA, STOP]


def test_pings_and_events_of_the_future_change_nothing() -> None:
    ping, future = {"type": "ping"}, {"type": "message_hologram"}
    events = [ping, *[event for one in WHOLE for event in (one, ping, future)][:-1]]
    assert fold_events(events) == fold_events(WHOLE)


def test_counts_of_the_end_overwrite_those_of_the_start() -> None:
    assert fold_events(WHOLE)["usage"] == {**estimated_usage(100, 400), "output_tokens": 3}


def test_folding_leaves_the_events_as_they_were() -> None:
    fold_events(WHOLE)
    assert START["message"]["content"] == []
    assert TEXT_START["content_block"]["text"] == ""


# Each with what is said of it.
NOT_STREAMS: dict[str, tuple[str, list[Json]]] = {
    "nothing": ("the stream has no end", []),
    "only pings": ("the stream has no end", [{"type": "ping"}]),
    "no start": ("content_block_start is out of order", WHOLE[1:]),
    "two starts": ("message_start is out of order", [START, *WHOLE]),
    "no end": ("the stream has no end", WHOLE[:-1]),
    "an end before the block's": ("the stream has no end", [START, TEXT_START, TEXT_DELTA, DELTA, STOP]),
    "more after the end": ("content_block_start is out of order", [*WHOLE, TEXT_START]),
    "a block that was not closed": (
        "block 1 starts out of order",
        [START, TEXT_START, {**TEXT_START, "index": 1}, TEXT_STOP, DELTA, STOP],
    ),
    "an index that was left out": (
        "block 1 starts out of order",
        [START, {**TEXT_START, "index": 1}, {**TEXT_STOP, "index": 1}, DELTA, STOP],
    ),
    "a delta without a block": ("block 0 is not the open one", [START, TEXT_DELTA, DELTA, STOP]),
    "a delta for another block": (
        "block 1 is not the open one",
        [START, TEXT_START, {**TEXT_DELTA, "index": 1}, TEXT_STOP, DELTA, STOP],
    ),
    "a delta after its block": (
        "block 0 is not the open one",
        [START, TEXT_START, TEXT_STOP, TEXT_DELTA, DELTA, STOP],
    ),
    "a stop without a block": ("block 0 is not the open one", [START, TEXT_STOP, DELTA, STOP]),
    "two stops": ("block 0 is not the open one", [START, TEXT_START, TEXT_STOP, TEXT_STOP, DELTA, STOP]),
    "a delta of another kind": (
        "a delta of another kind than block 0",
        [
            START,
            TEXT_START,
            {**TEXT_DELTA, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
            TEXT_STOP,
            DELTA,
            STOP,
        ],
    ),
    "a delta of the future": (
        "hologram_delta is unknown, so the block would lack what it says",
        [START, TEXT_START, {**TEXT_DELTA, "delta": {"type": "hologram_delta", "frame": 1}}, TEXT_STOP, DELTA, STOP],
    ),
    "a citation without a block": (
        "block 0 is not the open one",
        [START, {**TEXT_DELTA, "delta": {"type": "citations_delta", "citation": CITATION}}, DELTA, STOP],
    ),
    "arguments that are no JSON": (
        "line 1 column",
        [
            START,
            {**TEXT_START, "content_block": BLOCKS["a tool call without arguments"]},
            {**TEXT_DELTA, "delta": {"type": "input_json_delta", "partial_json": "{"}},
            TEXT_STOP,
            DELTA,
            STOP,
        ],
    ),
    "an error": (
        "the stream ended in an error: broke off",
        [START, TEXT_START, {"type": "error", "error": {"type": "api_error", "message": "broke off"}}],
    ),
}


@pytest.mark.parametrize("case", NOT_STREAMS)
def test_incomplete_stream_is_refused(case: str) -> None:
    words, events = NOT_STREAMS[case]
    with pytest.raises(ValueError, match=words):
        fold_events(events)


def test_the_collector_takes_blocks_in_their_order_only() -> None:
    collector = BlockCollector()
    with pytest.raises(ValueError, match="block 1 starts out of order"):
        collector.start(1, {"type": "text", "text": ""})
    collector.start(0, {"type": "text", "text": ""})
    with pytest.raises(ValueError, match="block 1 starts out of order"):
        collector.start(1, {"type": "text", "text": ""})


@pytest.mark.parametrize("event", [PING, MESSAGE_STOP])
def test_fixed_events_have_their_frame(event: bytes) -> None:
    assert read_events(event)
