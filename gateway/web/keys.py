"""Typed places where the application keeps its parts."""

from collections.abc import Callable

from aiohttp import web

from gateway.access.keys import ClientKeys
from gateway.batches.store import BatchStore
from gateway.exchange import Exchange
from gateway.health import Health
from gateway.settings import Settings
from gateway.threads.turns import Threads
from gateway.upstream.catalog import Catalog

EXCHANGE = web.AppKey("exchange", Exchange)
SETTINGS = web.AppKey("settings", Settings)
CLIENT_KEYS = web.AppKey("client_keys", ClientKeys)
CATALOG = web.AppKey("catalog", Catalog)
HEALTH = web.AppKey("health", Health)
BATCHES: web.AppKey[BatchStore | None] = web.AppKey("batches")
THREADS: web.AppKey[Threads | None] = web.AppKey("threads")
METRICS: web.AppKey[Callable[[], bytes]] = web.AppKey("metrics")
