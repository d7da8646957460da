"""Everything at once: live requests, streams, batches, cancellations and deletions, with a fault now and then.

Half a minute in the small run, five in the full one. The odds of a step are those of docket's chaos driver: 2 % a
restart of Redis, 8 % a kill of a worker, 5 % something else.
"""

import asyncio
import time
from contextlib import suppress

import aiohttp

from gateway.errors import GatewayError
from tests.chaos.processes import front_process
from tests.chaos.traffic import Traffic
from tests.chaos.world import World, http_item, require

SECONDS = 30.0
STEP_SECONDS = 0.25
RESTARTS, KILLS, OTHERS = 0.02, 0.08, 0.05
WORKERS = 3
ITEMS = 60
# Of the front end, from a quarter of the time to its end.
MAX_GROWTH, GROWTH_BYTES = 1.05, 12_000_000


async def mix(world: World, scale: int) -> str:
    """The invariants hold for every batch, live requests are answered, and memory and files of the front end stay."""
    variables = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url("live")}
    await world.hire(WORKERS)
    async with front_process(variables) as front, aiohttp.ClientSession(front.url) as session:
        client, stop = Traffic(front.url, session), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(client.go_on(stop))
            group.create_task(stream_on(client, stop))
            group.create_task(batch_on(world, stop))
            begun, sizes = time.monotonic(), (0, 0)
            while (elapsed := time.monotonic() - begun) < SECONDS * scale:
                if not sizes[0] and elapsed > SECONDS * scale / 4:
                    sizes = front.resident_bytes, front.open_files
                await step(world)
                await asyncio.sleep(STEP_SECONDS)
            stop.set()
        more_files, size = front.open_files - sizes[1], front.resident_bytes
        require(more_files <= 32, f"{more_files} files more are open")
        most = max(MAX_GROWTH * sizes[0], sizes[0] + GROWTH_BYTES)
        require(size <= most, f"the front end has grown from {sizes[0] >> 20} to {size >> 20} MiB")
        listed = [record.id for record in (await world.store.page(world.tenant, limit=10_000)).records]
        lost = set(client.acknowledged) - set(listed)
        require(not lost, f"I5: acknowledged and lost: {lost}")
        for batch_id in listed:
            await world.ended(batch_id)
    found = await world.check(*listed)
    return f"{found}; {len(listed)} batches, {len(client.waited)} live answers, {(size - sizes[0]) >> 20:+d} MiB"


async def step(world: World) -> None:
    """Let a fault happen, or none."""
    chance = world.chance.random()
    if chance < RESTARTS:
        await world.server.kill()
        world.fault(workers=WORKERS)
        await asyncio.sleep(world.chance.uniform(0.0, 0.5))
        await world.server.start()
    elif chance < RESTARTS + KILLS:
        await world.kill(world.some_worker())
        await world.hire()
    elif chance < RESTARTS + KILLS + OTHERS / 2:
        await world.freeze(world.some_worker(), 2 * world.lease)
    elif chance < RESTARTS + KILLS + OTHERS:
        await world.server.freeze()
        world.fault(workers=WORKERS)
        await asyncio.sleep(world.chance.uniform(0.1, 1.5 * world.lease))
        await world.server.thaw()


async def stream_on(client: Traffic, stop: asyncio.Event) -> None:
    """Ask for streams one after the other, and leave every third of them early."""
    number = 0
    while not stop.is_set():
        number += 1
        body = http_item(0, "live")["params"] | {"stream": True}
        async with client.session.post("/v1/messages", json=body) as answer:
            require(answer.status == 200, f"a stream got {answer.status}: {await answer.text()}")
            if number % 3:
                require(b"message_stop" in await answer.read(), "a stream has no end")
            else:
                answer.close()
        await asyncio.sleep(0.03)


async def batch_on(world: World, stop: asyncio.Event) -> None:
    """Create batches one after the other; cancel every third. A creation or cancellation may meet an outage."""
    number = 0
    while not stop.is_set():
        number += 1
        with suppress(GatewayError):
            batch = await world.create(ITEMS)
            if number % 3 == 0:
                await world.store.cancel(world.tenant, batch.id)
        await asyncio.sleep(0.5)
