"""The table of expected failures has only sentences and servers that exist."""

from importlib import import_module
from pathlib import Path

from tests.servers.cases import CASES, CONVERSATIONS
from tests.servers.conftest import SENTENCES
from tests.servers.expected_failures import DIALECT_FAILURES, EXPECTED_FAILURES


def test_every_expected_failure_names_a_test_and_servers_of_it() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        import_module(f"tests.servers.{path.stem}")
    tried = SENTENCES | {case.name: frozenset(case.servers.split()) for case in (*CASES, *CONVERSATIONS)}
    stale = {
        (server, sentence)
        for sentence, (servers, _) in EXPECTED_FAILURES.items()
        for server in servers.split()
        if server not in tried.get(sentence, ())
    }
    assert stale == set()


def test_every_failure_of_a_dialect_names_a_case_of_its_server() -> None:
    cases = {case.name: case.servers.split() for case in CASES}
    for server, dialects in DIALECT_FAILURES.items():
        for failures in dialects.values():
            assert {sentence for sentence in failures if server not in cases.get(sentence, ())} == set()
