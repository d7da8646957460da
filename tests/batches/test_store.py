"""Batches in front ends: create, show, list, cancel, delete, read results; and refusals."""

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.batches.lifecycle import BatchOptions, Lifetimes, to_batch_id
from gateway.batches.queue import Release
from gateway.batches.server import BatchServer
from gateway.batches.splitter import Item
from gateway.batches.staging import Staging
from gateway.batches.store import BatchStore
from gateway.errors import Conflict, InternalError, InvalidRequest, NotFound, Overloaded, RateLimited, Unavailable
from gateway.redis import scripts
from gateway.redis.embedded import wheel_binary
from gateway.redis.keys import DATA_VERSION, RESERVATION_SECONDS
from gateway.redis.server import RedisServer
from tests.batches.conftest import Bench, finish, indices, item, result
from tests.chaos.processes import Server

DAY = 24 * 3600 * 1000


# Creating


async def test_a_created_batch_is_there_with_all_it_was_given(bench: Bench) -> None:
    options = BatchOptions(
        priority=2, spend_cap=9, api_version="2023-01-01", betas=("beta-1",), context={"request_id": "req_1"}
    )
    staging = await bench.store.begin("acme", options)
    await staging.add(item(0))
    await staging.add(Item("other", b"{}", "another-model", ""))
    created = await staging.commit()
    record = await bench.store.retrieve("acme", created.id)
    assert replace(record, read=created.read) == created
    assert (record.status, record.total, record.tenant, record.version) == ("in_progress", 2, "acme", DATA_VERSION)
    assert (record.priority, record.spend_cap, record.api_version) == (2, 9, "2023-01-01")
    assert (record.betas, record.context) == (("beta-1",), {"request_id": "req_1"})
    assert record.models == ("model", "another-model")
    assert record.expires == record.created + DAY


async def test_items_of_any_size_come_back_in_their_order(bench: Bench) -> None:
    sizes = [10, 200_000, 3, *[2500] * 150, 3_000_000, 7]
    staging = await bench.store.begin("acme")
    for number, size in enumerate(sizes):
        await staging.add(Item(str(number), b"%0*d" % (size, number), "", ""))
    record = await staging.commit()
    assert record.total == len(sizes)
    queue, seen = bench.queue(), 0
    while claims := await queue.claim(50):
        for claim in claims:
            for work in await queue.items(claim):
                index = work.lease.index
                assert (work.item.custom_id, len(work.item.params)) == (str(index), sizes[index])
                assert int(work.item.params[-12:]) == index
                seen += 1
    assert seen == len(sizes)


async def test_a_batch_is_invisible_before_the_commit(bench: Bench) -> None:
    staging = await bench.store.begin("acme")
    for number in range(700):
        await staging.add(item(number))
    assert (await bench.store.page("acme")).records == ()
    assert await bench.queue().claim(10) == []
    with pytest.raises(NotFound):
        await bench.store.retrieve("acme", staging.batch_id)
    keys = await bench.all_keys()
    assert keys, "chunks are staged"
    for key in keys:
        assert 0 < await bench.redis.ttl(bench.keys.prefix + key) <= 3600


async def test_a_discarded_upload_leaves_nothing(bench: Bench) -> None:
    staging = await bench.store.begin("acme")
    for number in range(700):
        await staging.add(item(number))
    await staging.discard()
    await staging.discard()
    assert await bench.all_keys() == []


class Leaving(Redis):
    """Cannot be reached once a batch was committed, until it is `back`."""

    away: bool = False

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        if self.away:
            raise RedisConnectionError("refused")
        reply = await super().evalsha(sha, numkeys, *keys_and_args)
        self.away = sha == scripts.COMMIT.sha
        return reply

    def pipeline(self, *arguments: Any, **options: Any) -> Any:
        if self.away:
            raise RedisConnectionError("refused")
        return super().pipeline(*arguments, **options)


