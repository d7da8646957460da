"""Requests that arrive, or wait in another front end, just as the last client of a call hangs up."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson
import pytest

from gateway.cache.admin import CacheUpkeep, EntryFilter
from gateway.cache.entry import CacheEntry
from gateway.cache.policy import USE, CachePolicy
from gateway.cache.store import CacheStore
from gateway.context import Context
from gateway.exchange.cached import CachedExchange, Shared
from gateway.exchange.hit import Hit
from gateway.messages.prompt import Prompt
from gateway.messages.validation import check_messages_request
from gateway.upstream.http.client import Call
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import one_upstream_table
from tests.cache.conftest import Bench
from tests.support.exchanges import chat_exchange
from tests.support.waiting import until

SAID = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]}
WHO = Context("req_1", tenant="acme")


@dataclass(slots=True)
class Answer:
    """A whole answer, as JSON."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    has_ended: bool = False

    async def read(self, limit: int) -> bytes:
        return orjson.dumps(SAID)

    async def pump(self, receive: Callable[[bytes], None]) -> None:
        raise AssertionError

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None: ...


@dataclass(slots=True)
class Silent:
    """An upstream that answers the first calls once `gate` is set. `calls` are those of all front ends."""

    silent: int = 1
    calls: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, call: Call) -> Answer:
        self.calls += 1
        if self.calls <= self.silent:
            await self.gate.wait()
        return Answer()

    async def close(self) -> None: ...


@pytest.fixture
def upstream() -> Silent:
    return Silent()


def front_end(bench: Bench, upstream: Silent) -> CachedExchange:
    table = one_upstream_table(Upstream("up", "http://127.0.0.1:9/v1"))
    exchange = chat_exchange(upstream, table)
    return CachedExchange(exchange, bench.store(), CachePolicy(), b"secret")


async def ask(cache: CachedExchange) -> Hit | Shared:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
    request, _ = check_messages_request(body, version=WHO.api_version, betas=WHO.betas)
    return await cache.ask(WHO, Prompt(request, 100), USE)


async def answered(cache: CachedExchange) -> CacheEntry:
    found = await ask(cache)
    if isinstance(found, Hit):
        return found.entry
    with found:
        return await found.answer()


async def hung_up(cache: CachedExchange, upstream: Silent) -> None:
    """Send a request with a client that leaves once the upstream has been called."""
    shared = await ask(cache)
    assert isinstance(shared, Shared)
    await until(lambda: upstream.calls > 0, every=0)
    with shared:
        pass


def is_waiting(cache: CachedExchange) -> bool:
    """Return whether a flight waits for another front end."""
    return any(flight.boarded.done() and flight.boarded.result() for flight in cache._flights.values())


async def test_a_request_that_comes_as_the_last_follower_leaves_does_not_join_the_aborted_call(
    bench: Bench, upstream: Silent
) -> None:
    cache = front_end(bench, upstream)
    await hung_up(cache, upstream)
    async with asyncio.timeout(5):
        assert b"ok" in (await answered(cache)).rest
    assert upstream.calls == 2
    await cache.close()


async def test_a_waiter_on_another_front_end_takes_over_an_aborted_call(bench: Bench, upstream: Silent) -> None:
    first, *others = [front_end(bench, upstream) for _ in range(4)]
    leader = await ask(first)
    assert isinstance(leader, Shared)
    waiting = [asyncio.create_task(answered(cache)) for cache in others for _ in range(2)]
    await until(lambda: all(is_waiting(cache) for cache in others), every=0)
    with leader:
        pass
    async with asyncio.timeout(5):
        assert all(b"ok" in entry.rest for entry in await asyncio.gather(*waiting))
    assert upstream.calls == 2
    for cache in (first, *others):
        await cache.close()


async def test_an_answer_that_was_cleared_while_it_came_is_no_hit_before_the_store_has_refused_it(
    bench: Bench, upstream: Silent
) -> None:
    cache = front_end(bench, upstream)
    first = asyncio.create_task(answered(cache))
    await until(lambda: upstream.calls == 1, every=0)
    await asyncio.sleep(0.005)  # the store compares whole milliseconds
    await CacheUpkeep(cache.store).purge(EntryFilter())
    upstream.gate.set()
    await first
    shared = await ask(cache)
    assert isinstance(shared, Shared)
    with shared:
        assert b"ok" in (await shared.answer()).rest
    assert upstream.calls == 2
    await cache.close()


async def test_an_answer_that_is_being_stored_is_a_hit(bench: Bench, upstream: Silent) -> None:
    upstream.gate.set()
    cache = front_end(bench, upstream)
    await answered(cache)
    assert isinstance(await ask(cache), Hit)
    await cache.close()


@dataclass(slots=True)
class Overtaken(CacheStore):
    """Between its first look and what follows, another front end is answered."""

    other: CachedExchange | None = None

    async def get(self, fingerprint: str) -> CacheEntry | None:
        found = await CacheStore.get(self, fingerprint)
        if (other := self.other) is not None:
            self.other = None
            await answered(other)
            await until(lambda: not other._flights, every=0)
        return found


async def test_an_answer_that_is_stored_between_the_look_and_the_lock_is_taken(bench: Bench) -> None:
    upstream = Silent(silent=0)
    first, late = front_end(bench, upstream), front_end(bench, upstream)
    store = late.store
    late.store = Overtaken(store.calls, store.limits, store.keys, now=bench.clock, other=first)
    shared = await ask(late)
    assert isinstance(shared, Shared)
    with shared:
        assert b"ok" in (await shared.answer()).rest
    assert upstream.calls == 1
    assert shared.plan.record.cache == "wait"
    await until(lambda: not late._flights, every=0)
    assert not await bench.redis.exists(bench.keys.cache_lock(shared.fingerprint)), "the lock was freed"
    for cache in (first, late):
        await cache.close()
