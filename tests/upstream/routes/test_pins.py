"""Sessions that stay where they have moved to: for how long, and at all processes that share a Redis."""

import asyncio

from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.pins import CACHE_SECONDS, MAX_PINS, Pins, first_pinned
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.clock import Clock
from tests.support.redis_server import redis_server


def route(name: str) -> Route:
    return Route("m", Upstream(name, f"http://{name}/v1"), "chat", to_target("m", COMPATIBLE))


A, B = route("a"), route("b")


def test_session_stays_until_the_prompt_cache_has_ended_after_its_last_use() -> None:
    clock = Clock()
    pins = Pins(clock=clock)
    pins.keep(b"s", B, CACHE_SECONDS)
    assert (pins.find(b"s"), pins.find(b"other")) == ("b/m", None)
    clock.now += CACHE_SECONDS - 1
    pins.keep(b"s", B, CACHE_SECONDS)
    clock.now += CACHE_SECONDS - 1
    assert pins.find(b"s") == "b/m"
    clock.now += 1
    assert pins.find(b"s") is None
    assert not pins


def test_session_that_moves_again_stays_at_its_newest_candidate() -> None:
    pins = Pins(clock=Clock())
    pins.keep(b"s", B, CACHE_SECONDS)
    pins.keep(b"s", A, CACHE_SECONDS)
    assert pins.find(b"s") == "a/m"


def test_pins_are_bounded_and_the_oldest_is_dropped() -> None:
    pins = Pins(clock=Clock())
    for number in range(MAX_PINS + 1):
        pins.keep(str(number).encode(), B, CACHE_SECONDS)
    assert pins.find(b"0") is None
    assert pins.find(str(MAX_PINS).encode()) == "b/m"


def test_pinned_candidate_comes_first_and_an_unknown_one_changes_nothing() -> None:
    assert first_pinned((A, B), "b/m") == (B, A)
    assert first_pinned((A, B), "gone/m") == (A, B)
    assert first_pinned((A, B), None) == (A, B)


async def test_other_processes_learn_of_moves_also_one_that_starts_later() -> None:
    async with redis_server() as url:
        client = queue_client(url)
        keys = Keys("pins:")
        clock = Clock()
        first, second = (Pins(RedisServer(client, keys), clock) for _ in range(2))
        first.keep(b"s", B, CACHE_SECONDS)
        await first.share()
        await second.share()
        assert second.find(b"s") == "b/m"
        second.keep(b"s", A, CACHE_SECONDS)
        await second.share()
        await asyncio.gather(first.share())
        assert first.find(b"s") == "a/m"
        third = Pins(RedisServer(client, keys), clock)
        await third.share()
        assert third.find(b"s") == "a/m"
        clock.now += CACHE_SECONDS + 1
        assert third.find(b"s") is None
        await client.aclose()
