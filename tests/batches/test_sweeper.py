"""Work of the sweeper: ends, deadlines, repairs, and a scheduler that was lost."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.batches.lifecycle import BatchRecord, Lifetimes, to_batch_id
from gateway.batches.queue import Release
from tests.batches.conftest import Bench, finish, indices


async def status(bench: Bench, record: BatchRecord) -> str:
    return (await bench.store.retrieve(record.tenant, record.id)).status


@pytest.mark.covers("Batches · expiry and retention")
async def test_a_batch_expires_though_no_worker_lives(bench_with: Callable[..., Bench]) -> None:
    bench = bench_with(lifetimes=Lifetimes(expiry=0))
    created = await bench.create(3)
    report = await bench.sweeper.sweep()
    assert (report.looked_at, report.ended, report.more) == (1, 1, False)
    assert (await bench.store.retrieve("acme", created.id)).rest == "expired"


async def test_an_expired_batch_waits_for_what_is_in_flight(bench: Bench) -> None:
    created = await bench.create(3)
    queue = bench.queue()
    [claim] = await queue.claim(1)
    await bench.redis.hset(bench.keys.batch_meta(created.id), "expires", 1)
    await bench.time_passes(created)
    assert (await bench.sweeper.sweep()).ended == 0
    assert (await queue.renew(claim, [0])).stopping
    assert await finish(queue, claim) == ["recorded"]
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.rest, record.succeeded, record.unrecorded) == ("ended", "expired", 1, 2)


async def test_a_canceled_batch_ends_when_the_leases_of_its_dead_workers_pass(bench: Bench) -> None:
    created = await bench.create(3)
    await bench.queue().claim(2)
    await bench.store.cancel("acme", created.id)
    assert (await bench.sweeper.sweep()).ended == 0
    await bench.leases_pass(created)
    assert (await bench.sweeper.sweep()).ended == 1
    assert await status(bench, created) == "ended"


async def test_a_canceled_batch_ends_after_its_grace_though_somebody_goes_on_renewing(bench: Bench) -> None:
    created = await bench.create(3)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    await bench.store.cancel("acme", created.id)
    await queue.renew(claim, [0, 1])
    await bench.redis.hset(bench.keys.batch_meta(created.id), "stop", 1)
    assert (await bench.sweeper.sweep()).ended == 1
    assert await finish(queue, claim) == []
    assert (await queue.renew(claim, [0, 1])).lost == {0, 1}


async def test_looking_at_a_batch_does_not_hide_the_loss_of_its_items(bench: Bench) -> None:
    created = await bench.create(2)
    await bench.queue().claim(2)
    await bench.leases_pass(created)
    await bench.sweeper.sweep()
    [claim] = await bench.queue().claim(2)
    assert [lease.lost for lease in claim.leases] == [1, 1]


async def test_every_batch_is_looked_at_again_and_again_until_it_ends(bench: Bench) -> None:
    created = await bench.create(1)
    assert (await bench.sweeper.sweep()).looked_at == 0
    for _ in range(3):
        await bench.time_passes(created)
        assert (await bench.sweeper.sweep()).looked_at == 1
    await bench.drain()
    await bench.time_passes(created)
    assert (await bench.sweeper.sweep()).looked_at == 0


async def test_a_batch_committed_but_not_scheduled_is_found_by_the_sweeper(bench: Bench) -> None:
    created = await bench.create(3)
    scheduler = bench.keys.scheduler
    await bench.redis.unlink(*(key for key in scheduler if key != scheduler.due))
    assert await bench.queue().claim(5) == []
    await bench.time_passes(created)
    await bench.sweeper.sweep()
    assert await bench.drain() == 3


async def test_an_upload_that_never_came_to_its_commit_is_looked_at_once(bench: Bench) -> None:
    created = await bench.create(3)
    await bench.redis.unlink(*bench.keys.batch(created.id))
    await bench.time_passes(created)
    assert (await bench.sweeper.sweep()).looked_at == 1
    await bench.time_passes(created)
    assert (await bench.sweeper.sweep()).looked_at == 0


async def test_a_lost_scheduler_is_rebuilt_from_the_tenants_lists(bench: Bench) -> None:
    for tenant in ("acme", "umbrella"):
        for _ in range(3):
            await bench.create(2, tenant)
    ended = await bench.create(1, "acme")
    await bench.store.cancel("acme", ended.id)
    await bench.redis.unlink(*bench.keys.scheduler)
    report = await bench.sweeper.rebuild()
    assert (report.batches, report.active, report.repaired, report.trimmed) == (7, 6, 0, 0)
    assert await bench.drain() == 12


async def test_a_lost_scheduler_is_rebuilt_for_a_batch_that_is_all_in_flight(bench: Bench) -> None:
    created = await bench.create(2)
    await bench.queue().claim(2)
    await bench.redis.unlink(*bench.keys.scheduler)
    await bench.sweeper.rebuild()
    assert await bench.queue().claim(2) == []
    await bench.leases_pass(created)
    assert await bench.drain() == 2


async def test_rebuilding_what_is_whole_changes_nothing_that_matters(bench: Bench) -> None:
    created = await bench.create(6)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    await queue.release(claim, [Release(0, delay_ms=60_000)])
    records = await bench.redis.hgetall(bench.keys.scheduler.records)
    await asyncio.gather(*(bench.sweeper.rebuild() for _ in range(3)))
    assert await bench.redis.hgetall(bench.keys.scheduler.records) == records
    assert indices(await queue.claim(10)) == [2, 3, 4, 5]
    assert await status(bench, created) == "in_progress"


async def test_unclaimed_items_are_found_and_queued_again(bench: Bench) -> None:
    created = await bench.create(6)
    queue = bench.queue()
    [claim] = await queue.claim(4)
    await finish(queue, claim)
    await queue.claim(2)
    keys = bench.keys.batch(created.id)
    await bench.redis.unlink(keys.lease, keys.own)  # as after a loss of exactly these writes
    await bench.time_passes(created)
    await bench.sweeper.sweep()
    assert indices(await bench.queue().claim(10)) == [4, 5], "and none that has a result"


async def test_a_cursor_set_back_passes_by_all_that_is_done_or_in_hand(bench: Bench) -> None:
    created = await bench.create(20)
    queue = bench.queue()
    [first] = await queue.claim(8)
    await queue.release(first, [Release(0, delay_ms=60_000)])
    [second] = await queue.claim(2)
    await finish(queue, second)
    await bench.redis.hset(bench.keys.batch_meta(created.id), "next", 0)
    assert indices(await bench.queue().claim(20)) == list(range(10, 20))


async def test_an_input_left_with_an_end_is_kept(bench: Bench) -> None:
    created = await bench.create(3)
    keys = bench.keys.batch(created.id)
    await bench.redis.expire(keys.input, 3600)
    await bench.redis.expire(keys.ids, 3600)
    await bench.time_passes(created)
    await bench.sweeper.sweep()
    assert (await bench.redis.ttl(keys.input), await bench.redis.ttl(keys.ids)) == (-1, -1)


async def test_an_end_that_was_cut_short_is_cleared_up(bench: Bench) -> None:
    created = await bench.create(2)
    await bench.drain()
    keys = bench.keys.batch(created.id)
    await bench.redis.hset(keys.input, 0, "left over")
    await bench.redis.persist(keys.ok)
    report = await bench.sweeper.rebuild()
    assert report.repaired == 1
    assert await bench.redis.exists(keys.input) == 0
    assert await bench.redis.ttl(keys.ok) > 0
    assert (await bench.sweeper.rebuild()).repaired == 0


async def test_entries_of_batches_that_are_no_more_leave_the_list(bench: Bench) -> None:
    kept = await bench.create(1)
    old = to_batch_id(kept.created - 2 * 3600 * 1000, bytes(9))
    young = to_batch_id(kept.created, bytes(9))
    key = bench.keys.tenant_batches("acme")
    await bench.redis.zadd(key, {old: 1, young: kept.created})
    assert (await bench.sweeper.rebuild()).trimmed == 1
    left = [batch_id.decode() for batch_id in await bench.redis.zrange(key, 0, -1)]
    assert sorted(left) == sorted([kept.id, young]), "one that is just being committed stays"


async def test_a_rebuild_goes_through_lists_of_any_length(bench: Bench) -> None:
    kept = await bench.create(1)
    key = bench.keys.tenant_batches("acme")
    old = {to_batch_id(number, bytes(9)): number for number in range(1, 601)}
    await bench.redis.zadd(key, old)
    report = await bench.sweeper.rebuild()
    assert (report.batches, report.trimmed, report.active) == (601, 600, 1)
    assert [batch_id.decode() for batch_id in await bench.redis.zrange(key, 0, -1)] == [kept.id]


async def test_many_sweepers_at_once_do_no_harm(bench: Bench) -> None:
    records = [await bench.create(4) for _ in range(5)]
    for record in records[:3]:
        await bench.store.cancel("acme", record.id)
    for record in records:
        await bench.time_passes(record)
    await asyncio.gather(*(bench.sweeper.sweep() for _ in range(6)))
    assert [await status(bench, record) for record in records] == ["ended"] * 3 + ["in_progress"] * 2
    assert await bench.drain() == 8


# The server's clock set back, or another server, with a clock behind, that took over


async def test_retries_stored_before_the_clock_was_set_back_are_due(bench: Bench) -> None:
    created = await bench.create(4)
    queue = bench.queue()
    [claim] = await queue.claim(4)
    await queue.release(claim, [Release(index, delay_ms=1000 * index) for index in range(4)])
    await bench.clock_is_set_back(created, 120_000)
    assert await bench.queue().claim(4) == []
    assert (await bench.sweeper.sweep()).looked_at == 1
    assert sorted(indices(await bench.queue().claim(4))) == [0, 1, 2, 3]


async def test_a_retry_within_the_longest_delay_still_waits(bench: Bench) -> None:
    created = await bench.create(2)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    await queue.release(claim, [Release(0, delay_ms=60_000), Release(1, delay_ms=59_000)])
    await bench.redis.zadd(bench.keys.scheduler.due, {created.id: 1})
    await bench.sweeper.sweep()
    assert await bench.queue().claim(2) == []


async def test_leases_stored_before_the_clock_was_set_back_end_one_lease_from_now(bench: Bench) -> None:
    created = await bench.create(2)
    queue = bench.queue(lease_ms=40_000)
    [claim] = await queue.claim(2)
    await bench.clock_is_set_back(created, 3600_000)
    await bench.sweeper.sweep()
    ends = await bench.redis.zscore(bench.keys.batch(created.id).lease, 0)
    now = await bench.server.now()
    assert now + 30_000 < ends <= now + 40_000
    assert (await queue.renew(claim, [0, 1])).lost == frozenset()
