"""Prompt cache of any tenant, for operators with GATEWAY_ADMIN_KEY."""

import time

from aiohttp import web

from gateway.errors import Unavailable
from gateway.json_values import to_time
from gateway.web.admin.requests import record_action
from gateway.web.api.cache import OFF, cleared, stats_response, to_scope
from gateway.web.app_keys import ADMIN_CACHE, AdminCache
from gateway.web.reply import json_response


async def show_any_cache_stats(request: web.Request) -> web.Response:
    """Return the counts of one tenant; without one, the totals of all entries."""
    cache = _admin_cache(request)
    tenant = request.query.get("tenant")
    if tenant is None:
        entries, size = await cache.upkeep.totals()
        return json_response({"total_entries": entries, "memory_usage_bytes": size, "timestamp": to_time(time.time())})
    return stats_response(await cache.upkeep.stats(tenant), cache.upkeep)


async def clear_any_cache(request: web.Request) -> web.Response:
    """Clear the entries of one `tenant` or of all; like `clear_cache`."""
    cache, tenant = _admin_cache(request), request.query.get("tenant")
    scope = to_scope(request, cache.routing.table, tenant)
    named = {name: request.query[name] for name in ("tenant", "model", "key") if name in request.query}
    await record_action(request, "cache_cleared", named)
    return cleared(await cache.upkeep.purge(scope))


def _admin_cache(request: web.Request) -> AdminCache:
    cache = request.app[ADMIN_CACHE]
    if cache is None:
        raise Unavailable(OFF, should_retry=False)
    return cache
