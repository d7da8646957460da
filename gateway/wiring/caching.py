"""Build the prompt cache and message threads from settings."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from gateway.access.keyring import Keyring
from gateway.batches.server import BatchServer
from gateway.cache.admin import CacheUpkeep
from gateway.cache.client import GRACE, CacheClient, cache_breaker
from gateway.cache.key import to_secret
from gateway.cache.policy import CachePolicy
from gateway.cache.store import CacheLimits, CacheStore
from gateway.exchange.cached import CachedExchange
from gateway.exchange.exchange import Exchange
from gateway.process.tasks import background
from gateway.redis.connections import open_connections
from gateway.redis.keys import Keys
from gateway.settings import Settings
from gateway.threads.store import ThreadPolicy, ThreadStore
from gateway.threads.turns import Threads


@asynccontextmanager
async def open_cache(
    settings: Settings, exchange: Exchange, redis: Redis | None, keyring: Keyring
) -> AsyncIterator[CachedExchange | None]:
    """Yield the exchange with its cache; None if answers are not cached."""
    if redis is None:
        yield None
        return
    policy = CachePolicy(
        settings.cache, settings.cache_routes, frozenset(settings.cache_keys), tools=settings.cache_tools == "on"
    )
    store = build_cache_store(settings, redis)
    # The scripts are loaded now, so that the first request does not spend its budget of milliseconds on it.
    await store.warm()
    cache = CachedExchange(exchange, store, policy, to_secret(keyring))
    async with background(store.run()):
        try:
            yield cache
        finally:
            # Calls without followers would outlive the front end otherwise.
            await cache.close()


def build_cache_store(settings: Settings, redis: Redis) -> CacheStore:
    limits = CacheLimits(
        ttl=settings.cache_ttl,
        entry_bytes=settings.cache_entry_bytes,
        total_bytes=settings.cache_max_bytes,
        lock=settings.cache_lock_seconds,
        wait=settings.cache_wait_seconds,
    )
    calls = CacheClient(redis, cache_breaker(time.monotonic), settings.cache_budget_seconds - GRACE)
    return CacheStore(calls, limits, Keys(settings.redis_prefix))


@asynccontextmanager
async def open_cache_upkeep(settings: Settings) -> AsyncIterator[CacheUpkeep | None]:
    """Build the cache's store for a process that manages the cache but does not use it."""
    url = settings.cache_redis_url or settings.redis_url
    if url is None or settings.cache == "off":
        yield None
        return
    async with open_connections(url, cache_budget=settings.cache_budget_seconds) as connections:
        store = build_cache_store(settings, connections.cache)
        try:
            yield CacheUpkeep(store)
        finally:
            await store.calls.close()


def build_threads(settings: Settings, server: BatchServer | None) -> Threads | None:
    """Return the threads; None if they are off, or cannot be stored."""
    if server is None or settings.threads == "off":
        return None
    policy = ThreadPolicy(seconds=settings.thread_seconds, max_bytes=settings.max_body_bytes)
    return Threads(ThreadStore(server.server, policy))
