"""A worker's rounds: batches end without anybody claiming, a lost schedule is restored, and the queue is counted."""

from prometheus_client import REGISTRY

from tests.workers.conftest import Bench, item
from workers.maintenance import REBUILD_SECONDS, Maintenance


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"gateway_batch_queue_{name}", labels)


async def expire(bench: Bench, batch_id: str) -> None:
    keys = bench.server.keys
    await bench.redis.hset(keys.batch_meta(batch_id), "expires", 1)
    await bench.redis.zadd(keys.scheduler.due, {batch_id: 1})


async def test_a_sweep_ends_what_is_over(bench: Bench) -> None:
    batches = [await bench.create([item(0)]) for _ in range(70)]  # more than one sweep looks at
    for batch in batches:
        await expire(bench, batch.id)
    await Maintenance(bench.server).sweep()
    assert {(await bench.read(batch)).status for batch in batches} == {"ended"}


async def test_a_lost_schedule_is_restored_at_start_and_then_every_ten_minutes(bench: Bench) -> None:
    now = [1000.0]
    maintenance = Maintenance(bench.server, lambda: now[0])
    batch = await bench.create([item(0)])
    scheduler = bench.server.keys.scheduler

    async def is_restored() -> bool:
        await bench.redis.unlink(*scheduler)
        await maintenance.sweep()
        return bool(await bench.redis.hexists(scheduler.records, batch.id))

    assert await is_restored()
    now[0] += REBUILD_SECONDS - 1
    assert not await is_restored()
    now[0] += 1
    assert await is_restored()
    assert (await bench.queue().claim(1))[0].batch.id == batch.id


async def test_the_queue_is_counted_by_state(bench: Bench) -> None:
    first = await bench.create([item(number) for number in range(5)])
    [claim] = await bench.queue().claim(2)
    await bench.create([item(0)])
    await bench.redis.zadd(bench.keys(first).retry, {"4": 9e15})
    await Maintenance(bench.server).count()
    assert claim.batch.id == first.id
    assert gauge("batches") == 2
    counted = {state: gauge("items", state=state) for state in ("pending", "leased", "retrying", "suspect")}
    assert counted == {"pending": 3, "leased": 2, "retrying": 1, "suspect": 0}
    assert 0 <= (gauge("oldest_seconds") or 0) < 60


async def test_an_empty_queue_counts_nothing(bench: Bench) -> None:
    await Maintenance(bench.server).count()
    assert (gauge("batches"), gauge("items", state="pending"), gauge("oldest_seconds")) == (0, 0, 0)
