"""The prompt cache under management. Clients see and clear what is their own tenant's; operators, on the admin listener
and with GATEWAY_ADMIN_KEY, anybody's.
"""

import re
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.cache.store import to_tag
from gateway.cache.upkeep import CacheUpkeep, Scope, Stats
from gateway.cached import CachedExchange
from gateway.errors import InvalidRequest, Unavailable
from gateway.upstream.routing import RoutingTable
from gateway.web.admin import require_admin
from gateway.web.auth import to_context
from gateway.web.keys import ADMIN_CACHE, CACHE, AdminCache
from gateway.web.reply import json_response

OFF = "The prompt cache is off: GATEWAY_CACHE says so, or this gateway runs without Redis (GATEWAY_REDIS_URL)."
FINGERPRINT = re.compile(r"[0-9a-f]{40}")


async def show_cache_stats(request: web.Request) -> web.Response:
    tenant = to_context(request).tenant
    return _stats_response(await _upkeep(request).stats(tenant), _upkeep(request))


async def clear_cache(request: web.Request) -> web.Response:
    """All that the tenant has stored, or what its requests for a `model` have, or the entry that a `key` names."""
    tenant = to_context(request).tenant
    upkeep, table = _upkeep(request), _cache(request).exchange.table
    return _cleared(await upkeep.purge(to_scope(request, table, tenant)))


async def cleanup_cache(request: web.Request) -> web.Response:
    tenant = to_context(request).tenant
    removed = await _upkeep(request).cleanup(tenant)
    return json_response({"success": True, "expired_entries_removed": removed, "cleaned_at": _now()})


async def show_any_cache_stats(request: web.Request) -> web.Response:
    """Of one tenant; without one, what all their entries come to."""
    cache = _admin_cache(request)
    tenant = request.query.get("tenant")
    if tenant is None:
        entries, size = await cache.upkeep.totals()
        return json_response({"total_entries": entries, "memory_usage_bytes": size, "timestamp": _now()})
    return _stats_response(await cache.upkeep.stats(tenant), cache.upkeep)


async def clear_any_cache(request: web.Request) -> web.Response:
    """As `clear_cache`, of one `tenant` or of all."""
    cache = _admin_cache(request)
    return _cleared(await cache.upkeep.purge(to_scope(request, cache.table, request.query.get("tenant"))))


def to_scope(request: web.Request, table: RoutingTable, tenant: str | None) -> Scope:
    """What the query names. Raises InvalidRequest for a key that is none."""
    model, key = request.query.get("model"), request.query.get("key")
    if key is not None and not FINGERPRINT.fullmatch(key):
        raise InvalidRequest("key: must be what an x-gateway-cache-key header said")
    return Scope(tenant, None if model is None else to_tag(table.to_upstream_model(model)), key)


def _cache(request: web.Request) -> CachedExchange:
    cache = request.app[CACHE]
    if cache is None:
        raise Unavailable(OFF, should_retry=False)
    return cache


def _upkeep(request: web.Request) -> CacheUpkeep:
    return CacheUpkeep(_cache(request).store)


def _admin_cache(request: web.Request) -> AdminCache:
    require_admin(request)
    cache = request.app[ADMIN_CACHE]
    if cache is None:
        raise Unavailable(OFF, should_retry=False)
    return cache


def _stats_response(stats: Stats, upkeep: CacheUpkeep) -> web.Response:
    limits = upkeep.store.limits
    told: dict[str, Any] = {
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
    return json_response({"cache_stats": told, "timestamp": _now()})


def _cleared(entries: int) -> web.Response:
    return json_response({"success": True, "entries_cleared": entries, "cleared_at": _now()})


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
