"""Streams as clients see them, with every fault of the upstream."""

import asyncio
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest

from gateway.messages.fold import fold_events
from gateway.simulator.script import COMMENT, HangUp, Hold, Script, json_script, stream_script
from tests.e2e.conftest import KEY, Live, serving
from tests.e2e.raw import open_raw, parse_events, read_until

ASK: dict[str, Any] = {"model": "sim/echo", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}
TOOLS: list[Any] = [
    {"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}},
    {"name": "hear", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
]


def chunk(text: str, **choice: Any) -> dict[str, Any]:
    return {"id": "gen-1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, **choice}]}


async def stream(live: Live, body: dict[str, Any], *, path: str = "/v1/messages") -> tuple[int, Any, bytes]:
    headers = {"x-api-key": KEY}
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + path, json={**ASK, "stream": True, **body}, headers=headers) as response,
    ):
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize(
    ("model", "kinds", "stop"),
    [
        ("sim/echo", ["text"], "end_turn"),
        ("sim/thinking", ["thinking", "text"], "end_turn"),
        ("sim/thinking-tool", ["thinking", "tool_use"], "tool_use"),
        ("sim/tool", ["tool_use"], "tool_use"),
        ("sim/tools-parallel", ["tool_use", "tool_use"], "tool_use"),
        ("sim/tools-interleaved", ["tool_use", "tool_use"], "tool_use"),
        ("sim/tool-whole", ["tool_use"], "tool_use"),
        ("sim/tool-stop", ["tool_use"], "tool_use"),
        ("sim/tools-same-id", ["tool_use", "tool_use"], "tool_use"),
        ("sim/tools-no-id", ["tool_use", "tool_use"], "tool_use"),
        ("sim/reasoning-content", ["thinking", "text"], "end_turn"),
        ("sim/crlf", ["text"], "end_turn"),
        ("sim/late-usage", ["text"], "end_turn"),
        ("sim/no-usage", ["text"], "end_turn"),
        ("sim/refusal", ["text"], "refusal"),
    ],
)
@pytest.mark.covers("Streams · stream and JSON give the same message")
async def test_the_sdks_helper_and_the_json_answer_agree(live: Live, model: str, kinds: list[str], stop: str) -> None:
    asked: Any = {**ASK, "model": model, "tools": TOOLS}
    client = live.client()
    async with client.messages.stream(**asked) as events:
        streamed = await events.get_final_message()
    whole = await client.messages.create(**asked)
    assert [block.type for block in streamed.content] == kinds
    assert streamed.stop_reason == stop
    assert [without_ids(block.to_dict()) for block in streamed.content] == [
        without_ids(b.to_dict()) for b in whole.content
    ]
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    ids = [block.id for block in streamed.content if block.type == "tool_use"]
    assert len(ids) == len(set(ids))


def without_ids(block: dict[str, Any]) -> dict[str, Any]:
    """Less ids, what is sealed with them, and fields that the SDK leaves out when streaming."""
    return {name: value for name, value in block.items() if name not in ("id", "citations", "caller", "signature")}


async def test_a_tool_loop_over_three_turns(live: Live) -> None:
    history: list[Any] = [{"role": "user", "content": "go"}]
    client = live.client()
    for turn in range(3):
        async with client.messages.stream(
            model="sim/thinking-tool" if turn < 2 else "sim/echo", max_tokens=2000, messages=history, tools=TOOLS
        ) as events:
            message = await events.get_final_message()
        history.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": f"seen {turn}"}
            for block in message.content
            if block.type == "tool_use"
        ]
        history.append({"role": "user", "content": results or "thanks"})
    assert message.stop_reason == "end_turn"


@pytest.mark.covers("Streams · Anthropic's events in Anthropic's order")
async def test_the_frames_are_exactly_anthropics(live: Live) -> None:
    status, headers, body = await stream(live, {})
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-accel-buffering"] == "no"
    assert headers["request-id"].startswith("req_")
    assert "content-encoding" not in headers
    assert b"[DONE]" not in body
    assert b"OPENROUTER" not in body
    events = parse_events(body)
    assert events[0]["message"]["usage"]["input_tokens"] > 0
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2]["usage"]["cost"] > 0
    assert fold_events(events)["stop_reason"] == "end_turn"


