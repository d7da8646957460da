"""The routing table: which rule decides for a name, and which candidates come of it."""

import random

import pytest

from gateway.errors import NotFound
from gateway.upstream.routes.route import Candidate, RouteRule, Upstream
from gateway.upstream.routes.table import Routing, RoutingTable
from gateway.upstream.vendors.registry import COMPATIBLE, VENDORS

UPSTREAMS = (
    Upstream("a", "http://a/v1", "one", COMPATIBLE),
    Upstream("a", "http://a/v1", "two", COMPATIBLE, lane=1),
    Upstream("b", "http://b/v1", "three", COMPATIBLE),
)


def rules(**candidates: str) -> tuple[RouteRule, ...]:
    return tuple(
        RouteRule(pattern, (Candidate("b", model),), line) for line, (pattern, model) in enumerate(candidates.items())
    )


PRECEDENCE = rules(
    **{
        "*": "all",
        "gpt-*": "gpt",
        "gpt-4*": "gpt-4",
        "gpt-4o": "exact",
        "*-4o-mini": "mini",
        "*opus*": "opus",
        "claude-*-5": "five",
        "*haiku*x": "haiku-x",
    }
)


@pytest.mark.parametrize(
    ("requested", "model"),
    [
        pytest.param("gpt-4o", "exact", id="exact name wins"),
        pytest.param("gpt-4o-mini", "mini", id="pattern with most literal characters wins"),
        pytest.param("gpt-4-turbo", "gpt-4", id="longer prefix wins"),
        pytest.param("gpt-5", "gpt", id="shorter prefix"),
        pytest.param("o3", "all", id="star alone takes the rest"),
        pytest.param("claude-opus-5", "five", id="star in the middle"),
        pytest.param("claude-opus-4", "opus", id="star at both ends"),
        pytest.param("opus", "opus", id="star matches nothing too"),
        pytest.param("my-haiku-y-x", "haiku-x", id="part and end"),
        pytest.param("haikux", "haiku-x", id="part and end side by side"),
        pytest.param("my-haiku-y", "all", id="end does not match"),
        pytest.param("claude--5", "five", id="star matches no character in the middle"),
        pytest.param("claude-5", "all", id="parts of a pattern do not overlap"),
        pytest.param("gpt-4o[1m]", "exact", id="context suffix is cut"),
    ],
)
@pytest.mark.covers("Routing · names, patterns and their precedence")
def test_precedence_does_not_depend_on_order_of_lines(requested: str, model: str) -> None:
    for seed in range(5):
        shuffled = list(PRECEDENCE)
        random.Random(seed).shuffle(shuffled)
        [route] = RoutingTable(UPSTREAMS[2:], tuple(shuffled)).resolve(requested)
        assert (route.target.model, route.requested) == (model, requested)


def test_of_patterns_with_equally_many_literals_the_earlier_line_wins() -> None:
    table = RoutingTable(UPSTREAMS[2:], rules(**{"ab*": "first", "*bc": "second"}))
    assert table.resolve("abc")[0].target.model == "first"


@pytest.mark.covers("Routing · an unknown model is never replaced")
def test_name_that_no_rule_matches_is_not_found() -> None:
    table = RoutingTable(UPSTREAMS, rules(**{"gpt-*": "gpt"}), families=rules(big="large"))
    with pytest.raises(NotFound, match=r"^model: gtp-4$"):
        table.resolve("gtp-4")
    assert table.resolve("big")[0].target.model == "large"


def test_families_apply_only_where_no_rule_does() -> None:
    table = RoutingTable(UPSTREAMS, rules(**{"*opus*": "mine"}), families=rules(opus="theirs", sonnet="theirs"))
    assert table.resolve("opus")[0].target.model == "mine"
    assert table.resolve("sonnet")[0].target.model == "theirs"


def test_each_key_of_an_upstream_is_a_route_in_one_group() -> None:
    table = RoutingTable(UPSTREAMS, (RouteRule("*", (Candidate("a"), Candidate("b", "m"))),))
    routes = table.resolve("x")
    assert [(one.upstream.api_key, one.group, one.share) for one in routes] == [
        ("one", 0, 0.5),
        ("two", 0, 0.5),
        ("three", 1, None),
    ]
    assert [one.target.model for one in routes] == ["x", "x", "m"]
    assert [one.upstream.circuit for one in routes] == ["a", "a#2", "b"]


