"""The queue of a worker: claims in order, leases and fences, results recorded once, retries, suspects, stops."""

from collections.abc import Callable

import pytest

from gateway.batches.lifecycle import Lifetimes
from gateway.batches.queue import Claim, ItemResult, Lease, Release
from gateway.errors import StoreAway, Unavailable
from gateway.redis import scripts
from tests.batches.conftest import Bench, finish, indices, result
from tests.batches.faults import CutRedis, DeafRedis


async def test_items_are_claimed_in_their_order_up_to_the_free_slots(bench: Bench) -> None:
    await bench.create(10)
    queue = bench.queue()
    assert indices(await queue.claim(4)) == [0, 1, 2, 3]
    assert indices(await bench.queue().claim(4)) == [4, 5, 6, 7]
    assert indices(await queue.claim(4)) == [8, 9]
    assert await queue.claim(4) == []


async def test_free_slots_are_filled_from_several_batches(bench: Bench) -> None:
    batches = {(await bench.create(3)).id for _ in range(4)}
    claims = await bench.queue().claim(10)
    assert sum(len(claim.leases) for claim in claims) == 10
    assert {claim.batch.id for claim in claims} == batches


async def test_a_claim_carries_what_its_items_are_to_be_run_with(bench: Bench) -> None:
    await bench.create(1, betas=("b",), api_version="2023-01-01", context={"request_id": "r"}, priority=2)
    [claim] = await bench.queue().claim(1)
    batch = claim.batch
    assert (batch.tenant, batch.betas, batch.api_version, batch.priority) == ("acme", ("b",), "2023-01-01", 2)
    assert batch.context == {"request_id": "r"}
    [work] = await bench.queue().items(claim)
    assert (work.item.custom_id, work.item.params, work.item.model) == ("item-0", b'{"n":0}', "model")


async def test_retries_that_are_due_and_new_items_are_claimed_half_and_half(bench: Bench) -> None:
    await bench.create(40)
    queue = bench.queue()
    [claim] = await queue.claim(10)
    await queue.release(claim, [Release(lease.index) for lease in claim.leases])
    claimed = indices(await queue.claim(8))
    assert sorted(claimed) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert len(indices(await queue.claim(20))) == 20


async def test_with_one_free_slot_retries_and_new_items_take_turns(bench: Bench) -> None:
    await bench.create(200)
    queue = bench.queue()
    [claim] = await queue.claim(60)
    await queue.release(claim, [Release(lease.index) for lease in claim.leases])
    claimed = [index for _ in range(40) for index in indices(await queue.claim(1))]
    retried = sum(index < 60 for index in claimed)
    assert 5 <= retried <= 35


async def test_due_retries_fill_the_slots_once_no_new_item_is_left(bench: Bench) -> None:
    await bench.create(12)
    queue = bench.queue()
    [claim] = await queue.claim(10)
    await queue.release(claim, [Release(lease.index) for lease in claim.leases])
    assert sorted(indices(await queue.claim(12))) == list(range(12))


# Room


async def test_no_more_is_claimed_of_a_batch_than_it_has_room_for(bench: Bench) -> None:
    limited = await bench.create(20, "a-limited")
    await bench.create(20, "free")
    claims = await bench.queue().claim(10, room=lambda batch: (3 if batch.id == limited.id else 10, 0.0))
    counts = {claim.batch.tenant: len(claim.leases) for claim in claims}
    assert counts == {"a-limited": 3, "free": 7}


async def test_a_batch_without_room_is_not_claimed_from_nor_offered_for_a_while(bench: Bench) -> None:
    created = await bench.create(5)
    assert await bench.queue().claim(5, room=lambda batch: (0, 1.5)) == []
    wake = await bench.redis.zscore(bench.keys.scheduler.wake, created.id)
    assert wake == pytest.approx(await bench.server.now() + 1500, abs=500)
    assert await bench.queue().claim(5) == []
    await bench.time_passes(created)
    assert len(indices(await bench.queue().claim(5))) == 5


async def test_a_tenant_whose_batches_have_no_room_does_not_come_first_in_every_round(bench: Bench) -> None:
    for _ in range(20):
        await bench.create(5, "blocked")
    await bench.create(100, "free")
    claims = await bench.queue().claim(10, room=lambda batch: (0 if batch.tenant == "blocked" else 10, 60.0))
    assert [claim.batch.tenant for claim in claims] == ["free"]


