"""Entries, their bounds, locks and counts, on a real server."""

import asyncio
from typing import Any

import pytest

from gateway.cache.admin import CacheUpkeep, EntryFilter, Stats
from gateway.cache.client import CacheAway
from gateway.cache.store import OVERHEAD_BYTES, SHARDS, CacheLimits, CacheStore
from gateway.errors import Unavailable
from gateway.redis.connections import cache_client
from tests.cache.conftest import Bench, to_entry, to_place


async def there(store: CacheStore, *numbers: int) -> list[int]:
    return [number for number in numbers if await store.get(to_place(number).fingerprint) is not None]


async def test_entry_of_one_front_end_is_read_by_another(bench: Bench) -> None:
    assert await bench.store().keep(to_place(1), to_entry(), 0) == "kept"
    assert await bench.store().get(to_place(1).fingerprint) == to_entry()


async def test_entries_end_a_tenth_before_or_after_their_time(bench: Bench) -> None:
    store = bench.store(ttl=100.0)
    for number in range(20):
        await store.keep(to_place(number), to_entry(), 0)
    left = [await bench.redis.pttl(bench.keys.cache_entry(to_place(number).fingerprint)) for number in range(20)]
    assert all(88_000 < ms <= 110_000 for ms in left)
    assert max(left) - min(left) > 2_000


async def test_entries_above_the_entry_limit_or_the_byte_cap_are_not_stored(bench: Bench) -> None:
    assert await bench.store(entry_bytes=50).keep(to_place(1), to_entry(), 0) == "too_large"
    assert await bench.store(total_bytes=50 * len(SHARDS)).keep(to_place(1), to_entry(), 0) == "too_large"
    assert await there(bench.store(), 1) == []
    assert await CacheUpkeep(bench.store()).totals() == (0, 0)


@pytest.mark.covers("Prompt cache · bounded, the least used go first")
async def test_least_recently_used_entries_are_removed_first(bench: Bench) -> None:
    size = await size_of_one(bench)
    store = bench.store(total_bytes=len(SHARDS) * 3 * size)
    for number in (1, 2, 3):
        await store.keep(to_place(number), to_entry(), 0)
        await bench.redis.zadd(bench.keys.cache_shard("a").used, {to_place(number).fingerprint: number})
    bench.clock.now = 2e9
    store.use(to_place(1).fingerprint)
    await store.flush()
    await store.keep(to_place(4), to_entry(), 0)
    assert await there(store, 1, 2, 3, 4) == [1, 3, 4]
    stats = await CacheUpkeep(store).stats("acme")
    assert (stats.entries, stats.pushed_out) == (3, 1)
    assert stats.bytes <= 3 * size


async def size_of_one(bench: Bench) -> int:
    store = bench.store()
    await store.keep(to_place(99, tenant="sizes"), to_entry(), 0)
    size = (await CacheUpkeep(store).stats("sizes")).bytes
    await CacheUpkeep(store).purge(EntryFilter(tenant="sizes"))
    return size


async def test_the_bytes_that_are_counted_are_those_that_the_server_needs(bench: Bench) -> None:
    """Compare within a quarter, for more usual entries than fit a packed index; else the cap would not hold."""
    store, number = bench.store(), 2000
    before = (await bench.redis.info("memory"))["used_memory"]
    for at in range(number):
        await store.keep(to_place(at), to_entry(f"{at} " * 200), 0)
    used = (await bench.redis.info("memory"))["used_memory"] - before
    counted = (await CacheUpkeep(store).stats("acme")).bytes
    assert 0.75 < used / counted < 1.25, f"{used / number:.0f} bytes each, counted {counted / number:.0f}"


async def test_an_expired_entry_goes_off_the_books_when_another_is_added(bench: Bench) -> None:
    store = bench.store(ttl=1.0)
    await store.keep(to_place(1), to_entry(), 0)
    record = await bench.redis.hget(bench.keys.cache_shard("a").records, to_place(1).fingerprint)
    size, _, *rest = record.split(b" ")
    await bench.redis.hset(bench.keys.cache_shard("a").records, to_place(1).fingerprint, b" ".join([size, b"1", *rest]))
    await store.keep(to_place(2), to_entry(), 0)
    stats = await CacheUpkeep(store).stats("acme")
    assert (stats.entries, stats.expired, stats.pushed_out) == (1, 1, 0)


async def test_keeping_again_replaces(bench: Bench) -> None:
    store = bench.store()
    for text in ("one", "two"):
        await store.keep(to_place(1), to_entry(text), 0)
    entry = await store.get(to_place(1).fingerprint)
    assert entry == to_entry("two")
    assert (await CacheUpkeep(store).stats("acme")).entries == 1


async def test_an_index_that_the_server_has_evicted_is_rebuilt(bench: Bench) -> None:
    store = bench.store(total_bytes=len(SHARDS) * 2000)
    await store.keep(to_place(1), to_entry(), 0)
    shard = bench.keys.cache_shard("a")
    await bench.redis.hset(shard.totals, "bytes", 10_000)
    await bench.redis.delete(shard.records, shard.used)
    await store.keep(to_place(2), to_entry(), 0)
    assert await there(store, 2) == [2]
    assert int(await bench.redis.hget(shard.totals, "bytes")) < 2000


# Purging

