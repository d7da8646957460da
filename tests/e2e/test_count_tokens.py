"""POST /v1/messages/count_tokens as clients use it, and what it learns from the exchanges beside it."""

import base64
import io
import struct
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest

from tests.e2e.conftest import KEY, Live
from tests.e2e.raw import open_raw, parse_events

WORDS = "Seventeen lanterns were hung along the quay before the ferry came in. "
HELLO: dict[str, Any] = {"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]}
TOOL: dict[str, Any] = {"name": "read", "description": "Reads a file.", "input_schema": {"type": "object"}}
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1000, 1000) + bytes(60)
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()},
}


async def post(live: Live, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, what the method header says, and the JSON of a plain HTTP request with a valid key."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    path = "/v1/messages/count_tokens?beta=true"
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + path, data=io.BytesIO(data), headers={"x-api-key": KEY, **headers}) as response,
    ):
        return response.status, parse_method(response.headers.get("x-gateway-token-count", "")), await response.json()


def parse_method(header: str) -> dict[str, str]:
    return dict(part.split("=") for part in header.split("; ") if part)


@pytest.mark.covers("Models and tokens · count_tokens without a call")
async def test_the_sdk_counts_tokens_and_no_upstream_is_asked(live: Live) -> None:
    client = live.client()
    short = await client.messages.count_tokens(**HELLO)
    long = await client.messages.count_tokens(**{**HELLO, "system": WORDS * 10, "tools": [TOOL]})
    assert 1 <= short.input_tokens < 20
    assert long.input_tokens > short.input_tokens + 100
    assert live.simulator.requests() == []


async def test_the_answer_is_the_number_and_nothing_else_and_the_header_says_how_it_came_about(live: Live) -> None:
    status, method, answer = await post(live, {**HELLO, "model": "claude-sonnet-5"})
    assert (status, list(answer)) == (200, ["input_tokens"])
    assert method == {
        "method": "characters",
        "profile": "claude",
        "ratio": "1.000",
        "samples": "0",
        "error": "0.25",
        "media": "0",
        "assumed": "0",
    }


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("big", "claude"),
        ("claude-3-5-haiku-latest", "claude-before-4.7"),
        ("openai/gpt-5", "openai"),
        ("nobody/knows:this", "general"),
        ("qwen/qwen3-coder", "single-digits"),
    ],
)
async def test_every_name_of_a_model_is_counted(live: Live, model: str, profile: str) -> None:
    status, method, answer = await post(live, {**HELLO, "model": model})
    assert (status, method["profile"], answer["input_tokens"] > 0) == (200, profile, True)


async def test_images_and_thinking_and_everything_of_messages_is_accepted(live: Live) -> None:
    content = [{"type": "text", "text": "look"}, IMAGE]
    call = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}}
    thinking = {"type": "thinking", "thinking": "Let me look.", "signature": "c2ln"}
    request = {
        **HELLO,
        "max_tokens": 4000,
        "stream": True,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [TOOL],
        "tool_choice": {"type": "auto"},
        "messages": [
            {"role": "user", "content": content},
            {"role": "assistant", "content": [thinking, call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [IMAGE]}]},
        ],
    }
    status, method, answer = await post(live, request)
    assert (status, method["media"], method["assumed"]) == (200, str(2 * 1296), "0")
    assert answer["input_tokens"] > 2 * 1296


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        pytest.param(b"{", {}, 400, "not valid JSON", id="half a JSON"),
        pytest.param({"model": "m"}, {}, 400, "messages: Field required", id="no messages"),
        pytest.param({**HELLO, "messages": [{"role": "x", "content": "a"}]}, {}, 400, "messages.0", id="a wrong role"),
        pytest.param({**HELLO, "thread": {"type": "create"}}, {}, 400, "thread", id="a thread"),
        pytest.param(HELLO, {"anthropic-version": "1999-01-01"}, 400, "anthropic-version", id="an unknown version"),
        pytest.param(HELLO, {"x-api-key": "wrong"}, 401, "", id="a wrong key"),
        pytest.param(
            {**HELLO, "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "?"}}]}},
            {},
            400,
            "context_management",
            id="an edit that cannot be",
        ),
    ],
)
async def test_errors_are_those_of_messages(
    live: Live, body: Any, headers: dict[str, str], status: int, message: str
) -> None:
    got, method, answer = await post(live, body, **headers)
    assert (got, answer["type"], method) == (status, "error", {})
    assert message in answer["error"]["message"]


