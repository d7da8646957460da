"""Learned adaptations between processes: shared, safe to repeat, readable by older versions, trimmed."""

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from gateway.errors import Unavailable
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.learned import LIFETIME_SECONDS, LearnedAdaptations
from gateway.upstream.vendors.learned_store import MAX_SHARED, LearnedStore
from tests.upstream.vendors.test_learned import LOOSE, SYSTEM, Clock, route

NAMED = Adaptation("drop_fields", ("top_k", "min_p"))
LIMITED = Adaptation("max_tokens", limit=8192)


def process(server: FakeServer, clock: Clock) -> LearnedStore:
    return LearnedStore(FakeAsyncRedis(server=server), LearnedAdaptations(clock), clock=clock)


async def test_each_process_comes_to_know_what_any_has_learned() -> None:
    server, clock = FakeServer(), Clock()
    one, other = process(server, clock), process(server, clock)
    one.learned.learn(route(), [SYSTEM, NAMED])
    other.learned.learn(route("other"), [LIMITED])
    for store in (one, other, one, other):
        await store.share()
    for store in (one, other):
        assert set(store.learned.known(route())) == {SYSTEM, NAMED}
        assert store.learned.known(route("other")) == (LIMITED,)


async def test_expired_adaptations_are_removed() -> None:
    server, clock = FakeServer(), Clock()
    store = process(server, clock)
    store.learned.learn(route(), [SYSTEM])
    await store.share()
    clock.now += LIFETIME_SECONDS
    store.learned.learn(route(), [LOOSE])
    await store.share()
    await store.share()
    assert await store.redis.hlen(store.keys.learned) == 1


async def test_the_oldest_go_when_there_are_too_many() -> None:
    server, clock = FakeServer(), Clock()
    store = process(server, clock)
    fields = {f'["s","m{number}",["system_as_user",[],0]]': clock.now + 1 + number for number in range(MAX_SHARED + 5)}
    await store.redis.hset(store.keys.learned, mapping=fields)  # type: ignore[misc]
    await store.share()
    assert await store.redis.hlen(store.keys.learned) == MAX_SHARED
    assert not await store.redis.hexists(store.keys.learned, '["s","m0",["system_as_user",[],0]]')


async def test_adaptations_of_a_newer_version_are_left_alone() -> None:
    server, clock = FakeServer(), Clock()
    store = process(server, clock)
    newer = '["s","m",["some_newer_kind",[],0]]'
    await store.redis.hset(store.keys.learned, newer, clock.now + 9)  # type: ignore[misc]
    await store.share()
    assert await store.redis.hexists(store.keys.learned, newer)


async def test_adaptations_learned_during_an_outage_of_redis_are_shared_later() -> None:
    server, clock = FakeServer(), Clock()
    one, other = process(server, clock), process(server, clock)
    one.learned.learn(route(), [SYSTEM])
    server.connected = False
    with pytest.raises(Unavailable):
        await one.share()
    server.connected = True
    await one.share()
    await other.share()
    assert other.learned.known(route()) == (SYSTEM,)
