"""GET /metrics, for Prometheus. Reading metrics needs no key."""

from aiohttp import web

from gateway.telemetry.metrics import CONTENT_TYPE
from gateway.web.app_keys import METRICS


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[METRICS](), headers={"content-type": CONTENT_TYPE})
