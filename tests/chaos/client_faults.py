"""Faults of clients and their batches: cut off, refused, canceled, expired, in each other's way."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import orjson

from gateway.batches.lifecycle import Lifetimes, created_of
from gateway.batches.server import StoragePolicy
from gateway.errors import NotFound
from tests.chaos.traffic import front
from tests.chaos.world import ALL, World, http_item, inspect_batch, mark_of, require, until

PATH = "/v1/messages/batches"
MEGABYTE = 1024 * 1024


async def cancel(world: World, scale: int) -> str:
    """Cancel at the start, halfway, and almost at the end: at once canceling, soon ended, and it adds up."""
    await world.hire(2)
    found: list[str] = []
    for share in (0.0, 0.5, 0.99):
        world.upstream.forget()
        batch = await world.create(1000 * scale)
        await world.reached(batch.id, int(share * batch.total))
        begun = time.monotonic()
        record = await world.store.cancel(world.tenant, batch.id)
        answered = time.monotonic() - begun
        require(record.status in ("canceling", "ended"), f"canceled, it is {record.status}")
        record = await world.ended(batch.id)
        ended = time.monotonic() - begun
        require(ended < 5 + world.upstream.latency[1], f"it ended {ended:.1f} s after it was canceled")
        await world.check(batch.id)
        found.append(f"{share:.0%}: {record.succeeded} succeeded, answered in {1000 * answered:.0f} ms")
    return "; ".join(found)


async def expire(world: World, scale: int) -> str:
    """Items not begun in time expire; results go after their time, the batch after its own; and so does the memory."""
    times = Lifetimes(expiry=3000, retention=9000, keep=13_000)
    await world.hire(2)
    batch = await world.create(3000 * scale, policy=StoragePolicy(lifetimes=times))
    record = await world.ended(batch.id)
    require(record.ended is not None and record.ended - record.expires < 5000, "it ended long after it expired")
    await inspect_batch(world.redis, world.tenant, batch.id)
    require(record.rest == "expired" and record.unrecorded > 0 < record.succeeded, f"{record} did not expire halfway")
    await until(lambda: is_archived(world, batch.id), "the end of the results")
    left = [name async for name in world.redis.scan_iter(f"*{batch.id}*")]
    require(len(left) == 1, f"more is left than the batch itself: {left}")
    await until(lambda: is_gone(world, batch.id), "the end of the batch")
    return f"{record.succeeded} succeeded, {record.unrecorded} expired, results and batch gone in their times"


async def is_archived(world: World, batch_id: str) -> bool:
    try:
        await world.store.results(world.tenant, batch_id)
    except NotFound:
        return (await world.store.retrieve(world.tenant, batch_id)).is_archived
    return False


async def is_gone(world: World, batch_id: str) -> bool:
    try:
        await world.store.retrieve(world.tenant, batch_id)
    except NotFound:
        return True
    return False


async def crowd(world: World, scale: int) -> str:
    """Ten items behind a batch of thousands and a thousand tenants end almost as soon as alone."""
    world.upstream.latency = (0.05, 0.05)
    await world.hire(2)
    solo = await small_batch(world, "solo")
    large = await world.create(5000 * scale)
    await world.reached(large.id, 200)
    behind_one = await small_batch(world, "small")
    require(behind_one <= 2 * solo + 1, f"{behind_one:.2f} s behind a large batch, {solo:.2f} s alone")
    for number in range(100 * scale):
        await world.create(20, tenant=f"tenant-{number}")
    behind_all = await small_batch(world, "smaller")
    a_turn_of_each = 100 * scale * world.upstream.latency[1] / 2  # each may fill the slots of one of two workers
    require(behind_all <= 2 * (solo + a_turn_of_each) + 1, f"{behind_all:.2f} s behind {100 * scale} tenants")
    record = await world.store.cancel(world.tenant, large.id)
    require(record.succeeded < record.total, "the large batch was done before")
    sizes = f"{large.total} items, {100 * scale} tenants"
    return f"alone {solo:.2f} s, behind {large.total} items {behind_one:.2f} s, behind {sizes} {behind_all:.2f} s"


async def small_batch(world: World, tenant: str) -> float:
    """Seconds from its creation to its end."""
    begun = time.monotonic()
    batch = await world.create(10, tenant=tenant)
    await world.reached(batch.id, ALL)
    return time.monotonic() - begun


async def bad_uploads(world: World, scale: int) -> str:
    """An upload that breaks off anywhere, or is refused, leaves nothing that can be seen, and nothing that stays."""
    body = orjson.dumps({"requests": [http_item(number, mark_of("up", number) + " x" * 1000) for number in range(300)]})
    async with front(world) as client:
        for _ in range(50 * scale):
            await send_part(client.url, len(body), body[: world.chance.randrange(len(body))])
        refused = [await refusal(client.session, unfit) for unfit in (too_many(), twice(), too_large())]
        require(refused == [400, 400, 413], f"what is unfit is answered {refused}")
        async with client.session.post(PATH, data=body) as answer:
            created = (await answer.json())["id"]
        require(created_of(created) is not None, "a whole upload is not taken")
        listed = [record.id for record in (await world.store.page(world.tenant, limit=1000)).records]
        require(listed == [created], f"{len(listed)} batches can be seen")
        left = [name for name in await world.lasting_keys(but=created) if name.startswith("gw:b:")]
        require(not left, f"what was cut off stays: {left[:5]}")
        await world.store.cancel(world.tenant, created)
        await world.check(created)
    return f"{50 * scale} uploads cut off and 3 refused, nothing left"


async def send_part(url: str, length: int, part: bytes) -> None:
    """Announce a body of this length, send a part of it, and leave."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode() + part)
    await writer.drain()
    writer.close()


async def refusal(session: aiohttp.ClientSession, pieces: AsyncIterator[bytes]) -> int:
    async with session.post(PATH, data=pieces) as answer:
        return answer.status


async def too_many() -> AsyncIterator[bytes]:
    """100,001 items."""
    yield b'{"requests":['
    for thousand in range(100):
        yield b"".join(
            orjson.dumps(http_item(number, "x")) + b"," for number in range(thousand * 1000, (thousand + 1) * 1000)
        )
    yield orjson.dumps(http_item(100_000, "x")) + b"]}"


async def twice() -> AsyncIterator[bytes]:
    yield orjson.dumps({"requests": [http_item(number % 200, "x") for number in range(201)]})


async def too_large() -> AsyncIterator[bytes]:
    """257 MB of good items, without saying so before."""
    yield b'{"requests":['
    for number in range(257):
        yield orjson.dumps(http_item(number, "x" * MEGABYTE)) + b","
