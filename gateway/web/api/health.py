"""Probes: for balancers (/livez, /readyz) and for clients that knock before they speak (HEAD / and /api/hello)."""

from aiohttp import web

from gateway import __version__
from gateway.web.app_keys import HEALTH
from gateway.web.reply import json_response, no_content


async def live(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
    return json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    health = request.app[HEALTH]
    if health.problem is not None:
        return json_response({"status": health.problem}, status=503)
    redis = health.redis_problem
    return json_response({"status": "ready"} if redis is None else {"status": "ready", "redis": redis})


async def hello(request: web.Request) -> web.Response:
    if request.method == "HEAD":
        return no_content()
    return json_response({"name": "dragoman", "version": __version__})