# A Redis that fails in the middle


async def test_claims_made_before_redis_failed_are_returned(bench: Bench) -> None:
    batches = {(await bench.create(2)).id for _ in range(4)}
    cut = Bench(CutRedis.over(bench.redis, scripts.CLAIM, 2), keys=bench.keys)
    claims = await cut.queue().claim(10)
    assert [len(claim.leases) for claim in claims] == [2, 2]
    left = await bench.queue().claim(10)
    assert {claim.batch.id for claim in [*claims, *left]} == batches


async def test_a_redis_that_fails_before_any_claim_fails_the_claim(bench: Bench) -> None:
    await bench.create(2)
    cut = Bench(CutRedis.over(bench.redis, scripts.CLAIM, 0), keys=bench.keys)
    with pytest.raises(StoreAway):
        await cut.queue().claim(10)


async def test_a_claim_whose_reply_was_lost_is_repeated_and_gets_the_same_items(bench: Bench) -> None:
    await bench.create(5)
    deaf = DeafRedis.over(bench.redis, scripts.CLAIM)
    queue = Bench(deaf, keys=bench.keys).queue()
    with pytest.raises(StoreAway):
        await queue.claim(2)
    deaf.lost = None
    claims = await queue.claim(2)
    assert [(lease.index, lease.lost) for claim in claims for lease in claim.leases] == [(0, 0), (1, 0)]
    assert (await bench.redis.zcard(bench.keys.batch(claims[0].batch.id).lease)) == 2


async def test_a_lost_claim_is_not_repeated_once_its_leases_may_be_over(bench: Bench) -> None:
    await bench.create(5)
    deaf, now = DeafRedis.over(bench.redis, scripts.CLAIM), [1000.0]
    queue = Bench(deaf, keys=bench.keys).queue(clock=lambda: now[0], lease_ms=60_000)
    with pytest.raises(StoreAway):
        await queue.claim(2)
    deaf.lost = None
    now[0] += 31
    assert indices(await queue.claim(2)) == [2, 3]


# Recording


async def test_a_batch_ends_with_its_last_result(bench: Bench) -> None:
    created = await bench.create(3)
    queue = bench.queue()
    [claim] = await queue.claim(3)
    await queue.done(created.id, [result(0), result(1)])
    assert (await bench.store.retrieve("acme", created.id)).status == "in_progress"
    await queue.done(created.id, [result(2, succeeded=False)])
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.succeeded, record.errored) == ("ended", 2, 1)
    assert await bench.queue().items(claim) == [], "an ended batch has no inputs"


async def test_the_first_result_counts_from_any_worker(bench: Bench) -> None:
    created = await bench.create(2)
    slow, quick = bench.queue(), bench.queue()
    [lost] = await slow.claim(2)
    await bench.leases_pass(created)
    [taken] = await quick.claim(2)
    assert await slow.done(created.id, [result(0, worker="slow")]) == ["recorded"], "it has been paid for"
    assert await finish(quick, taken, worker="quick") == ["duplicate", "recorded"]
    lines = await bench.lines(created)
    assert [line["result"]["message"]["worker"] for line in lines] == ["slow", "quick"]
    assert lost.fence != taken.fence


async def test_an_error_does_not_replace_a_success_nor_the_reverse(bench: Bench) -> None:
    created = await bench.create(3)
    queue = bench.queue()
    await queue.claim(3)
    await queue.done(created.id, [result(0), result(1, succeeded=False)])
    again = [result(0, succeeded=False), result(1)]
    assert await queue.done(created.id, again) == ["duplicate", "duplicate"]
    progress = await bench.store.progress(created.id)
    assert progress is not None
    assert (progress.succeeded, progress.errored) == (1, 1)


async def test_a_result_after_the_end_is_late_and_not_kept(bench: Bench) -> None:
    created = await bench.create(1)
    queue = bench.queue()
    await queue.claim(1)
    await queue.done(created.id, [result(0, worker="first")])
    assert await queue.done(created.id, [result(0, worker="second")]) == ["late"]
    await bench.store.delete("acme", created.id)
    assert await queue.done(created.id, [result(0, worker="third")]) == ["late"]
    assert await bench.all_keys() == ["tenants"]


