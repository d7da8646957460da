"""How `serve`, `dev` and `version` start, fail to start, and end, seen from outside: as processes of their own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway import __version__
from gateway.redis.embedded import EmbeddedServer
from tests.cli.conftest import dragoman
from tests.redis.servers import open_server

PORTS = {"GATEWAY_PORT": "0", "GATEWAY_ADMIN_PORT": "0", "GATEWAY_WORKER_ADMIN_PORT": "0"}
SECONDS = 20.0


@asynccontextmanager
async def started(*arguments: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, **PORTS, "GATEWAY_LOG_FORMAT": "json", **variables}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_redis_that_is_away_stops_the_start_in_one_line() -> None:
    variables = {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1", "GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k"}
    async with started("serve", **variables) as process:
        _, err = await process.communicate()
    assert process.returncode == 1
    [line] = err.decode().splitlines()
    assert line.startswith(
        "dragoman: GATEWAY_REDIS_URL: The gateway's store cannot be reached. Please try again (Error"
    )


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_redis_that_refuses_the_shared_secret_stops_the_start_in_one_line_with_the_reason(command: str) -> None:
    async with open_server(min_replicas_to_write="1") as server:
        variables = {"GATEWAY_REDIS_URL": server.url, "GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k"}
        async with started(command, **variables) as process, asyncio.timeout(SECONDS):
            _, err = await process.communicate()
    assert process.returncode == 1
    [line] = err.decode().splitlines()
    assert line.startswith("dragoman: GATEWAY_REDIS_URL: The gateway's store cannot serve this now.")
    assert line.endswith("(NOREPLICAS: the server has fewer replicas than its min-replicas-to-write)")


async def test_a_shared_secret_that_is_there_is_used_though_redis_takes_no_writes() -> None:
    async with open_server() as server:
        variables = {"GATEWAY_REDIS_URL": server.url, "GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k"}
        for writes in ("0", "1"):
            async with server.client() as client:
                await client.config_set("min-replicas-to-write", writes)
            async with started("serve", **variables) as process, asyncio.timeout(SECONDS):
                assert process.stdout is not None
                while b'"event":"listening"' not in (line := await process.stdout.readline()):
                    assert line, "it ended before it listened"


async def test_the_worker_of_a_killed_dev_ends_too(state: Path) -> None:
    async with started("dev", XDG_STATE_HOME=str(state)) as process, asyncio.timeout(SECONDS):
        assert process.stdout is not None
        found = None
        while found is None:
            found = re.search(rb'"pid":(\d+),"event":"worker_started"', await process.stdout.readline())
        try:
            process.kill()
            await process.stdout.read()  # the worker's too: it ends with the last process that holds it
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(found[1]), signal.SIGKILL)
            async with EmbeddedServer(state / "dragoman"):
                pass  # adopts the server that was left behind, and stops it


async def test_the_version_is_told() -> None:
    assert (await dragoman("version")).out == f"{__version__}\n"
    assert (await dragoman("version", "--json")).lines == [{"version": __version__}]
