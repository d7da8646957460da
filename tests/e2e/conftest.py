"""A front end with the simulator behind it: in this process (quick), or as the real command (`front_end`)."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anthropic
import orjson
import pytest
import pytest_asyncio
import structlog
from structlog.testing import ReturnLoggerFactory

from gateway import app
from gateway.app import running
from gateway.settings import Settings, load_settings
from gateway.simulator.loopback import Simulator
from tests.support.redis_server import redis_server

KEY = "test-key-0123456789"
# Loading the system's certificates takes a client 50 ms of processor time; here all share them.
TRUST = ssl.create_default_context()
# A gateway that stops waits for connections that the kernel has accepted; those in this process have none.
app.ACCEPT_GRACE = 0.0
START_SECONDS = 60.0  # four processes that share two busy cores with other tests take up to half a minute


@dataclass(slots=True)
class Live:
    """Addresses of a front end, and the upstream behind it."""

    url: str
    simulator: Simulator
    admin_url: str = ""
    clients: list[anthropic.AsyncAnthropic] = field(default_factory=list)

    def client(self, **options: Any) -> anthropic.AsyncAnthropic:
        """An official client, closed with the front end."""
        own = {"base_url": self.url, "api_key": KEY, "max_retries": 0}
        transport = options.pop("http_client", None) or anthropic.DefaultAsyncHttpxClient(verify=TRUST)
        client = anthropic.AsyncAnthropic(**{**own, **options}, http_client=transport)
        self.clients.append(client)
        return client

    async def close(self) -> None:
        for client in self.clients:
            await client.close()


@dataclass(slots=True)
class Process:
    """The real command, and the lines that it has logged so far."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    raw: bytes = b""


def settings_for(simulator: Simulator, /, **changes: Any) -> Settings:
    fixed = {
        "port": 0,
        "admin_port": 0,
        "keys": f"tests:{KEY}",
        "secret": "t:secret",
        "upstream_url": simulator.url,
        "upstream_api_key": "sk-upstream-canary",
        "upstream_flavor": "openrouter",
        "limits_timeout": 5,  # a busy machine is no outage
    }
    return load_settings(**{**fixed, **changes})


@asynccontextmanager
async def serving(simulator: Simulator, /, **changes: Any) -> AsyncIterator[Live]:
    """A front end in this process, with settings of one's own."""
    structlog.configure(logger_factory=ReturnLoggerFactory(), cache_logger_on_first_use=False)
    async with running(settings_for(simulator, **changes)) as addresses:
        assert addresses.admin is not None
        live = Live("http://{}:{}".format(*addresses.client), simulator, "http://{}:{}".format(*addresses.admin))
        try:
            yield live
        finally:
            await live.close()


@asynccontextmanager
async def front_end(simulator: Simulator, *arguments: str, **variables: str) -> AsyncIterator[tuple[Live, Process]]:
    """`dragoman serve` as its own process. Leaving the context kills it if it still runs."""
    environment = {
        **os.environ,
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_KEYS": f"tests:{KEY}",
        "GATEWAY_SECRET": "t:secret-canary",
        "GATEWAY_UPSTREAM_URL": simulator.url,
        "GATEWAY_UPSTREAM_API_KEY": "sk-upstream-canary",
        "GATEWAY_UPSTREAM_FLAVOR": "openrouter",
        "GATEWAY_LIMITS_TIMEOUT": "5",
        "GATEWAY_LOG_FORMAT": "json",
        **variables,
    }
    command = (sys.executable, "-m", "gateway", "serve", *arguments)
    async with AsyncExitStack() as stack:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        started = Process(process)
        ready = asyncio.Event()
        reader = asyncio.create_task(_read_lines(started, ready))
        stack.push_async_callback(_end, process, reader)
        async with asyncio.timeout(START_SECONDS):
            await ready.wait()
        line = next(line for line in started.lines if line["event"] == "listening")
        live = Live(f"http://{line['client']}", simulator, f"http://{line['admin']}")
        stack.push_async_callback(live.close)
        yield live, started


async def _read_lines(started: Process, ready: asyncio.Event) -> None:
    assert started.process.stdout is not None
    async for raw in started.process.stdout:
        started.raw += raw
        started.lines.append(orjson.loads(raw))
        if started.lines[-1]["event"] == "listening":
            ready.set()


async def _end(process: asyncio.subprocess.Process, reader: asyncio.Task[None]) -> None:
    """Kill the process, and read what it and its children print to the end: only then does asyncio close the pipe."""
    if process.returncode is None:
        process.kill()
    await process.wait()
    async with asyncio.timeout(START_SECONDS):
        await reader


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running_simulator:
        yield running_simulator


@pytest.fixture
async def live(simulator: Simulator) -> AsyncIterator[Live]:
    async with serving(simulator) as front:
        yield front


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis_url() -> AsyncIterator[str]:
    """A Redis for the tests of a module."""
    async with redis_server() as url:
        yield url
