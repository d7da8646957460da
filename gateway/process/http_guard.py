"""aiohttp's server connection with the guards that it lacks, for every listener of a process.

Measured on aiohttp 3.14 (2026-11): partial headers and silent connections stay open for the whole keep-alive time (an
hour by default). A client that reads nothing keeps its connection for good, and its replies in memory. A body with
broken framing leaves its handler waiting. A handler that fails after its reply has begun gets a second header into the
body of the first.

Only sockets are guarded here. Reading a body in time is the handler's part (`web/body`), the wording of refusals the
listener's (`GuardedServer.refuse`).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError, InternalError, InvalidRequest
from gateway.process.aiohttp_internals import OpenRequestHandler
from gateway.process.repeated_heads import RepeatedHeads
from gateway.process.sockets import reset, to_network
from gateway.telemetry.metrics import CONNECTIONS_CUT

KEEP_ALIVE_SECONDS = 75.0  # longer than a load balancer's, so that the balancer closes first
# From the first byte of a header to its end, however many bytes trickle in (Slowloris). aiohttp has no such limit.
HEADER_SECONDS = 10.0
MAX_LINE_BYTES = 8190  # of a path, and of a header's name or value
# SDKs send about 20, proxies add a few.
MAX_HEADERS = 128
TOO_MANY_HEADERS = "Too many headers received"  # aiohttp's message; it has no class for it
# Of all header lines together. The parser's own limits would let one client keep 2 MB in each connection.
MAX_HEADER_BYTES = 64 * 1024
# Requests that are read ahead on a connection before its socket is left alone. aiohttp's 32 may hold 2 MB each.
MAX_WAITING = 2
# What a chunked body may contain beside its data: extensions, trailers, sizes. A chunk of one byte has five others; a
# read of the event loop that the parser has not taken yet (256 KiB) must not count as an excess either.
MAX_OTHER_BYTES = 1024 * 1024
OTHER_BYTES_PER_BYTE = 8
AT_ONCE = 0.001


@dataclass(frozen=True, slots=True)
class Guard:
    """Limits of a listener. Times in seconds; `per_address`: connections from one address, 0 for any number."""

    header_seconds: float = HEADER_SECONDS
    stalled_seconds: float = 60.0
    per_address: int = 0


class WaitingRequests(list[Any]):
    """aiohttp's queue of requests that were read and not begun: seldom more than one. Its deque takes 600 bytes."""

    __slots__ = ()

    def popleft(self) -> Any:
        return self.pop(0)


