"""The tables of cases.py before llama.cpp, which speaks Messages and Responses beside chat."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.servers.cases import CASES
from tests.servers.client import Client
from tests.servers.conftest import CHOSEN, PATIENT, Servers, front_end
from tests.servers.expectation import Case
from tests.servers.expected_failures import DIALECT_FAILURES
from tests.servers.registry import SERVERS

pytestmark = [PATIENT, pytest.mark.asyncio(loop_scope="module")]

SERVER = "llama-cpp"
DIALECTS = ("messages", "responses")


def for_dialects() -> list[object]:
    """Return a parameter for each case in each dialect; what the server itself does wrong is marked."""
    missing = SERVERS[SERVER].missing if SERVER in CHOSEN else "`make servers` runs it on llama-cpp"
    skipped = [pytest.mark.skip(reason=missing)] if missing else []
    return [
        pytest.param(dialect, case, id=f"{dialect}: {case.name}", marks=skipped + _marks(dialect, case.name))
        for dialect in DIALECTS
        for case in CASES
        if SERVER in case.servers.split()
    ]


def _marks(dialect: str, sentence: str) -> list[pytest.MarkDecorator]:
    reason = DIALECT_FAILURES[dialect].get(sentence)
    return [pytest.mark.xfail(reason=reason, strict=True)] if reason else []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(servers: Servers) -> AsyncIterator[dict[str, Client]]:
    """One front end for each dialect: starting one for each case would take longer than the cases."""
    async with AsyncExitStack() as stack:
        server = servers.get(SERVER)
        yield {name: await stack.enter_async_context(front_end(server, dialect=name)) for name in DIALECTS}


@pytest.mark.parametrize(("dialect", "case"), for_dialects())
@pytest.mark.covers("Upstreams · llama.cpp in all its dialects")
async def test_a_real_server_in_another_dialect(clients: dict[str, Client], dialect: str, case: Case) -> None:
    for stream in case.forms:
        case.expected.check(await clients[dialect].ask(stream=stream, **case.ask))
