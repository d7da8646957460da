"""A client's connection: the guarded one, with word of a full write buffer for streams, and the runner that makes it.

`Runner` only exists so that `FrontEndConnection` is made instead of aiohttp's own class.
"""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway import ids
from gateway.errors import GatewayError
from gateway.process.aiohttp_internals import ServerRunner
from gateway.process.http_guard import Guard, GuardedConnection, GuardedServer
from gateway.upstream.health.causes import cause_of
from gateway.web.dispatch import Dispatch
from gateway.web.reply import WriteFlow, error_response

log = structlog.get_logger()


class FrontEndConnection(GuardedConnection):
    """One client connection of a front end."""

    __slots__ = ("_dispatch", "flow")

    def __init__(self, server: GuardedServer, dispatch: Dispatch) -> None:
        super().__init__(server)
        self._dispatch = dispatch
        self.flow: WriteFlow | None = None

    @property
    def others_wait(self) -> bool:
        """Whether requests of other connections are being answered just now."""
        return self._dispatch.active > 0

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.flow is not None:
            self.flow.buffer_filled()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.flow is not None:
            self.flow.buffer_drained()

    def reader_is_late(self) -> None:
        """Leave a stream that has a source to its relay, which has the same deadline and records the outcome."""
        if self.flow is None:
            super().reader_is_late()
        else:
            self.await_reader()


class ConnectionServer(GuardedServer):
    def __call__(self) -> RequestHandler:
        dispatch: Any = self.request_handler
        return FrontEndConnection(self, dispatch)


class Runner(ServerRunner):
    """aiohttp's runner, serving with `FrontEndConnection` and cancelling a handler when its client disconnects."""

    __slots__ = ("_guard",)

    def __init__(self, app: web.Application, *, shutdown_timeout: float, guard: Guard | None = None) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout, auto_decompress=False)
        self._guard = guard or Guard()

    def make_server(self, **options: Any) -> web.Server:
        loop = asyncio.get_running_loop()
        return ConnectionServer(Dispatch(self.app), guard=self._guard, refuse=_refuse, loop=loop, **options)


def _refuse(error: GatewayError) -> web.Response:
    """Answer what could not be read as a request, with a log line that has the reply's id."""
    request_id, cause = ids.request_id(), cause_of(error)
    log_refusal = log.info if cause.origin == "client" else log.error
    log_refusal(
        "request_refused",
        request_id=request_id,
        status=error.status,
        method="-",
        route="unmatched",
        tenant="-",
        origin=cause.origin,
        cause=cause.name,
        error=error.type,
        reason=error.message,
    )
    return error_response(error, request_id)
