"""A model's reasoning is replayed upstream for the tenant that got it, in live requests, threads and batches."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import json_script
from tests.e2e.conftest import KEY, Live, serving, settings_for
from workers.wiring import open_worker

SAME_TENANT = "second-key-0123456789"
OTHER_TENANT = "other-key-0123456789"
KEYS = f"tests:{KEY},tests:{SAME_TENANT},others:{OTHER_TENANT}"
DETAIL = {"type": "reasoning.encrypted", "data": "sealed-by-upstream", "format": "openai-responses-v1", "index": 0}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
ASKED: dict[str, Any] = {"model": "openai/gpt-5.2", "max_tokens": 100}
QUESTION: dict[str, Any] = {"role": "user", "content": "why?"}
SECONDS = 30


@pytest.fixture
async def live(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Live]:
    async with EmbeddedServer(tmp_path) as server:
        shared = {"keys": KEYS, "redis_url": server.url, "secret": "k1:shared"}
        async with serving(simulator, **shared) as front, open_worker(settings_for(simulator, **shared)) as worker:
            stop = asyncio.Event()
            running = asyncio.create_task(worker.run(stop, 1.0))
            yield front
            stop.set()
            await running


def script_answer(live: Live) -> None:
    """The upstream's next answer has encrypted reasoning before its text, streamed or not as it is asked for."""
    message = {"role": "assistant", "content": "because", "reasoning_details": [DETAIL]}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    live.simulator.script(json_script({"id": "g", "choices": [choice], "usage": USAGE}))


async def first_answer(live: Live) -> list[Any]:
    """The content that the first tenant was given."""
    script_answer(live)
    reply = await live.client().messages.create(**ASKED, messages=[QUESTION])
    content = [block.model_dump(exclude_none=True) for block in reply.content]
    assert [block["type"] for block in content] == ["redacted_thinking", "text"]
    return content


def conversation(content: list[Any]) -> list[Any]:
    return [QUESTION, {"role": "assistant", "content": content}, {"role": "user", "content": "go on"}]


def replayed(live: Live) -> Any:
    """The reasoning in the last request upstream."""
    messages = live.simulator.requests()[-1].json["messages"]
    return [message["reasoning_details"] for message in messages if "reasoning_details" in message]


@pytest.mark.parametrize("key", [KEY, SAME_TENANT])
async def test_reasoning_is_replayed_for_every_key_of_its_tenant(live: Live, key: str) -> None:
    content = await first_answer(live)
    await live.client(api_key=key).messages.create(**ASKED, messages=conversation(content))
    assert replayed(live) == [[DETAIL]]


@pytest.mark.covers("Thinking · of another tenant", "noted")
async def test_reasoning_of_another_tenant_is_dropped_with_a_note(live: Live) -> None:
    content = await first_answer(live)
    reply = await live.client(api_key=OTHER_TENANT).messages.with_raw_response.create(
        **ASKED, messages=conversation(content)
    )
    assert replayed(live) == []
    assert "dropped:messages.1.content" in reply.headers["x-gateway-ignored"]


async def test_reasoning_in_a_thread_is_replayed(live: Live) -> None:
    script_answer(live)
    client = live.client()
    options: dict[str, Any] = {"extra_body": {"thread": {"type": "create"}}}
    first = await client.messages.create(**ASKED, messages=[QUESTION], **options)
    options["extra_body"]["thread"] = {"type": "continue", "previous_message_id": first.id}
    await client.messages.create(**ASKED, messages=[{"role": "user", "content": "go on"}], **options)
    assert replayed(live) == [[DETAIL]]


@pytest.mark.parametrize(("key", "expected"), [(KEY, [[DETAIL]]), (OTHER_TENANT, [])])
async def test_reasoning_in_a_batch_is_replayed_for_its_tenant(live: Live, key: str, expected: Any) -> None:
    content = await first_answer(live)
    client = live.client(api_key=key)
    request: Any = {"custom_id": "a", "params": {**ASKED, "messages": conversation(content)}}
    batch = await client.messages.batches.create(requests=[request])
    async with asyncio.timeout(SECONDS):
        while (await client.messages.batches.retrieve(batch.id)).processing_status != "ended":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    [line] = [line async for line in await client.messages.batches.results(batch.id)]
    assert line.result.type == "succeeded"
    assert replayed(live) == expected
