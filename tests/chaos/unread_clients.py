"""Hundreds of clients that ask for all they can and read nothing, while others are served."""

import asyncio
import time
from contextlib import suppress
from statistics import median

import aiohttp
import orjson

from tests.chaos.processes import front_process
from tests.chaos.traffic import Traffic
from tests.chaos.world import World, http_item, require
from tests.support.raw_http import request
from tests.support.unread import Unread, until_reset

STALLED_SECONDS = 2.0
CLIENTS = 300
# What one of them may take: its reply, the requests behind it, and the buffers of both.
BYTES_EACH = 1_000_000
# Of the client that reads: for any answer while the crowd arrives, and for half of all. It shares one process with the
# crowd and the upstream.
PATIENCE, USUAL_PATIENCE = 20.0, 1.0
RESULTS_ITEMS = 2000


async def unread(world: World, scale: int) -> str:
    """Each is cut in time, memory stays bounded, and the client that reads is answered all the while."""
    await world.hire(2)
    batch = await world.create(RESULTS_ITEMS)
    await world.ended(batch.id)
    body = orjson.dumps(http_item(0, "cached")["params"])
    cached = [("x-gateway-cache", b"use"), ("content-type", b"application/json")]
    streamed = orjson.dumps({**http_item(0, "cached")["params"], "stream": True})
    asked = (
        request("GET", "/livez"),
        request("GET", f"/v1/messages/batches/{batch.id}/results"),
        request("POST", "/v1/messages", body, cached),
        request("POST", "/v1/messages", streamed, cached),
    )
    variables = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url("live")}
    variables["GATEWAY_STALLED_CLIENT_TIMEOUT"] = f"{STALLED_SECONDS:g}"
    async with front_process(variables) as front, aiohttp.ClientSession(front.url) as session:
        client = Traffic(front.url, session)
        await client.ask()
        before = front.resident_bytes
        crowd = [Unread(front.url) for _ in range(CLIENTS * scale)]
        flood = [asyncio.create_task(send(one, asked[index % len(asked)])) for index, one in enumerate(crowd)]
        begun, most = time.monotonic(), 0
        cut = asyncio.create_task(until_reset(crowd, 60.0 * scale, every=0.1))
        while not cut.done():
            await client.ask()
            require(client.waited[-1] < PATIENCE, f"another client waited {client.waited[-1]:.1f} s")
            most = max(most, front.resident_bytes - before)
            await asyncio.sleep(0.05)
        await cut
        seconds = time.monotonic() - begun
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        for one in crowd:
            one.close()
    usual = median(client.waited)
    require(usual < USUAL_PATIENCE, f"half of another client's requests took over {usual:.2f} s")
    require(most < len(crowd) * BYTES_EACH, f"{most >> 20} MiB for {len(crowd)} clients that read nothing")
    await world.check(batch.id)
    waits = f"{1000 * usual:.0f} ms, at most {1000 * max(client.waited):.0f} ms"
    return f"{len(crowd)} cut in {seconds:.1f} s, {most >> 20} MiB, others answered in {waits}"


async def send(client: Unread, asked: bytes) -> None:
    """Send until the other end takes no more."""
    with suppress(OSError):
        while True:
            await client.send(asked * 200)
