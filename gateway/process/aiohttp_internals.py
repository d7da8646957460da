"""The private names of aiohttp's server that the gateway relies on, all of them, each behind a public name.

pyproject.toml admits only the minor version they were read in (3.14, 2026-11). tests/process/test_aiohttp_internals.py
fails when one is missing, and the architecture test when another module uses one.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

PRIVATE_NAMES = {
    "_buffer": "aiohttp.streams.StreamReader",
    "_handle": "aiohttp.web.Application",
    "_kwargs": "aiohttp.web.AppRunner",
    "_make_request": "aiohttp.web.Application",
    "_make_server": "aiohttp.web.AppRunner",
    "_match_info": "aiohttp.web.Request",
    "_max_msg_queue_size": "aiohttp.web_protocol.RequestHandler",
    "_messages": "aiohttp.web_protocol.RequestHandler",
    "_msg_queue_resume_size": "aiohttp.web_protocol.RequestHandler",
    "_parser": "aiohttp.web_protocol.RequestHandler",
    "_reading_paused": "aiohttp.web_protocol.RequestHandler",
}
NOTHING_LEFT: deque[bytes] = deque()


class OpenRequestHandler(RequestHandler):
    """aiohttp's server connection, with another queue of the requests that were read and not begun, and parser."""

    __slots__ = ()

    def wrap_parser(self, wrap: Callable[[Any], Any]) -> None:
        self._parser = wrap(self._parser)

    def use_queue(self, queue: list[Any], limit: int) -> None:
        """Stop reading from the socket at `limit` waiting requests, until half of them are begun."""
        messages: Any = queue
        self._messages = messages
        self._max_msg_queue_size, self._msg_queue_resume_size = limit, limit // 2

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Do nothing unless reading is paused: aiohttp goes through parser and transport for every piece it reads."""
        if self._reading_paused:
            super().resume_reading(resume_parser)


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


def free_buffer(request: web.BaseRequest) -> None:
    """Drop the buffer of a body that was read: the reader lives until the reply ends, an empty deque has 600 bytes."""
    request.content._buffer = NOTHING_LEFT
