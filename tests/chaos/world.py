"""Stage of a fault test: a server, an upstream, workers; and the invariants that must hold after every fault.

I1  each item of a batch has one line: recorded, or made up from how the batch ended
I2  no item has two results
I3  each line has the custom_id and its item's answer
I4  no working key is left: no lease, owner, retry, count, nor the items themselves
I5  every batch with an answered creation is there
I6  no more calls to the upstream than items, and those in flight at each fault
I7  when the batches are deleted, so are all their keys
"""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from gateway.batches.lifecycle import BatchRecord
from gateway.batches.server import BatchServer, StoragePolicy
from gateway.batches.splitter import Item
from gateway.batches.store import BatchStore
from gateway.batches.sweeper import Sweeper
from gateway.errors import Unavailable
from gateway.redis.keys import STAGING_SECONDS, Keys
from gateway.redis.server import RedisServer
from tests.chaos.processes import Process, Server, start_worker
from tests.chaos.upstream import Upstream

END_SECONDS = 240.0
# A worker may wait for its calls for 25 seconds.
STOP_SECONDS = 40.0
ALL = 10**9  # more results than any batch has: wait for its end
TENANT = "default"  # of clients of a front end without keys
# Keys that are no batch's: they stay, or expire.
LASTING = (
    "gw:secret",
    "gw:tenants",
    "gw:q:{s}:p:",
    "gw:cb:",
    "gw:c:",
    "gw:a:{a}:u",  # usage, and its sums of a day; reservations are not among these
    "gw:a:{a}:r:",
    "gw:a:{a}:p",
    "gw:a:{a}:in-",  # groups of usage that were entered
    "gw:o:{o}:",  # the console's recent exchanges
)


class Violation(Exception):
    """An invariant does not hold."""


@dataclass(slots=True)
class World:
    """`allowed` are calls beyond one for each item that the faults explain; `tenant` owns all batches."""

    server: Server
    upstream: Upstream
    chance: random.Random
    lease: float
    slots: int
    tenant: str = TENANT
    allowed: int = 0
    redis: Redis = field(init=False)
    workers: dict[str, Process] = field(default_factory=dict)
    faults: int = 0
    _names: int = 0

    def __post_init__(self) -> None:
        self.redis = self.server.client()

    @property
    def store(self) -> BatchStore:
        return BatchStore(BatchServer(RedisServer(self.redis)))

    @property
    def variables(self) -> dict[str, str]:
        return {
            "GATEWAY_REDIS_URL": self.server.url,
            "GATEWAY_SECRET": "t:chaos",
            "GATEWAY_UPSTREAM_API_KEY": "k",
            "GATEWAY_UPSTREAM_FLAVOR": "openrouter",
            "GATEWAY_WORKER_SLOTS": str(self.slots),
            "GATEWAY_WORKER_LEASE_SECONDS": str(self.lease),
        }

    # -- workers

    async def hire(self, number: int = 1, *, hours: int = 0, **variables: str) -> None:
        """`hours`: so far off is their wall clock."""
        names = [f"w{self._names + index}" for index in range(number)]
        self._names += number

        async def start(name: str) -> None:
            own = {**self.variables, "GATEWAY_UPSTREAM_URL": self.upstream.url(name), **variables}
            self.workers[name] = await start_worker(name, own, hours)

        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(start(name))

    def some_worker(self) -> str:
        return self.chance.choice(sorted(self.workers))

    async def kill(self, name: str) -> None:
        """Kill a worker, as the kernel does when memory is short. Its items are called again."""
        self.fault()
        await self.workers[name].kill()
        self.workers.pop(name, None)

    async def freeze(self, name: str, seconds: float) -> None:
        """Freeze a worker, as a paused virtual machine: its leases pass unnoticed."""
        self.fault()
        worker = self.workers[name]
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        worker.signal(signal.SIGCONT)

    async def dismiss(self, name: str) -> int:
        """SIGTERM; its exit status."""
        worker = self.workers[name]
        worker.signal(signal.SIGTERM)
        status = await worker.ended()
        self.workers.pop(name, None)
        return status

    async def end_workers(self) -> None:
        """End all workers: gently, then those that do not end, as a frozen one."""
        for worker in self.workers.values():
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*[worker.ended() for worker in self.workers.values()])
        for worker in self.workers.values():
            await worker.kill()
        self.workers.clear()

    def fault(self, workers: int = 1) -> None:
        """Allow further calls for the items in flight of this many workers."""
        self.faults += 1
        self.allowed += workers * self.slots

    # -- batches

    async def create(
        self, total: int, *, tenant: str | None = None, policy: StoragePolicy | None = None
    ) -> BatchRecord:
        staging = await BatchStore(BatchServer(RedisServer(self.redis), policy)).begin(tenant or self.tenant)
        for number in range(total):
            body = {
                "model": "m",
                "max_tokens": 10,
                "messages": [{"role": "user", "content": mark_of(staging.batch_id, number)}],
            }
            await staging.add(Item.of(f"item-{number}", orjson.dumps(body), body))
        return await staging.commit()

    async def done(self, batch_id: str) -> int:
        """Results so far; all of them once the batch has ended."""
        try:
            progress = await self.store.progress(batch_id)
        except Unavailable:
            return 0
        return ALL if progress is None else progress.succeeded + progress.errored

    async def reached(self, batch_id: str, number: int) -> None:
        await until(lambda: self._has(batch_id, number), f"{number} results")

    async def ended(self, batch_id: str) -> BatchRecord:
        await self.reached(batch_id, ALL)
        return await self.store.retrieve(self.tenant, batch_id)

    async def _has(self, batch_id: str, number: int) -> bool:
        return await self.done(batch_id) >= number

    # -- invariants

    async def check(self, *batch_ids: str, errored: Iterable[str] = ()) -> str:
        """Raises Violation. `errored` are the marks of items that must have failed, all others must not."""
        wrong = frozenset(errored)
        expected = dict([await inspect_batch(self.redis, self.tenant, batch_id, wrong) for batch_id in batch_ids])
        total = sum(expected.values())
        # A creation that failed is taken back, and a worker may have begun it: its calls do not count.
        called = {mark: count for mark, count in self.upstream.marks().items() if mark.partition("/")[0] in expected}
        extra = sum(called.values()) - total
        twice = [mark for mark, count in called.items() if count > 1]
        require(extra <= self.allowed, f"I6: {extra} calls too many, {self.allowed} are explained: {twice[:5]}")
        for batch_id in batch_ids:
            await self.store.delete(self.tenant, batch_id)
        await self._forget_failed_creations()
        left = await self.lasting_keys()
        require(not left, f"I7: keys left: {left[:5]}")
        return f"{total} items, {self.faults} faults, {extra} extra calls (≤ {self.allowed})"

    async def _forget_failed_creations(self) -> None:
        """Remove the names of creations that the end of Redis broke off and that could not be taken back. The sweeper
        does so within half a minute, and within the hour for the lists of tenants."""
        keys, sweeper = Keys(), Sweeper(BatchServer(RedisServer(self.redis)))
        for batch_id in await self.redis.zrange(keys.scheduler.due, 0, -1):
            await sweeper.settle(batch_id.decode())
        listed = keys.tenant_batches(self.tenant)
        for batch_id in await self.redis.zrange(listed, 0, -1):
            if not await self.redis.exists(keys.batch(batch_id.decode()).meta):
                await self.redis.zrem(listed, batch_id)

    async def lasting_keys(self, but: str = "-") -> list[str]:
        """Return keys that are neither of this batch nor shared, and do not expire within the hour."""
        names = [name.decode() async for name in self.redis.scan_iter("*")]
        ours = [name for name in names if not name.startswith(LASTING) and but not in name]
        return sorted([name for name in ours if not 0 <= await self.redis.ttl(name) <= STAGING_SECONDS])