async def test_results_of_an_item_that_is_none_are_refused_and_leave_no_trace(bench: Bench) -> None:
    created = await bench.create(2)
    queue = bench.queue()
    await queue.claim(2)
    with pytest.raises(Exception, match="no such item"):
        await queue.done(created.id, [result(0), result(7)])
    progress = await bench.store.progress(created.id)
    assert progress is not None
    assert progress.succeeded == 0


async def test_any_number_of_results_can_be_recorded_at_once(bench: Bench) -> None:
    created = await bench.create(200)
    queue = bench.queue()
    await queue.claim(200)
    big = [ItemResult(index, True, b'{"t":"%s"}' % (b"ab%d" % index * 30_000)) for index in range(200)]
    assert await queue.done(created.id, big) == ["recorded"] * 200
    assert (await bench.store.retrieve("acme", created.id)).status == "ended"


# Leases


async def test_a_lease_is_held_until_it_passes_and_renewing_extends_it(bench: Bench) -> None:
    created = await bench.create(2)
    queue = bench.queue(lease_ms=60_000)
    [claim] = await queue.claim(2)
    key = bench.keys.batch(created.id).lease
    await bench.redis.zadd(key, {0: 5, 1: 5}, xx=True)
    renewal = await queue.renew(claim, [0])
    assert (renewal.lost, renewal.stopping) == (frozenset(), False)
    now = await bench.server.now()
    assert await bench.redis.zscore(key, 0) == pytest.approx(now + 60_000, abs=5_000)
    await bench.time_passes(created)
    assert indices(await bench.queue().claim(5)) == [1], "only the one that was not renewed"


async def test_a_lost_item_cannot_be_renewed_or_released_by_its_former_holder(bench: Bench) -> None:
    created = await bench.create(2)
    slow, quick = bench.queue(), bench.queue()
    [lost] = await slow.claim(2)
    await bench.leases_pass(created)
    [taken] = await quick.claim(2)
    assert (await slow.renew(lost, [0, 1])).lost == {0, 1}
    assert await slow.release(lost, [Release(0), Release(1)]) == 0
    assert (await quick.renew(taken, [0, 1])).lost == frozenset()


async def test_renewing_reports_that_the_batch_is_stopping_or_deleted(bench: Bench) -> None:
    created = await bench.create(5)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    await bench.store.cancel("acme", created.id)
    renewal = await queue.renew(claim, [0, 1])
    assert (renewal.lost, renewal.stopping) == (frozenset(), True)
    await finish(queue, claim)
    renewal = await queue.renew(claim, [0, 1])
    assert (renewal.lost, renewal.stopping) == ({0, 1}, True)
    await bench.store.delete("acme", created.id)
    assert (await queue.renew(claim, [0, 1])).stopping


async def test_items_of_a_dead_worker_come_first_and_say_that_they_were_lost(bench: Bench) -> None:
    created = await bench.create(6)
    await bench.queue().claim(2)
    await bench.leases_pass(created)
    [claim] = await bench.queue().claim(4)
    assert [(lease.index, lease.lost) for lease in claim.leases] == [(0, 1), (1, 1), (2, 0), (3, 0)]


# Giving back


async def test_a_retry_waits_for_its_time_and_remembers_its_tries(bench: Bench) -> None:
    created = await bench.create(2)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    assert await queue.release(claim, [Release(0, delay_ms=60_000, tries=3, refusals=2), Release(1)]) == 2
    [again] = await bench.queue().claim(5)
    assert again.leases == (Lease(1, tries=0, lost=0, refusals=0),)
    await bench.time_passes(created)
    [later] = await bench.queue().claim(5)
    assert later.leases == (Lease(0, tries=3, lost=0, refusals=2),)
    await bench.queue().release(later, [Release(0)])
    [last] = await bench.queue().claim(5)
    assert last.leases == later.leases, "without tries both are left"


async def test_a_batch_waiting_for_a_retry_is_offered_again_at_its_time(bench: Bench) -> None:
    created = await bench.create(1)
    queue = bench.queue()
    [claim] = await queue.claim(1)
    assert await queue.claim(1) == []
    await queue.release(claim, [Release(0, delay_ms=30_000)])
    now = await bench.server.now()
    wake = await bench.redis.zscore(bench.keys.scheduler.wake, created.id)
    assert wake == pytest.approx(now + 30_000, abs=5_000)


