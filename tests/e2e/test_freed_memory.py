"""Every request is freed at its end, also one that fails: garbage in cycles waits for a full collection, which is rare
on purpose, and would keep megabytes of bodies, prompts and answers.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from types import CoroutineType, FrameType
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import KEY, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES, CHAT, RESPONSES = "/v1/messages", "/v1/chat/completions", "/v1/responses"
BATCHES = "/v1/messages/batches"
ASK = {"model": "sim/echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no JSON": ("POST", MESSAGES, {"data": b"{"}),
    "an invalid field": ("POST", MESSAGES, {"json": {**ASK, "max_tokens": "x"}}),
    "a bomb": ("POST", MESSAGES, {"data": b"x", "headers": {"content-encoding": "gzip"}}),
    "no key": ("POST", MESSAGES, {"json": ASK, "headers": {"x-api-key": "none"}}),
    "no such path": ("GET", "/v1/nothing", {}),
    "no such batch": ("GET", f"{BATCHES}/msgbatch_x", {}),
    "an invalid batch": ("POST", BATCHES, {"json": {"requests": [{"custom_id": "a"}]}}),
    "no such thread": (
        "POST",
        MESSAGES,
        {"json": {**ASK, "thread": {"type": "continue", "previous_message_id": "msg_x"}}},
    ),
    "an invalid chat request": ("POST", CHAT, {"json": {"model": "x"}}),
    "an invalid Responses request": ("POST", RESPONSES, {"json": {"model": "x"}}),
}
ENDS = ("sim/echo", "sim/error-400", "sim/error-500", "sim/error-mid-stream", "sim/hang-up")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        EmbeddedServer(tmp_path_factory.mktemp("redis")) as redis,
        Simulator() as simulator,
        serving(simulator, redis_url=redis.url, max_attempts=2) as live,
        aiohttp.ClientSession(live.url, headers={"x-api-key": KEY}) as session,
    ):
        yield session


async def send(client: aiohttp.ClientSession, method: str, path: str, options: dict[str, Any]) -> None:
    async with client.request(method, path, **options) as reply:
        await reply.read()
    await asyncio.sleep(0.05)  # for what a reply does not wait for


async def left_by(client: aiohttp.ClientSession, method: str, path: str, options: dict[str, Any]) -> set[str]:
    """Return the gateway's objects that only the collector frees after this request, each time that it is sent.

    What is left once only is of a task in the background that ran meanwhile.
    """
    left = await left_once(client, method, path, options)
    return left & await left_once(client, method, path, options) if left else left


async def left_once(client: aiohttp.ClientSession, method: str, path: str, options: dict[str, Any]) -> set[str]:
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await send(client, method, path, options)
        gc.collect()
        return {name for thing in gc.garbage if (name := name_of(thing))}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def name_of(thing: object) -> str:
    """The name of one of the gateway's own objects, frames and coroutines; empty for any other."""
    match thing:
        case FrameType():
            place, name = thing.f_code.co_filename, thing.f_code.co_qualname
        case CoroutineType():
            place, name = thing.cr_code.co_filename, thing.cr_code.co_qualname
        case _:
            place, name = f"/{type(thing).__module__.replace('.', '/')}/", type(thing).__qualname__
    return name if "/gateway/" in place and "/simulator/" not in place else ""


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_request_is_freed_at_once(client: aiohttp.ClientSession, name: str) -> None:
    await send(client, *REFUSED[name])
    assert await left_by(client, *REFUSED[name]) == set()


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("model", ENDS)
@pytest.mark.parametrize("way", [MESSAGES, CHAT, RESPONSES, "cache", "thread"])
async def test_request_is_freed_at_once_however_it_ends(
    client: aiohttp.ClientSession, way: str, model: str, stream: bool
) -> None:
    body: dict[str, Any] = {**ASK, "model": model, "stream": stream}
    if way == RESPONSES:
        body = {"model": model, "input": "hello", "stream": stream}
    if way == "thread":
        body["thread"] = {"type": "create"}
    headers = {"x-gateway-cache": "refresh"} if way == "cache" else {}
    asked = ("POST", way if way.startswith("/") else MESSAGES, {"json": body, "headers": headers})
    await send(client, *asked)
    assert await left_by(client, *asked) == set()