async def test_a_failed_creation_is_taken_back_once_redis_is_there_again(bench: Bench) -> None:
    client = Leaving(connection_pool=bench.redis.connection_pool)
    store = BatchStore(BatchServer(RedisServer(client, bench.keys)))
    staging = await store.begin("acme")
    await staging.add(item(0))
    with pytest.raises(Unavailable):
        await staging.commit()
    await store.discard(staging)
    with pytest.raises(Unavailable):
        await store.finish_discards()
    client.away = False
    assert len((await bench.store.page("acme")).records) == 1, "it was committed"
    await store.finish_discards()
    assert await bench.all_keys() == ["tenants"]
    await store.finish_discards()


async def test_a_committed_batch_does_not_expire_while_it_is_in_progress(bench: Bench) -> None:
    record = await bench.create(3)
    keys = bench.keys.batch(record.id)
    for key in (keys.meta, keys.input, keys.ids):
        assert await bench.redis.ttl(key) == -1


@pytest.mark.parametrize("part", ["input", "ids"])
async def test_an_upload_whose_staging_has_expired_is_refused_and_leaves_nothing(bench: Bench, part: str) -> None:
    staging = await bench.store.begin("acme")
    for number in range(700):
        await staging.add(item(number))
    await bench.redis.unlink(getattr(bench.keys.batch(staging.batch_id), part))
    with pytest.raises(Unavailable, match="took too long"):
        await staging.commit()
    await staging.discard()
    assert (await bench.store.page("acme")).records == ()
    assert await bench.all_keys() == ["tenants"]


async def test_committing_again_changes_nothing_of_what_has_happened_since(bench: Bench) -> None:
    staging = await bench.store.begin("acme")
    for number in range(3):
        await staging.add(item(number))
    await staging.commit()
    await bench.queue().claim(2)
    again = await staging.commit()
    assert (again.id, again.total) == (staging.batch_id, 3)
    assert indices(await bench.queue().claim(5)) == [2]
    assert await bench.redis.ttl(bench.keys.batch(again.id).input) == -1


# Idempotency


@pytest.mark.covers("Batches · idempotency keys")
async def test_the_same_idempotency_key_gives_the_same_batch(bench: Bench) -> None:
    first = await bench.create(3, idempotency_key="again")
    second = await bench.create(3, idempotency_key="again")
    assert second.id == first.id
    assert len((await bench.store.page("acme")).records) == 1
    assert await bench.drain() == 3


async def test_the_same_idempotency_key_with_other_requests_is_a_conflict(bench: Bench) -> None:
    await bench.create(3, idempotency_key="again")
    with pytest.raises(Conflict, match="other requests") as refused:
        await bench.create(4, idempotency_key="again")
    assert refused.value.should_retry is False
    assert len((await bench.store.page("acme")).records) == 1


async def test_an_idempotency_key_belongs_to_its_tenant(bench: Bench) -> None:
    first = await bench.create(3, "acme", idempotency_key="again")
    second = await bench.create(3, "umbrella", idempotency_key="again")
    assert second.id != first.id


async def test_an_idempotency_key_outlives_its_batch(bench: Bench) -> None:
    created = await bench.create(1, idempotency_key="again")
    await bench.store.cancel("acme", created.id)
    await bench.store.delete("acme", created.id)
    with pytest.raises(Conflict, match="a batch that has been deleted"):
        await bench.create(1, idempotency_key="again")


async def test_an_idempotency_key_still_in_use_is_a_conflict_to_be_retried(bench: Bench) -> None:
    created = await bench.create(1, idempotency_key="again")
    # As it is before the commit.
    await bench.redis.unlink(bench.keys.batch_meta(created.id))
    [reservation] = [name async for name in bench.redis.scan_iter(f"{bench.keys.prefix}*:idem:*")]
    await bench.redis.expire(reservation, RESERVATION_SECONDS)
    with pytest.raises(Conflict, match="still being processed") as conflict:
        await bench.create(1, idempotency_key="again")
    assert conflict.value.retry_after


# Listing


async def test_batches_are_listed_newest_first_in_pages(bench: Bench) -> None:
    ids = [(await bench.create(1)).id for _ in range(5)]
    await bench.create(1, "umbrella")
    newest_first = await ordered(bench)
    assert sorted(newest_first) == sorted(ids)
    assert newest_first[0] in ids[-2:], "batches of one millisecond have no order among them"
    first = await bench.store.page("acme", limit=2)
    second = await bench.store.page("acme", limit=2, after_id=first.records[-1].id)
    third = await bench.store.page("acme", limit=2, after_id=second.records[-1].id)
    assert [record.id for page in (first, second, third) for record in page.records] == newest_first
    assert [page.has_more for page in (first, second, third)] == [True, True, False]


