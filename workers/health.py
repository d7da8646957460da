"""A worker's own admin listener: /livez, /readyz, /metrics. Loopback by default, and never for clients."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from gateway.telemetry.metrics import CONTENT_TYPE, render_metrics

SHUTDOWN_SECONDS = 1.0


def admin_app(problem: Callable[[], str | None]) -> web.Application:
    """`problem` says why the worker is not ready, None when it is."""

    async def live(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
        return _status("ok")

    async def ready(request: web.Request) -> web.Response:  # noqa: ARG001
        found = problem()
        return _status("ready") if found is None else _status(found, 503)

    async def metrics(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.Response(body=render_metrics(), headers={"content-type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", metrics)])
    return app


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """The address it listens on; with port 0, what the system chose."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        found_host, found_port = runner.addresses[0][:2]
        yield found_host, found_port
    finally:
        await runner.cleanup()


def _status(status: str, code: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps({"status": status}), status=code, content_type="application/json")
