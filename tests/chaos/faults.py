"""The faults, one function each: hurt the world while it works, then say what must hold beyond the invariants.

Numbers are those of the small run; `scale` multiplies them for the full one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gateway.batches.lifecycle import created_of
from tests.chaos.processes import front_end
from tests.chaos.upstream import Mode
from tests.chaos.world import Violation, World, mark_of, require


@dataclass(frozen=True, slots=True)
class Fault:
    """`run` returns what was measured, and raises Violation.

    `fsync` are the server's modes to try it under; `once`: it has little to do with the server, and is tried on one.
    """

    number: str
    says: str
    run: Callable[[World, int], Awaitable[str]]
    lease: float = 2.0
    slots: int = 16
    fsync: tuple[str, ...] = ("everysec",)
    once: bool = False


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
    """SIGSTOP a worker for three leases: it wakes up with results that somebody else has recorded."""
    batch = await world.create(800 * scale)
    await world.hire(2)
    for step in range(1, 3 * scale + 1):
        await world.reached(batch.id, batch.total * step // (3 * scale + 2))
        await world.freeze(world.some_worker(), 3 * world.lease)
    await world.ended(batch.id)
    await asyncio.sleep(world.lease)  # a late worker may still hold what it is about to give back
    return await world.check(batch.id)


async def restart_redis(world: World, scale: int) -> str:
    """kill -9 the server and start it again: no call is made twice, nothing acknowledged is lost, live traffic goes on.

    A creation whose answer got lost may have taken place all the same: it is as good as any.
    """
    live = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url("live")}
    acknowledged: list[str] = []
    stop = asyncio.Event()
    async with front_end(live) as url, aiohttp.ClientSession(url) as session, asyncio.TaskGroup() as group:
        batch = await world.create(1200 * scale)
        await world.hire(2)
        submitting = group.create_task(submit(session, stop, acknowledged))
        asking = group.create_task(ask(session, stop))
        for step in range(1, 4 * scale + 1):
            await world.reached(batch.id, batch.total * step // (4 * scale + 2))
            await world.server.kill()
            world.faults += 1
            await asyncio.sleep(world.chance.uniform(0.0, 0.5))
            await world.server.start()
        await world.ended(batch.id)
        stop.set()
        await submitting
        answers = await asking
    listed = [record.id for record in (await world.store.page(world.tenant, limit=1000)).records]
    lost = set(acknowledged) - set(listed)
    require(not lost, f"I5: acknowledged and lost: {lost}")
    for batch_id in listed:
        await world.ended(batch_id)
    found = await world.check(*listed)
    return f"{found}; {len(acknowledged)} batches acknowledged meanwhile, {answers} live answers, all 200"


async def submit(session: aiohttp.ClientSession, stop: asyncio.Event, acknowledged: list[str]) -> None:
    """Small batches over HTTP, one after the other; those that are answered must exist for good."""
    number = 0
    while not stop.is_set():
        number += 1
        body = {"requests": [http_item(index, mark_of(f"http-{number}", index)) for index in range(5)]}
        try:
            async with session.post("/v1/messages/batches", json=body) as answer:
                if answer.status == 200:
                    acknowledged.append((await answer.json())["id"])
        except aiohttp.ClientError as error:
            raise Violation(f"the front end broke a connection: {error}") from error
        await asyncio.sleep(0.2)


async def ask(session: aiohttp.ClientSession, stop: asyncio.Event) -> int:
    """Live requests; each must be answered."""
    count = 0
    while not stop.is_set():
        async with session.post("/v1/messages", json=http_item(0, "live")["params"]) as answer:
            require(answer.status == 200, f"a live request got {answer.status}: {await answer.text()}")
        count += 1
        await asyncio.sleep(0.05)
    return count


def http_item(number: int, text: str) -> dict[str, Any]:
    params = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": f"item-{number}", "params": params}


async def poison(world: World, scale: int) -> str:
    """Items that kill whoever runs them are given up, and nobody else's item with them."""
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
    await world.ended(batch.id)
    undertaker.cancel()
    await asyncio.gather(undertaker, return_exceptions=True)
    found = await world.check(batch.id, errored=world.upstream.poisonous)
    return f"{found}; exactly {number} errored"


async def bad_upstream(world: World, scale: int) -> str:
    """Down, then limited: no item is lost to either, few calls are made, and none earlier than told."""
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


async def roll(world: World, scale: int) -> str:
    """SIGTERM one worker after the other under load, as a deployment does: nothing is left, nothing is called twice."""
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


async def cut_uploads(world: World, scale: int) -> str:
    """An upload that breaks off anywhere leaves nothing that can be seen, and nothing that stays."""
    body = orjson.dumps(
        {"requests": [http_item(number, mark_of("upload", number) + " x" * 1000) for number in range(300)]}
    )
    variables = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url("live")}
    async with front_end(variables) as url, aiohttp.ClientSession(url) as session:
        host, port = url.removeprefix("http://").split(":")
        head = f"POST /v1/messages/batches HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        for _ in range(50 * scale):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(head + body[: world.chance.randrange(len(body))])
            await writer.drain()
            writer.close()
        async with session.post("/v1/messages/batches", data=body) as answer:
            created = (await answer.json())["id"]
        require(created_of(created) is not None, "a whole upload is not taken")
        listed = [record.id for record in (await world.store.page(world.tenant, limit=1000)).records]
        require(listed == [created], f"{len(listed)} batches can be seen")
        left = [name for name in await world.lasting_keys(but=created) if name.startswith("gw:b:")]
        require(not left, f"what was cut off stays: {left[:5]}")
        await world.store.cancel(world.tenant, created)
        await world.check(created)
    return f"{50 * scale} uploads cut off, nothing left"


FAULTS = (
    Fault("1", "kill -9 workers", kill_workers),
    Fault("2", "freeze workers for three leases", freeze_workers),
    Fault("4", "kill -9 Redis", restart_redis, lease=8.0, fsync=("everysec", "always")),
    Fault("10", "poison items", poison, slots=8),
    Fault("12", "upstream down, then limited", bad_upstream, lease=30.0, slots=8, once=True),
    Fault("13", "cancel", cancel, lease=30.0),
    Fault("16", "SIGTERM workers in turn", roll, lease=30.0),
    Fault("18", "cut uploads", cut_uploads),
)