async def test_pages_can_be_read_backwards(bench: Bench) -> None:
    for _ in range(5):
        await bench.create(1)
    newest_first = await ordered(bench)
    page = await bench.store.page("acme", limit=2, before_id=newest_first[4])
    assert ([record.id for record in page.records], page.has_more) == (newest_first[2:4], True)
    page = await bench.store.page("acme", limit=2, before_id=newest_first[2])
    assert ([record.id for record in page.records], page.has_more) == (newest_first[0:2], False)
    page = await bench.store.page("acme", limit=2, before_id=newest_first[0])
    assert (page.records, page.has_more) == ((), False)


async def test_paging_is_not_disturbed_by_new_batches(bench: Bench) -> None:
    for _ in range(4):
        await bench.create(1)
    newest_first = await ordered(bench)
    first = await bench.store.page("acme", limit=2)
    await bench.create(1)
    second = await bench.store.page("acme", limit=2, after_id=first.records[-1].id)
    assert [record.id for record in (*first.records, *second.records)] == newest_first


async def test_a_list_can_be_emptied_while_it_is_read(bench: Bench) -> None:
    ids = {(await bench.create(1)).id for _ in range(5)}
    await bench.drain(slots=100)
    seen: set[str] = set()
    after: str | None = None
    while (page := await bench.store.page("acme", limit=2, after_id=after)).records:
        for record in page.records:
            seen.add(record.id)
            await bench.store.delete("acme", record.id)
        after = page.records[-1].id
    assert seen == ids


async def test_a_page_is_full_though_entries_of_unfinished_uploads_lie_between(bench: Bench) -> None:
    for number in range(6):
        record = await bench.create(1)
        if number % 2:
            await bench.redis.unlink(*bench.keys.batch(record.id))
    page = await bench.store.page("acme", limit=2)
    assert (len(page.records), page.has_more) == (2, True)
    before = await bench.store.page("acme", limit=2, before_id=(await ordered(bench))[-1])
    assert (len(before.records), before.has_more) == (2, False)


async def ordered(bench: Bench) -> list[str]:
    """All ids, as one page gives them."""
    return [record.id for record in (await bench.store.page("acme", limit=100)).records]


BAD_CURSORS = {
    "an id that is none": ({"after_id": "batch_1"}, "after_id: Not the id"),
    "an id that is none, backwards": ({"before_id": "msgbatch_{}"}, "before_id: Not the id"),
    "both": ({"after_id": "a", "before_id": "b"}, "after_id: Cannot be given together"),
}


