"""The table of expected failures names only cases and servers that exist."""

from tests.servers.cases import CASES, CONVERSATIONS
from tests.servers.expected_failures import EXPECTED_FAILURES


def test_every_expected_failure_names_a_case_and_servers_of_it() -> None:
    tried = {case.name: set(case.servers.split()) for case in (*CASES, *CONVERSATIONS)}
    stale = {
        (server, sentence)
        for sentence, (servers, _) in EXPECTED_FAILURES.items()
        for server in servers.split()
        if server not in tried.get(sentence, set())
    }
    assert stale == set()
