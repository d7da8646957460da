"""Lost replies, servers that stop in the middle of a script, workers that die: each item still ends with one result."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from gateway.batches.lifecycle import BatchRecord, request_counts
from gateway.batches.queue import BatchQueue, Claim, Release
from gateway.redis.keys import Keys
from tests.batches.conftest import Bench, finish, numbers, result
from tests.batches.faults import SCRIPTS, PowerLoss, TornRedis, TwiceRedis

TOTAL = 7


async def life_of_a_batch(bench: Bench, record: BatchRecord | None = None) -> None:
    """Every script at least once, and every branch that writes: losses, retries, suspects, stops, ends."""
    first = await bench.create(TOTAL)
    queue = bench.queue()
    [claim] = await queue.claim(4)
    await queue.renew(claim, [0, 1, 2, 3])
    await queue.done(first.id, [result(0), result(1, succeeded=False, cost=5)])
    await queue.release(claim, [Release(2, delay_ms=60_000, tries=1, cost=3)])
    for _ in range(3):  # item 3 is lost, lost again and alone, and given up
        await bench.leases_pass(first)
        await bench.queue().claim(1, idle=True)
    await bench.leases_pass(first)
    await bench.sweeper.sweep()
    second = await bench.create(3, priority=2)
    await queue.claim(1)
    await bench.store.cancel("acme", second.id)
    await bench.leases_pass(second)
    await bench.sweeper.sweep()
    await bench.store.delete("acme", second.id)
    await bench.drain()


async def recover(bench: Bench) -> list[BatchRecord]:
    """A new start after a crash: a rebuild, time, sweeps, and workers until there is nothing more to do."""
    await bench.sweeper.rebuild()
    for _ in range(12):
        records = list((await bench.store.page("acme")).records)
        if all(record.status == "ended" for record in records):
            return records
        for record in records:
            await bench.leases_pass(record)
        await bench.sweeper.sweep()
        await bench.drain()
    pytest.fail(f"still not ended: {records}")


async def check(bench: Bench, record: BatchRecord) -> None:
    """Each item has one line, its own, and nothing of the work is left."""
    lines = await bench.lines(record)
    assert [line["custom_id"] for line in lines] == [f"item-{number}" for number in range(record.total)]
    for number, line in enumerate(lines):
        assert line["result"].get("message", {"n": number})["n"] == number
    kinds = Counter(line["result"]["type"] for line in lines)
    counts = request_counts(record)
    assert {kind: counts[kind] for kind in kinds} == kinds  # type: ignore[literal-required]
    keys = bench.keys.batch(record.id)
    both = set(await bench.redis.hkeys(keys.ok)) & set(await bench.redis.hkeys(keys.err))
    assert not both, "no item has two results"
    left = await bench.redis.exists(
        keys.input, keys.lease, keys.own, keys.retry, keys.suspect, keys.lost, keys.tries, keys.grant
    )
    assert left == 0


async def test_any_script_may_run_twice_without_changing_anything_the_second_time(redis: Redis) -> None:
    keys = Keys(f"test{next(numbers)}:")
    twice = TwiceRedis.over(redis, keys.prefix)
    bench = Bench(twice, keys=keys)
    await life_of_a_batch(bench)
    assert twice.repeated == {script.name for script in SCRIPTS.values()} - {"list", "results"} | {"list"} - {"list"}
    [record] = await recover(bench)
    await check(bench, record)
    assert (record.spend, record.succeeded, record.errored) == (8, TOTAL - 2, 2)


async def life_until_power_loss(redis: Redis, call: int, writes: int) -> tuple[Bench, str]:
    keys = Keys(f"test{next(numbers)}:")
    torn = TornRedis.over(redis, call, writes)
    with pytest.raises(PowerLoss):
        await life_of_a_batch(Bench(torn, keys=keys))
    return Bench(redis, keys=keys), torn.torn


async def test_a_crash_after_any_write_of_any_script_loses_and_doubles_nothing(redis: Redis) -> None:
    torn_scripts: Counter[str] = Counter()
    call = 0
    while True:
        ...
