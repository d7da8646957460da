"""Logs that cannot be written: the reader of standard output hangs, or its disk is full."""

import asyncio
import fcntl
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from tests.chaos.processes import START_SECONDS
from tests.chaos.world import World, http_item, require
from tests.support.ports import free_port

PIPE_BYTES = 4096  # full after ten lines
LIVE_REQUESTS = 300
SLOW_SECONDS = 5.0  # of an answer that takes a fifth of a second at most
STOP_SECONDS = 10.0


async def reader_stuck(world: World, scale: int) -> str:
    """Leave the log unread, from the start of each process to its end."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        return await work_without_log(world, scale, writing)
    finally:
        os.close(reading)
        os.close(writing)


async def disk_full(world: World, scale: int) -> str:
    """Each write of the log fails."""
    log = os.open("/dev/full", os.O_WRONLY)
    try:
        return await work_without_log(world, scale, log)
    finally:
        os.close(log)


async def work_without_log(world: World, scale: int, log: int) -> str:
    """Two workers and a front end that write to `log`; all work is done, and each stops on a signal."""
    batch = await world.create(1000 * scale)
    async with AsyncExitStack() as stack:
        for number in range(2):
            variables = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url(f"w{number}")}
            port = {"GATEWAY_WORKER_ADMIN_PORT": str(free_port())}
            await stack.enter_async_context(silent(("workers",), log, variables | port, *port.values()))
        variables = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url("live"), "GATEWAY_AUTH": "off"}
        port = {"GATEWAY_PORT": str(free_port())}
        admin = {"GATEWAY_ADMIN_PORT": str(free_port())}
        base = await stack.enter_async_context(
            silent(("gateway", "serve"), log, variables | port | admin, *port.values())
        )
        longest = await ask(base, LIVE_REQUESTS * scale)
        require(longest < SLOW_SECONDS, f"a live request took {longest:.1f} s")
        await world.ended(batch.id)
    found = await world.check(batch.id)
    return f"{found}; {LIVE_REQUESTS * scale} live requests, the slowest {longest:.2f} s"


async def ask(base: str, number: int) -> float:
    """Ask so often, one after the other; the seconds of the slowest answer."""
    longest = 0.0
    async with aiohttp.ClientSession(base) as session:
        for _ in range(number):
            begun = time.monotonic()
            async with session.post("/v1/messages", json=http_item(0, "live")["params"]) as answer:
                require(answer.status == 200, f"a live request got {answer.status}: {await answer.text()}")
            longest = max(longest, time.monotonic() - begun)
    return longest


@asynccontextmanager
async def silent(command: tuple[str, ...], log: int, variables: Mapping[str, str], port: str) -> AsyncIterator[str]:
    """A process that is ready once it answers on its port, since its log is not read. The value is its address."""
    environment = {**os.environ, "GATEWAY_LOG_FORMAT": "json", "GATEWAY_LOG_LEVEL": "debug", **variables}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command), env=environment, stdout=log, stderr=log
    )
    base = f"http://127.0.0.1:{port}"
    try:
        await answering(base)
        yield base
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS + float(variables.get("GATEWAY_DRAIN_SECONDS", 25))):
            status = await process.wait()
        require(status == 0, f"{command[0]} ended with status {status}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answering(base: str) -> None:
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession(base) as session:
        while True:
            try:
                async with session.get("/livez") as answer:
                    await answer.read()
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
