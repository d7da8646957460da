"""Memory for bodies that have not arrived whole: bounded for each tenant and for all together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
import pytest_asyncio

from gateway.errors import Overloaded, RateLimited
from gateway.simulator.loopback import Simulator
from gateway.web.arrivals import BODIES, BODIES_OF_A_TENANT, Arrivals
from tests.e2e.conftest import KEY, Live, serving

OTHER_KEY = "other-key-0123456789"
LIMIT = 1024 * 1024
ASK = {"model": "sim/echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


def test_tenant_may_hold_half_of_all_that_may_be_held() -> None:
    arrivals = Arrivals(100)
    arrivals.add("a", 100 * BODIES_OF_A_TENANT)
    with pytest.raises(RateLimited):
        arrivals.add("a", 1)
    arrivals.add("b", 100 * (BODIES - BODIES_OF_A_TENANT))
    with pytest.raises(Overloaded):
        arrivals.add("c", 1)
    arrivals.add("a", -50)
    arrivals.add("c", 50)


def test_tenants_without_bodies_leave_no_state() -> None:
    arrivals = Arrivals(100)
    arrivals.add("a", 10)
    arrivals.add("a", -10)
    arrivals.add("b", 0)
    assert (arrivals.total, arrivals._held) == (0, {})


@pytest_asyncio.fixture
async def live() -> AsyncIterator[Live]:
    keys = f"tests:{KEY},others:{OTHER_KEY}"
    async with Simulator() as simulator, serving(simulator, keys=keys, max_body_bytes=LIMIT) as front:
        yield front


async def begin_upload(live: Live, stack: AsyncExitStack, path: str, key: str) -> asyncio.StreamReader:
    """Send all but the last byte of a body that is as large as one may be."""
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    stack.callback(writer.close)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {LIMIT}\r\n\r\n"
    writer.write(head.encode() + b'{"a":"' + b"x" * (LIMIT - 7))
    return reader


async def ask(live: Live, key: str, size: int = 0) -> int:
    async with (
        aiohttp.ClientSession(headers={"x-api-key": key}) as session,
        session.post(live.url + "/v1/messages", json={**ASK, "metadata": {"user_id": "x" * size}}) as answer,
    ):
        return answer.status


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_tenant_with_many_unfinished_uploads_is_limited_and_no_other(live: Live, path: str) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(10):
        readers = [await begin_upload(live, stack, path, KEY) for _ in range(BODIES_OF_A_TENANT + 1)]
        replies = [asyncio.create_task(reader.readline()) for reader in readers]
        done, waiting = await asyncio.wait(replies, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [b"HTTP/1.1 429 Too Many Requests\r\n"]
        assert await ask(live, KEY) == 200
        assert await ask(live, OTHER_KEY, 100_000) == 400  # read whole, and refused for its contents
        for task in waiting:
            task.cancel()
    async with asyncio.timeout(5):
        status = 429
        while status == 429:
            status = await ask(live, KEY, 100_000)
