"""Clients for the two uses of Redis, each with separate timeouts.

The library would repeat a command up to ten times after a timeout, even one that adds or claims: here it never does.
Only scripts, all of which are idempotent, are repeated, by `scripts`.

- queue: batches, keys, limits, threads. May wait seconds for its answer: requests cannot proceed without it.
- cache: must never delay a request. gateway.cache.client limits each wait by a budget; this module provides a fixed
  pool that never waits, and timeouts that end abandoned calls.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.maint_notifications import MaintNotificationsConfig

from gateway.redis.cluster import cluster_client, is_cluster
from gateway.redis.embedded import EmbeddedServer
from gateway.redis.failures import WRONG_SERVER, code_of
from gateway.redis.url import EMBEDDED

# A commit may wait 2 s for the disk or a replica, on the server's side of the socket.
_QUEUE_TIMEOUT: Final = 5.0
_QUEUE_CONNECT_TIMEOUT: Final = 2.0
_QUEUE_POOL_TIMEOUT: Final = 2.0
# Beyond what requests wait: a reply that was late because the loop was busy for long costs no connection.
_CACHE_TIMEOUT: Final = 1.0
# 700 misses at once on one core kept every answer with 32 or 64, and not with 16 (2026-11).
CACHE_CONNECTIONS: Final = 64
_CACHE_BUDGET: Final = 0.05


@dataclass(frozen=True, slots=True)
class RedisConnections:
    queue: Redis
    cache: Redis


def queue_client(url: str, *, connections: int = 32, timeout: float = _QUEUE_TIMEOUT) -> Redis:
    """Make a client for a URL that `url.check_url` has accepted. On a Cluster, `connections` is per node."""
    if is_cluster(url):
        return _cluster_client(url, connections, timeout, _QUEUE_CONNECT_TIMEOUT)
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=_QUEUE_POOL_TIMEOUT,
        socket_timeout=timeout,
        socket_connect_timeout=_QUEUE_CONNECT_TIMEOUT,
        **_common(),
    )
    return Redis.from_pool(packed_by_hiredis(pool))


def cache_client(url: str, *, connections: int = CACHE_CONNECTIONS, budget: float = _CACHE_BUDGET) -> Redis:
    """Make a client that fails at once if no connection is free; gateway.cache.client never makes more calls than that.

    `budget`: seconds that a request waits.
    """
    timeout = budget + _CACHE_TIMEOUT
    if is_cluster(url):
        return _cluster_client(url, connections, timeout, timeout)
    pool = ConnectionPool.from_url(
        url,
        max_connections=connections,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        **_common(),
    )
    return Redis.from_pool(packed_by_hiredis(pool))


def packed_by_hiredis(pool: ConnectionPool) -> ConnectionPool:
    """Make the client pack commands with hiredis.

    redis-py's asyncio client packs them in Python (8.1), which takes four times as long: a quarter of the time of a
    call.
    """
    kind = pool.connection_class
    pool.connection_class = type(f"Packed{kind.__name__}", (kind,), {"pack_command": _pack})
    return pool


def _pack(_: AbstractConnection, *arguments: Any) -> list[bytes]:
    packed: list[bytes] = _PACKER.pack(*arguments)
    return packed


_PACKER: Final = HiredisRespSerializer()


@asynccontextmanager
async def open_connections(
    url: str, cache_url: str | None = None, *, cache_budget: float = _CACHE_BUDGET, directory: Path | None = None
) -> AsyncIterator[RedisConnections]:
    """Open both clients, and for `embedded` the server, which is stopped after everything else.

    `cache_budget` is `cache_client`'s, `directory` the embedded server's. Raises EmbeddedServerError when that
    cannot be started.
    """
    async with AsyncExitStack() as stack:
        resolved = url
        if EMBEDDED in (url, cache_url):
            server = await stack.enter_async_context(EmbeddedServer(directory))
            resolved = server.url if url == EMBEDDED else url
            cache_url = server.url if cache_url == EMBEDDED else cache_url
        queue = queue_client(resolved)
        stack.push_async_callback(queue.aclose)
        cache = cache_client(cache_url or resolved, budget=cache_budget)
        stack.push_async_callback(cache.aclose)
        yield RedisConnections(queue, cache)


async def leave_demoted(redis: Redis, error: Exception) -> bool:
    """Drop all connections if the error shows that the server is not primary any more. Return True if so: call again.

    A server keeps its connections when it becomes a replica. Behind a balancer or a DNS name, new connections lead to
    the new primary. The client of a Cluster follows the redirections of its nodes instead.
    """
    pool: Any = getattr(redis, "connection_pool", None)  # the client of a Cluster has none
    if pool is None or code_of(error) not in WRONG_SERVER:
        return False
    await pool.update_active_connections_for_reconnect()
    await pool.disconnect(inuse_connections=False)
    return True


def _cluster_client(url: str, connections: int, timeout: float, connect_timeout: float) -> Redis:
    return cluster_client(
        url, max_connections=connections, socket_timeout=timeout, socket_connect_timeout=connect_timeout, **_common()
    )


def _common() -> dict[str, Any]:
    # RESP2: the same reply shapes from every server since 6.2. Notifications of hosted Redis are not ours to follow.
    # The library's name takes two commands for each connection, and a user with few rights may not send them.
    return {
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
