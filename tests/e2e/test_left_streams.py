"""Clients of each API that leave at each point of a stream, or ask again: the upstream is left, the next is served."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
import pytest_asyncio

from tests.e2e.vendor_answers import messages as native
from tests.e2e.vendor_answers import responses as items
from tests.e2e.vendor_answers.client import open_client
from tests.e2e.vendor_answers.reading import READERS, REQUESTS
from tests.e2e.vendor_answers.script import CALLED, CITY, PARIS, ROLE, Json, Script, call, calls, chunk, say
from tests.support.messages_server import MessagesServer, Scripted, messages_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECONDS = 20.0
DONE = b"data: [DONE]\n\n"


def lines(*payloads: Json) -> list[bytes]:
    return [Script("", (payload,), native.HELLO, done=False).body for payload in payloads]


THOUGHT = items.event("reasoning_text.delta", item_id="rs_1", output_index=0, content_index=0, delta="Hm")
CALL_ITEM = {**items.CALL_ITEM, "arguments": CITY}
# Twelve points, or more, of each dialect's stream: thinking, a text and a call.
STREAMS: dict[str, list[bytes]] = {
    "chat": [
        *lines(ROLE, chunk({"reasoning_content": "H"}), chunk({"reasoning_content": "m"}), say("Hel"), say("lo")),
        *lines(calls(call("", 0, "a", "get_weather")), calls(call('{"city"', 0)), calls(call(":", 0))),
        *lines(calls(call(' "Pa', 0)), calls(call('ris"}', 0)), CALLED),
        DONE,
    ],
    "messages": [
        *(native.BEGUN, native.THINKING, native.stop(), native.start(native.TEXT_BLOCK, 1), native.text("Hel", 1)),
        *(native.text("lo", 1), native.stop(1), native.start(native.CALL_BLOCK, 2), native.arguments('{"city": ', 2)),
        *(native.arguments('"Paris"}', 2), native.stop(2), native.end("tool_use"), native.OVER),
    ],
    "responses": [
        *(items.BEGUN, items.added(items.THOUGHT_ITEM), THOUGHT, items.done(items.THOUGHT_ITEM)),
        *(items.added(items.TEXT_ITEM, 1), items.text("Hel", output_index=1), items.text("lo", output_index=1)),
        *(items.done(items.TEXT_ITEM, 1), items.added(CALL_ITEM, 2), *items.arguments(*items.PIECES, output_index=2)),
        *(items.done(CALL_ITEM, 2), items.end(items.THOUGHT_ITEM, items.TEXT_ITEM, CALL_ITEM)),
    ],
}
# What a client has read, for each of these that the upstream has sent.
MARKS = (b'"Hel"', b'"lo"', b'"get_weather"')
POINTS = [
    pytest.param(dialect, at, id=f"{dialect}, {at}") for dialect, told in STREAMS.items() for at in range(len(told))
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[MessagesServer]:
    async with messages_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(
    upstream: MessagesServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(upstream.url, tmp_path_factory.mktemp("routes")) as session:
        yield session


def ask(client: aiohttp.ClientSession, dialect: str, api: str, **headers: str) -> aiohttp.client._RequestContextManager:
    path, body = REQUESTS[api]
    return client.post(path, json={**body, "model": dialect, "stream": True}, headers=headers)


async def read_until(client: aiohttp.ClientSession, dialect: str, api: str, mark: bytes | None) -> None:
    """Read the stream up to a mark and beyond; without one, wait until the client leaves."""
    seen = b""
    async with ask(client, dialect, api) as response:
        async for piece in response.content.iter_any():
            seen += piece
            if mark is not None and mark in seen:
                return
    raise AssertionError(f"the stream ended without {mark!r}: {seen!r}")


@pytest.mark.parametrize("api", REQUESTS)
@pytest.mark.parametrize(("dialect", "at"), POINTS)
async def test_client_that_leaves_at_any_point_leaves_the_upstream_and_is_served_again(
    client: aiohttp.ClientSession, upstream: MessagesServer, dialect: str, at: int, api: str
) -> None:
    told = STREAMS[dialect]
    upstream.script[:] = [Scripted(told[:at], hangs=True)]
    upstream.requests.clear()
    upstream.arrived.clear()
    mark = next((mark for mark in reversed(MARKS) if mark in b"".join(told[:at])), None)
    async with asyncio.timeout(SECONDS):
        reading = asyncio.create_task(read_until(client, dialect, api, mark))
        await upstream.arrived.wait()
        if mark is None:
            reading.cancel()
        await asyncio.wait([reading])
        assert mark is None or reading.exception() is None
        await upstream.requests[0].left.wait()
        upstream.script[:] = [Scripted(told)]
        async with ask(client, dialect, api) as response:
            read = READERS[api](await response.read(), stream=True)
    assert (read.text, read.thinking, read.calls, read.stop) == ("Hello", "Hm", [PARIS], "tool_use")


@pytest.mark.parametrize("api", REQUESTS)
@pytest.mark.parametrize("dialect", STREAMS)
async def test_request_that_is_repeated_under_one_key_is_answered_each_time(
    client: aiohttp.ClientSession, upstream: MessagesServer, dialect: str, api: str
) -> None:
    """SDKs repeat a request after a broken connection. The first answer must not be returned to the repetition."""
    upstream.requests.clear()
    answers = []
    for number in range(2):
        upstream.script[:] = [Scripted(STREAMS[dialect])]
        headers = {"idempotency-key": "stainless-python-retry-1", "x-stainless-retry-count": str(number)}
        async with ask(client, dialect, api, **headers) as response:
            answers.append(await response.read())
    assert [READERS[api](answer, stream=True).calls for answer in answers] == [[PARIS], [PARIS]]
    assert len(upstream.requests) == 2
    bodies = [orjson.loads(seen.body) for seen in upstream.requests]
    assert bodies[0] == bodies[1]
