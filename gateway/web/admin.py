"""The admin listener: what operators and Prometheus see. Loopback by default."""

from aiohttp import web

from gateway.metrics import CONTENT_TYPE
from gateway.web.keys import METRICS


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[METRICS](), headers={"content-type": CONTENT_TYPE})
