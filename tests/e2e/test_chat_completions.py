"""POST /v1/chat/completions with the official openai SDK, on upstreams of each dialect."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from gateway.simulator.script import HangUp, Script, json_script, stream_script
from tests.e2e.conftest import KEY, Live

ASK: dict[str, Any] = {"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]}
PROPERTIES: dict[str, Any] = {"at": {"type": "string"}}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": PROPERTIES}}}
    for name in ("look", "hear")
]


@pytest.fixture
async def client(live: Live) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=live.url + "/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("sim/echo", "stop"),
        ("sim/thinking", "stop"),
        ("sim/thinking-tool", "tool_calls"),
        ("sim/tools-parallel", "tool_calls"),
        ("sim/tools-interleaved", "tool_calls"),
    ],
)
@pytest.mark.covers("Chat clients · openai SDK, JSON and streams")
async def test_the_sdks_stream_helper_and_the_json_answer_agree(
    client: openai.AsyncOpenAI, model: str, reason: str
) -> None:
    asked: Any = {**ASK, "model": model, "tools": TOOLS}
    whole = await client.chat.completions.create(**asked)
    async with client.chat.completions.stream(**asked) as events:
        streamed = await events.get_final_completion()
    for one in (whole, streamed):
        assert one.choices[0].finish_reason == reason
        assert one.model == model
    calls, told = whole.choices[0].message.tool_calls or [], streamed.choices[0].message.tool_calls or []
    assert [call.function.arguments for call in told] == [call.function.arguments for call in calls]  # type: ignore[union-attr]
    assert (whole.choices[0].message.content or "") == (streamed.choices[0].message.content or "")


async def test_length_is_not_sent_to_a_chat_upstream_unless_set(live: Live, client: openai.AsyncOpenAI) -> None:
    await client.chat.completions.create(**ASK)
    assert "max_tokens" not in live.simulator.requests()[-1].json


async def test_reasoning_of_a_chat_upstream_goes_back_as_it_came(live: Live, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(**{**ASK, "model": "sim/thinking"})
    message: Any = answer.choices[0].message.model_dump()
    again: Any = [*ASK["messages"], message, {"role": "user", "content": "And now?"}]
    await client.chat.completions.create(model="sim/thinking", messages=again)
    sent = live.simulator.requests()[-1].json["messages"][1]
    assert sent["reasoning_details"] == message["reasoning_details"] != []


@pytest.mark.covers("Chat clients · reasoning_content and reasoning_details both ways")
async def test_sealed_reasoning_goes_back_to_the_upstream(live: Live, client: openai.AsyncOpenAI) -> None:
    converted = {"x-gateway-params": "{}"}
    asked: Any = {**ASK, "model": "sim/thinking"}
    answer = await client.chat.completions.create(**asked, extra_headers=converted)
    message: Any = answer.choices[0].message.model_dump()
    assert message["reasoning_content"]
    again: Any = [*ASK["messages"], message, {"role": "user", "content": "And now?"}]
    await client.chat.completions.create(model="sim/thinking", messages=again)
    sent = live.simulator.requests()[-1].json["messages"][1]
    assert sent["reasoning_details"][0]["text"] == message["reasoning_content"]


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "authorization"])
@pytest.mark.covers("Chat clients · keys in three headers")
async def test_keys_are_taken_from_three_headers(live: Live, header: str) -> None:
    value = f"Bearer {KEY}" if header == "authorization" else KEY
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + "/openai/v1/chat/completions", json=ASK, headers={header: value}) as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize(
    ("script", "kind", "code", "retry_after"),
    [
        (
            json_script({"error": {"message": "no credit"}}, status=402),
            openai.APIStatusError,
            "insufficient_quota",
            None,
        ),
        (json_script({"error": {"message": "slow"}}, status=429), openai.RateLimitError, "rate_limit_exceeded", "2"),
        (
            json_script(
                {
                    "error": {
                        "message": "This model's maximum context length is 5 tokens. However, your messages resulted "
                        "in 9 tokens.",
                        "code": "context_length_exceeded",
                    }
                },
                status=400,
            ),
            openai.BadRequestError,
            "context_length_exceeded",
            None,
        ),
        (
            json_script({"error": {"message": "no such model"}}, status=404),
            openai.NotFoundError,
            "model_not_found",
            None,
        ),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.covers("Chat clients · OpenAI's errors, with retry-after")
async def test_errors_have_openais_codes_and_hints(
    live: Live, script: Script, kind: type[openai.APIStatusError], code: str, retry_after: str | None, streams: bool
) -> None:
    live.simulator.script(*[script] * 4)
    async with openai.AsyncOpenAI(base_url=live.url + "/v1", api_key=KEY, max_retries=0) as client:
        with pytest.raises(kind) as failed:
            await client.chat.completions.create(**ASK, stream=streams)
    assert failed.value.code == code
    assert failed.value.response.headers.get("retry-after") == retry_after


async def test_wrong_key_is_openais_401(live: Live) -> None:
    async with openai.AsyncOpenAI(base_url=live.url + "/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(**ASK)
    assert refused.value.code == "invalid_api_key"
    assert "x-api-key" not in refused.value.message


async def test_error_after_content_is_raised_by_the_sdk(live: Live, client: openai.AsyncOpenAI) -> None:
    chunk = {"id": "gen-1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hal"}}]}
    live.simulator.script(stream_script(chunk, HangUp()))
    with pytest.raises(openai.APIError):
        async for _ in await client.chat.completions.create(**ASK, stream=True):
            pass


async def test_unknown_paths_below_the_openai_prefix_are_openais_404(live: Live) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + "/openai/v1/assistants", json={}, headers=headers) as response,
    ):
        assert response.status == 404
        assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.covers("Chat parameters · n above 1 on Messages upstreams", "refused")
async def test_unserved_parameter_is_refused_by_name_where_messages_carry_the_request(
    client: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**ASK, n=2, extra_headers={"x-gateway-params": "{}"})
    assert (refused.value.param, refused.value.code) == ("n", "unsupported_parameter")
