"""Servers for the tests of a session, and a front end before each.

Only llama.cpp's cases run in `make test`; `make servers` selects the others by an environment variable.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import structlog
from structlog.testing import ReturnLoggerFactory

from gateway.app import running as running_gateway
from gateway.settings import load_settings
from tests.servers.client import TIMEOUT, Client
from tests.servers.expectation import Case, Conversation
from tests.servers.expected_failures import reason_of
from tests.servers.registry import SERVERS
from tests.servers.report import CHOICE
from tests.servers.running import Running, running

KEY = "test-key-0123456789"
CHOSEN = tuple(os.environ.get(CHOICE, "llama-cpp").split(","))

Front = Callable[..., AbstractAsyncContextManager[Client]]


@dataclass(slots=True)
class Servers:
    """Servers that have been started, one of a name at a time: most are too heavy for two."""

    stacks: dict[str, ExitStack] = field(default_factory=dict)
    started: dict[str, tuple[dict[str, Any], Running]] = field(default_factory=dict)

    def get(self, name: str, **options: Any) -> Running:
        """Return the running server, started anew if it had other options."""
        if SERVERS[name].missing is not None:
            pytest.skip(f"{name}: {SERVERS[name].missing}")
        if name in self.started and self.started[name][0] == options:
            return self.started[name][1]
        self.stop(name)
        stack = self.stacks[name] = ExitStack()
        server = stack.enter_context(running(name, **options))
        self.started[name] = (options, server)
        return server

    def stop(self, name: str) -> None:
        self.started.pop(name, None)
        if name in self.stacks:
            self.stacks.pop(name).close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    for name in list(started.stacks):
        started.stop(name)


@asynccontextmanager
async def front_end(server: Running, **changes: Any) -> AsyncIterator[Client]:
    """A front end in this process before the server, with settings of the test's own, and a client of it."""
    structlog.configure(logger_factory=ReturnLoggerFactory(), cache_logger_on_first_use=False)
    fixed = {
        "port": 0,
        "admin_port": 0,
        "keys": f"tests:{KEY}",
        "secret": "t:secret",
        "upstream_url": server.api,
        "upstream_api_key": server.key,
    }
    async with AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(running_gateway(load_settings(**{**fixed, **changes})))
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers, timeout=TIMEOUT))
        yield Client(session, "http://{}:{}".format(*addresses.client), server.model)


def for_servers(table: Sequence[Case | Conversation]) -> list[Any]:
    """Return a parameter for each chosen server of each case, marked where it is expected to fail."""
    return [
        pytest.param(name, case, id=f"{name}: {case.name}", marks=expected_failure(name, case.name))
        for case in table
        for name in case.servers.split()
        if name in CHOSEN
    ]


def on_servers(names: str, sentence: str) -> pytest.MarkDecorator:
    """Parametrize a test by the chosen ones of these servers; the sentence is its name among expected failures."""
    chosen = [name for name in names.split() if name in CHOSEN]
    values = [pytest.param(name, id=name, marks=expected_failure(name, sentence)) for name in chosen]
    return pytest.mark.parametrize("name", values)


def expected_failure(name: str, sentence: str) -> list[pytest.MarkDecorator]:
    reason = reason_of(name, sentence)
    return [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
