"""A real server for the tests of a module, and separate keys for each test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from tests.support.redis_server import redis_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


@pytest.fixture
async def server(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[RedisServer]:
    redis = Redis.from_url(redis_url, protocol=2)
    yield RedisServer(redis, Keys(f"{request.node.name}:"))
    await redis.aclose()
