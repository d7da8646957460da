"""Bodies that arrive slowly, or not at all: the time a client may take, and the error when it took too long."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from gateway.web.arrivals import ARRIVALS, Arrivals
from gateway.web.body import UploadPace, body_pieces, read_body
from gateway.web.connection import Runner
from gateway.web.listener import listening, open_sockets
from gateway.web.middleware import envelope
from tests.support.raw_http import converse

PACE = UploadPace(seconds=0.5, rate=10_000)
LIMIT = 1_000_000
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


async def whole(request: web.Request) -> web.Response:
    return web.Response(body=b"%d" % len(await read_body(request, LIMIT, PACE)))


async def in_pieces(request: web.Request) -> web.Response:
    size = 0
    async for piece in body_pieces(request, LIMIT, 1000, PACE):
        size += len(piece)
    return web.Response(body=b"%d" % size)


async def with_pauses(request: web.Request) -> web.Response:
    """A handler that waits for a busy store between two pieces."""
    size = 0
    async for piece in body_pieces(request, LIMIT, 1000, PACE):
        size += len(piece)
        await asyncio.sleep(0.4)
    return web.Response(body=b"%d" % size)


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application(middlewares=[envelope])
    app[ARRIVALS] = Arrivals(LIMIT)
    app.add_routes([web.post("/whole", whole), web.post("/pieces", in_pieces), web.post("/pauses", with_pauses)])
    runner = Runner(app, shutdown_timeout=0)
    await runner.setup()
    assert runner.server is not None
    async with listening(runner.server, await open_sockets("127.0.0.1", 0, shared=False)) as listener:
        yield "http://{}:{}".format(*listener.address)
    await runner.cleanup()


def head(path: str, framing: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n".encode() + framing


def length(size: int) -> bytes:
    return b"content-length: %d\r\n\r\n" % size


STALLED: dict[str, list[Any]] = {
    "nothing of a body with a length": [length(100)],
    "nothing of a chunked body": [CHUNKED],
    "half a body": [length(100), b"x" * 50],
    "a trickle of data": [length(100_000), *[0.1, b"x"] * 30],
    "a trickle of chunks": [CHUNKED, *[0.1, b"1\r\nx\r\n"] * 30],
    "a trickle of a chunk extension": [CHUNKED, b"1;", *[0.1, b"x"] * 30],
    "a trickle of a trailer": [CHUNKED, b"1\r\nx\r\n0\r\nx: ", *[0.1, b"x"] * 30],
    "a trickle of a chunk's size": [CHUNKED, *[0.1, b"0"] * 30],
    "much at once, then nothing": [length(500_000), b"x" * 400_000],
    "much at once, then a trickle": [length(500_000), b"x" * 400_000, *[0.1, b"x"] * 30],
}


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
@pytest.mark.parametrize("name", STALLED)
async def test_a_body_that_stops_coming_is_a_408_and_ends_the_connection(url: str, path: str, name: str) -> None:
    framing, *pieces = STALLED[name]
    begun = asyncio.get_running_loop().time()
    told = await converse(url, [head(path, framing), *pieces], seconds=3)
    assert (told.statuses, told.end != "open") == ([408], True)
    assert told.replies[0].headers["connection"] == "close"
    assert orjson.loads(told.replies[0].body)["error"]["type"] == "timeout_error"
    assert asyncio.get_running_loop().time() - begun < 2


SLOW: dict[str, list[Any]] = {
    "as fast as the rate": [length(20_000), *[b"x" * 1000, 0.06] * 20],
    "with pauses within the time": [length(10_000), *[b"x" * 5000, 0.4] * 2],
    "in chunks": [CHUNKED, *[b"3e8\r\n" + b"x" * 1000 + b"\r\n", 0.06] * 20, b"0\r\n\r\n"],
}


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
@pytest.mark.parametrize("name", SLOW)
async def test_a_body_that_keeps_coming_is_read(url: str, path: str, name: str) -> None:
    framing, *pieces = SLOW[name]
    told = await converse(url, [head(path, framing), *pieces], replies=1, seconds=3)
    assert told.statuses == [200]
    assert int(told.replies[0].body) == sum(piece.count(b"x") for piece in pieces if isinstance(piece, bytes))


async def test_time_that_the_gateway_takes_does_not_count_against_the_client(url: str) -> None:
    told = await converse(url, [head("/pauses", length(3000)), *[b"x" * 1000, 0.4] * 3], replies=1, seconds=3)
    assert told.statuses == [200]


@pytest.mark.parametrize(
    ("left", "waited", "arrived", "expected"),
    [
        pytest.param(30, 10, 0, 20, id="time passes"),
        pytest.param(10, 1, 65_536 * 5, 14, id="data buys time"),
        pytest.param(30, 0, 65_536 * 500, 30, id="no more than the whole of it"),
        pytest.param(5, 5, 10, pytest.approx(10 / 65_536), id="a trickle buys next to nothing"),
    ],
)
def test_the_time_left_for_a_body(left: float, waited: float, arrived: int, expected: float) -> None:
    assert UploadPace().left_after(left, waited, arrived) == expected
