"""Which of several candidates with shares a session goes to, and in which order the others follow."""

from collections import Counter

import pytest

from gateway.upstream.routes.affinity import in_order, needs_order
from gateway.upstream.routes.route import Candidate, Route, RouteRule, Upstream
from gateway.upstream.routes.table import RoutingTable
from gateway.upstream.vendors.registry import COMPATIBLE

UPSTREAMS = tuple(
    Upstream(name, f"http://{name}/v1", f"{name}{lane}", COMPATIBLE, lane=lane)
    for name, lanes in (("a", 1), ("b", 1), ("c", 1), ("k", 3))
    for lane in range(lanes)
)


def routes_of(*candidates: Candidate) -> tuple[Route, ...]:
    return RoutingTable(UPSTREAMS, (RouteRule("*", candidates),)).resolve("m")


def sessions(number: int) -> list[bytes]:
    return [str(index).encode() for index in range(number)]


@pytest.mark.covers("Routing · shares, and sessions that stay where they began")
def test_shares_hold_within_two_percent_of_ten_thousand_sessions() -> None:
    routes = routes_of(Candidate("a", share=70), Candidate("b", share=20), Candidate("c", share=10))
    first = Counter(in_order(routes, session)[0].upstream.name for session in sessions(10_000))
    assert first.keys() == {"a", "b", "c"}
    for name, share in (("a", 7000), ("b", 2000), ("c", 1000)):
        assert abs(first[name] - share) <= 200


def test_only_the_sessions_of_a_lost_candidate_move() -> None:
    routes = routes_of(Candidate("a", share=1), Candidate("b", share=1), Candidate("c", share=1))
    left = tuple(route for route in routes if route.upstream.name != "b")
    for session in sessions(1000):
        before, after = in_order(routes, session), in_order(left, session)
        assert [route for route in before if route.upstream.name != "b"] == list(after)


def test_group_keeps_its_place_among_the_others() -> None:
    routes = routes_of(Candidate("c"), Candidate("a", share=1), Candidate("b", share=1))
    for session in sessions(20):
        names = [route.upstream.name for route in in_order(routes, session)]
        assert names[0] == "c"
        assert sorted(names[1:]) == ["a", "b"]


@pytest.mark.covers("Routing · several keys of one upstream")
def test_keys_of_an_upstream_take_turns_and_a_session_keeps_its_key() -> None:
    routes = routes_of(Candidate("k"), Candidate("a"))
    firsts = [in_order(routes, b"same", turn)[0].upstream.api_key for turn in range(6)]
    assert firsts == ["k0", "k1", "k2", "k0", "k1", "k2"]
    assert [route.upstream.api_key for route in in_order(routes, b"same", 1)] == ["k1", "k2", "k0", "a0"]
    assert len({in_order(routes, b"same")[0].upstream.api_key for _ in range(6)}) == 1
    used = Counter(in_order(routes, session)[0].upstream.api_key for session in sessions(3000))
    assert all(abs(number - 1000) < 100 for number in used.values())


def test_list_without_shares_and_with_single_keys_needs_no_order() -> None:
    assert not needs_order(routes_of(Candidate("a"), Candidate("b")))
    assert not needs_order(routes_of(Candidate("a", share=1)))
    assert needs_order(routes_of(Candidate("k")))
