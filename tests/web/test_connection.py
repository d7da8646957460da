"""Additions to aiohttp's connection: the parser's refusals in the envelope, and a deadline for headers."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from gateway.process.http_guard import MAX_HEADERS, MAX_LINE_BYTES, Guard
from gateway.web.connection import Runner
from gateway.web.listener import listening, open_sockets

BODY = b'{"say": "hello"}'
SECRET = b"sk-never-to-be-quoted"


def asked(body: bytes = BODY, *lines: str, first: str = "POST / HTTP/1.1") -> bytes:
    head = [first, "host: x", f"content-length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@pytest_asyncio.fixture
async def address(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, int]]:
    """The parameter, if there is one: seconds in which a header has to be there."""
    app = web.Application()
    app.add_routes([web.post("/", echo)])
    runner = Runner(app, shutdown_timeout=0, guard=Guard(header_seconds=getattr(request, "param", 0.5)))
    await runner.setup()
    assert runner.server is not None
    async with listening(runner.server, await open_sockets("127.0.0.1", 0, shared=False)) as listener:
        yield listener.address
    await runner.cleanup()


async def tell(address: tuple[str, int], pieces: Sequence[bytes], pause: float = 0.01) -> bytes:
    """Everything that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection(*address)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause)
    async with asyncio.timeout(5):
        got = await reader.read()
    writer.close()
    return got


LAST = asked(BODY, "connection: close")
IN_CHUNKS = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("address", [10.0], ids=[""], indirect=True)  # also for single bytes on a busy machine
@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        pytest.param([asked(), LAST], 2, id="one after the other"),
        pytest.param([asked() + asked() + LAST], 3, id="three in one piece"),
        pytest.param([LAST[i : i + 1] for i in range(len(LAST))], 1, id="byte by byte"),
        pytest.param([asked(first="POST / HTTP/1.0")], 1, id="of HTTP/1.0"),
        pytest.param([asked(BODY, "connection: keep-alive", first="POST / HTTP/1.0"), LAST], 2, id="kept by HTTP/1.0"),
        pytest.param([IN_CHUNKS, b"5\r\n" + BODY[:5], b"\r\nb\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"], 1, id="in chunks"),
    ],
)
async def test_requests_are_answered_in_order(address: tuple[str, int], pieces: Sequence[bytes], answers: int) -> None:
    got = await tell(address, pieces, pause=0.001)
    assert got.count(BODY) == got.count(b" 200 OK\r\n") == answers


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00 hello\r\n\r\n", "not valid HTTP", id="TLS"),
        pytest.param(asked(first="DANCE / HTTP/1.1"), "not valid HTTP", id="an unknown method"),
        pytest.param(asked(BODY, f"content-length: {len(BODY)}"), "not valid HTTP", id="two lengths"),
        pytest.param(asked(BODY, "transfer-encoding: chunked"), "not valid HTTP", id="a length, and chunks"),
        pytest.param(asked(BODY, f"x: {'a' * (MAX_LINE_BYTES + 1)}"), "of 8190 bytes", id="a header too long"),
        pytest.param(asked(first=f"POST /{'a' * 9000} HTTP/1.1"), "of 8190 bytes", id="a path too long"),
        pytest.param(asked(BODY, *(f"x{i}: 1" for i in range(MAX_HEADERS))), "more than 128", id="too many headers"),
        pytest.param(asked(BODY, "x-api-key " + SECRET.decode()), "not valid HTTP", id="a header without a colon"),
    ],
)
async def test_bytes_that_are_no_request_are_refused_in_the_envelope(
    address: tuple[str, int], sent: bytes, reason: str
) -> None:
    head, _, body = (await tell(address, [sent])).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] 400 ", head)
    error = orjson.loads(body)
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert reason in error["error"]["message"]
    assert error["request_id"].startswith("req_")
    assert SECRET not in body


async def test_a_long_header_within_the_limit_passes(address: tuple[str, int]) -> None:
    got = await tell(address, [asked(BODY, "connection: close", f"x: {'a' * (MAX_LINE_BYTES - 100)}")])
    assert b" 200 OK\r\n" in got


@pytest.mark.parametrize("start", [b"", b"POST /", asked()[:30]], ids=["nothing", "a path", "half a header"])
async def test_a_client_that_trickles_its_header_is_disconnected(address: tuple[str, int], start: bytes) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(start)
    trickle = asyncio.create_task(_trickle(writer, b"a" if start else b""))
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    trickle.cancel()
    writer.close()


async def _trickle(writer: asyncio.StreamWriter, piece: bytes) -> None:
    while not writer.is_closing():
        writer.write(piece)
        await asyncio.sleep(0.05)
