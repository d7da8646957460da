"""Reads go out together, no call waits beyond the budget, and no reply ever reaches the wrong call."""

import asyncio
import random
import time
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisClusterException
from structlog.testing import capture_logs

from gateway.cache.client import TOLERANCE, CacheAway, CacheClient, cache_breaker
from gateway.redis.connections import cache_client
from gateway.telemetry.metrics import CACHE_ERRORS
from tests.cache.conftest import Bench, Clock, to_entry, to_place
from tests.threads.test_thread_store import Freezing


class CountingRedis(Redis):
    """Notes what is sent."""

    sent: list[tuple[Any, ...]]

    @classmethod
    def over(cls, redis: Redis) -> "CountingRedis":
        client = cls(connection_pool=redis.connection_pool)
        client.sent = []
        return client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        self.sent.append(args)
        return await super().execute_command(*args, **options)


async def test_reads_of_one_turn_of_the_loop_go_out_together_and_equal_ones_once(redis: Redis) -> None:
    await redis.mset({"calls:a": "1", "calls:b": "2"})
    counting = CountingRedis.over(redis)
    calls = CacheClient(counting, cache_breaker(Clock()), budget=5.0)
    values = await asyncio.gather(*(calls.read(f"calls:{name}") for name in "abcaab"))
    assert values == [b"1", b"2", None, b"1", b"1", b"2"]
    assert counting.sent == [("MGET", "calls:a", "calls:b", "calls:c")]


class BusyLoop:
    """A client with an immediate answer in a loop with long turns: it takes ten turns to arrive."""

    async def mget(self, keys: list[str]) -> list[bytes]:
        for _ in range(10):
            time.sleep(0.01)  # noqa: ASYNC251 - what the loop is busy with
            await asyncio.sleep(0)
        return [b"answer"] * len(keys)


@pytest.mark.parametrize("way", ["read", "run"])
async def test_an_answer_that_only_a_busy_loop_delays_is_waited_for(way: str) -> None:
    redis: Any = BusyLoop()
    calls = CacheClient(redis, cache_breaker(Clock()), budget=0.01)
    if way == "read":
        assert await calls.read("x") == b"answer"
    else:
        assert await calls.run(lambda: redis.mget(["x"])) == [b"answer"]
    await calls.close()


async def test_requests_do_not_wait_for_a_silent_server(cache_server_url: str) -> None:
    clock = Clock()
    async with Freezing(cache_server_url) as proxy, asyncio.timeout(10):
        client = cache_client(proxy.url)
        calls = CacheClient(client, cache_breaker(clock), budget=0.01)
        for _ in range(3):
            with pytest.raises(CacheAway):
                await calls.read("x")
            with pytest.raises(CacheAway):
                await calls.run(lambda: client.get("x"))
        assert calls.breaker.state == "open"
        failures = CACHE_ERRORS.labels("late")._value.get()
        with pytest.raises(CacheAway):
            await calls.read("x")
        assert CACHE_ERRORS.labels("late")._value.get() == failures, "an open breaker is no failure"
        proxy.flows.set()
        await calls.close()
        clock.now += TOLERANCE.open_seconds
        calls.budget = 5.0
        assert await calls.read("x") is None
        assert calls.breaker.state == "closed"
        await client.aclose()


async def test_a_server_that_is_not_there_is_a_failure_at_once() -> None:
    client = cache_client("unix:///nowhere/at/all")
    calls = CacheClient(client, cache_breaker(Clock()), budget=5.0)
    for call in (calls.read("x"), calls.run(lambda: client.get("x"))):
        with pytest.raises(CacheAway):
            await call
    await client.aclose()


async def test_a_burst_waits_for_a_connection_and_is_no_failure_of_redis(cache_server_url: str) -> None:
    client = cache_client(cache_server_url, connections=2)
    calls = CacheClient(client, cache_breaker(Clock()), budget=5.0, connections=2)
    failures = CACHE_ERRORS.labels("failed")._value.get()
    for way in (calls.run, calls.read):
        burst = [way("x") if way is calls.read else calls.run(lambda: client.get("x")) for _ in range(100)]
        assert await asyncio.gather(*burst) == [None] * 100
    assert CACHE_ERRORS.labels("failed")._value.get() == failures
    await calls.close()
    await client.aclose()


