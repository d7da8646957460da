"""Lost replies, servers that stop in the middle of a script, workers that die: each item still ends with one result."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from gateway.batches.lifecycle import BatchRecord, request_counts
from gateway.batches.queue import Claim, Release
from gateway.batches.scheduler import Scheduler
from gateway.errors import Unavailable
from gateway.redis import scripts
from gateway.redis.keys import Keys
from gateway.redis.scripts import LuaScript
from tests.batches.conftest import Bench, finish, item, numbers, result
from tests.batches.faults import WRITING, DeafRedis, PowerLoss, TornRedis, TwiceRedis

Life = Callable[[Bench], Awaitable[None]]


# Lives of batches that together go through every script and every branch that writes.


async def work_and_retry(bench: Bench) -> None:
    batch = await bench.create(4)
    queue = bench.queue()
    [claim] = await queue.claim(3)
    await queue.renew(claim, [0, 1, 2])
    assert await queue.done(batch.id, [result(0), result(1, succeeded=False, cost=5)]) == ["recorded", "recorded"]
    await queue.release(claim, [Release(2, delay_ms=60_000, tries=1, cost=3)])
    [rest] = await queue.claim(3)
    await bench.time_passes(batch)
    [again] = await bench.queue().claim(3)
    assert await finish(queue, rest) == ["recorded"]
    assert await finish(queue, again) == ["recorded"]
    assert await Scheduler(bench.server).active() == []


async def lose_until_given_up(bench: Bench) -> None:
    batch = await bench.create(2)
    await bench.redis.hset(bench.keys.batch_meta(batch.id), "max_lost", 3)
    for _ in range(4):
        await bench.queue().claim(2, idle=True)
        await bench.leases_pass(batch)
    await bench.queue().claim(1, idle=True)


async def cancel_and_delete(bench: Bench) -> None:
    given_up = await bench.store.begin("acme")
    await given_up.add(item(0))
    await given_up.discard()
    batch = await bench.create(3)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    await bench.store.cancel("acme", batch.id)
    await queue.release(claim, [Release(0)])
    await bench.leases_pass(batch)
    await bench.sweeper.sweep()
    await bench.store.delete("acme", batch.id)


async def expire(bench: Bench) -> None:
    batch = await bench.create(2)
    await bench.queue().claim(1)
    await bench.redis.hset(bench.keys.batch_meta(batch.id), "expires", 1)
    await bench.queue().claim(1)
    await bench.leases_pass(batch)
    await bench.sweeper.sweep()


LIVES: dict[str, Life] = {
    "work and retry": work_and_retry,
    "lose until given up": lose_until_given_up,
    "cancel and delete": cancel_and_delete,
    "expire": expire,
}


async def recover(bench: Bench) -> list[BatchRecord]:
    """A new start after a crash: a rebuild, then time, sweeps and workers, until all has ended."""
    await bench.sweeper.rebuild()
    for _ in range(12):
        records = list((await bench.store.page("acme")).records)
        if all(record.status == "ended" for record in records) and not await Scheduler(bench.server).active():
            return records
        for record in records:
            await bench.leases_pass(record)
        await bench.sweeper.sweep()
        await bench.drain()
    pytest.fail(f"still not ended: {records}")


async def check(bench: Bench, record: BatchRecord) -> None:
    """Check that each item has one line with its own answer, and that all working keys are deleted."""
    lines = await bench.lines(record)
    assert [line["custom_id"] for line in lines] == [f"item-{number}" for number in range(record.total)]
    for number, line in enumerate(lines):
        assert line["result"].get("message", {"n": number})["n"] == number
    kinds = Counter(line["result"]["type"] for line in lines)
    counts = request_counts(record)
    assert kinds == Counter({kind: count for kind, count in counts.items() if count})
    keys = bench.keys.batch(record.id)
    assert not set(await bench.redis.hkeys(keys.ok)) & set(await bench.redis.hkeys(keys.err)), "an item has two results"
    of_the_work = (keys.input, keys.lease, keys.own, keys.retry, keys.suspect, keys.lost, keys.tries, keys.grant)
    assert await bench.redis.exists(*of_the_work) == 0


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
async def test_a_script_that_runs_twice_changes_nothing_the_second_time(redis: Redis, life: Life) -> None:
    keys = Keys(f"test{next(numbers)}:")
    bench = Bench(TwiceRedis.over(redis, keys.prefix), keys=keys)
    await life(bench)
    for record in await recover(bench):
        await check(bench, record)


async def test_together_the_lives_run_every_script_that_writes(redis: Redis) -> None:
    ran: set[str] = set()
    for life in LIVES.values():
        keys = Keys(f"test{next(numbers)}:")
        twice = TwiceRedis.over(redis, keys.prefix)
        await life(Bench(twice, keys=keys))
        ran |= twice.repeated
    assert ran >= WRITING


@pytest.mark.parametrize("lost", [scripts.COMMIT, scripts.SCHEDULE], ids=lambda script: script.name)
async def test_a_batch_whose_creation_was_not_heard_of_leaves_nothing(redis: Redis, lost: LuaScript) -> None:
    bench = Bench(DeafRedis.over(redis, lost))
    with pytest.raises(Unavailable):
        await bench.create(3)
    whole = Bench(redis, keys=bench.keys)
    assert (await whole.store.page("acme")).records == ()
    assert await whole.drain() == 0
    assert [key for key in await whole.all_keys() if key.startswith("b:")] == []
    assert await whole.redis.zcard(whole.keys.scheduler.due) == 0


@pytest.mark.parametrize("lost", [scripts.COMMIT, scripts.SCHEDULE], ids=lambda script: script.name)
async def test_with_an_idempotency_key_the_next_attempt_finds_it(redis: Redis, lost: LuaScript) -> None:
    bench = Bench(DeafRedis.over(redis, lost))
    with pytest.raises(Unavailable):
        await bench.create(3, idempotency_key="again")
    whole = Bench(redis, keys=bench.keys)
    [waiting] = (await whole.store.page("acme")).records
    assert (await whole.create(3, idempotency_key="again")).id == waiting.id
    assert await whole.drain() == 3
    await check(whole, await whole.store.retrieve("acme", waiting.id))


async def each_crash(redis: Redis, life: Life, among: set[str]) -> AsyncIterator[Bench]:
    """The life cut off after every write of every script among these, one after the other: what each crash leaves."""
    call, writes, reached = 0, 0, True
    while reached:
        keys = Keys(f"test{next(numbers)}:")
        torn = TornRedis.over(redis, call, writes, among)
        try:
            await life(Bench(torn, keys=keys))
        except PowerLoss:
            yield Bench(redis, keys=keys)
            writes += 1
        else:
            reached = torn.call < 0
            call, writes = call + 1, 0


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
@pytest.mark.covers("Batches · a crash after any write loses and doubles nothing")
async def test_a_crash_after_any_write_of_any_script_loses_and_doubles_nothing(redis: Redis, life: Life) -> None:
    crashes = 0
    async for bench in each_crash(redis, life, WRITING):
        for record in await recover(bench):
            await check(bench, record)
        crashes += 1
    assert crashes >= 30


@pytest.mark.parametrize("life", [work_and_retry, lose_until_given_up], ids=["work and retry", "lose until given up"])
async def test_workers_alone_go_on_after_a_crash_and_run_nothing_again_that_is_recorded(
    redis: Redis, life: Life
) -> None:
    crashes = 0
    async for bench in each_crash(redis, life, {"claim", "done", "release", "renew"}):
        crashes += 1
        [record] = (await bench.store.page("acme")).records
        before, ran = await bench.redis.hlen(bench.keys.batch(record.id).ok), 0
        for _ in range(6):
            await bench.leases_pass(record)
            ran += await bench.drain()
        record = await bench.store.retrieve("acme", record.id)
        assert (record.status, record.succeeded) == ("ended", before + ran)
        await check(bench, record)
    assert crashes >= 10


async def test_a_loss_is_counted_once_though_the_server_stops_while_counting(redis: Redis) -> None:
    first: list[str] = []

    async def lose(bench: Bench) -> None:
        first.clear()
        batch = await bench.create(1)
        first.append((await bench.queue().claim(1))[0].fence)
        await bench.leases_pass(batch)
        await bench.queue().claim(1)

    crashes = 0
    async for bench in each_crash(redis, lose, {"claim"}):
        crashes += 1
        [record] = (await bench.store.page("acme")).records
        owner = await bench.redis.hget(bench.keys.batch(record.id).own, 0)
        await bench.leases_pass(record)
        [claim] = await bench.queue().claim(1, idle=True)
        owners = 0 if owner is None else 1 if not first or owner.decode() == first[0] else 2
        assert claim.leases[0].lost == owners
    assert crashes >= 5


async def test_a_recorded_item_is_not_given_up_though_the_server_stopped_while_recording(redis: Redis) -> None:
    async def record_two(bench: Bench) -> None:
        batch = await bench.create(3)
        queue = bench.queue()
        await queue.claim(2)
        await queue.done(batch.id, [result(0), result(1)])

    crashes = 0
    async for bench in each_crash(redis, record_two, {"done"}):
        crashes += 1
        [record] = (await bench.store.page("acme")).records
        await bench.redis.hset(bench.keys.batch_meta(record.id), "max_lost", 1)
        await bench.leases_pass(record)
        await bench.queue().claim(1)
        [record] = await recover(bench)
        await check(bench, record)
    assert crashes >= 2


# Workers that die, over and over.

SLOTS = 8


class Worker:
    """Runs items one by one in any order; dies, with all it has in flight, of a poisoned one or of `death`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.queue = bench.queue()
        self.in_flight: dict[int, Claim] = {}
        self.draining = False

    async def claim(self) -> None:
        alone = any(claim.alone for claim in self.in_flight.values())
        if alone or (self.draining and self.in_flight):
            return
        claims = await self.queue.claim(SLOTS - len(self.in_flight), idle=not self.in_flight)
        self.in_flight |= {lease.index: claim for claim in claims for lease in claim.leases}
        self.draining = any(claim.suspects for claim in claims)

    async def run_one(self, chance: random.Random, poison: set[int]) -> bool:
        """False when that killed it."""
        index = chance.choice(sorted(self.in_flight))
        if index in poison:
            return False
        claim = self.in_flight.pop(index)
        await self.queue.done(claim.batch.id, [result(index)])
        return True


