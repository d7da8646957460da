"""Keys of aiohttp's applications: typed places where handlers find the parts of a front end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.access.directory import Directory
from gateway.batches.store import BatchStore
from gateway.cache.admin import CacheUpkeep
from gateway.exchange.cached import CachedExchange
from gateway.exchange.exchange import Exchange
from gateway.process.health import Health
from gateway.settings import Settings
from gateway.threads.turns import Threads
from gateway.upstream.models.catalog import Catalog
from gateway.upstream.routes.reload import ConfigReload
from gateway.upstream.routes.table import Routing


@dataclass(frozen=True, slots=True)
class AdminCache:
    """The prompt cache of all tenants, and the routing that resolves a model's name."""

    upkeep: CacheUpkeep
    routing: Routing


@dataclass(frozen=True, slots=True)
class StatusSources:
    """Content of `/status`. `circuits` returns one object for each circuit that is not closed."""

    routing: Routing
    config: ConfigReload
    circuits: Callable[[], list[dict[str, Any]]] = list


EXCHANGE = web.AppKey("exchange", Exchange)
SETTINGS = web.AppKey("settings", Settings)
DIRECTORY = web.AppKey("directory", Directory)
CATALOG = web.AppKey("catalog", Catalog)
OPEN = web.AppKey("open", frozenset[str])
HEALTH = web.AppKey("health", Health)
BATCHES: web.AppKey[BatchStore | None] = web.AppKey("batches")
CACHE: web.AppKey[CachedExchange | None] = web.AppKey("cache")
THREADS: web.AppKey[Threads | None] = web.AppKey("threads")
ADMIN_CACHE: web.AppKey[AdminCache | None] = web.AppKey("admin_cache")
STATUS = web.AppKey("status", StatusSources)
METRICS: web.AppKey[Callable[[], bytes]] = web.AppKey("metrics")
