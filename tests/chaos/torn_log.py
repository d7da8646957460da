"""Power loss: the server's log ends at any byte, in the middle of a script or of a command, and is read twice.

A server that cuts a torn transaction short may leave its beginning in the log; then the *second* start runs it together
with later writes (Redis 7.0 and 8.2 do; Valkey 9.1.2 does not). So each cut is followed by two starts, and by work
between them.
"""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from gateway.batches.queue import BatchQueue, ItemResult, Release
from gateway.batches.server import BatchServer
from gateway.batches.store import BatchStore
from gateway.batches.sweeper import Sweeper
from gateway.redis.server import RedisServer
from tests.chaos.processes import Server
from tests.chaos.world import TENANT, Violation, World, inspect_batch, mark_of

ITEMS = 8
LEASE_MS = 30
CUTS = 48
AT_ONCE = 3
ROUNDS = 200
LOG = "appendonlydir/appendonly.aof.1.incr.aof"


@dataclass(frozen=True, slots=True)
class Log:
    """A server's folder; the last five scripts begin at `begin` of its log."""

    folder: Path
    begin: int
    end: int
    batch_id: str


async def cut_log(world: World, scale: int) -> str:
    """Cut it anywhere in the last five scripts. At full scale: everywhere."""
    log = await write_log(world)
    cuts = range(log.begin, log.end + 1)
    chosen = list(cuts) if scale > 1 else sorted(world.chance.sample(cuts, CUTS))
    again = 0
    turn = asyncio.Semaphore(AT_ONCE)

    async def attempt(cut: int) -> None:
        nonlocal again
        async with turn:
            again += await recover(world.server.binary, log, cut)

    async with asyncio.TaskGroup() as group:
        for cut in chosen:
            group.create_task(attempt(cut))
    return f"{len(chosen)} of {len(cuts)} cuts, two starts each; {again} of {len(chosen) * ITEMS} items run after them"


async def write_log(world: World) -> Log:
    """Half a batch's life, on the world's server; its last five scripts are of five kinds."""
    batch = await world.create(ITEMS)
    queue = BatchQueue(BatchServer(RedisServer(world.redis)), "before", lease_ms=LEASE_MS)
    [claim] = await queue.claim(4)
    path = world.server.folder / LOG
    begin = path.stat().st_size
    await queue.done(batch.id, [result(batch.id, 0), result(batch.id, 1)])
    await queue.renew(claim, [2, 3])
    await queue.release(claim, [Release(2, delay_ms=1, tries=1)])
    [other] = await queue.claim(3)
    await queue.done(batch.id, [result(batch.id, lease.index) for lease in other.leases])
    await world.server.kill()
    return Log(world.server.folder, begin, path.stat().st_size, batch.id)


def result(batch_id: str, number: int) -> ItemResult:
    line = '{"custom_id":"item-%d","result":{"type":"succeeded","message":{"content":[{"text":"%s"}]}}}'
    return ItemResult(number, True, (line % (number, mark_of(batch_id, number))).encode())


async def recover(binary: Path, log: Log, cut: int) -> int:
    """Two starts on the log up to `cut`, and work to the end. How many items were run."""
    folder = Path(tempfile.mkdtemp(prefix="torn-"))
    shutil.copytree(log.folder / "appendonlydir", folder / "appendonlydir")
    with (folder / LOG).open("r+b") as file:
        file.truncate(cut)
    server = Server(binary, "always", folder=folder)
    try:
        await server.start()
        async with server.client() as redis:
            await BatchQueue(BatchServer(RedisServer(redis)), "between", lease_ms=LEASE_MS).claim(2)
        await server.kill()
        await server.start()
        async with server.client() as redis:
            ran = await finish(redis, log.batch_id)
            await inspect_batch(redis, TENANT, log.batch_id)
    finally:
        await server.stop()
    return ran


async def finish(redis: Redis, batch_id: str) -> int:
    """Work until the batch has ended, as workers do; how many items were run."""
    server, ran = BatchServer(RedisServer(redis)), 0
    await Sweeper(server).rebuild()
    queue = BatchQueue(server, "after", lease_ms=LEASE_MS)
    for _ in range(ROUNDS):
        if (await BatchStore(server).retrieve(TENANT, batch_id)).status == "ended":
            return ran
        for claim in await queue.claim(ITEMS, idle=True):
            items = await queue.items(claim)
            ran += len(items)
            await queue.done(batch_id, [result(batch_id, work.lease.index) for work in items])
        await Sweeper(server).settle(batch_id)
        await asyncio.sleep(LEASE_MS / 1000)
    raise Violation(f"the batch has not ended after {ROUNDS} rounds")