async def test_a_retry_that_is_run_waits_no_more(bench: Bench) -> None:
    created = await bench.create(1)
    queue = bench.queue()
    [claim] = await queue.claim(1)
    await queue.release(claim, [Release(0)])
    await queue.claim(1)
    progress = await bench.store.progress(created.id)
    assert progress is not None
    assert (progress.leased, progress.retrying) == (1, 0)


async def test_a_batch_all_in_flight_is_offered_again_when_a_lease_would_pass(bench: Bench) -> None:
    created = await bench.create(2)
    queue = bench.queue(lease_ms=40_000)
    await queue.claim(5)
    now = await bench.server.now()
    wake = await bench.redis.zscore(bench.keys.scheduler.wake, created.id)
    assert wake == pytest.approx(now + 40_000, abs=5_000)


async def test_a_drained_worker_leaves_its_items_to_the_next_at_once(bench: Bench) -> None:
    await bench.create(4)
    queue = bench.queue()
    [claim] = await queue.claim(4)
    await queue.release(claim, [Release(lease.index) for lease in claim.leases])
    [again] = await bench.queue().claim(4)
    assert [(lease.index, lease.lost) for lease in again.leases] == [(index, 0) for index in range(4)]


async def test_giving_back_the_last_items_of_a_canceled_batch_ends_it(bench: Bench) -> None:
    created = await bench.create(3)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    await bench.store.cancel("acme", created.id)
    await queue.release(claim, [Release(0), Release(1)])
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.unrecorded) == ("ended", 3)


# Suspects


async def lose(bench: Bench, claim: Claim) -> None:
    """The worker of this claim dies."""
    await bench.leases_pass(claim.batch, [lease.index for lease in claim.leases])


async def lose_twice(bench: Bench, total: int) -> None:
    await bench.create(total)
    for _ in range(2):
        [claim] = await bench.queue().claim(total)
        await lose(bench, claim)


async def test_an_item_lost_twice_is_given_alone_and_to_an_idle_worker_only(bench: Bench) -> None:
    await lose_twice(bench, 3)
    busy, idle, other = bench.queue(), bench.queue(), bench.queue()
    [claim] = await busy.claim(8)
    assert (claim.leases, claim.suspects) == ((), 3)  # reported so that the worker lets its slots run empty
    await bench.redis.zadd(bench.keys.scheduler.wake, {(await bench.store.page("acme")).records[0].id: 1})
    [claim] = await idle.claim(8, idle=True)
    assert ([lease.lost for lease in claim.leases], claim.alone, claim.suspects) == ([2], True, 2)
    [claim] = await other.claim(8, idle=True)
    assert (len(claim.leases), claim.alone, claim.suspects) == (1, True, 1)


async def test_a_suspect_in_flight_is_not_given_to_another_worker_even_if_it_is_still_noted(bench: Bench) -> None:
    await lose_twice(bench, 1)
    [claim] = await bench.queue().claim(1, idle=True)
    keys = bench.keys.batch(claim.batch.id)
    await bench.redis.zadd(keys.suspect, {0: 1})  # as a crash in the middle of the claim leaves it
    await bench.time_passes(claim.batch)
    assert await bench.queue().claim(1, idle=True) == []
    assert await bench.redis.zcard(keys.suspect) == 0


async def test_a_busy_worker_hears_of_waiting_suspects_and_goes_on_with_other_items(bench: Bench) -> None:
    created = await bench.create(10)
    for _ in range(2):
        [claim] = await bench.queue().claim(3)
        await lose(bench, claim)
    [claim] = await bench.queue().claim(4)
    assert ([lease.index for lease in claim.leases], claim.alone, claim.suspects) == ([3, 4, 5, 6], False, 3)
    assert (await bench.store.retrieve("acme", created.id)).status == "in_progress"


async def test_an_item_lost_too_often_is_given_up_with_an_error(bench_with: Callable[..., Bench]) -> None:
    bench = bench_with(max_lost=3)
    await lose_twice(bench, 2)
    [record] = (await bench.store.page("acme")).records
    [poison] = await bench.queue().claim(4, idle=True)
    assert [lease.index for lease in poison.leases] == [0]
    await lose(bench, poison)
    assert await bench.drain() == 1
    record = await bench.store.retrieve("acme", record.id)
    assert (record.status, record.succeeded, record.errored) == ("ended", 1, 1)
    first, second = await bench.lines(record)
    assert (first["custom_id"], first["result"]["type"]) == ("item-0", "errored")
    assert first["result"]["error"]["error"]["type"] == "api_error"
    assert second["result"]["type"] == "succeeded"


