"""While Redis is frozen, batch calls are refused within 2 s, and nothing is left of what they had begun."""

import asyncio
import time
from typing import Any

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import serving
from tests.e2e.test_batches import item
from tests.e2e.test_store_refusals import BATCHES, request
from tests.e2e.test_threads import CREATE, code_of, post
from tests.redis.servers import open_server

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
