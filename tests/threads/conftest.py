"""Threads on a real server: one for all tests, a key prefix for each. DRAGOMAN_TEST_SERVER names another binary.

Its clock cannot be set: a test that needs time to pass moves the stored deadlines into the past instead.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.redis.answer_limit import AnswerLimit
from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.threads.store import Addition, ThreadClaim, ThreadPolicy, ThreadStore
from tests.support.redis_server import redis_server

numbers = count()


@dataclass(slots=True)
class Bench:
    """Stores that share a server and a prefix, as front ends do."""

    redis: Redis
    keys: Keys = field(default_factory=lambda: Keys(f"threads{next(numbers)}:"))

    def store(self, redis: Redis | None = None, limit: AnswerLimit | None = None, **policy: Any) -> ThreadStore:
        """Another front end's."""
        return ThreadStore(RedisServer(redis or self.redis, self.keys, limit), ThreadPolicy(**policy))

    async def begin(
        self, message_id: str = "msg_1", tenant: str = "acme", store: ThreadStore | None = None
    ) -> ThreadClaim:
        """A thread of one turn."""
        store = store or self.store()
        claim = await store.create(tenant)
        assert await store.add(claim, addition(message_id, fields=b'{"system":"s"}'))
        return claim

    async def stored(self) -> dict[str, int]:
        """Names of the threads' keys without the prefix, and for how many ms each lives."""
        names = [
            name async for name in self.redis.scan_iter(f"{self.keys.prefix}*") if name != self.keys.probe.encode()
        ]
        return {name.decode().removeprefix(self.keys.prefix): await self.redis.pttl(name) for name in names}

    async def claim_falls(self, claim: ThreadClaim) -> None:
        """Make a claim lapse, as if it was not renewed."""
        await self.redis.hset(self.keys.thread(claim.thread_id), "until", 1)


def addition(message_id: str, words: str = "", *, fields: bytes = b"", stop_reason: str = "end_turn") -> Addition:
    messages = orjson.dumps([{"role": "user", "content": words or message_id}])
    return Addition(message_id, stop_reason, messages, 100, fields)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def thread_server_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


@pytest.fixture
async def redis(thread_server_url: str) -> AsyncIterator[Redis]:
    client = queue_client(thread_server_url)
    yield client
    await client.aclose()


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)