@pytest.mark.parametrize(("cursor", "message"), BAD_CURSORS.values(), ids=BAD_CURSORS)
async def test_a_bad_cursor_is_refused(bench: Bench, cursor: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await bench.store.page("acme", **cursor)  # type: ignore[arg-type]


# Other tenants


async def test_another_tenants_batch_is_not_found_in_the_same_words_as_an_unknown_one(bench: Bench) -> None:
    record = await bench.create(1, "acme")
    operations = (bench.store.retrieve, bench.store.cancel, bench.store.delete, bench.store.results)
    for operation in operations:
        messages = set()
        for batch_id in (record.id, to_batch_id(record.created, bytes(9)), "no-id", "msgbatch_{x}"):
            with pytest.raises(NotFound) as refusal:
                await operation("umbrella", batch_id)
            messages.add(refusal.value.message)
        assert len(messages) == 1
    assert (await bench.store.page("umbrella")).records == ()
    assert (await bench.store.retrieve("acme", record.id)).status == "in_progress"


async def test_tenants_of_any_name_are_kept_apart(bench: Bench) -> None:
    names = ["a", "a b", "a{b}", "ä/ö", "a:batches", "a%20b"]
    for name in names:
        await bench.create(2, name)
    for name in names:
        assert [record.tenant for record in (await bench.store.page(name)).records] == [name]
    assert await bench.drain() == 2 * len(names)


# Cancelling


async def test_cancelling_a_batch_without_claims_ends_it_at_once(bench: Bench) -> None:
    created = await bench.create(3)
    record = await bench.store.cancel("acme", created.id)
    assert (record.status, record.rest, record.succeeded, record.errored) == ("ended", "canceled", 0, 0)
    assert [line["result"]["type"] for line in await bench.lines(record)] == ["canceled"] * 3
    assert await bench.queue().claim(10) == []


async def test_what_is_in_flight_may_finish_and_the_rest_is_canceled(bench: Bench) -> None:
    created = await bench.create(5)
    queue = bench.queue()
    [claim] = await queue.claim(2)
    record = await bench.store.cancel("acme", created.id)
    assert (record.status, record.ended) == ("canceling", None)
    assert record.cancel is not None
    assert await bench.queue().claim(10) == [], "nothing new is started"
    assert await finish(queue, claim) == ["recorded", "recorded"]
    ended = await bench.store.retrieve("acme", created.id)
    assert (ended.status, ended.succeeded, ended.unrecorded) == ("ended", 2, 3)
    kinds = [line["result"]["type"] for line in await bench.lines(ended)]
    assert kinds == ["succeeded", "succeeded", "canceled", "canceled", "canceled"]


async def test_cancelling_again_changes_nothing(bench: Bench) -> None:
    created = await bench.create(5)
    await bench.queue().claim(2)
    first = await bench.store.cancel("acme", created.id)
    second = await bench.store.cancel("acme", created.id)
    assert replace(second, read=first.read) == first


async def test_cancelling_an_ended_batch_changes_nothing(bench: Bench) -> None:
    created = await bench.create(2)
    await bench.drain()
    record = await bench.store.cancel("acme", created.id)
    assert (record.status, record.rest, record.cancel, record.succeeded) == ("ended", "", None, 2)


async def test_cancelling_takes_the_same_few_commands_for_any_size(bench: Bench) -> None:
    async def commands_of_cancelling(total: int) -> int:
        created = await bench.create(total)
        before = await processed(bench.redis)
        await bench.store.cancel("acme", created.id)
        return await processed(bench.redis) - before

    assert await commands_of_cancelling(5000) == await commands_of_cancelling(10)


async def processed(redis: Redis) -> int:
    """Calls of all commands so far, those made by scripts among them."""
    return sum(figures["calls"] for figures in (await redis.info("commandstats")).values())


# Deleting


@pytest.mark.parametrize("status", ["in_progress", "canceling"])
async def test_a_running_batch_cannot_be_deleted(bench: Bench, status: str) -> None:
    created = await bench.create(2)
    await bench.queue().claim(1)
    if status == "canceling":
        await bench.store.cancel("acme", created.id)
    with pytest.raises(InvalidRequest, match=f"is still {status} and cannot be deleted. Cancel it first"):
        await bench.store.delete("acme", created.id)
    assert (await bench.store.retrieve("acme", created.id)).status == status


async def test_a_deleted_batch_is_gone_with_all_its_keys(bench: Bench) -> None:
    created = await bench.create(70)
    await bench.drain()
    await bench.store.delete("acme", created.id)
    for operation in (bench.store.retrieve, bench.store.cancel, bench.store.delete, bench.store.results):
        with pytest.raises(NotFound):
            await operation("acme", created.id)
    assert (await bench.store.page("acme")).records == ()
    assert await bench.all_keys() == ["tenants"]


# Results


async def test_results_are_those_recorded_each_with_its_own_item(bench: Bench) -> None:
    created = await bench.create(150)
    queue = bench.queue()
    for claim in await queue.claim(150):
        work = [lease.index for lease in claim.leases]
        await queue.done(created.id, [result(index, succeeded=index % 3 > 0) for index in work])
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.succeeded, record.errored) == ("ended", 100, 50)
    lines = await bench.lines(record)
    assert [line["custom_id"] for line in lines] == [f"item-{index}" for index in range(150)]
    assert all(line["result"]["message"]["n"] == index for index, line in enumerate(lines))
    assert all((line["result"]["type"] == "succeeded") == (index % 3 > 0) for index, line in enumerate(lines))


