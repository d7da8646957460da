"""Servers for the tests of a session, and a front end before each.

Only llama.cpp's cases run in `make test`; `make servers` selects the others by an environment variable.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import structlog
from structlog.testing import ReturnLoggerFactory

from gateway import app
from gateway.app import running as running_gateway
from gateway.settings import load_settings
from tests.servers.client import TIMEOUT, Client
from tests.servers.expectation import Case, Conversation
from tests.servers.expected_failures import EXPECTED_FAILURES
from tests.servers.launch import MODEL
from tests.servers.registry import SERVERS
from tests.servers.report import CHOICE
from tests.servers.running import Running, running

KEY = "test-key-0123456789"
# A gateway that stops waits for connections that the kernel has accepted; those in this process have none.
app.ACCEPT_GRACE = 0.0
CHOSEN = tuple(os.environ.get(CHOICE, "llama-cpp").split(","))

# The first test of a heavy server waits for its start, up to two minutes on two busy cores.
PATIENT = pytest.mark.timeout(400)

Test = Callable[..., Awaitable[None]]

# The servers of every test that is not a row of a table, by its sentence.
SENTENCES: dict[str, frozenset[str]] = {}


@dataclass(slots=True)
class Servers:
    """Servers that have been started, one of a name at a time: most are too heavy for two."""

    stacks: dict[str, ExitStack] = field(default_factory=dict)
    started: dict[str, tuple[dict[str, Any], Running]] = field(default_factory=dict)

    def get(self, name: str, **options: Any) -> Running:
        """Return the running server, restarted if it had other options."""
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


def settings_before(server: Running, **changes: Any) -> dict[str, Any]:
    """Return the settings of a gateway before the server."""
    fixed: dict[str, Any] = {"port": 0, "admin_port": 0, "keys": f"tests:{KEY}", "secret": "t:secret"}
    if server.model != MODEL:
        fixed["aliases"] = f"{MODEL}={server.model}"
    given = {**fixed, "upstream_url": server.api, "upstream_api_key": server.key, **changes}
    return {name: value for name, value in given.items() if value is not None}


@asynccontextmanager
async def front_end(server: Running, **changes: Any) -> AsyncIterator[Client]:
    """A front end in this process before the server, with settings of the test's own, and a client of it."""
    structlog.configure(logger_factory=ReturnLoggerFactory(), cache_logger_on_first_use=False)
    settings = load_settings(**settings_before(server, **changes))
    async with AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(running_gateway(settings))
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers, timeout=TIMEOUT))
        yield Client(session, "http://{}:{}".format(*addresses.client), MODEL)


def for_servers(table: Sequence[Case | Conversation]) -> list[Any]:
    """Return a parameter for each chosen server of each case; those that may fail are marked."""
    return [
        pytest.param(name, case, id=f"{name}: {case.name}", marks=_marks(name, case.name))
        for case in table
        for name in case.servers.split()
        if name in CHOSEN
    ]


def on_servers(names: str) -> Callable[[Test], Test]:
    """Run a test on the chosen ones of these servers. The table of expected failures has its name, as a sentence."""

    def parametrize(test: Test) -> Test:
        sentence = test.__name__.removeprefix("test_").replace("_", " ")
        SENTENCES[sentence] = frozenset(names.split())
        chosen = [name for name in names.split() if name in CHOSEN]
        parameters = [pytest.param(name, id=name, marks=_marks(name, sentence)) for name in chosen]
        absent = pytest.param("", id="others", marks=pytest.mark.skip(reason=f"`make servers` runs it on {names}"))
        return pytest.mark.parametrize("name", parameters or [absent])(test)

    return parametrize


def _marks(name: str, sentence: str) -> list[pytest.MarkDecorator]:
    missing = SERVERS[name].missing
    if missing is not None:
        return [pytest.mark.skip(reason=missing)]
    servers, reason = EXPECTED_FAILURES.get(sentence, ("", ""))
    return [pytest.mark.xfail(reason=reason, strict=True)] if name in servers.split() else []
