"""Replies: JSON, errors in Anthropic's envelope, and the event stream.

`MessageReply` and `EventReply` write header and body straight to the transport. For a message that saves a third of the
time of aiohttp's own response (its header alone 12 µs); for a stream it keeps `write` synchronous, so that an
upstream's read callback can write to the client without waking a task, and lets the first event decide the status.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import Any, Protocol, cast

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.context import Context
from gateway.errors import GatewayError, InternalError, to_envelope
from gateway.exchange.sink import Flow
from gateway.process.sockets import reset

Headers = tuple[tuple[str, str], ...]

SERVER = "dragoman"
# Anthropic's SDKs read the first, OpenAI's the second.
REQUEST_ID = "request-id"
X_REQUEST_ID = "x-request-id"
WORKSPACE_ID = "anthropic-workspace-id"
PROCESSING_TIME = "x-processing-time"
IGNORED = "x-gateway-ignored"
JSON_TYPE = "application/json"
NO_STORE: Headers = (("cache-control", "no-store"),)
MESSAGE_HEADERS: Headers = (("content-type", JSON_TYPE),)
EVENT_HEADERS: Headers = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache, no-store"),
    ("x-accel-buffering", "no"),
)
CHUNKED: Headers = (("transfer-encoding", "chunked"),)
CLOSES: Headers = (("connection", "close"),)
KEEPS: Headers = (("connection", "keep-alive"),)
# The SDKs sleep for the full time given, even an hour (their source, 2026-11): longer ones are cut.
MAX_RETRY_AFTER = 60.0
# Above this much unsent data, reading from the upstream is paused.
HIGH_WATER = 128 * 1024


# Header lines that a middleware wants on a stream, which writes its own header.
MORE_LINES = web.RequestKey("more_lines", str)


class WriteFlow(Protocol):
    """Listener for a client that is slow to read."""

    def buffer_filled(self) -> None: ...

    def buffer_drained(self) -> None: ...


class ClientConnection(Protocol):
    """Members of `connection.FrontEndConnection` that replies use."""

    transport: asyncio.Transport | None
    flow: WriteFlow | None

    @property
    def others_wait(self) -> bool: ...

    @property
    def writing_paused(self) -> bool: ...


def json_response(value: Any, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type=JSON_TYPE, headers=CIMultiDict(headers))


def error_response(error: GatewayError, request_id: str) -> web.Response:
    """The envelope and the headers that the SDKs' retry rules read."""
    headers = [*id_headers(request_id)]
    if error.retry_after is not None:
        # A client that must not retry does not sleep either: it may learn when the budget is renewed.
        seconds = error.retry_after if error.should_retry is False else min(error.retry_after, MAX_RETRY_AFTER)
        headers.append(("retry-after", f"{ceil(seconds)}"))  # whole seconds: RFC 9110
    if error.should_retry is not None:
        headers.append(("x-should-retry", "true" if error.should_retry else "false"))
    headers += error.headers
    return json_response(to_envelope(error, request_id), status=error.status, headers=headers)


class MessageReply(web.StreamResponse):
    """A message as JSON, with status 200: header and body in one write. To be stamped before it is sent.

    It has none of aiohttp's `headers`, so that none are made for it. `own`: header lines that only this reply has.
    """

    status = HTTPStatus.OK.value

    def __init__(self, request: web.Request, message: Any, headers: Iterable[tuple[str, str]], own: str = "") -> None:
        self._client = cast(ClientConnection, request.protocol)
        self._data = orjson.dumps(message)
        self._fields = headers
        self._own = own
        self._version = request.version
        self._reuse = request.keep_alive

    def stamp(self, request_id: str, seconds: float) -> None:
        """Add the headers that every reply has; `seconds` were spent on it."""
        self._own += f"{id_lines(request_id)}{PROCESSING_TIME}: {seconds:.6f}\r\n"

    def add_lines(self, lines: str) -> None:
        self._own += lines

    @property
    def keep_alive(self) -> bool | None:
        return self._reuse

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: the header goes with the body."""

    async def write_eof(self, data: bytes = b"") -> None:
        if self._client.others_wait:
            await asyncio.sleep(0)  # so that the replies of one turn are written one after the other (`Pool.post`)
        transport = self._client.transport
        if transport is None or transport.is_closing():
            return
        framing = MESSAGE_HEADERS
        if not self._reuse:
            framing += CLOSES
        elif self._version < (1, 1):
            framing += KEEPS
        own = f"{self._own}content-length: {len(self._data)}\r\n"
        transport.write(to_head((*self._fields, *framing), own) + self._data)


class EventReply(web.StreamResponse):
    """The sink of a live stream (see `relay.Sink`). Its header goes out with the first write.

    `own`: header lines that only this reply has; `late` gives those that are known once the header is written.
    """

    def __init__(
        self, request: web.Request, headers: Iterable[tuple[str, str]], own: str, late: Callable[[], str] = str
    ) -> None:
        super().__init__()
        self._late = late
        self._client = cast(ClientConnection, request.protocol)
        self._fields = headers  # read when the header is written: an iterator may add fields until then
        self._own = own + request.get(MORE_LINES, "")
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
            framing = CHUNKED if self._is_chunked else ()
            framing += () if self._reuse else CLOSES
            framed = to_head((*EVENT_HEADERS, *self._fields, *framing), self._own + self._late()) + framed
        transport.write(framed)

    def attach(self, source: Flow | None) -> None:
        self._source = source
        self._client.flow = self if source is not None else None
        if source is not None and self._client.writing_paused:
            source.pause()

    def abort(self) -> None:
        if self._client.transport is not None:
            reset(self._client.transport)

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


def reply_headers(request_id: str, seconds: float) -> Headers:
    return *id_headers(request_id), (PROCESSING_TIME, f"{seconds:.6f}")


def id_headers(request_id: str) -> Headers:
    return ("server", SERVER), (REQUEST_ID, request_id), (X_REQUEST_ID, request_id)


def context_lines(context: Context) -> str:
    """The tenant, as Anthropic names its workspaces, and the state of the limits that the request was admitted against.

    Anthropic's SDKs put the workspace into their spans.
    """
    return f"{WORKSPACE_ID}: {context.tenant}\r\n{context.reply_lines}"


def id_lines(request_id: str) -> str:
    return f"{REQUEST_ID}: {request_id}\r\n{X_REQUEST_ID}: {request_id}\r\n"


def to_head(headers: Headers, own: str) -> bytes:
    """The header of a reply with status 200. `headers` are what many replies have in common, and are remembered.

    Raises InternalError for a value of theirs that would break out of its line; `own` lines hold none but our values.
    """
    return f"{_first_lines(int(time.time()))}{_to_lines(headers)}{own}\r\n".encode("latin-1", "replace")


@lru_cache(maxsize=1)
def _first_lines(second: int) -> str:
    """Return the header lines that all replies of one second share."""
    date = formatdate(second, usegmt=True)
    return f"HTTP/1.1 {HTTPStatus.OK.value} OK\r\ndate: {date}\r\nserver: {SERVER}\r\n"


@lru_cache(maxsize=1024)
def _to_lines(headers: Headers) -> str:
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise InternalError("A reply header holds a line break.")
    return text


def no_content(status: int = 200) -> web.Response:
    return web.Response(status=status, headers={hdrs.CONTENT_LENGTH: "0"})
