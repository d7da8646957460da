"""aiohttp's connection with what it lacks: a deadline for headers, JSON parse errors, and word of a full write buffer.

Measured on aiohttp 3.14: partial headers and silent connections stay open for the whole keep-alive time (an hour by
default), and errors of the parser are answered in plain text. The rest of the class is aiohttp's own; `Runner` only
exists to have `Connection` made instead of it.
"""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from gateway import ids
from gateway.errors import GatewayError, InternalError, InvalidRequest
from gateway.web.dispatch import Dispatch
from gateway.web.reply import WriteFlow, error_response

HEADER_SECONDS = 10.0
MAX_LINE_BYTES = 8190  # of a path, and of a header's name or value
MAX_HEADERS = 128
TOO_MANY_HEADERS = "Too many headers received"  # aiohttp's message; it has no class for it
KEEP_ALIVE_SECONDS = 75.0  # longer than a load balancer's, so that the balancer closes first


class Messages(list[Any]):
    """aiohttp's queue of requests that were read and not begun: seldom more than one. Its deque takes 600 bytes."""

    __slots__ = ()

    def popleft(self) -> Any:
        return self.pop(0)


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = ("_dispatch", "_header_deadline", "flow")

    def __init__(self, server: web.Server, dispatch: Dispatch, **options: Any) -> None:
        super().__init__(server, **options)
        self._messages: Any = Messages()
        self._dispatch = dispatch
        self.flow: WriteFlow | None = None
        self._header_deadline: asyncio.TimerHandle | None = None

    @property
    def others_wait(self) -> bool:
        """Whether requests of other connections are being answered just now."""
        return self._dispatch.active > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._header_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A deadline runs from a request's first byte to the end of its header; a trickle does not extend it."""
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._header_arrived()
        elif self._header_deadline is None and self._waiter is not None and not self._waiter.done():
            self._await_header()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing where reading was not paused: aiohttp goes through parser and transport for every piece it reads."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.flow is not None:
            self.flow.buffer_filled()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.flow is not None:
            self.flow.buffer_drained()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What the parser refused, or escaped the middleware: in Anthropic's envelope, and the connection ends."""
        error: GatewayError = InternalError("The gateway failed to answer this request.")
        if status == 400:
            error = InvalidRequest(_to_reason(exc))
        response = error_response(error, ids.request_id())
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: a parser's traceback quotes what the client sent."""

    def _await_header(self) -> None:
        self._header_deadline = self._loop.call_later(HEADER_SECONDS, self._header_overdue)

    def _header_arrived(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _header_overdue(self) -> None:
        self._header_deadline = None
        self.force_close()


def _to_reason(exc: BaseException | None) -> str:
    """Of what the parser refused, nothing is quoted: it may be a key."""
    if isinstance(exc, LineTooLong):
        return f"The path, or a header, exceeds the maximum size of {MAX_LINE_BYTES} bytes."
    if getattr(exc, "message", "") == TOO_MANY_HEADERS:
        return f"The request has more than {MAX_HEADERS} headers."
    return "The request is not valid HTTP."


class ConnectionServer(web.Server):
    def __call__(self) -> RequestHandler:
        dispatch: Any = self.request_handler
        return Connection(self, dispatch, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """aiohttp's runner, serving with `Connection` and cancelling a handler whose client has gone."""

    __slots__ = ()

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            shutdown_timeout=shutdown_timeout,
            auto_decompress=False,
            handler_cancellation=True,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )

    async def _make_server(self) -> web.Server:
        await super()._make_server()
        app = self.app
        return ConnectionServer(
            Dispatch(app),  # type: ignore[arg-type]  # of requests that the factory makes
            request_factory=app._make_request,
            loop=asyncio.get_running_loop(),
            **self._kwargs,
        )
