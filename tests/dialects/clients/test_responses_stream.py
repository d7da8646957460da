"""Messages streams as events of a response, and messages as responses."""

from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.clients.turns import Turns
from gateway.dialects.responses.client.input import add_items
from gateway.dialects.responses.client.output import ResponseFacts, to_echoed, to_response
from gateway.dialects.responses.client.sealed import open_summary
from gateway.dialects.responses.client.stream import ClientResponseStream
from gateway.errors import BillingProblem, GatewayError, InvalidRequest, Overloaded, RateLimited, UpstreamError
from gateway.messages.events import PING, error_event
from gateway.messages.replay import to_events

USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 0,
    "cache_creation": None,
    "output_tokens": 7,
    "service_tier": None,
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "text", "text": "Let me “look”.", "citations": None},
        {"type": "tool_use", "id": "call_1", "name": "space__look", "input": {"at": "x"}},
        {"type": "tool_use", "id": "call_2", "name": "patch", "input": {"input": "*** Begin\n"}},
        {"type": "tool_use", "id": "call_3", "name": "tool_search", "input": {"query": "q"}},
        {"type": "tool_use", "id": "call_4", "name": "look", "input": {}},
    ],
    "usage": USAGE,
}
FACTS = ResponseFacts(5, to_echoed({}))
# OpenAI's events, and the one of ours that its clients accept; the npm helper throws at others.
KNOWN_EVENTS = {
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.output_text.annotation.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.refusal.delta",
    "response.refusal.done",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_part.done",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.custom_tool_call_input.delta",
    "response.custom_tool_call_input.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "keepalive",
}


def registry() -> ToolRegistry:
    tools = ToolRegistry()
    look = {"type": "function", "name": "look"}
    search = {"type": "tool_search", "execution": "client"}
    tools.declare_all([{"type": "namespace", "name": "space", "tools": [look]}, look, search], "tools")
    tools.declare_all([{"type": "custom", "name": "patch"}], "tools")
    return tools


