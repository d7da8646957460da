"""POST /v1/responses with the official openai SDK."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import openai
import pytest

from gateway.simulator.script import HangUp, json_script, stream_script
from tests.e2e.conftest import KEY, Live

ASK: dict[str, Any] = {"model": "sim/echo", "input": "Hello"}
TOOLS: list[Any] = [
    {"type": "function", "name": name, "strict": False, "parameters": {"type": "object", "properties": {}}}
    for name in ("look", "hear")
]


@pytest.fixture
async def client(live: Live) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=live.url + "/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        ("sim/echo", ["message"]), ("sim/thinking", ["reasoning", "message"]),
        ("sim/thinking-tool", ["reasoning", "function_call"]),
        ("sim/tools-parallel", ["function_call", "function_call"]),
    ],
)  # fmt: skip
@pytest.mark.covers("Responses clients · openai SDK, JSON and streams")
async def test_the_sdks_stream_helper_and_the_json_answer_agree(
    client: openai.AsyncOpenAI, model: str, kinds: list[str]
) -> None:
    asked: Any = {**ASK, "model": model, "tools": TOOLS}
    whole = await client.responses.create(**asked)
    async with client.responses.stream(**asked) as events:
        async for _ in events:
            pass
        streamed = await events.get_final_response()
    assert [item.type for item in whole.output] == [item.type for item in streamed.output] == kinds
    assert streamed.output_text == whole.output_text
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens


@pytest.mark.covers("Responses clients · encrypted reasoning goes back")
async def test_output_goes_back_as_input_with_its_reasoning(live: Live, client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(**{**ASK, "model": "sim/thinking-tool", "tools": TOOLS})
    call: Any = first.output[-1]
    said: list[Any] = [{"role": "user", "content": "Hello"}, *first.output]
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "seen"})
    await client.responses.create(model="sim/thinking-tool", input=said, tools=TOOLS)
    sent = live.simulator.requests()[-1].json["messages"]
    assert sent[1]["reasoning_details"]
    assert sent[2]["content"] == "seen"


@pytest.mark.covers("Responses clients · retry-after with every 429")
async def test_rate_limit_always_has_retry_after(live: Live, client: openai.AsyncOpenAI) -> None:
    live.simulator.script(*[json_script({"error": {"message": "slow"}}, status=429)] * 4)
    with pytest.raises(openai.RateLimitError) as failed:
        await client.responses.create(**ASK)
    assert failed.value.response.headers["retry-after"] == "2"
    assert failed.value.response.headers["retry-after-ms"] == "2000"


@pytest.mark.covers("Responses clients · no credit is a 429 that is not repeated")
async def test_no_credit_is_a_429_that_is_not_repeated(live: Live, client: openai.AsyncOpenAI) -> None:
    live.simulator.script(json_script({"error": {"message": "no credit"}}, status=402))
    with pytest.raises(openai.RateLimitError) as failed:
        await client.responses.create(**ASK)
    assert failed.value.code == "insufficient_quota"
    assert failed.value.response.headers["x-should-retry"] == "false"


@pytest.mark.covers("Responses clients · response.failed for errors")
async def test_stream_that_breaks_ends_in_response_failed(live: Live, client: openai.AsyncOpenAI) -> None:
    chunk = {"id": "gen-1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hal"}}]}
    live.simulator.script(stream_script(chunk, HangUp()))
    events = [event async for event in await client.responses.create(**ASK, stream=True)]
    assert events[-1].type == "response.failed"
    assert "response.output_item.done" not in [event.type for event in events]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda client: client.responses.retrieve("resp_1"), "not stored"),
        (lambda client: client.responses.delete("resp_1"), "not stored"),
        (lambda client: client.responses.cancel("resp_1"), "not stored"),
        (lambda client: client.responses.input_items.list("resp_1"), "not stored"),
        (lambda client: client.responses.compact(**ASK), "does not compact"),
        (lambda client: client.responses.input_tokens.count(**ASK), "does not count tokens"),
    ],
    ids=["retrieve", "delete", "cancel", "items", "compact", "count"],
)
async def test_operations_on_stored_responses_are_not_found(
    client: openai.AsyncOpenAI, ask: Callable[[openai.AsyncOpenAI], Awaitable[object]], words: str
) -> None:
    with pytest.raises(openai.NotFoundError, match=words):
        await ask(client)


@pytest.mark.covers("Responses clients · previous_response_id, conversation, background, prompt", "refused")
async def test_stored_conversations_are_refused_by_name(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(**ASK, previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"


@pytest.mark.parametrize(("upgrade", "status"), [(True, 426), (False, 405)])
@pytest.mark.covers("Responses clients · WebSocket (426, after which Codex posts)", "refused")
async def test_socket_is_refused_with_426(live: Live, upgrade: bool, status: int) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    if upgrade:
        headers |= {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    async with aiohttp.ClientSession() as session, session.get(live.url + "/v1/responses", headers=headers) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]


@pytest.mark.covers("Responses clients · stored responses", "refused")
async def test_responses_are_not_stored(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_1")


@pytest.mark.covers("Models and tokens · one list for Anthropic's and OpenAI's SDKs and Codex")
async def test_one_list_of_models_serves_all_clients(live: Live, client: openai.AsyncOpenAI) -> None:
    page = await client.models.list()
    assert page.object == "list"
    assert all(model.object == "model" and model.created >= 0 and model.owned_by for model in page.data)
    raw: Any = await client.get("/models", cast_to=object, options={"params": {"client_version": "0.171.0"}})
    assert {"has_more", "first_id", "last_id"} <= raw.keys()
    assert len(raw["models"]) == len(raw["data"])
    for entry in raw["models"]:
        assert {
            "slug", "display_name", "supported_reasoning_levels", "shell_type", "visibility", "supported_in_api",
            "priority", "support_verbosity", "truncation_policy", "experimental_supported_tools", "base_instructions",
        } <= entry.keys()  # fmt: skip
        assert not {"apply_patch_tool_type", "supports_search_tool", "tool_mode"} & entry.keys()
    assert [model.id async for model in live.client().models.list()] == [model.id for model in page.data]
    one = await client.models.retrieve("sim/echo")
    assert one.object == "model"
