"""A request's body, read within limits: of time, of size on the wire, and of size after inflation."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from gateway.errors import InvalidRequest, RequestTimedOut, RequestTooLarge, UnsupportedMedia
from gateway.process.aiohttp_internals import free_buffer
from gateway.process.http_guard import GuardedConnection
from gateway.web.arrivals import held_bytes

# Others are refused: compressed bytes that are not read here would escape every limit.
ENCODINGS: dict[str, Literal["identity", "gzip"]] = {"identity": "identity", "gzip": "gzip"}
# 16 asks zlib for gzip's header and checksum instead of the zlib format.
GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class UploadPace:
    """A client may be `seconds` behind a rate (bytes per second) that mobile networks reach.

    Only the body's data counts, not what frames it. What arrived early buys no more than `seconds` either: otherwise a
    client could send megabytes at once, and then hold the connection for minutes.
    """

    seconds: float = 30.0
    rate: int = 64 * 1024

    def left_after(self, left: float, waited: float, arrived: int) -> float:
        """Return the time for the next wait; `left` before one of `waited` seconds that brought `arrived` bytes."""
        return min(self.seconds, left - waited + arrived / self.rate)


PACE = UploadPace()


async def read_body(request: web.Request, limit: int, pace: UploadPace = PACE) -> bytes:
    """Raises RequestTooLarge, RequestTimedOut, UnsupportedMedia, InvalidRequest for broken gzip, and
    RateLimited or Overloaded while too many large bodies arrive."""
    encoding = content_encoding(request)
    body = await read_raw_body(request, limit, pace)
    return inflate(body, limit) if encoding == "gzip" else body


async def read_raw_body(request: web.Request, limit: int, pace: UploadPace = PACE) -> bytes:
    """Return the body as it was sent, inflated or not. Raises as `read_body` does."""
    if request.content.is_eof():  # it came with the header, as small ones do
        body = request.content.read_nowait()
        if len(body) > limit:
            raise too_large(limit)
    else:
        pieces, size = [], 0
        with held_bytes(request) as hold:
            async for piece in _arriving(request, limit, pace):
                size += len(piece)
                hold(size)
                pieces.append(piece)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    free_buffer(request)
    return body


async def body_pieces(request: web.Request, limit: int, size: int, pace: UploadPace = PACE) -> AsyncIterator[bytes]:
    """The body in pieces of at most `size` bytes while it arrives. Raises as `read_body` does; takes no gzip."""
    if content_encoding(request) != "identity":
        raise UnsupportedMedia(
            "content-encoding: message batches are taken uncompressed.", code="request_body_encoding_unsupported"
        )
    async for arrived in _arriving(request, limit, pace):
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
    raise UnsupportedMedia(
        f"Unsupported content-encoding {encoding[:40]!r}; send gzip or no encoding.",
        code="request_body_encoding_unsupported",
    )


def too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"Request exceeds the maximum size of {limit} bytes.", should_retry=False)


def inflate(body: bytes, limit: int) -> bytes:
    """Inflate one gzip member with no data after it; memory stays within `limit` for any content."""
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


async def _arriving(request: web.Request, limit: int, pace: UploadPace) -> AsyncIterator[bytes]:
    """The body as it arrives. Time that the caller takes between two pieces does not count against the client."""
    length, content, clock = request.content_length, request.content, asyncio.get_running_loop().time
    if length is not None and length > limit:
        raise too_large(limit)
    left, received = pace.seconds, 0
    while not content.at_eof():
        begun = clock()
        try:
            async with asyncio.timeout(left):
                # As it came, since `readany` may copy it; but a body can have a million chunks.
                piece = await content.readany() if length is None else (await content.readchunk())[0]
        except TimeoutError:
            # The connection ends with the reply: aiohttp would wait another ten seconds for the rest.
            error = RequestTimedOut("The request body did not arrive in time.")
            if isinstance(request.protocol, GuardedConnection):
                request.protocol.fail_body(request.content, error)
            raise error from None
        left = pace.left_after(left, clock() - begun, len(piece))
        received += len(piece)
        if received > limit:
            raise too_large(limit)
        yield piece