async def test_a_call_that_gets_no_connection_within_its_budget_is_not_sent_and_says_nothing_of_redis() -> None:
    gate = asyncio.Event()
    sent: list[int] = []

    async def call(number: int) -> None:
        sent.append(number)
        await gate.wait()

    calls = CacheClient(Redis(), cache_breaker(Clock()), budget=0.01, connections=1)
    for number in range(20):
        with pytest.raises(CacheAway):
            await calls.run(partial(call, number))
    with pytest.raises(CacheAway):
        await calls.read("x")
    gate.set()
    await calls.close()
    assert sent == [0]
    assert calls.breaker.state == "closed", "one was late; the others were never sent"


async def test_a_caller_that_leaves_before_its_call_was_sent_takes_it_back() -> None:
    gate = asyncio.Event()
    sent: list[int] = []

    async def call(number: int) -> None:
        sent.append(number)
        await gate.wait()

    calls = CacheClient(Redis(), cache_breaker(Clock()), budget=5.0, connections=1)
    waiting = [asyncio.create_task(calls.run(partial(call, number))) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[1].cancel()
    gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    await calls.close()
    assert sent == [0, 2]


async def test_a_failure_that_a_cluster_raises_outside_of_its_errors_ends_the_reads() -> None:
    class Broken(Redis):
        async def mget(self, *keys: Any) -> Any:  # type: ignore[override]
            raise RedisClusterException("no node answers")

    calls = CacheClient(Broken(), cache_breaker(Clock()), budget=5.0)
    with pytest.raises(CacheAway, match="no node answers"):
        await calls.read("x")
    await calls.close()


async def test_the_log_says_why_the_cache_was_given_up(cache_server_url: str) -> None:
    client = cache_client("unix:///nowhere/at/all")
    clock = Clock()
    calls = CacheClient(client, cache_breaker(clock), budget=5.0)
    with capture_logs() as lines:
        for _ in range(TOLERANCE.failures + 1):
            with pytest.raises(CacheAway):
                await calls.run(lambda: client.get("x"))
        clock.now += TOLERANCE.open_seconds
        calls.redis = cache_client(cache_server_url, budget=5.0)
        assert await calls.read("x") is None
    await calls.redis.aclose()
    assert [(line["event"], line.get("reason")) for line in lines] == [
        ("cache_redis_given_up", "no connection: No such file or directory"),
        ("cache_redis_recovered", None),
    ]


async def test_ten_thousand_calls_cancelled_at_random_leave_no_reply_for_another(bench: Bench) -> None:
    """Readers come and go at every point of a call; what is read always belongs to what was asked for."""
    store, chance = bench.store(), random.Random(7)
    places = [to_place(number, shard="0123456789abcdef"[number % 16]) for number in range(50)]
    for number, place in enumerate(places):
        assert await store.keep(place, to_entry(f"text {number}"), 0)
    mixed, read = CACHE_ERRORS.labels("mixed_up")._value.get(), 0

    async def reader(number: int) -> bool:
        place = places[number]
        entry = await store.get(place.fingerprint) if number % 3 else (await store.look(place.fingerprint))[0]
        assert entry is not None
        assert entry.to_message("m", "m")["content"][0]["text"] == f"text {number}"
        return True

    for _ in range(200):
        tasks = [asyncio.create_task(reader(chance.randrange(50))) for _ in range(50)]
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
            for task in chance.sample(tasks, 8):
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is True or isinstance(result, asyncio.CancelledError) for result in results)
        read += results.count(True)
    assert 1000 < read < 10_000
    assert CACHE_ERRORS.labels("mixed_up")._value.get() == mixed


async def test_an_entry_that_came_for_another_key_is_not_served(bench: Bench) -> None:
    store = bench.store()
    one, two = to_place(1), to_place(2)
    await store.keep(one, to_entry(), 0)
    await bench.redis.copy(bench.keys.cache_entry(one.fingerprint), bench.keys.cache_entry(two.fingerprint))
    mixed = CACHE_ERRORS.labels("mixed_up")._value.get()
    assert await store.get(two.fingerprint) is None
    assert CACHE_ERRORS.labels("mixed_up")._value.get() == mixed + 1
