"""A Redis that answers and refuses, one that becomes a replica behind a balancer, and results read while deleted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
from redis.asyncio import Redis

from tests.chaos.processes import Server
from tests.chaos.redis_faults import is_linked, live_median, resumed
from tests.chaos.traffic import Traffic, check_acknowledged, front, traffic
from tests.chaos.world import World, require, until
from tests.redis.balancer import Balanced
from tests.support.ports import free_port
from tests.support.raw_http import request, take_apart
from tests.support.unread import Unread
from tests.workers.proxy import RedisProxy

# Until a creation is taken again: the front end leaves the demoted primary with its first write.
SUBMIT_SECONDS = 5.0
# For one reader to reach the end of its results, or the reset, on a busy machine.
READ_SECONDS = 60.0
# About 1 MB: more than a slow reader's connection buffers.
RESULTS = 2000
# Seconds until they are deleted, at most: a moment after the readers have begun, and when the first has got them all.
PATIENCE = (0.1, READ_SECONDS)


async def refuse_too_few_replicas(admin: Redis) -> None:
    await admin.config_set("min-replicas-to-write", 1)


async def allow_without_replicas(admin: Redis) -> None:
    await admin.config_set("min-replicas-to-write", 0)


async def become_replica(admin: Redis) -> None:
    await admin.config_set("replica-serve-stale-data", "no")
    await admin.replicaof("127.0.0.1", "1")


async def become_primary(admin: Redis) -> None:
    await admin.replicaof("NO", "ONE")


async def forbid_scripts(admin: Redis) -> None:
    await admin.execute_command("ACL", "SETUSER", "default", "-@scripting", "-@write")


async def allow_scripts(admin: Redis) -> None:
    await admin.execute_command("ACL", "SETUSER", "default", "+@scripting", "+@write")


Step = Callable[[Redis], Awaitable[None]]
REFUSALS: tuple[tuple[str, Step, Step], ...] = (
    ("NOREPLICAS", refuse_too_few_replicas, allow_without_replicas),
    ("MASTERDOWN", become_replica, become_primary),
    ("NOPERM", forbid_scripts, allow_scripts),
)


async def refuse(world: World, scale: int) -> str:
    """Live answers go on, batches get a 503 that says when to come again, and workers resume by themselves."""
    world.upstream.latency = (0.02, 0.02)
    batch = await world.create(4000 * scale)
    await world.hire(2)
    found: list[str] = []
    async with front(world) as client:
        for name, begin, end in REFUSALS:
            await world.reached(batch.id, await world.done(batch.id) + 50)
            world.fault(workers=2)
            await begin(world.redis)
            await live_median(client)
            require(await client.submit() == 503, f"a batch is not refused with {name}")
            await asyncio.sleep(2 * scale)
            await end(world.redis)
            found.append(f"{name}: workers back after {await resumed(world, batch.id):.1f} s")
            await until(lambda: is_taken(client), "a batch that is taken")
    await world.ended(batch.id)
    report = await world.check(*await check_acknowledged(world, client))
    return f"{report}; {'; '.join(found)}"


async def is_taken(client: Traffic) -> bool:
    return await client.submit() == 200


async def fail_over_behind_balancer(world: World, scale: int) -> str:
    """Primary and replica change places without a broken connection: no batch is lost, and no process restarts."""
    async with balanced(world) as both:
        async with traffic(world, GATEWAY_REDIS_URL=both.url) as client:
            batch = await world.create(2000 * scale)
            await world.hire(2, GATEWAY_REDIS_URL=both.url)
            longest = 0.0
            for step in range(1, 3 * scale + 1):
                await world.reached(batch.id, batch.total * step // (3 * scale + 2))
                longest = max(longest, await change_places(world, both, client, batch.id))
            await world.ended(batch.id)
        acknowledged = await check_acknowledged(world, client)
        found = await world.check(*acknowledged)
        for name in list(world.workers):
            await world.dismiss(name)
        await world.redis.aclose()
    return f"{found}; workers back within {longest:.1f} s, {len(acknowledged)} batches, refused {dict(client.refused)}"


async def change_places(world: World, both: Balanced, client: Traffic, batch_id: str) -> float:
    """Seconds until the workers go on."""
    world.fault(workers=2)
    await both.fail_over()
    await world.redis.aclose()
    world.redis = both.primary.client()
    before = len(client.acknowledged)
    took = await resumed(world, batch_id)
    async with asyncio.timeout(SUBMIT_SECONDS):
        await until(lambda: has_grown(client, before), "a batch that is taken")
    return took


async def has_grown(client: Traffic, before: int) -> bool:
    return len(client.acknowledged) > before


@asynccontextmanager
async def balanced(world: World) -> AsyncIterator[Balanced]:
    """The world's server with a replica behind it, and a balancer before both."""
    ports = [free_port(), free_port()]
    for name, value in (("port", ports[0]), ("repl-diskless-sync-delay", 0)):
        await world.redis.config_set(name, value)
    world.server.options = {**world.server.options, "port": str(ports[0])}
    options = {"port": str(ports[1]), "replicaof": f"127.0.0.1 {ports[0]}", "repl-diskless-sync-delay": "0"}
    replica = Server(world.server.binary, "everysec", options)
    await replica.start()
    try:
        async with replica.client() as mirror:
            await until(lambda: is_linked(mirror), "the replica")
        async with RedisProxy(world.server.url) as proxy:
            yield Balanced(proxy, world.server, replica)
    finally:
        await replica.stop()


