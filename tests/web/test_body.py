import asyncio
import gzip
import zlib
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from gateway.errors import InvalidRequest, RequestTooLarge
from gateway.web.body import body_pieces, inflate

LIMIT = 1000


def arriving(*pieces: bytes, declared: int | None = None) -> web.Request:
    content = StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    for piece in pieces:
        content.feed_data(piece)
    content.feed_eof()
    headers = {"transfer-encoding": "chunked"} if declared is None else {"content-length": str(declared)}
    return make_mocked_request("POST", "/", headers=headers, payload=content)


async def test_body_within_the_limit_arrives_in_pieces_of_the_asked_size() -> None:
    request = arriving(b"a" * 600, b"b" * 400, declared=LIMIT)
    pieces = [piece async for piece in body_pieces(request, LIMIT, 256)]
    assert b"".join(pieces) == b"a" * 600 + b"b" * 400
    assert max(map(len, pieces)) == 256


async def test_body_declared_above_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(RequestTooLarge, match="maximum size of 1000 bytes"):
        await anext(body_pieces(arriving(b"a", declared=LIMIT + 1), LIMIT, 256))


async def test_chunked_body_is_refused_once_it_exceeds_the_limit() -> None:
    with pytest.raises(RequestTooLarge, match="maximum size of 1000 bytes"):
        async for _ in body_pieces(arriving(b"a" * 600, b"b" * 401), LIMIT, 256):
            pass


def test_a_gzip_body_is_inflated() -> None:
    assert inflate(gzip.compress(b"x" * LIMIT), LIMIT) == b"x" * LIMIT


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"no gzip at all", "request_body_encoding_invalid", id="not gzip"),
        pytest.param(gzip.compress(b"x" * 100)[:-5], "request_body_encoding_invalid", id="cut off"),
        pytest.param(gzip.compress(b"x") + b"more", "request_body_encoding_invalid", id="bytes after the end"),
        pytest.param(gzip.compress(b"x") * 2, "request_body_encoding_invalid", id="two members"),
        pytest.param(zlib.compress(b"x"), "request_body_encoding_invalid", id="zlib without gzip's header"),
        pytest.param(b"", "request_body_encoding_invalid", id="empty"),
    ],
)
def test_a_broken_gzip_body_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        inflate(body, LIMIT)
    assert caught.value.code == code


@pytest.mark.covers("Security · compressed bombs, slow and endless bodies")
def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(RequestTooLarge) as caught:
        inflate(bomb, LIMIT)
    assert caught.value.code == "request_body_too_large_after_decoding"
