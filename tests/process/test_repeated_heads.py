"""Requests with a header that was sent before are read as aiohttp's parser reads them, wherever reads cut them."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError

from gateway.process.repeated_heads import MAX_HEAD_BYTES, MAX_MISSES, CompleteBody, RepeatedHeads
from tests.process.test_http_guard import serving
from tests.support.raw_http import converse

HOST = b"host: gateway\r\n"
KEY = b"x-api-key: sk-1\r\n"


def post(body: bytes, *lines: bytes, name: bytes = b"content-length", path: bytes = b"/v1/messages") -> bytes:
    length = name + b": %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + length + KEY + b"".join(lines) + b"\r\n" + body


GET = b"GET /v1/models HTTP/1.1\r\n" + HOST + KEY + b"\r\n"
CHUNKED = b"POST /v1/messages HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
REQUESTS = [
    post(b"{}"),
    post(b"{}"),
    post(b'{"a": 1}'),
    post(b"x" * 1000),
    post(b""),
    post(b"{}", name=b"Content-Length"),
    post(b"{}", b"connection: close\r\n"),
    post(b"{}", b"x-note: content-length: 7\r\n"),
    post(b"{}", b"x-note: " + b"n" * MAX_HEAD_BYTES + b"\r\n"),
    post(b"POST /v1/messages HTTP/1.1\r\n\r\n"),
    post(b"{}", path=b"/v1/messages?beta=true"),
    GET,
    CHUNKED,
]
BROKEN = [
    post(b"{}", b"content-length: 3\r\n"),
    *(
        post(b"{}").replace(b"length: 2", b"length: " + text)
        for text in (b"2x", b"-2", b"+2", b"002", b"2 ", b"9" * 13, b"9" * 23)
    ),
    post(b"{}").replace(b"\r\nx-api-key", b"\nx-api-key"),
    post(b"{}", b"transfer-encoding: chunked\r\n"),
    b"\r\n" + post(b"{}"),
    b"nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n",
]


class CountingParser:
    """aiohttp's parser. `fed`: what it was given to parse."""

    def __init__(self, parser: Any) -> None:
        self._inner = parser
        self.fed: list[bytes] = []

    def feed_data(self, data: bytes) -> Any:
        self.fed.append(data)
        return self._inner.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def parser_and_fronted() -> tuple[Any, CountingParser, RepeatedHeads]:
    loop = asyncio.get_running_loop()
    plain, behind = (HttpRequestParser(BaseProtocol(loop), loop, 2**16) for _ in range(2))
    counting = CountingParser(behind)
    return plain, counting, RepeatedHeads(counting, BaseProtocol(loop), loop)


def read_all(parser: Any, pieces: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Return what each request says, with its body, and at the end what ended them."""
    found: list[Any] = []
    ending: Any = None
    for piece in pieces:
        try:
            messages, upgraded, tail = parser.feed_data(piece)
        except HttpProcessingError as error:
            ending = type(error)
            break
        found += messages
        for _ in messages:
            parser.message_consumed()
        if upgraded:
            ending = tail
            break
    return [*(facts(message, body) for message, body in found), (ending,)]


def facts(message: Any, body: Any) -> tuple[Any, ...]:
    told = message.method, str(message.url), message.version, message.should_close, message.chunked, message.upgrade
    data = body.read_nowait() if body.is_eof() else b"".join(body._buffer)
    return *told, list(message.headers.items()), data, body.is_eof()


def cut(data: bytes, places: random.Random) -> Iterator[bytes]:
    while data:
        size = places.choice((1, 7, 40, 150, 10_000))
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("seed", range(400))
async def test_requests_are_read_as_the_parser_reads_them(seed: int) -> None:
    places = random.Random(seed)
    usual = places.sample(REQUESTS, 3) if seed % 2 else REQUESTS
    requests = [places.choice(usual if places.random() < 0.95 else BROKEN) for _ in range(12)]
    pieces = requests
    if seed % 3 == 1:
        pieces = [piece for one in requests for piece in cut(one, places)]
    elif seed % 3 == 2:
        pieces = list(cut(b"".join(requests), places))
    plain, _, fronted = parser_and_fronted()
    assert read_all(fronted, pieces) == read_all(plain, pieces)


async def test_header_is_parsed_once() -> None:
    _, parser, fronted = parser_and_fronted()
    long = post(b"x" * 1000)
    read_all(fronted, [post(b"{}"), post(b'{"a": 1}'), GET, post(b"{}"), long[:200], long[200:]])
    assert parser.fed == [post(b"{}"), GET]


async def test_header_of_a_body_that_came_later_is_known_too() -> None:
    _, parser, fronted = parser_and_fronted()
    head, body = post(b"{}")[:-2], b"{}"
    read_all(fronted, [head, body, head, body, head + body])
    assert parser.fed == [head, body]


async def test_headers_that_always_differ_are_soon_not_kept() -> None:
    _, parser, fronted = parser_and_fronted()
    read_all(fronted, [post(b"{}", b"traceparent: %d\r\n" % number) for number in range(MAX_MISSES + 1)])
    again = post(b"{}", b"traceparent: 1\r\n")
    read_all(fronted, [again, again])
    assert parser.fed[-2:] == [again, again]


async def test_body_is_read_once_in_every_way() -> None:
    assert await CompleteBody(b"ab\ncd").read() == b"ab\ncd"
    body = CompleteBody(b"ab\ncd")
    pieces = [await body.readline(), await body.read(1), await body.readany(), await body.read()]
    assert pieces == [b"ab\n", b"c", b"d", b""]
    assert body.at_eof()
    chunked = CompleteBody(b"ab")
    assert [await chunked.readchunk() for _ in range(3)] == [(b"ab", False), (b"", False), (b"", True)]


async def test_connection_answers_each_body_once() -> None:
    async def echo(asked: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=(asked.headers["content-length"] + " " + (await asked.text())).encode())

    bodies = [b"one", b"two", b"three", b"x" * 600_000, b"last"]
    pieces = [piece for body in bodies for piece in (post(body), 0.05)]
    async with serving(echo) as url:
        held = await converse(url, pieces, replies=len(bodies))
    assert [reply.body for reply in held.replies] == [b"%d %b" % (len(body), body) for body in bodies]