async def delete_while_read(world: World, scale: int) -> str:
    """Each reader gets all results, or a reply that is cut off: never a whole reply with fewer, nor a second one."""
    world.upstream.latency = (0.0, 0.01)
    readers = 12 * scale
    ends: Counter[str] = Counter()
    await world.hire(2)
    async with front(world) as client:
        for patience in PATIENCE:
            batch = await world.create(RESULTS)
            await world.ended(batch.id)
            path = f"/v1/messages/batches/{batch.id}/results"
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(read_slowly(world, client.url, path, n)) for n in range(readers)]
                await asyncio.wait(reading, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                world.faults += 1
                async with client.session.delete(path.removesuffix("/results")) as answer:
                    require(answer.status == 200, f"a deletion got {answer.status}")
            for task in reading:
                ends[check_results(*task.result(), total=batch.total)] += 1
            async with client.session.get(path) as answer:
                require(answer.status == 404, f"the results that were deleted get {answer.status}")
            left = await world.lasting_keys()
            require(not left, f"I7: keys left: {left[:5]}")
    return f"{len(PATIENCE) * readers} readers: {dict(ends)}"


async def read_slowly(world: World, url: str, path: str, number: int) -> tuple[bytes, str]:
    """Read until the end, every other reader by HTTP/1.0, and half of them in small pieces."""
    client = Unread(url, buffer=4096 if number % 4 < 2 else 1 << 20)
    await client.send(request("GET", path, headers=[("connection", b"close")], version=f"1.{number % 2}"))
    received, loop = bytearray(), asyncio.get_running_loop()
    try:
        async with asyncio.timeout(READ_SECONDS):
            while piece := await loop.sock_recv(client.socket, 1 << 16):
                received += piece
                await asyncio.sleep(world.chance.uniform(0.0, 0.005))
    except ConnectionError:
        return bytes(received), "reset"
    finally:
        client.close()
    return bytes(received), "closed"


def check_results(received: bytes, end: str, *, total: int) -> str:
    """Return how it ended. Raises Violation for a reply that looks whole and is not."""
    replies = take_apart(received, "closed" if end == "closed" else "reset").replies
    if not replies:
        require(end == "reset", "a reader got nothing, and no reset")
        return "cut before the reply"
    require(len(replies) == 1, f"{len(replies)} replies to one request")
    [reply] = replies
    if reply.status == 404:
        return "deleted before"
    require(reply.status == 200, f"the results get {reply.status}")
    lines = reply.body.split(b"\n")
    for line in lines[:-1]:
        orjson.loads(line)
    require(reply.whole == (len(lines) - 1 == total), f"{len(lines) - 1} of {total} lines in a reply, ended: {end}")
    return "whole" if reply.whole else "cut off"
