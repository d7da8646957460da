"""Processes, Redis, upstreams, routes and the settings in force, without secrets."""

from typing import Any

from aiohttp import web

from gateway.errors import GatewayError
from gateway.settings import Settings
from gateway.settings.effective import effective
from gateway.web.admin.status import status_of
from gateway.web.console.sources import CONSOLE, ConsoleSources, data_response, is_missing, now


async def show_fleet(request: web.Request) -> web.Response:
    sources = request.app[CONSOLE]
    processes: list[dict[str, Any]] = []
    problem = None
    try:
        processes = await sources.activity.fleet(now())
    except GatewayError as error:
        if not is_missing(error):
            raise
        problem = error.message
    return data_response(
        {
            "at": now(),
            "processes": processes,
            "problem": problem,
            "redis": await redis_facts(sources),
            "status": status_of(request.app),
            "aliases": dict(sources.settings.aliases),
            "settings": to_settings(sources.settings),
        }
    )


async def redis_facts(sources: ConsoleSources) -> dict[str, Any] | None:
    """Return facts about the Redis server, or the problem with it; None without Redis."""
    if sources.batches is None:
        return None
    try:
        facts = await sources.batches.server.facts()
    except GatewayError as error:
        if not is_missing(error):
            raise
        return {"problem": error.message}
    if facts is None:
        return {"problem": "the gateway's user may not ask for INFO"}
    return {
        "product": facts.product,
        "persistent": facts.persistent,
        "used_memory": facts.used_memory,
        "memory_limit": facts.memory_limit,
        "eviction_policy": facts.eviction_policy,
        "problem": None,
    }


def to_settings(settings: Settings) -> list[dict[str, str]]:
    return [{"name": one.variable, "value": one.text, "source": one.source} for one in effective(settings)]
