"""Replies: JSON, errors in Anthropic's envelope, and the event stream.

`MessageReply` and `EventReply` write header and body straight to the transport. For a message that saves a third of
what aiohttp's own response takes (its header alone 12 µs); for a stream it keeps `write` synchronous, so that an
upstream's read callback can write to the client without waking a task, and lets the first event decide the status.
"""

import asyncio
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol, cast

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.errors import GatewayError, InternalError, to_envelope
from gateway.relay import Flow

SERVER = "dragoman"
REQUEST_ID = "request-id"
X_REQUEST_ID = "x-request-id"
PROCESSING_TIME = "x-processing-time"
JSON_TYPE = "application/json"
EVENT_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache, no-store"),
    ("x-accel-buffering", "no"),
)
# The SDKs sleep as long as they are told, an hour if need be (their source, 2026-11): what is longer is cut.
MAX_RETRY_AFTER = 60.0
# Above this much unsent data the upstream is no longer read.
HIGH_WATER = 128 * 1024


class WriteFlow(Protocol):
    """Who wants to know when the client is slow to read."""

    def buffer_filled(self) -> None: ...

    def buffer_drained(self) -> None: ...


class ClientConnection(Protocol):
    """What a stream needs of `connection.Connection`."""

    transport: asyncio.Transport | None
    flow: WriteFlow | None

    @property
    def writing_paused(self) -> bool: ...


def json_response(value: Any, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type=JSON_TYPE, headers=CIMultiDict(headers))


def error_response(error: GatewayError, request_id: str) -> web.Response:
    """The envelope and the headers that the SDKs' retry rules read."""
    headers = [(REQUEST_ID, request_id), (X_REQUEST_ID, request_id)]
    if error.retry_after is not None:
        headers.append(("retry-after", f"{min(error.retry_after, MAX_RETRY_AFTER):g}"))
    if error.should_retry is not None:
        headers.append(("x-should-retry", "true" if error.should_retry else "false"))
    return json_response(to_envelope(error, request_id), status=error.status, headers=headers)


class MessageReply(web.StreamResponse):
    """A message as JSON, with status 200: header and body in one write. To be stamped before it is sent."""

    def __init__(self, request: web.Request, message: Any, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self._client = cast(ClientConnection, request.protocol)
        self._data = orjson.dumps(message)
        self._fields = headers
        self._stamp: tuple[tuple[str, str], ...] = ()
        self._version = request.version
        self._reuse = request.keep_alive

    def stamp(self, request_id: str, seconds: float) -> None:
        """With what every reply says; `seconds` were spent on it."""
        self._stamp = stamps(request_id, seconds)

    @property
    def keep_alive(self) -> bool | None:
        return self._reuse

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing: the header goes with the body."""

    async def write_eof(self, data: bytes = b"") -> None:
        transport = self._client.transport
        if transport is None or transport.is_closing():
            return
        framing = [("content-type", JSON_TYPE), ("content-length", str(len(self._data)))]
        if not self._reuse:
            framing.append(("connection", "close"))
        elif self._version < (1, 1):
            framing.append(("connection", "keep-alive"))
        transport.write(to_head((*self._fields, *self._stamp, *framing)) + self._data)


class EventReply(web.StreamResponse):
    """The sink of a live stream (see `relay.Sink`). Its header goes out with the first write."""

    def __init__(self, request: web.Request, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self._client = cast(ClientConnection, request.protocol)
        self._fields = headers  # read when the header is written: an iterator may tell what came up until then
        self._is_chunked = request.version >= (1, 1)
        self._reuse = self._is_chunked and request.keep_alive
        self._source: Flow | None = None
        self.committed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # a sink writes at once
        transport = self._client.transport
        if transport is None or transport.is_closing():
            return
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data
        if not self.committed:
            self.committed = True
            transport.set_write_buffer_limits(high=HIGH_WATER)
            framed = self._head() + framed
        transport.write(framed)

    def attach(self, source: Flow | None) -> None:
        self._source = source
        self._client.flow = self if source is not None else None
        if source is not None and self._client.writing_paused:
            source.pause()

    def abort(self) -> None:
        if self._client.transport is not None:
            self._client.transport.abort()

    def buffer_filled(self) -> None:
        if self._source is not None:
            self._source.pause()

    def buffer_drained(self) -> None:
        if self._source is not None:
            self._source.resume()

    @property
    def keep_alive(self) -> bool | None:
        return self._reuse

    async def prepare(self, request: web.BaseRequest) -> None:
        """aiohttp calls this when the handler is done; the header has long been written."""

    async def write_eof(self, data: bytes = b"") -> None:
        transport = self._client.transport
        if self._is_chunked and transport is not None and not transport.is_closing():
            transport.write(b"0\r\n\r\n")

    def _head(self) -> bytes:
        framing = [("transfer-encoding", "chunked")] if self._is_chunked else []
        if not self._reuse:
            framing.append(("connection", "close"))
        return to_head((*EVENT_HEADERS, *self._fields, *framing))


def stamps(request_id: str, seconds: float) -> tuple[tuple[str, str], ...]:
    return ("server", SERVER), (REQUEST_ID, request_id), (X_REQUEST_ID, request_id), (PROCESSING_TIME, f"{seconds:.6f}")


def to_head(headers: Iterable[tuple[str, str]]) -> bytes:
    """The header of a reply with status 200. Raises InternalError for a value that would break out of its line."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise InternalError("A reply header holds a line break.")
    return b"%b%b\r\n" % (_first_lines(int(time.time())), text.encode("latin-1", "replace"))


@lru_cache(maxsize=1)
def _first_lines(second: int) -> bytes:
    """What all replies of one second have in common."""
    return f"HTTP/1.1 {HTTPStatus.OK.value} OK\r\ndate: {formatdate(second, usegmt=True)}\r\n".encode()


def no_content(status: int = 200) -> web.Response:
    return web.Response(status=status, headers={hdrs.CONTENT_LENGTH: "0"})
