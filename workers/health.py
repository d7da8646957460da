"""A worker's own admin listener: /livez, /readyz, /metrics. Loopback by default, and never for clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from gateway.errors import GatewayError
from gateway.process.http_guard import Guard, GuardedServer
from gateway.telemetry.metrics import CONTENT_TYPE, render_metrics

# Probes are short; a worker that drains must not wait for them.
SHUTDOWN_SECONDS = 1.0

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


def admin_handler(problem: Callable[[], str | None]) -> Handler:
    """`problem` returns the reason why the worker is not ready, None when it is."""

    def ready() -> web.Response:
        found = problem()
        return _status("ready") if found is None else _status(found, 503)

    replies: dict[str, Callable[[], web.Response]] = {
        "/livez": lambda: _status("ok"),
        "/readyz": ready,
        "/metrics": lambda: web.Response(body=render_metrics(), headers={"content-type": CONTENT_TYPE}),
    }

    async def answer(request: web.BaseRequest) -> web.Response:
        reply = replies.get(request.path)
        if reply is None:
            return _status("not found", 404)
        return reply() if request.method in ("GET", "HEAD") else _status("method not allowed", 405)

    return answer


@asynccontextmanager
async def listening(handler: Handler, host: str, port: int, guard: Guard) -> AsyncIterator[tuple[str, int]]:
    """Return the address it listens on; with port 0, the one that the system chose."""
    loop = asyncio.get_running_loop()
    connections = GuardedServer(handler, guard=guard, refuse=_refuse, loop=loop)
    server = await loop.create_server(connections, host, port)
    try:
        found_host, found_port = server.sockets[0].getsockname()[:2]
        yield found_host, found_port
    finally:
        server.close()
        await connections.shutdown(SHUTDOWN_SECONDS)


def _refuse(error: GatewayError) -> web.Response:
    return _status(error.message, error.status)


def _status(status: str, code: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps({"status": status}), status=code, content_type="application/json")
