"""The private names of aiohttp's server that the gateway relies on, all of them, each behind a public name.

pyproject.toml admits only the minor version they were read in (3.14, 2026-11). tests/process/test_aiohttp_internals.py
fails when one is missing, and the architecture test when another module uses one.
"""

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler

from gateway.errors import GatewayError

REQUEST_HANDLER = "aiohttp.web_protocol.RequestHandler"
PRIVATE_NAMES = {
    "_buffer": "aiohttp.streams.StreamReader",
    "_buffer_paused": REQUEST_HANDLER,
    "_close": REQUEST_HANDLER,
    "_force_close": REQUEST_HANDLER,
    "_handle": "aiohttp.web.Application",
    "_handle_request": REQUEST_HANDLER,
    "_keepalive": REQUEST_HANDLER,
    "_keepalive_handle": REQUEST_HANDLER,
    "_kwargs": "aiohttp.web.AppRunner",
    "_lingering_time": REQUEST_HANDLER,
    "_make_error_handler": REQUEST_HANDLER,
    "_make_request": "aiohttp.web.Application",
    "_make_server": "aiohttp.web.AppRunner",
    "_match_info": "aiohttp.web.Request",
    "_max_msg_queue_size": REQUEST_HANDLER,
    "_messages": REQUEST_HANDLER,
    "_msg_queue_resume_size": REQUEST_HANDLER,
    "_next_keepalive_close_time": REQUEST_HANDLER,
    "_parser": REQUEST_HANDLER,
    "_process_keepalive": REQUEST_HANDLER,
    "_reading_paused": REQUEST_HANDLER,
    "_request_factory": REQUEST_HANDLER,
    "_request_handler": REQUEST_HANDLER,
    "_resume_reading_if_drained": REQUEST_HANDLER,
    "_task_handler": REQUEST_HANDLER,
    "_waiter": REQUEST_HANDLER,
}
NOTHING_LEFT: deque[bytes] = deque()


class QueuedRequestHandler(RequestHandler):
    """aiohttp's server connection with a given queue of the requests that were read and not begun.

    One task answers all of them. aiohttp makes another one for each request, so that none sees context variables of
    the one before it, of which the gateway has none.
    """

    __slots__ = ()

    @abstractmethod
    def begin(self, body: StreamReader) -> None:
        """Note that the next request is about to be answered."""

    def use_queue(self, queue: list[Any], limit: int) -> None:
        """Stop reading from the socket at `limit` waiting requests, until half of them are begun."""
        messages: Any = queue
        self._messages = messages
        self._max_msg_queue_size, self._msg_queue_resume_size = limit, limit // 2

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Do nothing unless reading is paused: aiohttp goes through parser and transport for every piece it reads."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def start(self) -> None:
        """Answer requests in their order until the connection is to end, then close it."""
        loop = asyncio.get_running_loop()
        while not self._force_close:
            if not self._messages:
                try:
                    self._waiter = loop.create_future()
                    await self._waiter
                finally:
                    self._waiter = None
            message, body = self._messages.popleft()
            self._make_room_for_another()
            self.begin(body)
            if not await self._answer(message, body, StreamWriter(self, loop)):
                break
            self._next_keepalive_close_time = closes_at = loop.time() + self.keepalive_timeout
            if self._keepalive_handle is None:
                self._keepalive_handle = loop.call_at(closes_at, self._process_keepalive)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    def _make_room_for_another(self) -> None:
        """Let the parser read on, now that a request has left the queue."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    async def _answer(self, message: Any, body: StreamReader, writer: StreamWriter) -> bool:
        """Answer one request. Return False if none may follow it."""
        answer: Any = self._request_handler
        if not isinstance(message, RawRequestMessage):
            answer, message = self._make_error_handler(message), ERROR
        make: Any = self._request_factory
        request = make(message, body, self, writer, None)  # without its task, which it would only refer back to
        reply = None
        try:
            reply, is_lost = await self._handle_request(request, None, answer)
        except ConnectionError:
            return False
        finally:
            if reply is None:
                self.force_close()
        if is_lost:
            return False
        if not body.is_eof():
            await self._discard_rest(body)
        self._keepalive = bool(reply.keep_alive)
        return self._keepalive and not self._close and not self._force_close

    async def _discard_rest(self, body: StreamReader) -> None:
        """Read what still arrives of a body, for a while: a client may read the reply only when it has sent all."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while not body.is_eof() and not self._force_close:
                    await body.readany()
        except TimeoutError:
            self.close()
        except (GatewayError, HttpProcessingError, OSError):
            self.force_close()


class ServerRunner(web.AppRunner):
    """aiohttp's runner with a server of one's own."""

    __slots__ = ()

    @abstractmethod
    def make_server(self, **options: Any) -> web.Server:
        """Return the server; `options` are those that aiohttp passes to its own."""

    async def _make_server(self) -> web.Server:
        await super()._make_server()
        return self.make_server(request_factory=self.app._make_request, **self._kwargs)


def router_of(app: web.Application) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return aiohttp's own handler of all requests to an application."""
    return app._handle


def set_match(request: web.Request, match: web.UrlMappingMatchInfo) -> None:
    """Give a request the route that aiohttp's router would have found."""
    request._match_info = match


def take_body(request: web.BaseRequest) -> bytes:
    """Return a body that has arrived and of which nothing was read."""
    content = request.content
    if not content.total_bytes:
        return b""
    pieces = content._buffer
    free_buffer(request)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def free_buffer(request: web.BaseRequest) -> None:
    """Drop the buffer of a body that was read: the reader lives until the reply ends, an empty deque has 600 bytes."""
    request.content._buffer = NOTHING_LEFT