async def test_pieces_stay_small_when_lines_are_long(bench: Bench) -> None:
    created = await bench.create(12)
    queue = bench.queue()
    [claim] = await queue.claim(12)
    for lease in claim.leases:
        long = replace(result(lease.index), line=b'{"text":"%s"}' % (b"x" * 1_500_000))
        await queue.done(created.id, [long])
    pieces = [len(piece) async for piece in await bench.store.results("acme", created.id)]
    assert sum(pieces) > 12 * 1_500_000
    assert max(pieces) < 2_000_000, "one line at a time"


async def test_there_are_no_results_before_the_end(bench: Bench) -> None:
    created = await bench.create(2)
    with pytest.raises(InvalidRequest, match="has not ended yet"):
        await bench.store.results("acme", created.id)


async def test_results_go_after_their_retention_and_the_batch_stays(bench_with: Callable[..., Bench]) -> None:
    bench = bench_with(lifetimes=Lifetimes(retention=0))
    created = await bench.create(2)
    await bench.drain()
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.succeeded, record.is_archived) == ("ended", 2, True)
    with pytest.raises(NotFound, match="were kept until"):
        await bench.store.results("acme", created.id)
    keys = bench.keys.batch(created.id)
    assert await bench.redis.exists(keys.ok, keys.err, keys.ids) == 0, "their memory is free"
    assert [shown.id for shown in (await bench.store.page("acme")).records] == [created.id]


async def test_an_ended_batch_keeps_what_can_be_shown_and_only_for_so_long(bench: Bench) -> None:
    created = await bench.create(3)
    queue = bench.queue()
    await queue.claim(2)
    await queue.done(created.id, [result(0), result(1, succeeded=False)])
    await bench.store.cancel("acme", created.id)
    keys = bench.keys.batch(created.id)
    for key, days in ((keys.meta, 90), (keys.ok, 29), (keys.err, 29), (keys.ids, 29)):
        assert await bench.redis.pttl(key) == pytest.approx(days * DAY, abs=60_000)
    others = await bench.redis.exists(keys.input, keys.lease, keys.own, keys.retry, keys.tries, keys.grant)
    assert others == 0


async def test_results_that_have_disappeared_are_an_error_and_never_called_canceled(bench: Bench) -> None:
    created = await bench.create(3)
    queue = bench.queue()
    await finish(queue, (await queue.claim(2))[0])
    await bench.store.cancel("acme", created.id)
    await bench.redis.hdel(bench.keys.batch(created.id).ok, 0)
    with pytest.raises(InternalError, match="were lost"):
        await bench.lines(created)


# Refusing


async def test_a_full_server_is_given_no_more_batches(bench_with: Callable[..., Bench]) -> None:
    await bench_with(memory_share=0.9).create(1)
    with pytest.raises(Overloaded, match="no room") as refusal:
        await bench_with(memory_share=0.0).store.begin("acme")
    assert refusal.value.retry_after


async def test_an_upload_is_stopped_when_the_server_fills_up_meanwhile(bench_with: Callable[..., Bench]) -> None:
    facts = await bench_with().server.check()
    nearly_full = bench_with(memory_share=(facts.used_memory + 4_000_000) / facts.memory_limit)
    staging = await nearly_full.store.begin("acme")
    with pytest.raises(Overloaded, match="no room"):
        await fill(staging, megabytes=40)
    await staging.discard()


async def fill(staging: Staging, megabytes: int) -> None:
    for number in range(megabytes):
        await staging.add(Item(str(number), os.urandom(1_000_000), "", ""))


async def test_a_newer_versions_batch_is_refused_in_clear_words(bench: Bench) -> None:
    created = await bench.create(2)
    await bench.redis.hset(bench.keys.batch_meta(created.id), "v", DATA_VERSION + 1)
    for operation in (bench.store.retrieve, bench.store.cancel, bench.store.delete, bench.store.results):
        with pytest.raises(Unavailable, match=rf"newer version of the gateway \(data version {DATA_VERSION + 1}\)"):
            await operation("acme", created.id)


