"""Differences on a Redis Cluster: its client, and the node for commands without a key.

All keys of one script share a hash tag (gateway/redis/keys), and a pipeline is sent apart to each node, so everything
else is the same. Times are those of the node that a script runs on: the nodes' clocks must agree.
"""

from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from gateway.redis.url import CLUSTER_SUFFIX


def is_cluster(url: str) -> bool:
    return url.partition("://")[0].endswith(CLUSTER_SUFFIX)


def cluster_client(url: str, **options: Any) -> Redis:
    """A client for all nodes. Its commands are those of Redis, with which it shares no type."""
    return cast(Redis, RedisCluster.from_url(url.replace(CLUSTER_SUFFIX, "", 1), **options))


def has_nodes(redis: Redis | RedisCluster) -> bool:
    """Return whether the client is one for a Cluster, which takes no scripts in a pipeline."""
    return isinstance(redis, RedisCluster)


def node_of(redis: Redis | RedisCluster, key: str) -> dict[str, Any]:
    """Send a command that has no key to the server of this one: keyword arguments of `execute_command`."""
    if isinstance(redis, RedisCluster):
        return {"target_nodes": redis.get_node_from_key(key)}
    return {}


async def every_info(redis: Redis | RedisCluster) -> list[dict[str, Any]]:
    """INFO of the server, or of each primary."""
    if isinstance(redis, RedisCluster):
        return list((await redis.execute_command("INFO", target_nodes=RedisCluster.PRIMARIES)).values())
    return [await redis.info()]