@pytest.mark.covers("Streams · POST /v1/messages/stream")
async def test_the_old_stream_path_is_an_alias(live: Live) -> None:
    status, _, body = await stream(live, {"stream": False}, path="/v1/messages/stream")
    assert status == 200
    assert parse_events(body)[-1]["type"] == "message_stop"


@pytest.mark.parametrize("model", ["sim/error-mid-stream", "sim/hang-up", "sim/cut-off"])
@pytest.mark.covers("Streams · a failure after content is an error event")
async def test_a_failure_after_the_first_event_is_an_error_event(live: Live, model: str) -> None:
    status, headers, body = await stream(live, {"model": model})
    events = parse_events(body)
    assert status == 200
    assert events[-1]["type"] == "error"
    assert events[-1]["request_id"] == headers["request-id"]
    assert "message_stop" not in [event["type"] for event in events]
    assert len(live.simulator.requests()) == 1


async def test_the_sdk_raises_on_a_failure_mid_stream(live: Live) -> None:
    with pytest.raises(anthropic.APIStatusError):
        async with live.client().messages.stream(**{**ASK, "model": "sim/error-mid-stream"}) as events:
            await events.get_final_message()


@pytest.mark.covers("Streams · a failure before content is tried again")
async def test_a_failure_before_the_first_content_is_tried_again(live: Live) -> None:
    broken = stream_script(COMMENT, {"error": {"code": 502, "message": "provider died"}, "choices": []})
    live.simulator.script(broken, Script((b": c\n\n", HangUp()), 200, (("Content-Type", "text/event-stream"),)))
    status, _, body = await stream(live, {})
    assert (status, parse_events(body)[-1]["type"]) == (200, "message_stop")
    assert len(live.simulator.requests()) == 3


FAILURE_FRAMES = {
    "an event named error": b'event: error\ndata: {"message":"the engine went down","code":"500"}\n\n',
    "a detail": b'data: {"detail":"the engine went down"}\n\n',
    "broken JSON": b'data: {"error": "the engine went down\nat line 1\n\n',
}


@pytest.mark.parametrize("frame", FAILURE_FRAMES)
@pytest.mark.parametrize("ending", [b"data: [DONE]\n\n", b""], ids=["done", "closed"])
async def test_a_failure_in_any_frame_is_an_error_and_no_end_of_turn(live: Live, frame: str, ending: bytes) -> None:
    failure = FAILURE_FRAMES[frame] + ending
    live.simulator.script(stream_script(chunk("The first hal"), failure), *[stream_script(failure)] * 3)
    _, _, body = await stream(live, {})
    assert parse_events(body)[-1]["type"] == "error"
    assert b"the engine went down" in body
    assert len(live.simulator.requests()) == 1
    status, _, body = await stream(live, {})
    assert (status, orjson.loads(body)["error"]["message"][:20]) == (502, "the engine went down")
    assert len(live.simulator.requests()) == 4


async def test_a_stream_of_nothing_but_its_end_is_asked_for_again(live: Live) -> None:
    live.simulator.script(stream_script(b"data: [DONE]\n\n"))
    status, _, body = await stream(live, {})
    assert (status, parse_events(body)[-1]["type"]) == (200, "message_stop")
    assert len(live.simulator.requests()) == 2


async def test_a_lack_of_money_reported_in_a_200_is_asked_for_once(live: Live) -> None:
    refused = {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "balance too low"}}
    live.simulator.script(json_script(refused), stream_script(refused))
    for count, streams in ((1, False), (2, True)):
        status, _, body = await stream(live, {"stream": streams})
        assert (status, orjson.loads(body)["error"]["type"]) == (402, "billing_error")
        assert len(live.simulator.requests()) == count


async def test_a_failure_before_the_first_event_has_its_own_status(live: Live) -> None:
    status, headers, body = await stream(live, {"model": "sim/error-429"})
    assert status == 429
    assert float(headers["retry-after"]) > 0
    assert b'"rate_limit_error"' in body


async def test_json_for_a_stream_request_becomes_a_stream(live: Live) -> None:
    message = {"role": "assistant", "content": "all at once"}
    live.simulator.script(json_script({"id": "g", "choices": [{"finish_reason": "stop", "message": message}]}))
    status, _, body = await stream(live, {})
    assert status == 200
    assert fold_events(parse_events(body))["content"][0]["text"] == "all at once"


