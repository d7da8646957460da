"""The tables of cases.py before the servers that speak Messages and Responses beside chat: llama.cpp and vLLM."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.servers.cases import CASES
from tests.servers.client import Client
from tests.servers.conftest import CHOSEN, PATIENT, Servers, front_end
from tests.servers.expectation import Case
from tests.servers.expected_failures import DIALECT_FAILURES, VARYING
from tests.servers.registry import SERVERS

pytestmark = [PATIENT, pytest.mark.asyncio(loop_scope="module")]

DIALECTS = ("messages", "responses")


def for_dialects() -> list[object]:
    """Return a parameter for each case of each server in each dialect; what the server itself does wrong is marked."""
    return [
        pytest.param(server, dialect, case, id=f"{server}, {dialect}: {case.name}", marks=_marks(server, dialect, case))
        for server in DIALECT_FAILURES
        if server in CHOSEN
        for dialect in DIALECTS
        for case in CASES
        if server in case.servers.split()
    ] or [pytest.param("", "", None, marks=pytest.mark.skip(reason="`make servers` runs it on llama-cpp and vllm"))]


def _marks(server: str, dialect: str, case: Case) -> list[pytest.MarkDecorator]:
    if (missing := SERVERS[server].missing) is not None:
        return [pytest.mark.skip(reason=missing)]
    reason = DIALECT_FAILURES[server][dialect].get(case.name)
    is_strict = (server, dialect, case.name) not in VARYING
    return [pytest.mark.xfail(reason=reason, strict=is_strict)] if reason else []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(servers: Servers) -> AsyncIterator[dict[tuple[str, str], Client]]:
    """One front end for each dialect: starting one for each case would take longer than the cases."""
    async with AsyncExitStack() as stack:
        clients: dict[tuple[str, str], Client] = {}
        for name in [name for name in DIALECT_FAILURES if name in CHOSEN]:
            for dialect in DIALECTS:
                client = await stack.enter_async_context(front_end(servers.get(name), dialect=dialect))
                clients[name, dialect] = client
        yield clients


@pytest.mark.parametrize(("server", "dialect", "case"), for_dialects())
@pytest.mark.covers("Upstreams · llama.cpp in all its dialects")
async def test_a_real_server_in_another_dialect(
    clients: dict[tuple[str, str], Client], server: str, dialect: str, case: Case
) -> None:
    for stream in case.forms:
        case.expected.check(await clients[server, dialect].ask(stream=stream, **case.ask))
