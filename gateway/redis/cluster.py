"""Differences on a Redis Cluster: its client, and the node for commands without a key.

All keys of a script share a hash tag (gateway/redis/keys), and pipelines are split by node, so everything else is the
same. Scripts read the time of their node, so the nodes' clocks must agree.
"""

from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from gateway.redis.url import CLUSTER_SUFFIX


def is_cluster(url: str) -> bool:
    return url.partition("://")[0].endswith(CLUSTER_SUFFIX)


def cluster_client(url: str, **options: Any) -> Redis:
    """Make a client for all nodes. It has the commands of a Redis client, but no common type."""
    return cast(Redis, RedisCluster.from_url(url.replace(CLUSTER_SUFFIX, "", 1), **options))


def has_nodes(redis: Redis | RedisCluster) -> bool:
    """Return True for the client of a Cluster, which accepts no scripts in a pipeline."""
    return isinstance(redis, RedisCluster)


def node_of(redis: Redis | RedisCluster, key: str) -> dict[str, Any]:
    """Return the keyword arguments of `execute_command` that send a command without a key to the server of `key`."""
    if isinstance(redis, RedisCluster):
        return {"target_nodes": redis.get_node_from_key(key)}
    return {}


async def every_info(redis: Redis | RedisCluster) -> list[dict[str, Any]]:
    """Return INFO of the server, or of each primary."""
    if isinstance(redis, RedisCluster):
        return list((await redis.execute_command("INFO", target_nodes=RedisCluster.PRIMARIES)).values())
    return [await redis.info()]
