"""Age of answers, and long calls that stay their front end's."""

import asyncio

from gateway.cache.policy import USE, Demand
from gateway.exchange.cached import Shared
from gateway.exchange.hit import Hit
from gateway.messages.prompt import Prompt
from tests.cache.conftest import Bench
from tests.cache.test_cached_exchange import WHO, Silent, answered, ask, front_end
from tests.support.waiting import until

PROMPT = Prompt({"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}, 100)


async def test_an_answer_is_a_hit_until_it_is_older_than_was_asked_for(bench: Bench) -> None:
    cache = front_end(bench, Silent(silent=0))
    await answered(cache)
    await until(lambda: not cache._flights, every=0)
    bench.clock.now += 60
    found = [await cache.ask(WHO, PROMPT, demand) for demand in (USE, Demand(max_age=60), Demand(max_age=59))]
    assert [type(one) for one in found] == [Hit, Hit, Shared]
    assert [one.age for one in found if isinstance(one, Hit)] == [60, 60]
    for one in found:
        if isinstance(one, Shared):
            with one:
                await one.answer()
    await cache.close()


async def test_the_lock_is_renewed_while_the_upstream_takes_its_time(bench: Bench) -> None:
    upstream = Silent()
    cache = front_end(bench, upstream)
    cache.store.limits = bench.store(lock=0.3).limits
    shared = await ask(cache)
    assert isinstance(shared, Shared)
    with shared:
        await until(lambda: upstream.calls == 1, every=0)
        lock = bench.keys.cache_lock(shared.fingerprint)
        async with asyncio.timeout(5):
            left = await bench.redis.pttl(lock)
            while (now := await bench.redis.pttl(lock)) <= left:
                assert now > 0, "the lock fell"
                left = now
    await cache.close()