async def test_a_newer_versions_batch_is_left_to_newer_workers(bench: Bench) -> None:
    created = await bench.create(2)
    old = bench.queue()
    [claim] = await old.claim(1)
    await old.release(claim, [Release(0)])
    await bench.redis.hset(bench.keys.batch_meta(created.id), mapping={"v": DATA_VERSION + 1, "expires": 1})
    before = await bench.redis.hgetall(bench.keys.batch_meta(created.id))
    assert await old.claim(5) == []
    assert await bench.sweeper.settle(created.id) is False
    assert await bench.redis.hgetall(bench.keys.batch_meta(created.id)) == before


async def test_the_server_reports_what_an_operator_should_know(bench: Bench) -> None:
    facts = await bench.server.check()
    assert facts.eviction_policy == "noeviction"
    assert facts.persistent
    assert 0 < facts.used_memory < facts.memory_limit <= 2 * 1024**3
    assert facts.product.split()[0] in ("valkey", "redis")


async def test_progress_counts_every_item_once_until_the_end(bench: Bench) -> None:
    created = await bench.create(10)
    queue = bench.queue()
    [claim] = await queue.claim(6)
    await queue.done(created.id, [result(0), result(1, succeeded=False)])
    await queue.release(claim, [Release(2, delay_ms=60_000)])
    progress = await bench.store.progress(created.id)
    assert progress is not None
    figures = (progress.pending, progress.leased, progress.retrying, progress.suspect)
    assert (figures, progress.succeeded, progress.errored) == ((4, 3, 1, 0), 1, 1)
    await bench.time_passes(created)
    await finish(queue, claim)
    await bench.drain()
    assert await bench.store.progress(created.id) is None


async def test_batches_sent_with_one_idempotency_key_must_have_the_same_params(bench: Bench) -> None:
    """Same ids, same lengths, other content: the digest is of the params themselves."""
    for text, expected in ((b'{"n":1}', None), (b'{"n":1}', None), (b'{"n":2}', Conflict)):
        staging = await bench.store.begin("acme", BatchOptions(idempotency_key="once"))
        await staging.add(Item("a", text, "model", "prefix"))
        if expected is None:
            await staging.commit()
            continue
        with pytest.raises(expected, match="other requests"):
            await staging.commit()
        await staging.discard()


@pytest.fixture
async def own_server() -> AsyncIterator[Redis]:
    """A server that lets its memory be limited."""
    binary = wheel_binary()
    assert binary is not None
    server = Server(binary, "no")
    await server.start()
    client = server.client()
    yield client
    await client.aclose()
    await server.stop()


@pytest.mark.parametrize("in_flight", [0, 2])
async def test_a_batch_can_be_canceled_and_deleted_when_redis_has_no_memory_left(
    own_server: Redis, in_flight: int
) -> None:
    bench = Bench(own_server)
    created, queue = await bench.create(5), bench.queue()
    claims = await queue.claim(in_flight) if in_flight else []
    await own_server.config_set("maxmemory", 1)
    with pytest.raises(Overloaded):
        await bench.queue().claim(1)
    await bench.store.cancel("acme", created.id)
    for claim in claims:
        assert await finish(queue, claim) == ["recorded"] * in_flight
    record = await bench.store.retrieve("acme", created.id)
    assert (record.status, record.succeeded) == ("ended", in_flight)
    await bench.store.delete("acme", created.id)
    assert await bench.all_keys() == ["tenants"]


async def test_a_tenant_beyond_its_share_of_the_store_is_refused_and_no_other(bench_with: Callable[..., Bench]) -> None:
    facts = await bench_with().server.check()
    bench = bench_with(tenant_share=100_000 / (0.7 * facts.memory_limit))

    async def upload(tenant: str) -> str:
        staging = await bench.store.begin(tenant)
        await staging.add(Item("a", os.urandom(150_000), "model", "prefix"))
        return (await staging.commit()).id

    first = await upload("greedy")
    with pytest.raises(RateLimited, match="GATEWAY_BATCH_TENANT_SHARE"):
        await upload("greedy")
    await upload("modest")
    await bench.store.cancel("greedy", first)
    await upload("greedy")
