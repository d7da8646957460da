"""While Redis is frozen, batch calls are refused within 2 s, and leave no keys behind.

A Redis that is frozen, slow or half open holds up no message.
"""

import asyncio
import time
from typing import Any

import pytest

from gateway.access.key_text import new_key
from gateway.access.keys import Pepper
from gateway.access.records import NANO, Allowance, Budget, KeyRecord, RateLimits
from gateway.access.store import AccessStore, Actor
from gateway.redis.server import RedisServer
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import serving
from tests.e2e.test_batches import item
from tests.e2e.test_store_refusals import BATCHES, request
from tests.e2e.test_threads import CREATE, code_of, post
from tests.redis.servers import open_server
from tests.workers.proxy import RedisProxy

SECONDS = 2.0


async def test_every_batch_call_is_refused_within_2_s_and_messages_are_served(simulator: Simulator) -> None:
    async with open_server() as server, serving(simulator, redis_url=server.url) as live:
        _, _, created = await request(live, "POST", BATCHES, json={"requests": [item("a")]})
        path = f"{BATCHES}/{created['id']}"
        calls: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("POST", BATCHES, {"json": {"requests": [item("a")]}}),
            ("GET", BATCHES, {}),
            ("GET", path, {}),
            ("POST", f"{path}/cancel", {}),
            ("DELETE", path, {}),
            ("GET", f"{path}/results", {}),
            ("GET", f"/v1/messages/batch/{created['id']}/status", {}),
        )
        await server.freeze()
        for _ in range(2):
            begun = time.monotonic()
            replies = await asyncio.gather(*(request(live, method, at, **options) for method, at, options in calls))
            assert time.monotonic() - begun < SECONDS
            assert [(status, retry_after) for status, retry_after, _ in replies] == [(503, "2")] * len(calls)
        assert code_of(await post(live, CREATE)) == (400, "thread_unsupported_request")
        assert (await request(live, "POST", "/v1/messages", json=item("a")["params"]))[0] == 200
        await server.thaw()
        async with asyncio.timeout(10):
            while (await request(live, "GET", path))[0] != 200:
                pass
        assert (await request(live, "POST", f"{path}/cancel"))[2]["processing_status"] == "ended"


@pytest.mark.parametrize("fault", ["frozen", "slow", "half open"])
@pytest.mark.covers("Access · a Redis that does not answer holds up no message")
async def test_redis_that_does_not_answer_holds_up_no_message(simulator: Simulator, fault: str) -> None:
    """A key with limits and a budget, an unknown key, and the cache wait 50 ms and 80 ms, once."""
    async with (
        open_server() as server,
        server.client() as redis,
        RedisProxy(server.url) as proxy,
        serving(simulator, redis_url=proxy.url, threads="off", limits_timeout=0.08) as live,
    ):
        store = AccessStore(RedisServer(redis), Pepper(b"secret"), b"secret")
        allowance = Allowance(RateLimits(requests=1000, concurrency=50), (Budget(100 * NANO),))
        _, key = await store.create_key(KeyRecord("", "ci", "red", allowance=allowance), Actor("cli", "tests"))

        async def ask(key: str) -> int:
            params = {"json": item("a")["params"], "headers": {"x-gateway-cache": "use", "x-api-key": key}}
            return (await request(live, "POST", "/v1/messages", **params))[0]

        assert await ask(key) == 200
        match fault:
            case "frozen":
                await server.freeze()
            case "slow":
                proxy.delay = 0.5
            case _:
                proxy.is_silent = True
        begun = time.monotonic()
        replies = [await ask(one) for one in (key, new_key(), key, key, new_key(), key)]
        assert time.monotonic() - begun < SECONDS
        assert replies == [200, 503, 200, 200, 503, 200]
        await server.thaw()
