"""Tool loops with upstreams that put white space around calls, through every door; histories that hold it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Script, json_script, stream_script
from tests.e2e.conftest import Live, serving

TOOL: Any = {"name": "get_weather", "input_schema": {"type": "object"}}
QUESTION: Any = {"role": "user", "content": "#thinktool"}
FUNCTION = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
CALL = {"index": 0, "id": "chatcmpl-tool-1", "type": "function", "function": FUNCTION}
ANSWER: Any = {"role": "assistant", "reasoning": "\nHm.\n", "content": "\n\n", "tool_calls": [CALL]}


@pytest.fixture(params=["openrouter", "openai"])
async def live(request: pytest.FixtureRequest, simulator: Simulator, tmp_path: Path) -> AsyncIterator[Live]:
    async with (
        EmbeddedServer(tmp_path) as server,
        serving(simulator, redis_url=server.url, upstream_flavor=request.param) as front,
    ):
        yield front


def chunk(delta: Any, reason: str | None = None) -> Any:
    return {"id": "g", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def call_between_white_space() -> Script:
    """Return deltas as vLLM and SGLang send them."""
    deltas = ({"reasoning": "\nHm.\n"}, {"content": "\n\n"}, {"tool_calls": [CALL]}, {"content": "\n"})
    return stream_script(*map(chunk, deltas), chunk({}, "tool_calls"), b"data: [DONE]\n\n")


def whole_call() -> Script:
    return json_script({"id": "g", "choices": [{"finish_reason": "tool_calls", "message": ANSWER}]})


def said() -> tuple[Script, Script]:
    words = {"role": "assistant", "content": "Sunny."}
    return (
        stream_script(chunk(words), chunk({}, "stop"), b"data: [DONE]\n\n"),
        json_script({"id": "g", "choices": [{"finish_reason": "stop", "message": words}]}),
    )


def result_of(message: Any) -> Any:
    (call,) = [block for block in message.content if block.type == "tool_use"]
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sun"}]}


async def asked(live: Live, messages: list[Any], *, stream: bool, **fields: Any) -> Any:
    body: Any = {"model": "sim/echo", "max_tokens": 100, "tools": [TOOL], "messages": messages, **fields}
    if not stream:
        return await live.client().messages.create(**body)
    async with live.client().messages.stream(**body) as events:
        return await events.get_final_message()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
async def test_a_tool_loop_goes_on_with_the_answer_as_it_came(live: Live, stream: bool) -> None:
    streamed, whole = said()
    live.simulator.script(call_between_white_space() if stream else whole_call(), streamed if stream else whole)
    first = await asked(live, [QUESTION], stream=stream)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    turns = [QUESTION, {"role": "assistant", "content": first.content}, result_of(first)]
    assert (await live.client().messages.count_tokens(model="sim/echo", tools=[TOOL], messages=turns)).input_tokens
    assert (await asked(live, turns, stream=stream)).content[0].text == "Sunny."


async def test_a_thread_goes_on_with_it(live: Live) -> None:
    streamed, _ = said()
    live.simulator.script(call_between_white_space(), streamed)
    first = await asked(live, [QUESTION], stream=True, extra_body={"thread": {"type": "create"}})
    more = {"thread": {"type": "continue", "previous_message_id": first.id}}
    body: Any = {"model": "sim/echo", "max_tokens": 100, "messages": [result_of(first)]}
    async with live.client().messages.stream(**body, extra_body=more) as events:
        assert (await events.get_final_message()).content[0].text == "Sunny."  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
async def test_a_history_with_white_space_is_accepted_and_noted(live: Live, stream: bool) -> None:
    """Older versions and other gateways return such histories."""
    use = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}
    blank = {"type": "text", "text": "\n\n"}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "sun"}
    turns: Any = [
        QUESTION,
        {"role": "assistant", "content": [blank, use, blank]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [blank]},
        {"role": "user", "content": "Go on."},
    ]
    live.simulator.script(said()[0 if stream else 1])
    body: Any = {"model": "sim/echo", "max_tokens": 100, "messages": turns, "tools": [TOOL], "stream": stream}
    reply = await live.client().messages.with_raw_response.create(**body)
    assert reply.headers["x-gateway-ignored"] == "dropped:messages.1.content"
    assert (await live.client().messages.count_tokens(model="sim/echo", messages=turns)).input_tokens
    (record,) = live.simulator.requests()
    roles = [message["role"] for message in record.json["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]
    assert record.json["messages"][1]["content"] is None
