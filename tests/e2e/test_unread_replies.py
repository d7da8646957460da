"""Clients that do not read what they asked for, and replies that cannot be finished, on real front ends."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.batches.queue import BatchQueue, ItemResult
from gateway.batches.server import BatchServer
from gateway.redis.connections import queue_client
from gateway.redis.embedded import EmbeddedServer
from gateway.redis.server import RedisServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import json_script
from gateway.telemetry.metrics import CONNECTIONS_CUT
from tests.e2e.caching import body, completion, post
from tests.e2e.conftest import KEY, Live, front_end, serving
from tests.e2e.test_batches import item
from tests.e2e.test_strain import resident_bytes
from tests.support.raw_http import converse, request, take_apart
from tests.support.unread import Unread
from tests.support.waiting import until

ITEMS = 40
# Together more than all buffers on the way take, and nothing that packing makes smaller.
LINE_TEXT = base64.b64encode(Random(1).randbytes(300_000)).decode()
KEYED = [("x-api-key", KEY.encode())]


def cut(reason: str) -> float:
    return CONNECTIONS_CUT.labels(reason)._value.get()  # type: ignore[no-any-return]


async def until_cut(reason: str, before: float) -> None:
    await until(lambda: cut(reason) > before)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def front(simulator: Simulator, server: EmbeddedServer) -> AsyncIterator[Live]:
    async with serving(simulator, redis_url=server.url, stalled_client_timeout=1) as live:
        yield live


async def ended_batch(live: Live, redis: Redis) -> str:
    """A batch with results that were recorded as by a worker."""
    created = await live.client().messages.batches.create(requests=[item(f"item-{i}") for i in range(ITEMS)])
    queue = BatchQueue(BatchServer(RedisServer(redis)), "worker")
    while claims := await queue.claim(ITEMS, idle=True):
        for claim in claims:
            line = {"result": {"type": "succeeded", "message": LINE_TEXT}}
            done = [ItemResult(lease.index, True, orjson.dumps(line)) for lease in claim.leases]
            await queue.done(claim.batch.id, done)
    return created.id


@pytest_asyncio.fixture
async def patient_front(simulator: Simulator, server: EmbeddedServer) -> AsyncIterator[Live]:
    """A front end whose clients may pause for longer than any step of a test takes under load."""
    async with serving(simulator, redis_url=server.url, stalled_client_timeout=60) as live:
        yield live


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("fault", ["deleted", "Redis gone"])
async def test_results_that_cannot_go_on_end_in_a_reset_and_never_in_a_second_reply(
    patient_front: Live, server: EmbeddedServer, fault: str, version: str
) -> None:
    front, redis = patient_front, queue_client(server.url)
    batch_id = await ended_batch(front, redis)
    before = cut("broken_reply")
    client = Unread(front.url)
    await client.send(request("GET", f"/v1/messages/batches/{batch_id}/results", headers=KEYED, version=version))
    await client.until_begun()
    if fault == "deleted":
        await front.client().messages.batches.delete(batch_id)
    else:
        await server.stop()
    received, end = await client.read_all()
    assert end == "reset"
    await until_cut("broken_reply", before)  # the client can see the reset first
    assert cut("broken_reply") == before + 1
    (reply,) = take_apart(received, end).replies
    assert (reply.status, reply.whole) == (200, False)
    assert reply.headers["server"] == "dragoman"
    assert reply.headers["request-id"] == reply.headers["x-request-id"]
    assert b"HTTP/1." not in reply.body
    lines = reply.body.split(b"\n")
    assert all(orjson.loads(line) for line in lines[:-1])
    assert len(lines) < ITEMS
    client.close()
    await redis.aclose()


async def test_results_that_are_not_read_are_cut_after_the_stalled_time(front: Live, server: EmbeddedServer) -> None:
    redis = queue_client(server.url)
    batch_id = await ended_batch(front, redis)
    before = cut("unread")
    client = Unread(front.url)
    await client.send(request("GET", f"/v1/messages/batches/{batch_id}/results", headers=KEYED))
    await until_cut("unread", before)
    client.close()
    await redis.aclose()


@pytest.mark.parametrize("listener", ["client", "admin"])
async def test_pipelined_probes_that_are_not_read_are_cut_without_a_key(simulator: Simulator, listener: str) -> None:
    async with serving(simulator, stalled_client_timeout=0.5) as live:
        before = cut("unread")
        client = Unread(live.url if listener == "client" else live.admin_url)
        sending = asyncio.create_task(client.send(request("GET", "/livez") * 30_000))
        await until_cut("unread", before)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.close()


@pytest.mark.parametrize("streams", [False, True], ids=["JSON", "streams"])
async def test_pipelined_cache_hits_that_are_not_read_take_no_memory(
    simulator: Simulator, server: EmbeddedServer, streams: bool
) -> None:
    """All of them together would be 350 MB."""
    simulator.script(*[json_script(completion("x" * 700_000))] * 20)
    variables = {"GATEWAY_REDIS_URL": server.url, "GATEWAY_CACHE_BUDGET_SECONDS": "5"}
    variables["GATEWAY_STALLED_CLIENT_TIMEOUT"] = "2"
    async with front_end(simulator, **variables) as (live, process):
        async with asyncio.timeout(10):
            while (await post(live, "large")).outcome != "hit":  # noqa: ASYNC110 - it is stored after its reply
                await asyncio.sleep(0.1)
        before = resident_bytes(process.process.pid)
        asked = orjson.dumps(body("large", stream=streams))
        client = Unread(live.url)
        await client.send(request("POST", "/v1/messages", asked, [*KEYED, ("x-gateway-cache", b"use")]) * 500)
        await asyncio.sleep(1)
        assert resident_bytes(process.process.pid) - before < 40_000_000
        await client.until_reset()
        client.close()


async def test_an_address_has_as_many_connections_as_the_setting_allows(simulator: Simulator) -> None:
    async with serving(simulator, connections_per_address=2) as live:
        kept = [Unread(live.url) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert (await converse(live.url, [request("GET", "/livez")])).end == "reset"
        assert (await converse(live.admin_url, [request("GET", "/livez")], replies=1)).statuses == [200]
        for client in kept:
            client.close()


async def test_a_client_that_reads_on_gets_the_results_whole(front: Live, server: EmbeddedServer) -> None:
    redis = queue_client(server.url)
    batch_id = await ended_batch(front, redis)
    results = await front.client().messages.batches.results(batch_id)
    assert len([line async for line in results]) == ITEMS
    await redis.aclose()
