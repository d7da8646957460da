"""The order of service: no tenant waits behind another's bulk. Measured in claimed items, never in seconds."""

from collections import Counter
from typing import Any

import pytest

from gateway.batches.lifecycle import BatchRecord
from gateway.batches.scheduler import INSPECT_MS, Scheduler
from tests.batches.conftest import Bench, finish

FAR = 10**15


async def served(bench: Bench, claims: int, slots: int = 10) -> Counter[str]:
    """Items per tenant in this many claims, each finished before the next."""
    queue, counts = bench.queue(), Counter[str]()
    for _ in range(claims):
        for claim in await queue.claim(slots):
            counts[claim.batch.tenant] += len(await finish(queue, claim))
    return counts


async def claims_until_ended(bench: Bench, record: BatchRecord, slots: int = 16) -> int:
    queue, number = bench.queue(), 0
    while (await bench.store.retrieve(record.tenant, record.id)).status != "ended":
        for claim in await queue.claim(slots):
            await finish(queue, claim)
        number += 1
    return number


@pytest.mark.parametrize("tenant", ["acme", "umbrella"], ids=["of the same tenant", "of another tenant"])
async def test_a_small_batch_does_not_wait_for_a_large_one(bench: Bench, tenant: str) -> None:
    await bench.create(3000, "acme")
    await served(bench, claims=5)
    small = await bench.create(10, tenant)
    assert await claims_until_ended(bench, small) <= 2


@pytest.mark.covers("Batches · fair between tenants and batches")
async def test_tenants_share_evenly_however_many_batches_they_send(bench: Bench) -> None:
    for _ in range(8):
        await bench.create(100, "many")
    await bench.create(800, "one")
    counts = await served(bench, claims=40)
    assert counts["many"] + counts["one"] == 400
    assert abs(counts["many"] - counts["one"]) <= 20


async def test_a_newcomer_takes_turns_and_does_not_catch_up_on_the_past(bench: Bench) -> None:
    await bench.create(2000, "early")
    await served(bench, claims=50)
    await bench.create(2000, "late")
    counts = await served(bench, claims=20)
    assert abs(counts["early"] - counts["late"]) <= 20


async def test_a_tenant_that_returns_has_neither_debt_nor_credit(bench: Bench) -> None:
    away = await bench.create(1000, "away")
    await bench.create(2000, "steady")
    scheduler = Scheduler(bench.server)
    await scheduler.park(away.id, unused=0, after=FAR)
    await served(bench, claims=50)
    await bench.time_passes(away)
    counts = await served(bench, claims=20)
    assert abs(counts["away"] - counts["steady"]) <= 20


async def test_a_batch_of_higher_priority_goes_before_others_of_its_tenant(bench: Bench) -> None:
    batches = {priority: await bench.create(20, priority=priority) for priority in (0, 2, 1)}
    queue, order = bench.queue(), []
    for _ in range(6):
        for claim in await queue.claim(10):
            order.append(claim.batch.id)
            await finish(queue, claim)
    assert order == [batches[priority].id for priority in (2, 2, 1, 1, 0, 0)]


async def test_priority_does_not_count_against_the_batches_of_other_tenants(bench: Bench) -> None:
    await bench.create(500, "pushy", priority=2)
    await bench.create(500, "modest", priority=0)
    counts = await served(bench, claims=40)
    assert abs(counts["pushy"] - counts["modest"]) <= 20


async def test_a_batch_that_may_goes_before_or_after_those_of_all_tenants(bench: Bench) -> None:
    await bench.create(20, "patient", priority=0, across=True)
    await bench.create(20, "urgent", priority=2, across=True)
    await bench.create(20, "high", priority=2)
    counts = [await served(bench, claims=2) for _ in range(3)]
    assert counts == [Counter(urgent=20), Counter(high=20), Counter(patient=20)]


async def test_batches_of_equal_priority_take_turns_after_any_history(bench: Bench) -> None:
    scheduler = await offer(bench, "first", priority=2)
    await picks(scheduler, 50)
    await scheduler.drop("first")
    await offer(bench, "one", "two", priority=1)
    await picks(scheduler, 10)
    await offer(bench, "three", priority=1)
    assert Counter(await picks(scheduler, 30)) == Counter(one=10, two=10, three=10)


async def test_a_batch_scheduled_with_another_priority_is_filed_again(bench: Bench) -> None:
    scheduler = await offer(bench, "one", "two", priority=1)
    await offer(bench, "two", priority=2)
    assert await picks(scheduler, 3) == ["two"] * 3
    await offer(bench, "two", priority=1)
    assert Counter(await picks(scheduler, 10)) == Counter(one=5, two=5)


