"""Faults of Redis and of the way to it: killed, away, frozen, cut off, full, replaced by a replica that lags."""

import asyncio
import time
from contextlib import AsyncExitStack
from statistics import median

from redis.asyncio import Redis

from gateway.batches.server import StoragePolicy
from tests.chaos.processes import Server
from tests.chaos.traffic import Traffic, check_acknowledged, front, traffic
from tests.chaos.upstream import Mode
from tests.chaos.world import World, require, until
from tests.support.ports import free_port
from tests.workers.proxy import RedisProxy

# Share of live requests that may fail while Redis is down, the median.
LIVE_LOSS = 0.002
RESUME_SECONDS = 5.0
# Longer than any item waits for its next try here.
STANDSTILL = 30.0
OF_REPLIES_LOST = 0.03
# This many fit into what is left of the memory when new batches are refused.
FITTING_RESULTS = 375


async def restart_redis(world: World, scale: int) -> str:
    """kill -9 it and start it again: no item is called twice, none acknowledged is lost, live traffic goes on."""
    async with traffic(world) as client:
        batch = await world.create(1200 * scale)
        await world.hire(2)
        for step in range(1, 4 * scale + 1):
            await world.reached(batch.id, batch.total * step // (4 * scale + 2))
            await world.server.kill()
            world.faults += 1
            await asyncio.sleep(world.chance.uniform(0.0, 0.5))
            await world.server.start()
        await world.ended(batch.id)
    found = await world.check(*await check_acknowledged(world, client))
    return f"{found}; {len(client.acknowledged)} batches acknowledged, {len(client.waited)} live answers, all 200"


async def without_redis(world: World, scale: int) -> str:
    """Gone, then frozen: live answers come as fast as ever, batches are refused in clear words, workers come back."""
    world.upstream.latency = (0.02, 0.02)
    batch = await world.create(6000 * scale)
    await world.hire(2)
    found: list[str] = []
    async with front(world) as client:
        usual = await live_median(client)
        for name, begin, end in (
            ("away", world.server.kill, world.server.start),
            ("frozen", world.server.freeze, world.server.thaw),
        ):
            await world.reached(batch.id, await world.done(batch.id) + 50)
            world.fault(workers=2)
            await begin()
            slower = await live_median(client) - usual
            require(slower <= LIVE_LOSS, f"live answers take {1000 * slower:.1f} ms longer while Redis is {name}")
            require(await client.submit() == 503, "a batch is not refused")
            await asyncio.sleep(4 * scale)
            await end()
            took = await resumed(world, batch.id)
            found.append(f"{name}: live {1000 * slower:+.1f} ms, workers back after {took:.1f} s")
    await world.ended(batch.id)
    # What was refused while Redis was frozen may have been created when it woke up.
    report = await world.check(*await check_acknowledged(world, client))
    return f"{report}; {'; '.join(found)}"


async def live_median(client: Traffic) -> float:
    client.waited.clear()
    for _ in range(60):
        await client.ask()
    return median(client.waited)


async def resumed(world: World, batch_id: str) -> float:
    """Seconds until new results arrive: beyond those that were waiting to be recorded."""
    begun, before = time.monotonic(), await world.done(batch_id)
    await world.reached(batch_id, before + 2 * world.slots + 50)
    took = time.monotonic() - begun
    require(took <= RESUME_SECONDS, f"the workers came back after {took:.1f} s")
    return took


async def fail_over(world: World, scale: int) -> str:
    """A lagging replica takes over: batches that waited for it at their creation are there; items run again at most."""
    port = free_port()
    for name, value in (("port", port), ("repl-diskless-sync-delay", 0)):
        await world.redis.config_set(name, value)
    replica = Server(world.server.binary, "everysec", {"replicaof": f"127.0.0.1 {port}"})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(replica.stop)
        await replica.start()
        mirror = replica.client()
        stack.push_async_callback(mirror.aclose)
        await until(lambda: is_linked(mirror), "the replica")
        proxy = await stack.enter_async_context(RedisProxy(world.server.url))
        durable = {"GATEWAY_REDIS_URL": proxy.url, "GATEWAY_BATCH_DURABILITY": "replica"}
        async with traffic(world, **durable) as client:
            batch = await world.create(2000 * scale, policy=StoragePolicy(durability="replica"))
            await world.hire(2, GATEWAY_REDIS_URL=proxy.url)
            await world.reached(batch.id, batch.total // 3)
            acknowledged = len(client.acknowledged)
            await mirror.replicaof("NO", "ONE")  # from here on it knows of nothing new
            await world.reached(batch.id, batch.total * 2 // 3)
            lost = await world.done(batch.id) - await mirror.hlen(f"gw:b:{{{batch.id}}}:ok")
            await proxy.cut()
            await world.server.kill()
            world.fault(workers=2)
            world.allowed += lost + world.slots * 2
            await world.redis.aclose()
            world.redis = replica.client()
            proxy.target = replica.url
            await proxy.join()
            require(acknowledged > 0, "no batch was acknowledged before")
            # The new primary has no replica, so further creations fail.
            await world.ended(batch.id)
        found = await world.check(*await check_acknowledged(world, client))
        await world.redis.aclose()
    return f"{found}; {lost} results lost, {acknowledged} batches acknowledged and none lost"


async def is_linked(mirror: Redis) -> bool:
    return (await mirror.info("replication")).get("master_link_status") == "up"


async def partition(world: World, scale: int) -> str:
    """A worker cut off from Redis, but not from the upstream, gives its items up before others may have them."""
    world.upstream.latency = (0.2, 2 * world.lease)
    async with AsyncExitStack() as stack:
        batch = await world.create(250 * scale)
        proxies = [await stack.enter_async_context(RedisProxy(world.server.url)) for _ in range(3)]
        for proxy in proxies:
            await world.hire(GATEWAY_REDIS_URL=proxy.url)
        for step in range(1, 2 * scale + 1):
            await world.reached(batch.id, batch.total * step // (2 * scale + 3))
            proxy = world.chance.choice(proxies)
            world.fault()
            await proxy.cut()
            await asyncio.sleep(3 * world.lease)
            await proxy.join()
        await world.ended(batch.id)
        lines = [line for worker in world.workers.values() for line in worker.lines]
        fenced = sum(line["items"] for line in lines if line["event"] == "leases_given_up")
        require(fenced > 0, "no worker gave up an item")
        await asyncio.sleep(world.lease)
        found = await world.check(batch.id)
        for name in list(world.workers):
            await world.dismiss(name)
    return f"{found}; {fenced} calls broken off by workers that were cut off"


async def fill_memory(world: World, scale: int) -> str:
    """Little left: new batches are refused and results still land. Nothing left: all wait, and then all goes on."""
    batch = await world.create(1500 * scale)
    await world.hire(2)
    async with front(world) as client:
        await world.reached(batch.id, batch.total // 4)
        await limit_memory(world, 1.25)
        world.faults += 1
        require(await client.submit() == 529, "a batch is taken though there is hardly any room")
        await world.reached(batch.id, batch.total // 4 + FITTING_RESULTS)
        await limit_memory(world, 0.5)
        world.fault(workers=2)
        require(await client.submit() == 529, "a batch is taken though there is no room")
        await asyncio.sleep(world.lease)
        await limit_memory(world, 100)
        require(await client.submit() == 200, "a batch is refused though there is room")
        await world.ended(batch.id)
    return await world.check(*await check_acknowledged(world, client))


async def limit_memory(world: World, share: float) -> None:
    """Limit the memory to `share` of the present use."""
    used = (await world.redis.info("memory"))["used_memory"]
    await world.redis.config_set("maxmemory", round(used * share))


async def set_clock_back(world: World, scale: int) -> str:
    """Its clock goes back, as after an NTP step or with a host that is behind: nothing waits for the time to return."""
    batch = await world.create(1500 * scale)
    await world.hire(2)
    longest = 0.0
    for step, seconds in enumerate((-120, -3600, -3600 * 24), 1):
        await world.reached(batch.id, batch.total * step // 5)
        world.upstream.mode = Mode.BUSY  # so that items wait for their next try when it happens
        await asyncio.sleep(2)
        world.server.set_clock(seconds)
        world.upstream.mode = Mode.WORKS
        world.fault(workers=2)  # a lease may seem over, or endless
        before, begun = await world.done(batch.id), time.monotonic()
        await world.reached(batch.id, min(batch.total, before + 2 * world.slots + 50))
        longest = max(longest, time.monotonic() - begun)
        require(longest <= STANDSTILL, f"the batch stood still for {longest:.1f} s")
    await world.ended(batch.id)
    world.allowed += world.upstream.turned_away
    return f"{await world.check(batch.id)}; the longest step took {longest:.1f} s"


async def lose_replies(world: World, scale: int) -> str:
    """Redis runs a command and the reply is lost: a repetition has no further effect."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(RedisProxy(world.server.url))
        client = await stack.enter_async_context(traffic(world, GATEWAY_REDIS_URL=proxy.url))
        batch = await world.create(1500 * scale)
        await world.hire(3, GATEWAY_REDIS_URL=proxy.url)
        lost = 0

        def loses() -> bool:
            nonlocal lost
            chosen = world.chance.random() < OF_REPLIES_LOST
            lost += chosen
            return chosen

        proxy.loses = loses
        await world.ended(batch.id)
        proxy.loses = lambda: False
        world.faults = lost
        for name in list(world.workers):
            await world.dismiss(name)
    await world.hire()
    found = await world.check(*await check_acknowledged(world, client))
    return f"{found}; {len(client.acknowledged)} batches acknowledged"
