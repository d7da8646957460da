"""Redis fails over behind a TCP balancer that breaks no connection: nothing has to be restarted."""

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.process.signals import StopRequest
from gateway.process.tasks import background
from gateway.simulator.loopback import Simulator
from tests.chaos.world import until
from tests.e2e.conftest import KEY, Live, serving, settings_for
from tests.e2e.test_batches import item
from tests.redis.balancer import balanced
from tests.redis.servers import open_server
from workers.__main__ import Readiness
from workers.wiring import open_worker

SECONDS = 20.0


async def get(live: Live, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(live.url + path) as response:
        assert response.status == 200
        return await response.json()


async def has_ended(live: Live, batch_id: str) -> bool:
    return (await live.client().messages.batches.retrieve(batch_id)).processing_status == "ended"


async def shows_problem(live: Live, reason: str) -> bool:
    return await get(live, "/readyz") == {"status": "ready", "redis": reason}


@pytest.mark.covers("Operation · Redis fails over")
async def test_front_ends_and_workers_recover_by_themselves_from_a_failover(simulator: Simulator) -> None:
    async with balanced() as both, asyncio.timeout(SECONDS):
        settings = settings_for(simulator, redis_url=both.url)
        stop = asyncio.Event()
        async with (
            serving(simulator, redis_url=both.url) as live,
            open_worker(settings) as worker,
            background(worker.run(stop, 1.0)),
        ):
            batches = live.client().messages.batches
            before = await batches.create(requests=[item(f"item-{number}") for number in range(300)])
            await simulator.received(20)
            await both.fail_over()
            after = await batches.create(requests=[item("after")])
            for batch in (before, after):
                await until(lambda batch=batch: has_ended(live, batch.id), "the batch's end")
            async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
                answer = await session.get(f"{live.url}/v1/messages/batches/{before.id}/results")
                lines = [orjson.loads(line) for line in (await answer.read()).splitlines()]
            assert sorted(line["custom_id"] for line in lines) == sorted(f"item-{number}" for number in range(300))
            assert {line["result"]["type"] for line in lines} == {"succeeded"}
            stop.set()


async def test_readiness_reports_that_redis_takes_no_writes_and_a_front_end_stays_ready(simulator: Simulator) -> None:
    reason = "NOREPLICAS: the server has fewer replicas than its min-replicas-to-write"
    async with open_server() as server, server.client() as admin, asyncio.timeout(SECONDS):
        settings = settings_for(simulator, redis_url=server.url)
        async with serving(simulator, redis_url=server.url) as live, open_worker(settings) as worker:
            assert await get(live, "/readyz") == {"status": "ready"}
            assert Readiness(StopRequest(), worker).problem is None
            await admin.config_set("min-replicas-to-write", 1)
            await until(lambda: shows_problem(live, reason), "the problem")
            await worker.monitor.look()
            assert Readiness(StopRequest(), worker).problem == f"redis: {reason}"
            await admin.config_set("min-replicas-to-write", 0)
            await worker.monitor.look()
            assert Readiness(StopRequest(), worker).problem is None
