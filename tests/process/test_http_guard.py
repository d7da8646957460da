"""Connections of hostile and slow clients: what they hold is bounded in time and size; no reply gets a second one."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import orjson
import pytest
from aiohttp import web

from gateway.errors import GatewayError, InvalidRequest
from gateway.process.http_guard import (
    MAX_HEADER_BYTES,
    MAX_OTHER_BYTES,
    Guard,
    GuardedServer,
)
from gateway.process.sockets import limit_unsent, to_network
from gateway.telemetry.metrics import CONNECTIONS_CUT
from tests.support.raw_http import Conversation, converse, request
from tests.support.unread import Unread
from tests.support.waiting import until

LARGE = b"x" * 8_000_000  # more than the kernel takes for a connection without a reader
QUICK = Guard(header_seconds=0.3, stalled_seconds=0.3)
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, guard: Guard = QUICK) -> AsyncIterator[str]:
    def refuse(error: GatewayError) -> web.Response:
        return web.Response(body=orjson.dumps({"error": error.message}), status=error.status)

    loop = asyncio.get_running_loop()
    connections = GuardedServer(handler, guard=guard, refuse=refuse, loop=loop)
    listening = socket.create_server(("127.0.0.1", 0))
    limit_unsent(listening)
    server = await loop.create_server(connections, sock=listening)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        await connections.shutdown(0)


async def large(asked: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=LARGE)


async def small(asked: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"ok")


async def echo(asked: web.BaseRequest) -> web.StreamResponse:
    try:
        return web.Response(body=b"%d bytes" % len(await asked.read()))
    except InvalidRequest as error:
        return web.Response(body=error.message.encode(), status=400)


async def in_pieces(asked: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(asked)
    for _ in range(80):
        await response.write(b"x" * 100_000)
    await response.write_eof()
    return response


def counted(reason: str) -> float:
    return CONNECTIONS_CUT.labels(reason)._value.get()  # type: ignore[no-any-return]


# Replies that are not read.


@pytest.mark.parametrize("handler", [large, in_pieces], ids=["a reply in one piece", "a reply in pieces"])
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(request("GET", "/"), id="kept alive"),
        pytest.param(request("GET", "/", headers=[("connection", b"close")]), id="to be closed"),
        pytest.param(request("GET", "/", version="1.0"), id="HTTP/1.0"),
    ],
)
async def test_a_client_that_reads_nothing_is_cut_after_the_stalled_time(handler: Handler, asked: bytes) -> None:
    before = counted("unread")
    async with serving(handler) as url:
        client = Unread(url)
        await client.send(asked)
        await until(lambda: counted("unread") > before)
        _, end = await client.read_all()
        assert end == "reset"
        client.close()


async def test_a_connection_that_is_closed_with_unread_bytes_is_cut_too() -> None:
    """The last bytes of a closing socket are too few to pause the writer."""
    before = counted("unread")
    async with serving(small, Guard(header_seconds=9, stalled_seconds=0.3)) as url:
        client = Unread(url)
        asked = request("GET", "/")
        sending = asyncio.create_task(client.send(asked * 20_000))
        await until(lambda: counted("unread") > before)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.close()


async def test_a_client_that_reads_slowly_gets_all_of_a_large_reply() -> None:
    """Each piece it takes buys it the whole time again."""
    async with serving(large, Guard(stalled_seconds=0.5)) as url:
        client = Unread(url, buffer=100_000)
        await client.send(request("GET", "/", headers=[("connection", b"close")]))
        received, loop = 0, asyncio.get_running_loop()
        begun = loop.time()
        while data := await loop.sock_recv(client.socket, 100_000):
            received += len(data)
            if loop.time() - begun < 1.5:
                await asyncio.sleep(0.05)
        assert received > len(LARGE)
        client.close()


async def test_no_request_is_begun_before_the_reply_to_the_one_before_it_is_read() -> None:
    begun = 0

    async def count(asked: web.BaseRequest) -> web.StreamResponse:
        nonlocal begun
        begun += 1
        return web.Response(body=LARGE)

    async with serving(count, Guard(stalled_seconds=9)) as url:
        client = Unread(url)
        await client.send(request("GET", "/") * 100)
        await asyncio.sleep(0.3)
        assert begun == 1
        client.close()


# Headers and what is between them.


@pytest.mark.parametrize("start", [b"", b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
async def test_a_header_that_does_not_end_is_cut_in_time(start: bytes) -> None:
    before = counted("header")
    async with serving(small) as url:
        told = await converse(url, [start, *[0.05, b"a"] * 20] if start else [], seconds=3)
        assert (told.replies, told.end) != ([], "open")
        assert counted("header") == before + 1


async def test_the_second_header_of_a_connection_has_its_deadline_too() -> None:
    async with serving(small) as url:
        told = await converse(url, [request("GET", "/"), 0.4, b"GET / HT"], seconds=3)
        assert (told.statuses, told.end) == ([200], "closed")


async def test_a_header_of_megabytes_in_pieces_is_refused() -> None:
    line = b"x: " + b"a" * 8000 + b"\r\n"
    pieces: list[Any] = [b"GET / HTTP/1.1\r\nhost: x\r\n"]
    for _ in range(MAX_HEADER_BYTES // len(line) + 1):
        pieces += [line, 0.001]
    async with serving(small, Guard()) as url:
        told = await converse(url, pieces, seconds=3)
        assert told.statuses == [400]
        assert orjson.loads(told.replies[0].body) == {
            "error": "The request's headers exceed the maximum size of 65536 bytes together."
        }


# Bodies with framing that breaks or has no end.

BROKEN: dict[str, list[Any]] = {
    "a chunk size that is no number": [CHUNKED, 0.05, b"ZZ\r\nabc\r\n"],
    "a chunk longer than its size": [CHUNKED, 0.05, b"3\r\nabcX\r\n"],
    "a chunk size beyond 64 bits": [CHUNKED, 0.05, b"f" * 17 + b"\r\n"],
    "a trailer with a control character": [CHUNKED, 0.05, b"0\r\n", b"a: \x01\r\n\r\n"],
    "too many trailers": [CHUNKED, 0.05, b"0\r\n" + b"".join(b"t%d: 1\r\n" % i for i in range(200)) + b"\r\n"],
    "a trailer too long": [CHUNKED, 0.05, b"0\r\nt: " + b"a" * 9000 + b"\r\n\r\n"],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_body_whose_framing_breaks_fails_its_request_at_once_and_only_once(name: str) -> None:
    async with serving(echo) as url:
        told = await converse(url, [*BROKEN[name], 0.1, b"and more\r\n\r\n"], seconds=2)
        assert (told.statuses, told.end != "open") == ([400], True)
        assert told.replies[0].headers["connection"] == "close"


async def test_a_pipelined_body_whose_framing_breaks_ends_the_connection_after_the_first_reply() -> None:
    gate = asyncio.Event()

    async def held(asked: web.BaseRequest) -> web.StreamResponse:
        await gate.wait()
        return await echo(asked)

    async with serving(held) as url:
        talking = asyncio.create_task(converse(url, [request("GET", "/"), CHUNKED, 0.1, b"ZZ\r\n"], seconds=2))
        await asyncio.sleep(0.3)
        gate.set()
        told = await talking
        assert (told.statuses, told.end) == ([200], "closed")


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"a" * 65_536, id="a chunk extension"),
        pytest.param(b"1" + b";a=b" * 50 + b"\r\nx\r\n", id="chunks of one byte with extensions"),
    ],
)
async def test_chunk_framing_of_a_body_is_bounded(endless: bytes) -> None:
    start = CHUNKED + (b"1;" if endless.startswith(b"a") else b"")
    sent = 0

    async def talk(url: str) -> Conversation:
        def pieces() -> Any:
            nonlocal sent
            yield start
            while sent < 50 * MAX_OTHER_BYTES:
                piece = endless * (65_536 // len(endless))
                sent += len(piece)
                yield piece

        return await converse(url, pieces(), seconds=2)

    async with serving(echo) as url:
        told = await talk(url)
        assert told.statuses in ([400], [])  # a reply may be lost where the client goes on sending
        assert told.end != "open"
        assert sent < 20 * MAX_OTHER_BYTES


async def test_a_body_in_chunks_of_one_byte_is_read() -> None:
    async with serving(echo) as url:
        body = b"1\r\nx\r\n" * 250_000 + b"0\r\n\r\n"
        told = await converse(url, [CHUNKED, *[body[i : i + 50_000] for i in range(0, len(body), 50_000)]], replies=1)
        assert [reply.body for reply in told.replies] == [b"250000 bytes"]


async def test_others_have_their_turn_between_pipelined_requests() -> None:
    """A connection with thousands of requests at hand does not keep the event loop for itself."""
    turns = 0
    begun: list[int] = []

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def note(asked: web.BaseRequest) -> web.StreamResponse:
        begun.append(turns)
        return web.Response(body=b"ok")

    async with serving(note) as url:
        others = asyncio.create_task(count_turns())
        await converse(url, [request("GET", "/") * 100], replies=100)
        others.cancel()
    assert len(begun) == 100
    assert all(later > earlier for earlier, later in pairwise(begun))


async def test_many_pipelined_requests_are_answered_in_order() -> None:
    async with serving(echo) as url:
        asked = [request("POST", "/", b"x" * size) for size in range(1, 200)]
        told = await converse(url, [b"".join(asked)], replies=199)
        assert [reply.body for reply in told.replies] == [b"%d bytes" % size for size in range(1, 200)]


# A reply that has begun.


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_handler_that_fails_after_its_reply_has_begun_resets_the_connection(version: str) -> None:
    async def fail(asked: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(asked)
        await response.write(b"half")
        await asyncio.sleep(0.05)
        raise ValueError

    before = counted("broken_reply")
    async with serving(fail) as url:
        told = await converse(url, [request("GET", "/", version=version)])
        assert (told.end, [(reply.status, reply.body, reply.whole) for reply in told.replies]) == (
            "reset",
            [(200, b"half", False)],
        )
    assert counted("broken_reply") == before + 1


# Many connections.


async def test_connections_beyond_the_limit_of_an_address_are_reset_until_others_end() -> None:
    before = counted("address")
    async with serving(small, Guard(per_address=3)) as url:
        kept = [await asyncio.open_connection(*url.removeprefix("http://").split(":")) for _ in range(3)]
        assert (await converse(url, [request("GET", "/")])).end == "reset"
        assert counted("address") == before + 1
        kept[0][1].close()

        async def is_served() -> bool:
            return (await converse(url, [request("GET", "/")], replies=1)).statuses == [200]

        await until(is_served)
        for _, writer in kept:
            writer.close()


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("192.0.2.7", 1234), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1234, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "20010db800010002"),
        (("2001:db8:1:2::9", 1, 0, 0), "20010db800010002"),
        (("fe80::1%eth0", 1, 0, 2), "fe80000000000000"),
        (None, ""),
    ],
)
def test_connections_of_one_ipv6_network_count_as_of_one_address(peer: Any, network: str) -> None:
    assert to_network(peer) == network


# Stopping.


async def test_an_unread_reply_does_not_hold_up_a_shutdown_without_drain_time() -> None:
    async with serving(large, Guard()) as url:
        client = Unread(url)
        await client.send(request("GET", "/"))
        await asyncio.sleep(0.1)
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 2
    client.close()


async def test_a_body_that_is_arriving_when_the_server_stops_is_read_to_its_end() -> None:
    loop = asyncio.get_running_loop()
    connections = GuardedServer(echo, guard=Guard(), refuse=lambda error: web.Response(status=error.status), loop=loop)
    server = await loop.create_server(connections, "127.0.0.1", 0)
    url = "http://{}:{}".format(*server.sockets[0].getsockname())
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345"
    talking = asyncio.create_task(converse(url, [head, 0.3, b"67890"]))
    await asyncio.sleep(0.1)
    server.close()
    connections.pre_shutdown()
    await connections.shutdown(5)
    told = await talking
    assert [reply.body for reply in told.replies] == [b"10 bytes"]
