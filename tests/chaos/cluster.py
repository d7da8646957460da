"""A Redis Cluster of three nodes under batches: created by a front end, drained by workers, one of which is killed."""

from contextlib import AsyncExitStack

from gateway.redis.connections import queue_client
from tests.chaos.traffic import check_acknowledged, traffic
from tests.chaos.world import World, require
from tests.redis.nodes import Node, running_cluster

BATCHES = 12


async def cluster(world: World, scale: int) -> str:
    """The world's own server stays idle: everything is on the three nodes."""
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(running_cluster(world.server.binary))
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        await world.redis.aclose()
        world.redis = queue_client(url)
        stack.push_async_callback(world.redis.aclose)
        async with traffic(world, GATEWAY_REDIS_URL=url) as client:
            batches = [await world.create(100 * scale) for _ in range(BATCHES)]
            sizes = [await keys_on(node) for node in nodes]
            require(sum(size > 0 for size in sizes) > 1, f"the keys are not spread: {sizes}")
            await world.hire(2, GATEWAY_REDIS_URL=url)
            await world.reached(batches[-1].id, batches[-1].total // 4)
            await world.kill(world.some_worker())
            await world.hire(GATEWAY_REDIS_URL=url)
            for batch in batches:
                await world.ended(batch.id)
        found = await world.check(*await check_acknowledged(world, client))
        for name in list(world.workers):
            await world.dismiss(name)
    return f"{found}; {len(client.acknowledged)} batches acknowledged; keys by node {sizes}"


async def keys_on(node: Node) -> int:
    async with node.client() as client:
        return int(await client.dbsize())