class GuardedConnection(OpenRequestHandler):
    """One client connection.

    `_body` is the body of the request begun last while it is still arriving. `_header_bytes` counts what has arrived
    of the next header. `_is_last`: the next reply ends the connection.
    """

    __slots__ = (
        "_address",
        "_answering",
        "_body",
        "_body_bytes",
        "_body_ended",
        "_header_bytes",
        "_header_timer",
        "_is_last",
        "_link",
        "_server",
        "_unsent",
        "_waiting",
        "_write_timer",
    )

    def __init__(self, server: "GuardedServer") -> None:
        super().__init__(server, loop=server.loop, **server.options)
        self._waiting = WaitingRequests()
        self.use_queue(self._waiting, MAX_WAITING)
        self.wrap_parser(lambda parser: RepeatedHeads(parser, self, server.loop))
        self._server = server
        self._link: asyncio.Transport | None = None  # aiohttp forgets its own before the last bytes are sent
        self._address: str | None = None
        self._answering = False
        self._body: StreamReader | None = None
        self._body_bytes = 0
        self._body_ended: asyncio.Event | None = None
        self._is_last = False
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._write_timer: asyncio.TimerHandle | None = None

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = cast(asyncio.Transport, transport)
        self._address = self._server.enter(self._link)
        if self._address is None:
            self.cut("address")
            return
        super().connection_made(transport)
        self._await_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._link = None
        self._end_body()
        self._stop_header_timer()
        self._stop_write_timer()
        if self._address is not None:
            self._server.leave(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiting:
            if self._header_timer is not None:
                self._stop_header_timer()
            self._header_bytes = 0
            if not isinstance(self._waiting[-1][0], RawRequestMessage):
                # aiohttp queues a refusal as if it were the next request. Within a body it is the failure of that one.
                body = self._waiting[-2][1] if len(self._waiting) > 1 else self._body
                if body is not None and not body.is_eof():
                    message, _ = self._waiting.pop()
                    self.fail_body(body, InvalidRequest(_to_reason(message.exc)))
        elif self._body is not None:
            body = self._body
            self._body_bytes += len(data)
            if body.is_eof():
                self._end_body()
                self._body = None
            elif self._body_bytes - body.total_bytes > MAX_OTHER_BYTES + OTHER_BYTES_PER_BYTE * body.total_bytes:
                reason = "The request body has too much beside its data: chunk extensions or trailers."
                self.fail_body(body, InvalidRequest(reason))
        elif data and not self._is_last:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse_header(header_too_large())
            elif not self._answering:
                self._await_header()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    # Called by aiohttp.

    async def start(self) -> None:
        """aiohttp's loop over requests. What is unsent at its end has a deadline too."""
        await super().start()
        self._await_last_bytes()

    def begin(self, body: StreamReader) -> None:
        """The next request is about to be answered."""
        self._answering = True
        if body.is_eof():
            self._body = None
        else:
            self._body, self._body_bytes = body, body.total_bytes

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a reply, and wait until the client has read most of it: no other request is begun before."""
        if self._is_last:
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        self._end_body()
        if self.writing_paused:
            self.await_reader()
            await request.writer.drain()
        self._answering = False
        if self._is_last:
            super().close()
        elif self._header_bytes:
            self._await_header()
        return finished

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Refuse what the parser could not read (400), or what no handler answered, and end the connection."""
        if request.writer.output_size:
            self.cut("broken_reply")
            raise ConnectionResetError("The reply had begun.")
        error: GatewayError = InternalError("The gateway failed to answer this request.")
        if status == 400:
            error = InvalidRequest(_to_reason(exc))
        response = self._server.refuse(error)
        response.force_close()
        return response

    def close(self) -> None:
        """Begin no other request."""
        self._is_last = True
        if not self._body_arrives:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's own signature
        """End the connection when its request is answered, or the time is up.

        aiohttp ignores what arrives once its own shutdown has begun, a body's rest included; and it takes 0
        for any time.
        """
        ends_at = None if timeout is None else self._server.loop.time() + timeout
        if self._body_arrives:
            self._body_ended = asyncio.Event()
            with suppress(TimeoutError):
                # What arrives later is discarded with the connection.
                async with asyncio.timeout_at(ends_at):
                    await self._body_ended.wait()
        await super().shutdown(ends_at and max(AT_ONCE, ends_at - self._server.loop.time()))

    def force_close(self) -> None:
        super().force_close()
        self._await_last_bytes()

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing: a parser's traceback quotes what the client sent."""

    def fail_body(self, body: StreamReader, error: GatewayError) -> None:
        """Raise `error` in the reader of the body; the connection ends with the reply."""
        self._is_last = True
        body.set_exception(error)
        self._end_body()

    # Deadlines.

    def cut(self, reason: str) -> None:
        """End the connection at once, without sending the rest."""
        if self._link is not None:
            CONNECTIONS_CUT.labels(reason).inc()
            reset(self._link)
            self._link = None

    def reader_is_late(self) -> None:
        """Cut a client that has taken nothing since the last look."""
        self._write_timer = None
        if self._link is None:
            return
        unsent = self._link.get_write_buffer_size()
        if unsent >= self._unsent:
            self.cut("unread")
        elif unsent:
            self.await_reader()

    def await_reader(self) -> None:
        if self._write_timer is None and self._link is not None:
            self._unsent = self._link.get_write_buffer_size()
            self._write_timer = self._server.loop.call_later(self._server.guard.stalled_seconds, self.reader_is_late)

    def _await_last_bytes(self) -> None:
        """A socket that is being closed stays open until all is sent."""
        if self._link is not None and self._link.get_write_buffer_size():
            self.await_reader()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _await_header(self) -> None:
        """Run the deadline of a header, from its first byte; a trickle does not extend it."""
        if self._header_timer is None:
            self._header_timer = self._server.loop.call_later(self._server.guard.header_seconds, self._header_is_late)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_is_late(self) -> None:
        self._header_timer = None
        CONNECTIONS_CUT.labels("header").inc()
        self.force_close()

    # Ends of bodies, and refusals of headers.

    def _end_body(self) -> None:
        if self._body_ended is not None:
            self._body_ended.set()

    @property
    def _body_arrives(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    def _refuse_header(self, error: GatewayError) -> None:
        """Answer a request that the parser has not read to the end. Behind another one it is only ignored."""
        self._is_last = True
        if self._answering or self._link is None:
            self.close()
        else:
            self._link.write(to_bytes(self._server.refuse(error)))
            self.force_close()


class GuardedServer(web.Server):
    """Makes the connections of a listener. `refuse` words what is answered without a handler."""

    def __init__(
        self,
        handler: Callable[[Any], Awaitable[web.StreamResponse]],
        *,
        guard: Guard,
        refuse: Callable[[GatewayError], web.Response],
        loop: asyncio.AbstractEventLoop,
        request_factory: Any = None,
        handler_cancellation: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(handler, request_factory=request_factory, handler_cancellation=handler_cancellation, loop=loop)
        self.guard = guard
        self.refuse = refuse
        self.loop = loop
        self.options: dict[str, Any] = {
            "keepalive_timeout": KEEP_ALIVE_SECONDS,
            "access_log": None,
            "max_line_size": MAX_LINE_BYTES,
            "max_field_size": MAX_LINE_BYTES,
            "max_headers": MAX_HEADERS,
            **options,
        }
        self._addresses: Counter[str] = Counter()
        self.request_factory = partial(_begin, self.request_factory)

    def __call__(self) -> RequestHandler:
        return GuardedConnection(self)

    def enter(self, transport: asyncio.Transport) -> str | None:
        """The address to `leave` with when the connection is lost; None when it has too many already."""
        if not self.guard.per_address:
            return ""
        address = to_network(transport.get_extra_info("peername"))
        if self._addresses[address] >= self.guard.per_address:
            return None
        self._addresses[address] += 1
        return address

    def leave(self, address: str) -> None:
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]


def header_too_large() -> InvalidRequest:
    return InvalidRequest(f"The request's headers exceed the maximum size of {MAX_HEADER_BYTES} bytes together.")


def to_bytes(response: web.Response) -> bytes:
    """A whole reply, after which the connection is closed."""
    body = cast(bytes, response.body)
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def _begin(
    make: Callable[..., web.BaseRequest], message: Any, payload: StreamReader, protocol: Any, *rest: Any
) -> web.BaseRequest:
    protocol.begin(payload)
    return make(message, payload, protocol, *rest)


def _to_reason(exc: BaseException | None) -> str:
    """Return the reason without quoting the refused data, which may be a key."""
    if isinstance(exc, LineTooLong):
        return f"The path, or a header, exceeds the maximum size of {MAX_LINE_BYTES} bytes."
    if getattr(exc, "message", "") == TOO_MANY_HEADERS:
        return f"The request has more than {MAX_HEADERS} headers."
    return "The request is not valid HTTP."