async def test_a_batch_is_charged_for_what_it_gave_and_not_for_what_was_asked(bench: Bench) -> None:
    for _ in range(10):
        await bench.create(1, "small")
    await bench.create(500, "large")
    queue, small = bench.queue(), 0
    for _ in range(6):
        for claim in await queue.claim(10):
            small += len(claim.leases) if claim.batch.tenant == "small" else 0
    assert small == 10, "asking ten times for 10 items of a batch that has one must not cost 100"


# The scheduler by itself: any names will do for batches.


async def offer(bench: Bench, *batch_ids: str, tenant: str = "acme", after: int = 0, **options: Any) -> Scheduler:
    scheduler = Scheduler(bench.server)
    for batch_id in batch_ids:
        await scheduler.schedule(batch_id, tenant, after=after, inspect_after=INSPECT_MS, **options)
    return scheduler


async def picks(scheduler: Scheduler, number: int, items: int = 10) -> list[str | None]:
    return [await scheduler.pick("worker", items) for _ in range(number)]


async def test_of_a_thousand_tenants_each_has_its_turn_once_in_a_thousand(bench: Bench) -> None:
    for number in range(1000):
        scheduler = await offer(bench, f"batch-{number}", tenant=f"tenant {number}")
    assert len(set(await picks(scheduler, 1000))) == 1000


async def test_batches_of_a_tenant_take_turns_for_ever(bench: Bench) -> None:
    scheduler = await offer(bench, "one", "two", "three")
    assert Counter(await picks(scheduler, 60, items=7)) == Counter(one=20, two=20, three=20)


async def test_a_tenants_new_batch_takes_turns_with_its_old_one(bench: Bench) -> None:
    scheduler = await offer(bench, "old")
    await picks(scheduler, 50)
    await offer(bench, "new")
    assert Counter(await picks(scheduler, 20)) == Counter(old=10, new=10)


async def test_sending_ever_more_batches_gains_a_tenant_nothing(bench: Bench) -> None:
    scheduler = await offer(bench, "patient", tenant="patient")
    picked = []
    for number in range(40):
        await offer(bench, f"pushy-{number}", tenant="a-pushy")
        picked += await picks(scheduler, 1)
    assert picked.count("patient") == 20


async def test_scheduling_or_waking_again_does_not_move_a_batch_ahead(bench: Bench) -> None:
    scheduler = await offer(bench, "one", "two")
    picked = []
    for _ in range(6):
        [batch_id] = await picks(scheduler, 1)
        assert batch_id is not None
        picked.append(batch_id)
        await offer(bench, batch_id)
        await scheduler.wake(batch_id, 0)
    assert Counter(picked) == Counter(one=3, two=3)


async def test_a_batch_that_has_nothing_now_is_not_offered_before_its_time(bench: Bench) -> None:
    scheduler = await offer(bench, "later", after=FAR)
    assert await picks(scheduler, 1) == [None]
    await scheduler.wake("later", 0)
    assert await picks(scheduler, 1) == ["later"]
    await scheduler.park("later", unused=0, after=FAR)
    assert await picks(scheduler, 1) == [None]


async def test_the_earlier_of_two_times_counts(bench: Bench) -> None:
    scheduler = await offer(bench, "retry", "lease")
    await scheduler.wake("retry", 0)
    await scheduler.park("retry", unused=0, after=FAR)
    await scheduler.park("lease", unused=0, after=0)
    await offer(bench, "lease", after=FAR)
    assert set(await picks(scheduler, 4)) == {"retry", "lease"}


async def test_what_a_crash_left_behind_is_passed_by(bench: Bench) -> None:
    scheduler, keys = await offer(bench, "real"), bench.keys.scheduler
    await bench.redis.zadd(keys.ready_normal, {f"acme {0:020.6f} gone": 0, f"acme {0:020.6f} a-gone": 0})
    await bench.redis.zadd(keys.tenants_normal, {"nobody": -1})
    assert await picks(scheduler, 3) == ["real"] * 3


async def test_a_batch_is_offered_no_more_once_it_is_dropped(bench: Bench) -> None:
    scheduler = await offer(bench, "ready")
    await offer(bench, "waiting", after=FAR)
    assert sorted(await scheduler.active()) == ["ready", "waiting"]
    for batch_id in ("ready", "waiting", "ready"):
        await scheduler.drop(batch_id)
    assert (await picks(scheduler, 1), await scheduler.due(5), await scheduler.active()) == ([None], [], [])
    assert await bench.all_keys() == []
