"""Statistics and clearing of the prompt cache, for clients: their own tenant's entries only."""

import re
import time
from typing import Any

from aiohttp import web

from gateway.cache.admin import CacheUpkeep, EntryFilter, Stats
from gateway.cache.store import to_tag
from gateway.errors import InvalidRequest, Unavailable
from gateway.exchange.cached import CachedExchange
from gateway.json_values import to_time
from gateway.upstream.routes.table import RoutingTable
from gateway.web.app_keys import CACHE
from gateway.web.auth import CONTEXT
from gateway.web.reply import json_response

OFF = "The prompt cache is off: GATEWAY_CACHE says so, or this gateway runs without Redis (GATEWAY_REDIS_URL)."
# Hexadecimal digits of the 20 bytes that are kept of an HMAC.
FINGERPRINT = re.compile(r"[0-9a-f]{40}")


async def show_cache_stats(request: web.Request) -> web.Response:
    tenant = request[CONTEXT].tenant
    return stats_response(await _upkeep(request).stats(tenant), _upkeep(request))


async def clear_cache(request: web.Request) -> web.Response:
    """Delete all entries of the tenant, those of a `model`, or the one with a `key`."""
    tenant = request[CONTEXT].tenant
    upkeep, table = _upkeep(request), _cache(request).exchange.table
    return cleared(await upkeep.purge(to_scope(request, table, tenant)))


async def cleanup_cache(request: web.Request) -> web.Response:
    tenant = request[CONTEXT].tenant
    removed = await _upkeep(request).cleanup(tenant)
    return json_response({"success": True, "expired_entries_removed": removed, "cleaned_at": to_time(time.time())})


def to_scope(request: web.Request, table: RoutingTable, tenant: str | None) -> EntryFilter:
    """Return the entries that the query names. Raises InvalidRequest for an invalid key."""
    model, key = request.query.get("model"), request.query.get("key")
    if key is not None and not FINGERPRINT.fullmatch(key):
        raise InvalidRequest("key: must be what an x-gateway-cache-key header said")
    return EntryFilter(tenant, None if model is None else to_tag(table.to_upstream_model(model)), key)


def _cache(request: web.Request) -> CachedExchange:
    cache = request.app[CACHE]
    if cache is None:
        raise Unavailable(OFF, should_retry=False)
    return cache


def _upkeep(request: web.Request) -> CacheUpkeep:
    return CacheUpkeep(_cache(request).store)


def stats_response(stats: Stats, upkeep: CacheUpkeep) -> web.Response:
    limits = upkeep.store.limits
    figures: dict[str, Any] = {
        "cache_enabled": True,
        "cache_backend": "redis",
        "cache_ttl_seconds": limits.ttl,
        "cache_max_bytes": limits.total_bytes,
        "total_requests": stats.lookups,
        "cache_hits": stats.hits,
        "cache_misses": stats.misses,
        "cache_waits": stats.waits,
        "cache_bypasses": stats.bypasses,
        "cache_expires": stats.expired,
        "cache_pushed_out": stats.pushed_out,
        "total_entries": stats.entries,
        "memory_usage_bytes": stats.bytes,
        "hit_rate_percent": _percent(stats.hits, stats.lookups),
        "miss_rate_percent": _percent(stats.misses, stats.lookups),
    }
    return json_response({"cache_stats": figures, "timestamp": to_time(time.time())})


def cleared(entries: int) -> web.Response:
    return json_response({"success": True, "entries_cleared": entries, "cleared_at": to_time(time.time())})


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
