"""A real server asked directly: to keep it busy and to see what it works on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.servers.running import Running

POLL_SECONDS = 0.05


async def count_running(server: Running) -> int:
    """Return how many requests the server works on."""
    assert server.server.metric is not None
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith(server.server.metric)))


async def becomes(server: Running, running: int, seconds: float) -> bool:
    """Wait until the server works on this many requests; False if it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        if await count_running(server) == running:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def holding(server: Running, streams: int, slots: int = 2) -> AsyncIterator[None]:
    """Keep the server busy with this many streams without end; those beyond its slots wait."""
    tasks = [asyncio.create_task(_stream(server)) for _ in range(streams)]
    try:
        assert await becomes(server, min(streams, slots), seconds=5)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stream(server: Running) -> None:
    message = {"role": "user", "content": "#long"}
    body = {"model": server.model, "messages": [message], "max_tokens": 7000, "stream": True}
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.post(f"{server.api}/chat/completions", json=body) as response:
                await response.read()
