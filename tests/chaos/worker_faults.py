"""Faults of workers, and of the upstream they call."""

import asyncio
import time

from gateway.batches.lifecycle import BatchRecord
from gateway.upstream.health.circuit import OPEN_AFTER
from tests.chaos.upstream import Mode
from tests.chaos.world import ALL, World, mark_of, require, until


async def kill_workers(world: World, scale: int) -> str:
    """kill -9 any worker, again and again."""
    batch = await world.create(2000 * scale)
    await world.hire(3)
    for step in range(1, 5 * scale + 1):
        await world.reached(batch.id, batch.total * step // (5 * scale + 2))
        await world.kill(world.some_worker())
        await world.hire()
    await world.ended(batch.id)
    return await world.check(batch.id)


async def freeze_workers(world: World, scale: int) -> str:
    """SIGSTOP a worker for three leases: it wakes up with results that another worker has recorded."""
    batch = await world.create(800 * scale)
    await world.hire(2)
    for step in range(1, 3 * scale + 1):
        await world.reached(batch.id, batch.total * step // (3 * scale + 2))
        await world.freeze(world.some_worker(), 3 * world.lease)
    await world.ended(batch.id)
    await asyncio.sleep(world.lease)  # a late worker may still hold what it is about to give back
    return await world.check(batch.id)


async def wrong_clocks(world: World, scale: int) -> str:
    """Workers with wall clocks an hour fast and an hour slow: leases and expiry go by the server's clock."""
    batch = await world.create(400 * scale)
    await world.hire(hours=1)
    await world.hire(hours=-1)
    record = await world.ended(batch.id)
    require(record.errored == 0, f"{record.errored} errored")
    return await world.check(batch.id)


async def poison(world: World, scale: int) -> str:
    """Items that kill their workers are given up, and no other item with them."""
    batch = await world.create(400 * scale)
    number = min(5, 2 * scale)
    picked = world.chance.sample(range(batch.total), number)
    world.upstream.poisonous = {mark_of(batch.id, index) for index in picked}
    killed: asyncio.Queue[str] = asyncio.Queue()
    world.upstream.poison = killed.put_nowait
    await world.hire(3)

    async def undertake() -> None:
        while True:
            name = await killed.get()
            if name in world.workers:
                await world.kill(name)
                await world.hire()

    undertaker = asyncio.create_task(undertake())
    try:
        await world.ended(batch.id)
    finally:  # stop the task, which would start more workers after the test
        undertaker.cancel()
        await asyncio.gather(undertaker, return_exceptions=True)
    found = await world.check(batch.id, errored=world.upstream.poisonous)
    return f"{found}; exactly {number} errored"


async def roll(world: World, scale: int) -> str:
    """SIGTERM one worker after the other under load, as a deployment does: no item is left, none is called twice."""
    batch = await world.create(1500 * scale)
    await world.hire(3)
    longest = 0.0
    for step in range(1, 4 * scale + 1):
        await world.reached(batch.id, batch.total * step // (4 * scale + 2))
        begun = time.monotonic()
        status = await world.dismiss(world.some_worker())
        longest = max(longest, time.monotonic() - begun)
        require(status == 0, f"a worker ended with status {status}")
        await world.hire()
    record = await world.ended(batch.id)
    require(record.errored == 0, f"{record.errored} errored")
    require(longest < 30, f"a worker took {longest:.1f} s to stop")
    found = await world.check(batch.id)
    return f"{found}; {4 * scale} workers stopped, in {longest:.1f} s at most"


async def bad_upstream(world: World, scale: int) -> str:
    """Down, then limited: no item is lost to either, few calls are made, and none before `retry-after`."""
    seconds = 20.0 * scale
    batch = await world.create(300)
    await world.hire(2)
    await world.reached(batch.id, 50)
    world.upstream.mode = Mode.DOWN
    down = await count_calls(world, seconds)
    world.upstream.mode = Mode.LIMITED
    limited = await count_calls(world, seconds)
    early = too_early(world)
    world.upstream.mode = Mode.WORKS
    begun = time.monotonic()
    await world.ended(batch.id)
    took = time.monotonic() - begun
    # All that were in flight (once more on a new connection, where a used one broke), then a probe each five seconds.
    most = 2 * 2 * world.slots + seconds / 5 + 1
    require(down <= most and limited <= most, f"{down} and {limited} calls while nothing could come of them")
    require(not early, f"{early} calls before the time that was told")
    world.allowed += down + limited
    found = await world.check(batch.id)
    return f"{found}; {down} calls while down, {limited} while limited, done {took:.0f} s after"


async def unaffordable(world: World, scale: int) -> str:
    """Items that the account cannot pay for do not delay another batch, not even of the same tenant and model."""
    world.upstream.latency = (0.05, 0.05)
    await world.hire(2)
    first = await world.create(400)
    alone = await seconds_to_end(world, first)
    refused = await world.create(50)
    world.upstream.unaffordable = {mark_of(refused.id, index) for index in range(refused.total)}
    await until(lambda: is_called(world, mark_of(refused.id, 0)), "the first refusal")
    batch = await world.create(400)
    beside = await seconds_to_end(world, batch)
    require(beside <= 1.5 * alone + 1, f"{beside:.1f} s beside items that cannot be paid for, {alone:.1f} s alone")
    asked = sum(count for mark, count in world.upstream.marks().items() if mark.startswith(refused.id))
    require(asked <= 2 * (world.slots + OPEN_AFTER), f"{asked} calls though none could come to anything")
    await world.store.cancel(world.tenant, refused.id)
    await world.ended(refused.id)
    world.allowed += asked
    found = await world.check(first.id, batch.id, refused.id)
    return f"{found}; alone {alone:.1f} s, beside {refused.total} refused items {beside:.1f} s, {asked} calls for these"


async def seconds_to_end(world: World, batch: BatchRecord) -> float:
    begun = time.monotonic()
    await world.reached(batch.id, ALL)
    return time.monotonic() - begun


async def is_called(world: World, mark: str) -> bool:
    return world.upstream.marks()[mark] > 0


async def count_calls(world: World, seconds: float) -> int:
    before = len(world.upstream.calls)
    await asyncio.sleep(seconds)
    return len(world.upstream.calls) - before


def too_early(world: World) -> int:
    """Calls that began although a 429 said to wait, and was half a second old, so that all workers knew."""
    upstream = world.upstream
    return sum(
        any(at + 0.5 < call.at < at + upstream.retry_after - 0.1 for at in upstream.refused) for call in upstream.calls
    )