def events_of(data: bytes, *, compacts: bool = False, facts: ResponseFacts = FACTS) -> list[dict[str, Any]]:
    told = ClientResponseStream(registry(), facts, compacts=compacts).feed(data)
    events = []
    for frame in told.split(b"\n\n")[:-1]:
        name, payload = frame.split(b"\n")
        event = orjson.loads(payload.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def test_completed_response_equals_the_json_answer() -> None:
    events = events_of(to_events(MESSAGE))
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"] == to_response(MESSAGE, registry(), FACTS, compacts=False)


def test_items_that_are_done_are_the_output() -> None:
    events = events_of(to_events(MESSAGE))
    done = of_type(events, "response.output_item.done")
    assert [event["item"] for event in done] == events[-1]["response"]["output"]
    assert [event["output_index"] for event in done] == list(range(7))


def test_calls_are_restored_as_they_were_declared() -> None:
    output = to_response(MESSAGE, registry(), FACTS, compacts=False)["output"]
    kinds = [item["type"] for item in output]
    assert kinds == [
        "reasoning",
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
        "tool_search_call",
        "function_call",
    ]
    assert (output[3]["namespace"], output[3]["name"], output[3]["arguments"]) == ("space", "look", '{"at":"x"}')
    assert output[4]["input"] == "*** Begin\n"
    assert output[5]["arguments"] == {"query": "q"}
    assert "namespace" not in output[6]


@pytest.mark.covers("Responses clients · every event, with stable ids and numbers")
def test_every_event_has_its_number_and_items_keep_their_ids() -> None:
    events = events_of(to_events(MESSAGE))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert {event["type"] for event in events} <= KNOWN_EVENTS
    ids: dict[int, set[str]] = {}
    for event in events:
        if "output_index" in event:
            ids.setdefault(event["output_index"], set()).add(event.get("item_id") or event["item"]["id"])
    assert all(len(one) == 1 for one in ids.values())
    calls = [event["item"]["call_id"] for event in events if "call_id" in event.get("item", {})]
    assert calls == [f"call_{n}" for n in (1, 1, 2, 2, 3, 3, 4, 4)]
    responses = {event["response"]["id"] for event in events if "response" in event}
    assert responses == {"resp_1"}


def test_deltas_join_to_what_is_done() -> None:
    events = events_of(to_events(MESSAGE))
    for kind, whole in (
        ("output_text", "text"),
        ("function_call_arguments", "arguments"),
        ("custom_tool_call_input", "input"),
    ):
        joined: dict[str, str] = {}
        for event in of_type(events, f"response.{kind}.delta"):
            joined[event["item_id"]] = joined.get(event["item_id"], "") + event["delta"]
        for event in of_type(events, f"response.{kind}.done"):
            assert joined.get(event["item_id"], "{}") == event[whole]


@pytest.mark.covers("Responses clients · total_tokens always")
def test_usage_has_a_total_always() -> None:
    usage = events_of(to_events(MESSAGE))[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (15, 7, 22)


@pytest.mark.covers("Responses clients · an item is done only when it is whole")
def test_stream_cut_at_any_byte_and_failed_has_no_item_done_that_was_not_whole() -> None:
    data = to_events(MESSAGE)
    whole = of_type(events_of(data), "response.output_item.done")
    lengths = set()
    for cut in range(data.index(b"\n\n") + 2, len(data)):
        frames = data[:cut].rpartition(b"\n\n")[0] + b"\n\n"
        events = events_of(frames + error_event(UpstreamError("Broken."), "req_1"))
        done = of_type(events, "response.output_item.done")
        assert done == whole[: len(done)]
        lengths.add(len(done))
        if b"event: message_stop" not in frames:
            assert events[-1]["type"] == "response.failed"
    assert lengths == set(range(len(whole) + 1))


@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
def test_call_cut_at_the_length_limit_is_incomplete_and_never_done(stop_reason: str) -> None:
    message = {**MESSAGE, "stop_reason": stop_reason}
    events = events_of(to_events(message))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events[-1]["response"]["output"][-1]["status"] == "incomplete"
    assert "call_4" not in [event["item"].get("call_id") for event in of_type(events, "response.output_item.done")]
    assert events[-1]["response"] == to_response(message, registry(), FACTS, compacts=False)


SORRY = "I cannot help with that."
JSON_FACTS = ResponseFacts(5, to_echoed({"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}}))


def refused(content: list[dict[str, Any]], explanation: str | None) -> dict[str, Any]:
    details = {"type": "refusal", "category": None, "explanation": explanation}
    return {**MESSAGE, "content": content, "stop_reason": "refusal", "stop_details": details}


def texts_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for item in response["output"] if item["type"] == "message" for part in item["content"]]


@pytest.mark.parametrize(
    ("content", "explanation", "parts"),
    [
        ([], SORRY, [SORRY]),
        ([], None, ["The model refused to answer."]),
        ([{"type": "text", "text": SORRY}], SORRY, [SORRY]),
        ([MESSAGE["content"][2]], SORRY, ["Let me “look”.", SORRY]),
        ([MESSAGE["content"][0], MESSAGE["content"][2], MESSAGE["content"][3]], None, ["Let me “look”.", ""]),
    ],
    ids=["words alone", "no words", "words as text", "text before", "a call that may be cut"],
)
@pytest.mark.parametrize("facts", [FACTS, JSON_FACTS], ids=["text", "a format"])
def test_refusal_is_a_part_of_a_completed_response(
    content: list[dict[str, Any]], explanation: str | None, parts: list[str], facts: ResponseFacts
) -> None:
    message = refused(content, explanation)
    events = events_of(to_events(message), facts=facts)
    response = events[-1]["response"]
    assert (events[-1]["type"], response["status"], response["incomplete_details"]) == (
        "response.completed",
        "completed",
        None,
    )
    assert response == to_response(message, registry(), facts, compacts=False)
    assert not [item for item in response["output"] if item["type"].endswith("_call")]
    told = texts_of(response)
    assert [part["type"] for part in told] == [*["output_text"] * (len(parts) - 1), "refusal"]
    assert told[-1]["refusal"] == (parts[-1] or "The model refused to answer.")
    assert [part["text"] for part in told[:-1]] == parts[:-1]


def test_refused_words_are_no_text_where_a_format_was_asked_for() -> None:
    events = events_of(to_events(refused([{"type": "text", "text": SORRY}], SORRY)), facts=JSON_FACTS)
    assert not [event for event in events if event["type"].startswith("response.output_text")]
    assert [event["delta"] for event in of_type(events, "response.refusal.delta")] == [SORRY]
    assert [event["item"] for event in of_type(events, "response.output_item.done")] == events[-1]["response"]["output"]


@pytest.mark.parametrize("text", [' {"a": 1}', "not JSON at all"])
def test_text_in_a_format_is_streamed_once_it_begins_like_json(text: str) -> None:
    message = {**MESSAGE, "content": [{"type": "text", "text": text}, MESSAGE["content"][3]]}
    events = events_of(to_events(message), facts=JSON_FACTS)
    assert "".join(event["delta"] for event in of_type(events, "response.output_text.delta")) == text
    assert events[-1]["response"] == to_response(message, registry(), JSON_FACTS, compacts=False)
    assert [event["item"] for event in of_type(events, "response.output_item.done")] == events[-1]["response"]["output"]


def test_ping_becomes_an_event_with_data() -> None:
    assert events_of(PING) == [{"type": "keepalive", "sequence_number": 0}]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimited("Please try again in 2s."), "rate_limit_exceeded"),
        (UpstreamError("Broken."), "server_error"),
        (Overloaded("Busy."), "server_is_overloaded"),
        (BillingProblem("No credit."), "insufficient_quota"),
        (InvalidRequest("prompt is too long: 9 tokens > 5 maximum"), "context_length_exceeded"),
    ],
)
def test_errors_after_the_beginning_are_response_failed(error: GatewayError, code: str) -> None:
    data = to_events(MESSAGE)
    events = events_of(data[: data.index(b"\n\n") + 2] + error_event(error, "req_1"))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["error"]["code"] == code


@pytest.mark.covers("Responses clients · compaction_trigger")
def test_compaction_is_answered_with_one_sealed_item() -> None:
    message = {**MESSAGE, "stop_reason": "end_turn", "content": MESSAGE["content"][:3]}
    events = events_of(to_events(message), compacts=True)
    (done,) = of_type(events, "response.output_item.done")
    assert open_summary(done["item"]["encrypted_content"]) == "Let me “look”."
    assert events[-1]["response"]["output"] == [done["item"]]
    assert to_response(message, registry(), FACTS, compacts=True)["output"] == [done["item"]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"input": "raw"}, "raw"), ({"patch": "raw"}, "raw"), ({}, "{}"), ({"a": "x", "b": 1}, '{"a":"x","b":1}')],
)
def test_custom_input_is_found_under_any_one_name(arguments: dict[str, Any], text: str) -> None:
    block = {"type": "tool_use", "id": "call_1", "name": "patch", "input": arguments}
    message = {**MESSAGE, "content": [block]}
    assert to_response(message, registry(), FACTS, compacts=False)["output"][0]["input"] == text


