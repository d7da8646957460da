"""Clients by the thousand that send a header or a body byte by byte and never end: each is cut off at its deadline, and
those that behave are answered as before.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import aiohttp

from gateway.process.http_guard import HEADER_SECONDS
from gateway.web.body import UploadPace
from tests.chaos.processes import front_process
from tests.chaos.traffic import Traffic
from tests.chaos.world import World, require
from tests.support.unread import Unread, until_reset

CLIENTS = 500  # of each kind
OPEN_RATE = 500  # a second
EVERY_SECONDS = 3.0  # between two bytes of one of them
ASKED = 400  # answers before, and at least as many meanwhile
LATE_SECONDS = 4.0  # of a busy machine, and of those that were opened last
HEADER = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-slow: "
BODY = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n{"


async def trickle(world: World, scale: int) -> str:
    """All are cut in time. The answers to others take at most twice as long, except for one in a hundred."""
    world.upstream.latency = (0.02, 0.02)
    found = []
    async with (
        front_process({**world.variables, **variables(world)}) as front,
        aiohttp.ClientSession(front.url) as session,
    ):
        client = Traffic(front.url, session)
        await answers(client)
        usual = percentile(await answers(client))
        for name, beginning, deadline in (
            ("headers", HEADER, HEADER_SECONDS),
            ("bodies", BODY, UploadPace().seconds),
        ):
            seconds, seen = await slowed(client, beginning, CLIENTS * scale, deadline)
            slower = percentile(seen)
            require(slower <= 2 * usual, f"{name}: p99 of others {1000 * slower:.1f} ms, usually {1000 * usual:.1f} ms")
            found.append(f"{name}: cut within {seconds:.1f} s, p99 of others {1000 * slower:.1f} ms")
    return f"{CLIENTS * scale} of each; usual p99 {1000 * usual:.1f} ms; {'; '.join(found)}"


def variables(world: World) -> dict[str, str]:
    return {"GATEWAY_UPSTREAM_URL": world.upstream.url("live"), "GATEWAY_CONNECTIONS_PER_ADDRESS": "0"}


async def slowed(client: Traffic, beginning: bytes, number: int, deadline: float) -> tuple[float, list[float]]:
    """Return when the last was cut after it was opened, and the times of the answers to the client meanwhile."""
    crowd: list[Unread] = []
    stop = asyncio.Event()

    async def send() -> None:
        begun = time.monotonic()
        for index in range(number):
            crowd.append(Unread(client.url))
            crowd[-1].socket.send(beginning)
            await asyncio.sleep(max(0.0, begun + index / OPEN_RATE - time.monotonic()))
        while not stop.is_set():
            for one in crowd:
                with suppress(OSError):
                    one.socket.send(b" ")
                await asyncio.sleep(EVERY_SECONDS / number)

    sending = asyncio.create_task(send())
    asking = asyncio.create_task(answers(client, stop))
    while len(crowd) < number:  # noqa: ASYNC110 - a list
        await asyncio.sleep(0.1)
    begun = time.monotonic()
    try:
        await until_reset(crowd, deadline + LATE_SECONDS, every=0.2, or_closed=True)
        seconds = time.monotonic() - begun
    finally:
        stop.set()
        _, seen = await asyncio.gather(sending, asking)
        for one in crowd:
            one.close()
    return seconds, seen


async def answers(client: Traffic, stop: asyncio.Event | None = None) -> list[float]:
    """Ask one after the other, and return the times of the answers."""
    client.waited.clear()
    while len(client.waited) < ASKED or (stop is not None and not stop.is_set()):
        await client.ask()
        await asyncio.sleep(0.01)
    return list(client.waited)


def percentile(seconds: Sequence[float]) -> float:
    """The 99th."""
    return sorted(seconds)[len(seconds) * 99 // 100]
