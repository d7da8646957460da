"""The tables of cases.py before llama.cpp, which speaks Messages and Responses beside chat."""

import pytest

from tests.servers.cases import CASES
from tests.servers.conftest import CHOSEN, PATIENT, Servers, front_end
from tests.servers.expectation import Case
from tests.servers.expected_failures import DIALECT_FAILURES
from tests.servers.registry import SERVERS

pytestmark = PATIENT

SERVER = "llama-cpp"


def for_dialects() -> list[object]:
    """Return a parameter for each case in each dialect; what the server itself does wrong is marked."""
    missing = SERVERS[SERVER].missing if SERVER in CHOSEN else "`make servers` runs it on llama-cpp"
    skipped = [pytest.mark.skip(reason=missing)] if missing else []
    return [
        pytest.param(dialect, case, id=f"{dialect}: {case.name}", marks=skipped + _marks(dialect, case.name))
        for dialect in ("messages", "responses")
        for case in CASES
        if SERVER in case.servers.split()
    ]


def _marks(dialect: str, sentence: str) -> list[pytest.MarkDecorator]:
    reason = DIALECT_FAILURES[dialect].get(sentence)
    return [pytest.mark.xfail(reason=reason, strict=True)] if reason else []


@pytest.mark.parametrize(("dialect", "case"), for_dialects())
async def test_a_real_server_in_another_dialect(servers: Servers, dialect: str, case: Case) -> None:
    async with front_end(servers.get(SERVER), dialect=dialect) as client:
        for stream in case.forms:
            case.expected.check(await client.ask(stream=stream, **case.ask))