async def test_other_methods_are_refused(live: Live) -> None:
    async with aiohttp.ClientSession() as session, session.get(live.url + "/v1/messages/count_tokens") as response:
        assert response.status == 405


def cleared_conversation() -> list[Any]:
    messages: list[Any] = [{"role": "user", "content": "read them all"}]
    for number in range(6):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "read", "input": {"path": "a"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": WORDS * 30}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return messages


async def test_context_management_reports_the_count_before_and_after_its_edits(live: Live) -> None:
    edit: Any = {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 5}}
    counted = await live.client().beta.messages.count_tokens(
        model="sim/echo",
        messages=cleared_conversation(),
        tools=[TOOL],
        context_management={"edits": [edit]},
        betas=["context-management-2025-06-27"],
    )
    assert counted.context_management is not None
    assert counted.context_management.original_input_tokens > counted.input_tokens + 3 * 30 * 10


async def test_an_exchange_whose_context_was_edited_teaches_nothing(live: Live) -> None:
    edits = {"edits": [{"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 5}}]}
    asked = {"model": "sim/echo", "messages": cleared_conversation(), "tools": [TOOL]}
    for changes in ({"context_management": edits}, {}):
        _, method, _ = await post(live, asked)
        assert method["samples"] == "0"
        await live.client().beta.messages.create(max_tokens=10, **asked, **changes)
    _, method, _ = await post(live, asked)
    assert method["samples"] == "1"


async def test_context_management_that_changes_nothing_reports_the_same_count_twice(live: Live) -> None:
    _, _, answer = await post(live, {**HELLO, "context_management": {"edits": []}})
    assert answer["context_management"] == {"original_input_tokens": answer["input_tokens"]}


async def test_a_megabyte_is_counted(live: Live) -> None:
    words = WORDS * 15_000
    _, _, whole = await post(live, {**HELLO, "messages": [{"role": "user", "content": words}]})
    _, _, half = await post(live, {**HELLO, "messages": [{"role": "user", "content": words[: len(words) // 2]}]})
    assert whole["input_tokens"] == pytest.approx(2 * half["input_tokens"], rel=0.01)


def prompt_of(words: int) -> dict[str, Any]:
    return {"model": "sim/echo", "max_tokens": 10, "messages": [{"role": "user", "content": WORDS * words}]}


async def exchanges(client: anthropic.AsyncAnthropic, count: int) -> int:
    """Some finished exchanges; what the upstream made of the last one's prompt."""
    for number in range(count):
        message = await client.messages.create(**prompt_of(40 + number))
    return message.usage.input_tokens


@pytest.mark.covers("Models and tokens · estimates learn from what upstreams count")
async def test_what_the_upstream_counts_corrects_later_counts_and_narrows_the_error(live: Live) -> None:
    request = {name: value for name, value in prompt_of(59).items() if name != "max_tokens"}
    _, before, uncorrected = await post(live, request)
    observed = await exchanges(live.client(), 20)
    _, method, corrected = await post(live, request)
    assert abs(corrected["input_tokens"] - observed) < abs(uncorrected["input_tokens"] - observed)
    assert corrected["input_tokens"] == pytest.approx(observed, rel=0.05)
    assert int(method["samples"]) >= 8
    assert float(method["error"]) < float(before["error"])


async def test_message_start_carries_an_estimate_that_learns_as_well(live: Live) -> None:
    async def started_with() -> int:
        reader, writer = await open_raw(live, {**prompt_of(59), "stream": True}, version="HTTP/1.0")
        events = parse_events((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()
        started: int = events[0]["message"]["usage"]["input_tokens"]
        return started

    before = await started_with()
    observed = await exchanges(live.client(), 20)
    after = await started_with()
    assert before > 0
    assert abs(after - observed) < abs(before - observed)
    assert after == pytest.approx(observed, rel=0.05)