def test_events_that_messages_may_add_are_left_out() -> None:
    data = to_events(MESSAGE)
    assert events_of(b'event: novel\ndata: {"type":"novel"}\n\n' + data) == events_of(data)


def test_citations_of_pages_become_annotations_of_their_text() -> None:
    citation = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "x"}
    block = {"type": "text", "text": "It is so.", "citations": [citation, {"type": "char_location"}]}
    message = {**MESSAGE, "stop_reason": "end_turn", "content": [block]}
    annotation = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 9}
    whole = to_response(message, ToolRegistry(), FACTS, compacts=False)
    assert whole["output"][0]["content"][0]["annotations"] == [annotation]
    told = [
        orjson.loads(frame.partition(b"data: ")[2])
        for frame in ClientResponseStream(ToolRegistry(), FACTS).feed(to_events(message)).split(b"\n\n")[:-1]
    ]
    added = [event for event in told if event["type"] == "response.output_text.annotation.added"]
    assert [(event["annotation_index"], event["annotation"]) for event in added] == [(0, annotation)]
    assert told[-1]["response"]["output"] == whole["output"]


def test_image_of_an_answer_is_an_item_that_can_come_back() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    message = {**MESSAGE, "stop_reason": "end_turn", "content": [{"type": "image", "source": source}]}
    [item] = to_response(message, ToolRegistry(), FACTS, compacts=False)["output"]
    assert (item["type"], item["status"], item["result"]) == ("image_generation_call", "completed", "iVBORw0KGgo=")
    told = ClientResponseStream(ToolRegistry(), FACTS).feed(to_events(message))
    done = [orjson.loads(frame.partition(b"data: ")[2]) for frame in told.split(b"\n\n")[:-1]]
    assert [event["item"] for event in done if event["type"] == "response.output_item.done"] == [item]
    turns = Turns("m", Keyring((("t", b"secret"),)))
    turns.add_user([{"type": "text", "text": "draw"}], "input.0")
    add_items([item], turns, ToolRegistry())
    assert turns.messages[1]["content"] == [{"type": "image", "source": source}]