async def run_all(
    bench: Bench, batch: BatchRecord, chance: random.Random, poison: set[int], death: float
) -> Counter[str]:
    """Until the batch has ended; counts of items run and workers lost."""
    counts: Counter[str] = Counter()
    workers = [Worker(bench) for _ in range(3)]
    while (await bench.store.retrieve("acme", batch.id)).status != "ended":
        position = chance.randrange(3)
        worker = workers[position]
        await bench.time_passes(batch)
        await worker.claim()
        while worker.in_flight and chance.random() < 0.8:
            counts["run"] += 1
            if chance.random() < death or not await worker.run_one(chance, poison):
                counts["dead"] += 1
                await bench.leases_pass(batch, sorted(worker.in_flight))
                workers[position] = Worker(bench)
                break
    return counts


@pytest.mark.parametrize("seed", range(4))
async def test_exactly_the_poisoned_items_are_given_up(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    batch = await bench.create(120)
    poison = set(chance.sample(range(120), 5))
    counts = await run_all(bench, batch, chance, poison, death=0.0)
    record = await bench.store.retrieve("acme", batch.id)
    await check(bench, record)
    lines = await bench.lines(record)
    assert {index for index, line in enumerate(lines) if line["result"]["type"] == "errored"} == poison
    assert counts["dead"] <= batch.max_lost * len(poison)


@pytest.mark.parametrize("seed", range(4))
async def test_workers_that_die_cost_no_item_and_few_repetitions(bench: Bench, seed: int) -> None:
    batch = await bench.create(150)
    counts = await run_all(bench, batch, random.Random(seed), set(), death=0.02)
    record = await bench.store.retrieve("acme", batch.id)
    await check(bench, record)
    assert (record.succeeded, record.errored) == (150, 0)
    assert counts["dead"] > 0
    assert counts["run"] <= 150 + counts["dead"]