@pytest.mark.covers("Streams · pings while the upstream is silent")
async def test_a_silent_upstream_commits_and_pings(simulator: Any) -> None:
    gate = asyncio.Event()
    simulator.script(stream_script(COMMENT, Hold(gate), chunk("late", finish_reason="stop"), b"data: [DONE]\n\n"))
    async with serving(simulator, commit_seconds=0.1, ping_seconds=0.1) as live:
        reader, writer = await open_raw(live, {**ASK, "stream": True})
        head = await read_until(reader, b"event: ping")
        assert b"message_start" in head
        await read_until(reader, b"event: ping")
        gate.set()
        rest = await read_until(reader, b"0\r\n\r\n")
        assert b"late" in rest
        assert b"message_start" not in rest
        writer.close()


async def test_a_failure_after_a_silent_commit_is_tried_again_on_the_same_stream(simulator: Any) -> None:
    gate = asyncio.Event()
    simulator.script(stream_script(COMMENT, Hold(gate), HangUp()))
    async with serving(simulator, commit_seconds=0.1) as live:
        reader, writer = await open_raw(live, {**ASK, "stream": True})
        await read_until(reader, b"event: ping")
        gate.set()
        rest = await read_until(reader, b"0\r\n\r\n")
        assert b"message_stop" in rest
        assert b"message_start" not in rest
        writer.close()


async def test_an_upstream_that_shows_nothing_in_time_is_given_up(simulator: Any) -> None:
    async with serving(simulator, first_byte_timeout=0.3, commit_seconds=60, max_attempts=1) as live:
        status, _, body = await stream(live, {"model": "sim/silent"})
        assert (status, b"timeout_error" in body) == (504, True)
        simulator.script(stream_script(COMMENT, Hold()))
        status, _, body = await stream(live, {})
        assert (status, b"timeout_error" in body) == (504, True)


async def test_an_upstream_that_falls_silent_ends_in_an_error_event(simulator: Any) -> None:
    async with serving(simulator, idle_timeout=0.3) as live:
        _, _, body = await stream(live, {"model": "sim/silent-mid-stream"})
        assert parse_events(body)[-1]["error"]["type"] == "timeout_error"


async def test_an_old_client_gets_an_unchunked_stream(live: Live) -> None:
    reader, writer = await open_raw(live, {**ASK, "stream": True}, version="HTTP/1.0")
    async with asyncio.timeout(10):
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert parse_events(body)[-1]["type"] == "message_stop"
    writer.close()


async def test_a_connection_serves_streams_and_json_one_after_the_other(live: Live) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), headers={"x-api-key": KEY}) as session:
        for number in range(6):
            async with session.post(live.url + "/v1/messages", json={**ASK, "stream": number % 2 == 0}) as response:
                assert response.status == 200
                await response.read()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.covers("Thinking · in tags within the text")
async def test_thinking_in_tags_is_taken_out_of_the_text_of_a_plain_upstream(simulator: Any, streamed: bool) -> None:
    async with serving(simulator, upstream_flavor="openai") as live:
        asked: Any = {**ASK, "model": "sim/think-tags"}
        if streamed:
            async with live.client().messages.stream(**asked) as events:
                message = await events.get_final_message()
        else:
            message = await live.client().messages.create(**asked)
    thinking, text = message.content
    assert thinking.type == "thinking"
    assert thinking.signature
    assert text.type == "text"
    assert "think>" not in thinking.thinking + text.text


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "json"])
async def test_arguments_beyond_repair_are_asked_for_once(live: Live, streamed: bool) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": "a "b" c"}'}}
    end = chunk("", finish_reason="tool_calls")
    script = stream_script({"choices": [{"delta": {"tool_calls": [call]}}]}, end, b"data: [DONE]\n\n")
    live.simulator.script(script)
    status, headers, body = await stream(live, {"stream": streamed, "tools": TOOLS})
    assert b"not a JSON object" in body
    assert (status, headers.get("x-should-retry")) == ((200, None) if streamed else (502, "false"))
    assert len(live.simulator.requests()) == 1
