"""Batches on a real server: all items answered, and one that is refused holds up none of the others."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from gateway.process.tasks import background
from gateway.redis.embedded import EmbeddedServer
from gateway.settings import load_settings
from tests.servers.cases import HELLO, IMAGE, TOO_LONG
from tests.servers.client import Client, user
from tests.servers.conftest import PATIENT, Servers, front_end, on_servers, settings_before
from tests.servers.running import Running
from workers.wiring import open_worker

pytestmark = PATIENT

END_SECONDS = 20.0
POLL_SECONDS = 0.1


@on_servers("llama-cpp vllm sglang litellm")
async def test_a_batch_is_answered(servers: Servers, name: str, tmp_path: Path) -> None:
    async with batches_before(servers.get(name), tmp_path) as client:
        results = await results_of(client, {f"item-{number}": user("hi") for number in range(20)})
    assert [result["message"]["content"][0]["text"] for result in results.values()] == [HELLO] * 20


@on_servers("llama-cpp vllm litellm")
async def test_a_batch_with_an_image_for_a_text_model_ends_soon(servers: Servers, name: str, tmp_path: Path) -> None:
    messages = {f"item-{number}": user("hi") for number in range(9)}
    messages["image"] = user({"type": "text", "text": "Look"}, IMAGE)
    async with batches_before(servers.get(name), tmp_path) as client:
        results = await results_of(client, messages)
    assert [result["type"] for result in results.values()][:9] == ["succeeded"] * 9
    assert results["image"]["type"] in ("succeeded", "errored")


@on_servers("llama-cpp vllm litellm")
async def test_an_overflow_in_a_batch_is_an_error_of_that_item(servers: Servers, name: str, tmp_path: Path) -> None:
    async with batches_before(servers.get(name), tmp_path) as client:
        results = await results_of(client, {"long": user(TOO_LONG), "short": user("hi")})
    assert [result["type"] for result in results.values()] == ["errored", "succeeded"]
    error = results["long"]["error"]["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("prompt is too long: ")


@asynccontextmanager
async def batches_before(server: Running, folder: Path) -> AsyncIterator[Client]:
    """A front end and a worker before the server, on a separate Redis."""
    stop = asyncio.Event()
    async with EmbeddedServer(folder) as redis:
        changes = {"redis_url": redis.url}
        settings = load_settings(**settings_before(server, **changes))
        async with (
            front_end(server, **changes) as client,
            open_worker(settings) as worker,
            background(worker.run(stop, 1.0)),
        ):
            yield client
            stop.set()


async def results_of(client: Client, messages: dict[str, Any]) -> dict[str, Any]:
    """Return the results by custom_id, in the order of the items, once the batch has ended."""
    items = [{"custom_id": name, "params": client.body(messages=[message])} for name, message in messages.items()]
    batch = await client.post("/v1/messages/batches", {"requests": items})
    deadline = time.monotonic() + END_SECONDS
    while (await client.get(f"/v1/messages/batches/{batch['id']}"))["processing_status"] != "ended":
        assert time.monotonic() < deadline, f"the batch has not ended after {END_SECONDS:.0f} s"
        await asyncio.sleep(POLL_SECONDS)
    async with client.session.get(f"{client.url}/v1/messages/batches/{batch['id']}/results") as response:
        lines = [orjson.loads(line) for line in (await response.read()).splitlines()]
    results = {line["custom_id"]: line["result"] for line in lines}
    return {name: results[name] for name in messages}