async def test_giving_up_the_last_open_item_ends_the_batch(bench_with: Callable[..., Bench]) -> None:
    bench = bench_with(max_lost=1)
    created = await bench.create(1)
    [claim] = await bench.queue().claim(1)
    await lose(bench, claim)
    assert await bench.queue().claim(1) == []
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.errored) == ("ended", 1)


async def test_a_suspect_that_succeeds_is_recorded_like_any_other(bench: Bench) -> None:
    await lose_twice(bench, 5)
    assert await bench.drain() == 5
    [record] = (await bench.store.page("acme")).records
    assert (record.status, record.succeeded) == ("ended", 5)


# Stopping


async def test_an_expired_batch_gives_no_items_and_ends_with_expired_ones(bench_with: Callable[..., Bench]) -> None:
    bench = bench_with(lifetimes=Lifetimes(expiry=0))
    created = await bench.create(3)
    assert await bench.queue().claim(5) == []
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.rest, record.cancel) == ("ended", "expired", None)
    assert [line["result"]["type"] for line in await bench.lines(record)] == ["expired"] * 3


@pytest.mark.covers("Batches · spend caps")
async def test_a_spend_cap_stops_the_batch_and_what_was_not_sent_is_an_error(bench: Bench) -> None:
    created = await bench.create(4, spend_cap=100)
    queue = bench.queue()
    [first] = await queue.claim(1)
    await finish(queue, first, cost=60)
    [second] = await queue.claim(1)
    await queue.release(second, [Release(1, cost=50)])
    assert await queue.claim(1) == [], "failed attempts cost as well"
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.rest, record.spend) == ("ended", "capped", 110)
    lines = await bench.lines(record)
    assert [line["result"]["type"] for line in lines] == ["succeeded", "errored", "errored", "errored"]
    assert lines[1]["result"]["error"]["error"]["type"] == "billing_error"


async def test_a_result_that_is_not_kept_is_not_charged_again(bench: Bench) -> None:
    created = await bench.create(2)
    queue = bench.queue()
    await queue.claim(2)
    for _ in range(3):
        await queue.done(created.id, [result(0, cost=7)])
    assert (await bench.store.retrieve("acme", created.id)).spend == 7


# Durability


async def test_a_batch_that_no_replica_confirms_is_refused_and_withdrawn(bench_with: Callable[..., Bench]) -> None:
    bench = bench_with(durability="replica", confirm_ms=20)
    with pytest.raises(Unavailable, match="could not be stored durably"):
        await bench.create(3)
    assert (await bench.store.page("acme")).records == ()
    assert [key for key in await bench.all_keys() if "sync" not in key] == ["tenants"]


async def test_with_an_idempotency_key_an_unconfirmed_batch_waits_for_the_next_attempt(
    bench_with: Callable[..., Bench],
) -> None:
    bench = bench_with(durability="replica", confirm_ms=20)
    for _ in range(2):
        with pytest.raises(Unavailable, match="could not be stored durably"):
            await bench.create(3, idempotency_key="again")
    [waiting] = (await bench.store.page("acme")).records
    assert await bench.drain() == 0
    confirmed = Bench(bench.redis, keys=bench.keys)
    assert (await confirmed.create(3, idempotency_key="again")).id == waiting.id
    assert await confirmed.drain() == 3


async def test_the_disk_confirms_a_batch_where_the_server_can_and_is_refused_at_start_elsewhere(
    bench_with: Callable[..., Bench],
) -> None:
    bench = bench_with(durability="fsync")
    facts = await bench_with().server.check()
    can_wait = facts.product.startswith("valkey") or int(facts.version.split(".")[0]) >= 8
    if can_wait:
        await bench.server.check()
        assert await bench.create(3)
        assert await bench.drain() == 3
    else:
        with pytest.raises(Unavailable, match=f"needs the command WAITAOF.*{facts.product}"):
            await bench.server.check()
