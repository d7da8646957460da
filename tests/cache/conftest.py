"""The cache's store on a real server: one for all tests, a key prefix for each. DRAGOMAN_TEST_SERVER names another."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.cache.client import CacheClient, cache_breaker
from gateway.cache.entry import CacheEntry
from gateway.cache.store import CacheAddress, CacheLimits, CacheStore
from gateway.dialects.base import Origin
from gateway.redis.connections import cache_client
from gateway.redis.keys import Keys
from tests.support.clock import Clock
from tests.support.redis_server import redis_server

numbers = count()


@dataclass(slots=True)
class Bench:
    """Stores that share a server and a prefix, as front ends do."""

    redis: Redis
    keys: Keys = field(default_factory=lambda: Keys(f"cache{next(numbers)}:"))
    clock: Clock = field(default_factory=Clock)

    def store(self, redis: Redis | None = None, *, budget: float = 5.0, **limits: Any) -> CacheStore:
        """Return another front end's store, with time limits that hold on a busy machine."""
        calls = CacheClient(redis or self.redis, cache_breaker(self.clock), budget)
        return CacheStore(calls, CacheLimits(**limits), self.keys, now=self.clock)


def to_place(number: int, *, tenant: str = "acme", model: str = "m1", shard: str = "a") -> CacheAddress:
    return CacheAddress(shard + f"{number:039x}", tenant, model)


def to_message(text: str = "hello", **fields: Any) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 2,
    }
    usage |= {"cache_creation": {"ephemeral_5m_input_tokens": 0}, "service_tier": "standard"}
    content = [{"type": "text", "text": text, "citations": None}]
    message = {"id": "msg_first", "type": "message", "role": "assistant", "model": "big", "content": content}
    return {**message, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage, **fields}


def to_entry(text: str = "hello", **fields: Any) -> CacheEntry:
    return CacheEntry.of(to_message(text, **fields), Origin("slug", "provider", "gen-1", 0.5), 1000.0, ("dropped:x",))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cache_server_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


@pytest.fixture
async def redis(cache_server_url: str) -> AsyncIterator[Redis]:
    client = cache_client(cache_server_url, budget=5.0)
    yield client
    await client.aclose()


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)
