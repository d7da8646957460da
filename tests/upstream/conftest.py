"""Fixtures for the tests of upstream clients, and the event loops for tests with sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop

from gateway.upstream.http.client import UpstreamClient
from gateway.upstream.http.http_client import Transport
from gateway.upstream.http.proxy_client import AiohttpClient
from tests.upstream.raw_upstream import RawUpstream, Script

ON_BOTH_LOOPS = {"test_client_contract.py", "test_client_endings.py", "test_http_client.py"}

MakeClient = Callable[..., UpstreamClient]
Play = Callable[..., Awaitable[RawUpstream]]


def debugging_loop() -> asyncio.AbstractEventLoop:
    """asyncio's loop in debug mode, which notices calls from wrong threads and coroutines that were never awaited."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 60.0
    return loop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in ON_BOTH_LOOPS:
        return {"asyncio": debugging_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(params=[Transport, AiohttpClient], ids=["transport", "aiohttp"])
async def make_client(request: pytest.FixtureRequest) -> AsyncIterator[MakeClient]:
    """Both implementations of UpstreamClient, made with the test's options and closed after it."""
    clients: list[UpstreamClient] = []

    def make(**options: Any) -> UpstreamClient:
        clients.append(request.param(**options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
def client(make_client: MakeClient) -> UpstreamClient:
    return make_client()


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Starts servers that play a script on every connection."""
    async with AsyncExitStack() as servers:

        async def start(script: Script, *, tls: bool = False) -> RawUpstream:
            return await servers.enter_async_context(RawUpstream(script, tls=tls).running())

        yield start