def test_candidates_with_shares_beside_one_another_are_one_group() -> None:
    candidates = (Candidate("b", "1", 70), Candidate("b", "2", 30), Candidate("b", "3"), Candidate("b", "4", 1))
    routes = RoutingTable(UPSTREAMS[2:], (RouteRule("*", candidates),)).resolve("x")
    assert [(one.group, one.share) for one in routes] == [(0, 70), (0, 30), (1, None), (2, 1)]


@pytest.mark.parametrize(
    ("pattern", "model", "requested", "sent"),
    [
        pytest.param("b/*", "*", "b/gpt-5", "gpt-5", id="a prefix is taken off"),
        pytest.param("*", "qwen/*", "qwen3", "qwen/qwen3", id="a prefix is put on"),
        pytest.param("fo::*:static::*", "x/*-*", "fo::a:static::b", "x/a-b", id="each star takes its part"),
        pytest.param("*-*-*", "*+*+*", "a-b-c-d", "a+b+c-d", id="a star in the middle takes the shortest part"),
        pytest.param("*:*", "only-*", "a:b", "only-a", id="the first of two stars"),
        pytest.param("*", "fixed", "anything", "fixed", id="a model without a star"),
        pytest.param("c*", "x*", "c[1m]", "x", id="the suffix for long context takes no part"),
    ],
)
def test_star_of_a_candidate_is_what_that_of_the_pattern_matched(
    pattern: str, model: str, requested: str, sent: str
) -> None:
    table = RoutingTable(UPSTREAMS[2:], (RouteRule(pattern, (Candidate("b", model),)),))
    assert [one.target.model for one in table.resolve(requested)] == [sent]
    assert table.to_upstream_model(requested) == sent
    assert list(table.aliases_at("b")) == ([] if "*" in model else [(pattern, model)])


def test_list_of_one_upstream_says_nothing_of_another() -> None:
    routing = Routing(RoutingTable(UPSTREAMS, (RouteRule("*", (Candidate("a"), Candidate("b"))),)))
    before = routing.resolve("m")
    routing.learn("b", [{"id": "m", "context_length": 1000}])
    assert [one.target.context_length for one in routing.resolve("m")] == [None, None, 1000]
    assert before[2].target.context_length is None


def test_recognised_vendor_is_that_of_every_key() -> None:
    routing = Routing(RoutingTable(UPSTREAMS, (RouteRule("*", (Candidate("a"), Candidate("b"))),)))
    routing.recognise("a", VENDORS["vllm"])
    assert [one.vendor.name for one in routing.table.upstreams] == ["vllm", "vllm", "compatible"]
    assert "top_k" in routing.resolve("m")[0].target.parameters


PRICED = (
    Upstream("dear", "http://a/v1", vendor=COMPATIBLE, prices=(10.0, 30.0)),
    Upstream("cheap", "http://b/v1", vendor=COMPATIBLE, prices=(1.0, 2.0)),
    Upstream("unknown", "http://c/v1", vendor=COMPATIBLE),
    Upstream("listed", "http://d/v1", vendor=COMPATIBLE),
)
LISTED = [{"id": "m", "pricing": {"prompt": "0.000003", "completion": "0.000005"}}]


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ({}, ["dear", "unknown", "listed", "cheap"]),
        ({"sort": "price"}, ["cheap", "listed", "dear", "unknown"]),
        ({"max_price": (3.0, None)}, ["listed", "cheap"]),
        ({"max_price": (None, 4.0), "sort": "price"}, ["cheap"]),
    ],
)
@pytest.mark.covers("Routing · by price")
def test_candidates_are_sorted_and_limited_by_price(rule: dict[str, object], names: list[str]) -> None:
    candidates = tuple(Candidate(name) for name in ("dear", "unknown", "listed", "cheap"))
    table = RoutingTable(PRICED, (RouteRule("*", candidates, **rule),)).learned("listed", LISTED)  # type: ignore[arg-type]
    assert [route.upstream.name for route in table.resolve("m")] == names


def test_model_without_a_candidate_within_the_price_is_not_found() -> None:
    table = RoutingTable(PRICED, (RouteRule("*", (Candidate("dear"),), max_price=(5.0, None)),))
    with pytest.raises(NotFound, match="within the price that is allowed"):
        table.resolve("m")
