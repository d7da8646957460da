"""A front end and a worker with a log that cannot be written serve on, stop on a signal, and count dropped lines.

The short form of the chaos faults "log reader stuck" and "log disk full".
"""

import asyncio
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import KEY
from tests.support.ports import free_port

SECONDS = 20.0
PIPE_BYTES = 4096  # the smallest that Linux makes
REQUESTS = 50  # more lines than such a pipe holds
BODY = {"model": "sim/echo", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def stuck() -> Iterator[int]:
    """A pipe without a reader."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    yield writing
    os.close(reading)
    os.close(writing)


@contextmanager
def full() -> Iterator[int]:
    """A disk without space left."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


LOGS = {"stuck": stuck, "full": full}


@asynccontextmanager
async def process(
    *command: str, log: int, error_log: int, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command), env={**os.environ, **variables}, stdout=log, stderr=error_log
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def get(session: aiohttp.ClientSession, url: str) -> str:
    """Its text, once it answers."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                async with session.get(url) as answer:
                    return await answer.text()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)


async def stop(started: asyncio.subprocess.Process) -> int:
    started.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(started.wait(), SECONDS)


@pytest.mark.parametrize("kind", LOGS)
async def test_a_front_end_serves_and_stops_without_its_log(simulator: Simulator, kind: str) -> None:
    port, admin = free_port(), free_port()
    variables = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin),
        "GATEWAY_KEYS": f"tests:{KEY}",
        "GATEWAY_UPSTREAM_URL": simulator.url,
        "GATEWAY_UPSTREAM_API_KEY": "k",
        "GATEWAY_UPSTREAM_FLAVOR": "openrouter",
    }
    with LOGS[kind]() as log:
        async with (
            process("gateway", "serve", log=log, error_log=log, **variables) as started,
            aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        ):
            base = f"http://127.0.0.1:{port}"
            await get(session, f"{base}/livez")
            for _ in range(REQUESTS):
                async with session.post(f"{base}/v1/messages", json=BODY) as answer:
                    assert answer.status == 200, await answer.text()
            assert await get(session, f"{base}/livez")
            assert await stop(started) == 0


async def test_a_worker_starts_and_stops_while_its_log_is_full(simulator: Simulator, tmp_path: Path) -> None:
    admin = free_port()
    variables = {
        "GATEWAY_REDIS_URL": "embedded",
        "XDG_STATE_HOME": str(tmp_path),
        "GATEWAY_WORKER_ADMIN_PORT": str(admin),
        "GATEWAY_UPSTREAM_URL": simulator.url,
    }
    with full() as log:
        async with (
            process("workers", log=log, error_log=log, **variables) as started,
            aiohttp.ClientSession() as session,
        ):
            await get(session, f"http://127.0.0.1:{admin}/livez")
            assert await stop(started) == 0


async def test_an_address_that_is_taken_is_named_although_the_log_is_full(simulator: Simulator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, full() as log:
        variables = {
            "GATEWAY_PORT": str(taken.getsockname()[1]),
            "GATEWAY_ADMIN_PORT": "0",
            "GATEWAY_AUTH": "off",
            "GATEWAY_UPSTREAM_URL": simulator.url,
        }
        async with process("gateway", "serve", log=log, error_log=asyncio.subprocess.PIPE, **variables) as started:
            assert started.stderr is not None
            problem = await started.stderr.read()
    assert b"Address already in use" in problem
    assert b"No space left" not in problem
