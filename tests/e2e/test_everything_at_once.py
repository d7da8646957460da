"""Live requests, streams and batches while Redis is killed and frozen and a worker loses replies and is cut off.
`python -m tests.chaos --fault 30` is the long form.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

import aiohttp

from gateway.errors import GatewayError
from gateway.redis.connections import queue_client
from gateway.simulator.loopback import Simulator
from tests.chaos.mixed import stream_on
from tests.chaos.traffic import Traffic, check_acknowledged
from tests.chaos.upstream import Upstream
from tests.chaos.world import World
from tests.e2e.conftest import KEY, serving
from tests.redis.servers import open_server
from tests.workers.conftest import Bench
from tests.workers.proxy import RedisProxy
from tests.workers.test_worker import working

LEASE_SECONDS = 0.5
SLOTS = 4
WORKERS = 2
# Of those to the worker behind the proxy, which then repeats what it has asked for.
LOST_REPLIES = 0.25


@dataclass(frozen=True)
class Upstreamed:
    """Address of an upstream, in place of a simulator."""

    url: str


@asynccontextmanager
async def staged() -> AsyncIterator[tuple[World, RedisProxy]]:
    """A server and an upstream, with two workers, one of them behind the proxy."""
    upstream = Upstream(random.Random(30), latency=(0.002, 0.02))
    await upstream.start()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(open_server())
        proxy = RedisProxy(f"{server.url}?db=0", loses=lambda: upstream.chance.random() < LOST_REPLIES)
        await stack.enter_async_context(proxy)
        world = World(server, upstream, upstream.chance, LEASE_SECONDS, SLOTS, tenant="tests")
        stack.push_async_callback(world.redis.aclose)
        for name, url in (("one", server.url), ("two", proxy.url)):
            redis = await stack.enter_async_context(queue_client(url))
            called = cast(Simulator, Upstreamed(upstream.url(name)))
            await stack.enter_async_context(working(Bench(url, redis, called), slots=SLOTS, lease=LEASE_SECONDS))
        yield world, proxy
    await upstream.stop()


async def test_items_and_answers_survive_redis_and_a_worker_that_fail_in_turn(simulator: Simulator) -> None:
    async with (
        staged() as (world, proxy),
        serving(simulator, redis_url=world.server.url, upstream_url=world.upstream.url("live")) as live,
        aiohttp.ClientSession(live.url, headers={"x-api-key": KEY}) as session,
    ):
        client, stop = Traffic(live.url, session), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(client.go_on(stop))
            group.create_task(stream_on(client, stop))
            first, second = await world.create(40), await world.create(20)
            await world.reached(first.id, 15)
            world.fault()
            await proxy.cut()
            world.fault(WORKERS)
            await world.server.kill()
            await world.server.start()
            world.fault(WORKERS)
            await world.server.freeze()
            await asyncio.sleep(0.1)
            await world.server.thaw()
            await cancelled(world, second.id)
            await proxy.join()
            proxy.loses = lambda: False
            stop.set()
        listed = await check_acknowledged(world, client)
        await world.check(*listed)
    assert {first.id, second.id} <= set(listed)
    assert len(client.waited) > 3


async def cancelled(world: World, batch_id: str) -> None:
    """Cancel a batch as soon as Redis is back."""
    while True:
        try:
            await world.store.cancel(world.tenant, batch_id)
        except GatewayError:
            await asyncio.sleep(0.01)
        else:
            return