PLACES = [to_place(1), to_place(2, model="m2"), to_place(3, shard="b"), to_place(4, tenant="oth er", shard="c")]
SCOPES: dict[str, tuple[EntryFilter, list[int]]] = {
    "all": (EntryFilter(), []),
    "a tenant": (EntryFilter(tenant="acme"), [4]),
    "another tenant": (EntryFilter(tenant="oth er"), [1, 2, 3]),
    "a model": (EntryFilter(model="m2"), [1, 3, 4]),
    "a tenant's model": (EntryFilter(tenant="acme", model="m1"), [2, 4]),
    "one entry": (EntryFilter(fingerprint=PLACES[0].fingerprint), [2, 3, 4]),
    "one entry of its tenant": (EntryFilter(tenant="acme", fingerprint=PLACES[0].fingerprint), [2, 3, 4]),
    "one entry of another tenant": (EntryFilter(tenant="oth er", fingerprint=PLACES[0].fingerprint), [1, 2, 3, 4]),
    "nothing": (EntryFilter(model="m3"), [1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", SCOPES)
async def test_purging(bench: Bench, name: str) -> None:
    scope, left = SCOPES[name]
    store = bench.store()
    for place in PLACES:
        await store.keep(place, to_entry(), 0)
    assert await CacheUpkeep(store).purge(scope) == 4 - len(left)
    found = [at for at, place in enumerate(PLACES, 1) if await store.get(place.fingerprint) is not None]
    assert found == left
    assert (await CacheUpkeep(store).totals())[0] == len(left)


@pytest.mark.parametrize("name", SCOPES)
async def test_answer_asked_for_before_a_purge_is_not_stored_after_it(bench: Bench, name: str) -> None:
    scope, left = SCOPES[name]
    store = bench.store()
    await CacheUpkeep(store).purge(scope)
    kept = [at for at, place in enumerate(PLACES, 1) if await store.keep(place, to_entry(), 5.0) == "kept"]
    assert set(left) <= set(kept) | ({1} if scope.fingerprint else set())
    if scope.fingerprint is None:
        assert kept == left
    await asyncio.sleep(0.002)
    assert await store.keep(PLACES[0], to_entry(), 0.0) == "kept", "and what was asked for afterwards is"


async def test_a_purge_reaches_all_of_many(bench: Bench) -> None:
    store = bench.store()
    for number in range(700):
        await store.keep(to_place(number), to_entry(), 0)
    assert await CacheUpkeep(store).purge(EntryFilter(tenant="acme")) == 700
    assert await CacheUpkeep(store).totals() == (0, 0)


# Locks


async def test_one_takes_the_lock_and_others_see_it_until_it_is_free(bench: Bench) -> None:
    one, two = bench.store(), bench.store()
    lock, taken = await one.take("f", 5.0)
    assert (taken, (await two.take("f", 5.0))[1]) == ("taken", "held")
    assert await one.hold(lock)
    await one.release(lock, barren=False)
    assert (await two.take("f", 5.0))[1] == "taken"
    assert not await one.hold(lock)


async def test_followers_are_released_when_a_call_gives_no_answer(bench: Bench) -> None:
    one, two = bench.store(), bench.store()
    lock, _ = await one.take("f", 5.0)
    await one.release(lock, barren=True)
    assert (await two.take("f", 5.0))[1] == "barren"
    assert 0 < await bench.redis.pttl(bench.keys.cache_lock("f")) <= 1000


async def test_a_lock_falls_unless_it_is_renewed_and_an_old_one_frees_nothing(bench: Bench) -> None:
    store = bench.store(lock=10.0)
    old, _ = await store.take("f", 5.0)
    assert 9_000 < await bench.redis.pttl(bench.keys.cache_lock("f")) <= 10_000
    await bench.redis.delete(bench.keys.cache_lock("f"))  # its time has passed
    new, taken = await store.take("f", 5.0)
    assert taken == "taken"
    await store.release(old, barren=False)
    assert await store.hold(new)


# Counts


async def test_counts_of_all_front_ends_add_up_and_tenants_have_their_own(bench: Bench) -> None:
    one, two = bench.store(), bench.store()
    for store, tenant, outcomes in (
        (one, "acme", ("hit", "miss", "bypass")),
        (two, "acme", ("hit", "wait", "hit")),
        (two, "other", ("miss",)),
    ):
        for outcome in outcomes:
            store.count(tenant, outcome)  # type: ignore[arg-type]
    await two.flush()
    stats = await CacheUpkeep(one).stats("acme")
    assert stats == Stats(hits=3, misses=2, waits=1, bypasses=1)
    assert stats.lookups == 5
    assert (await CacheUpkeep(one).stats("other")).misses == 1


async def test_counts_wait_for_a_redis_that_is_away(bench: Bench) -> None:
    away: Any = cache_client("unix:///nowhere/at/all")
    store = bench.store(away)
    store.count("acme", "hit")
    await store.flush()
    store.calls.redis = bench.redis
    assert (await CacheUpkeep(store).stats("acme")).hits == 1
    await away.aclose()


async def test_managing_a_redis_that_is_away_is_unavailable_and_keeping_in_it_is_not_an_error(bench: Bench) -> None:
    away = cache_client("unix:///nowhere/at/all")
    store = bench.store(away)
    assert await store.keep(to_place(1), to_entry(), 0) == "failed"
    for call in (CacheUpkeep(store).stats("acme"), CacheUpkeep(store).purge(EntryFilter())):
        with pytest.raises(Unavailable):
            await call
    with pytest.raises(CacheAway):
        await store.get(to_place(1).fingerprint)
    await store.warm()
    await away.aclose()


def test_an_entry_fits_where_the_defaults_say_that_it_does() -> None:
    assert CacheLimits().entry_bytes + OVERHEAD_BYTES <= CacheLimits().shard_bytes