async def inspect_batch(
    redis: Redis, tenant: str, batch_id: str, errored: frozenset[str] = frozenset()
) -> tuple[str, int]:
    """I1 to I4 of one batch: its name in marks, and the number of its items that were to be called for."""
    store = BatchStore(BatchServer(RedisServer(redis)))
    record = await store.retrieve(tenant, batch_id)
    require(record.status == "ended", f"{batch_id} is {record.status}")
    pieces = [piece async for piece in await store.results(tenant, batch_id)]
    lines = [orjson.loads(line) for line in b"".join(pieces).splitlines()]
    require(len(lines) == record.total, f"I1: {len(lines)} lines for {record.total} items")
    name = name_of(lines, batch_id)
    for number, line in enumerate(lines):
        check_line(line, number, mark_of(name, number), errored, stopped=record.rest != "")
    keys = Keys().batch(batch_id)
    both = set(await redis.hkeys(keys.ok)) & set(await redis.hkeys(keys.err))
    require(not both, f"I2: two results for {sorted(both)[:5]}")
    recorded = await redis.hlen(keys.ok) + await redis.hlen(keys.err)
    require(recorded + record.unrecorded == record.total, "I1: the counts do not add up")
    work = (keys.input, keys.lease, keys.own, keys.retry, keys.suspect, keys.lost, keys.tries, keys.grant)
    require(await redis.exists(*work) == 0, f"I4: work is left of {batch_id}")
    return name, recorded if record.rest else record.total


def mark_of(name: str, number: int) -> str:
    """Return an item's prompt, which is also its answer; `name` is that of its batch."""
    return f"{name}/{number}"


def http_item(number: int, text: str) -> dict[str, Any]:
    params = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": f"item-{number}", "params": params}


def name_of(lines: list[Any], batch_id: str) -> str:
    """A batch that was created over HTTP did not know its id: its own name is what its items were answered."""
    for line in lines:
        if line["result"]["type"] == "succeeded":
            return str(line["result"]["message"]["content"][0]["text"].rpartition("/")[0])
    return batch_id


def check_line(line: dict[str, Any], number: int, mark: str, errored: frozenset[str], *, stopped: bool) -> None:
    require(line["custom_id"] == f"item-{number}", f"I3: line {number} is that of {line['custom_id']}")
    result = line["result"]
    kind = result["type"]
    if kind == "succeeded":
        [block] = result["message"]["content"]
        require(block["text"] == mark, f"I3: {mark} was answered {block['text']!r}")
    expected = {"errored"} if mark in errored else {"succeeded", "canceled", "expired"} if stopped else {"succeeded"}
    require(kind in expected, f"{mark} is {kind}: {result.get('error')}")


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until the coroutine function says so."""
    begun = time.monotonic()
    while not await condition():
        if time.monotonic() - begun > END_SECONDS:
            raise Violation(f"still waiting for {what} after {END_SECONDS:g} s")
        await asyncio.sleep(0.02)
