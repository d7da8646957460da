"""A request's body, read within limits: of time, of size on the wire, and of size after inflation."""

import asyncio
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal

from aiohttp import web

from gateway.errors import InvalidRequest, RequestTimedOut, RequestTooLarge

# A client gets this long for any body, and longer for one that keeps coming at this rate (bytes per second).
BODY_SECONDS = 30.0
MINIMUM_RATE = 64 * 1024
ENCODINGS: dict[str, Literal["identity", "gzip"]] = {"identity": "identity", "gzip": "gzip"}
GZIP = 16 + zlib.MAX_WBITS
NOTHING_LEFT: deque[bytes] = deque()


async def read_body(request: web.Request, limit: int) -> bytes:
    """Raises RequestTooLarge, RequestTimedOut, or InvalidRequest for an encoding that is not plain or one gzip."""
    encoding = content_encoding(request)
    if request.content.is_eof():  # it came with the header, as small ones do
        body = request.content.read_nowait()
        if len(body) > limit:
            raise too_large(limit)
    else:
        body = await _read_in_time(request, limit)
    # The reader lasts as long as the reply, and an empty deque takes 600 bytes.
    request.content._buffer = NOTHING_LEFT
    return inflate(body, limit) if encoding == "gzip" else body


async def body_pieces(request: web.Request, limit: int, size: int) -> AsyncIterator[bytes]:
    """The body in pieces of at most `size` bytes while it arrives. Raises as `read_body` does; takes no gzip."""
    if content_encoding(request) != "identity":
        raise InvalidRequest(
            "content-encoding: message batches are taken uncompressed.", code="request_body_encoding_unsupported"
        )
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)
    received, begun = 0, time.monotonic()
    while True:
        allowed = BODY_SECONDS + received / MINIMUM_RATE - (time.monotonic() - begun)
        try:
            async with asyncio.timeout(max(0.0, allowed)):
                arrived = await request.content.readany()
        except TimeoutError:
            raise RequestTimedOut("The request body did not arrive in time.") from None
        if not arrived:
            return
        received += len(arrived)
        if received > limit:
            raise too_large(limit)
        for start in range(0, len(arrived), size):
            yield arrived[start : start + size]
            await asyncio.sleep(0)


def content_encoding(request: web.Request) -> Literal["identity", "gzip"]:
    said = request.headers.get("content-encoding")
    if said is None:
        return "identity"
    encoding = said.strip().lower()
    if encoding in ENCODINGS:
        return ENCODINGS[encoding]
    raise InvalidRequest(
        f"Unsupported content-encoding {encoding[:40]!r}; send gzip or no encoding.",
        code="request_body_encoding_unsupported",
    )


def too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"Request exceeds the maximum size of {limit} bytes.", should_retry=False)


def inflate(body: bytes, limit: int) -> bytes:
    """One gzip member and nothing after it; memory stays within `limit` whatever it would inflate to."""
    inflater = zlib.decompressobj(GZIP)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidRequest("The request body is not valid gzip.", code="request_body_encoding_invalid") from None
    if len(data) > limit:
        raise RequestTooLarge(
            f"Request exceeds the maximum size of {limit} bytes after decoding.",
            code="request_body_too_large_after_decoding",
            should_retry=False,
        )
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequest("The request body is not valid gzip.", code="request_body_encoding_invalid")
    return data


async def _read_in_time(request: web.Request, limit: int) -> bytes:
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)
    seconds = BODY_SECONDS + min(length or limit, limit) / MINIMUM_RATE
    try:
        async with asyncio.timeout(seconds):
            return await _read_up_to(request, limit)
    except TimeoutError:
        raise RequestTimedOut("The request body did not arrive in time.") from None


async def _read_up_to(request: web.Request, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while not request.content.at_eof():
        piece, _ = await request.content.readchunk()  # as it came: `readany` would copy it once more
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
