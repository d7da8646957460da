"""The most that a request may cost, as a budget reserves it."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.access.admission import UnknownPrice
from gateway.access.records import NANO
from gateway.access.reservation import Need
from gateway.exchange.reach import NOTHING_ELSE, Reach, reach_of
from gateway.exchange.worst_case import CALL_FEE, RESULT_TOKENS, UNCOUNTED, WorstCase, dearest, worst_case
from gateway.messages.prompt import Original, Prompt
from gateway.upstream.models.prices import ASSUMED, HOUR, Price
from gateway.upstream.routes.policy import RequestPolicy, to_policy
from gateway.upstream.routes.route import Candidate, Route, RouteRule, Upstream
from gateway.upstream.routes.table import RoutingTable
from gateway.upstream.vendors.registry import COMPATIBLE

PRICES = {"m/a": (1, 2), "m/b": (3, 1), "m/dear": (10, 50), "m/over": (20, 1), "anthropic/claude-opus-4.5": (7, 9)}
UPSTREAM = Upstream("openrouter", "http://one.test/v1")
OTHER = Upstream("local", "http://two.test/v1", vendor=COMPATIBLE)
LISTED = [
    {"id": name, "context_length": 30_000, "pricing": {"prompt": f"{read / 1e6}", "completion": f"{written / 1e6}"}}
    for name, (read, written) in PRICES.items()
]
RULES = (
    RouteRule("long", (Candidate("openrouter", "m/a"),), overflow=Candidate("openrouter", "m/over")),
    RouteRule("two", (Candidate("openrouter", "m/a"), Candidate("openrouter", "m/b"))),
    RouteRule("local", (Candidate("local", "own"),)),
    RouteRule("*", (Candidate("openrouter"),)),
)
TABLE = RoutingTable((UPSTREAM, OTHER), RULES).learned("openrouter", LISTED)


def case_of(
    model: str = "m/a", unknown: UnknownPrice = "refuse", policy: RequestPolicy | None = None, **fields: Any
) -> WorstCase:
    request: Any = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10, **fields}
    routes: tuple[Route, ...] = TABLE.resolve(model)
    if policy is not None:
        routes = tuple(replace(route, policy=policy) for route in routes)
    return worst_case(Prompt(request, 100), routes, reach_of(request), TABLE, unknown=unknown)


def rules(**parameters: Any) -> RequestPolicy:
    return RequestPolicy({name: to_policy(name, value) for name, value in parameters.items()})


def within_rounding(nano: float) -> Any:
    """Sums of fractions are rounded up, by a nano-dollar or two too many."""
    return pytest.approx(nano, abs=2)


def per_million(price: Price | None) -> tuple[float, float]:
    assert price is not None
    return round(price.input * 1e6, 6), round(price.output * 1e6, 6)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, (1, 2), id="its own model"),
        pytest.param({"model": "two"}, (3, 2), id="the candidates of a route, part by part"),
        pytest.param({"model": "long"}, (20, 2), id="the candidate for long prompts"),
        pytest.param({"fallbacks": [{"model": "m/dear"}]}, (10, 50), id="a fallback that the request names"),
        pytest.param({"openai": {"models": ["m/b", "m/dear"]}}, (10, 50), id="models in an object"),
        pytest.param({"models": ["claude-opus-4-5-20251101"]}, (7, 9), id="a fallback by Anthropic's name"),
        pytest.param(
            {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "m/dear"}]}, (10, 50), id="an advisor"
        ),
        pytest.param({"policy": rules(models=["m/dear"])}, (10, 50), id="a fallback that the operator fills in"),
        pytest.param({"policy": rules(models={"lock": ["m/b"]})}, (3, 2), id="a fallback that the operator sets"),
        pytest.param({"speed": "fast"}, (6, 12), id="fast mode"),
        pytest.param({"openrouter": {"service_tier": "priority"}}, (2, 4), id="priority"),
        pytest.param({"policy": rules(service_tier="priority")}, (2, 4), id="priority that the operator fills in"),
        pytest.param({"service_tier": "auto"}, (1, 2), id="another tier"),
    ],
)
def test_price_is_the_dearest_of_all_that_the_request_reaches(
    fields: dict[str, Any], expected: tuple[float, float]
) -> None:
    case = case_of(**fields)
    assert (per_million(case.price), case.unpriced) == (expected, "")


@pytest.mark.parametrize(
    ("fields", "unpriced"),
    [
        ({"model": "m/new"}, "m/new"),
        ({"fallbacks": [{"model": "m/new"}]}, "m/new"),
        ({"preset": "mine"}, "@preset/mine"),
        ({"model": "m/a@preset/mine"}, "m/a@preset/mine"),
        ({"models": ["m/a@preset/mine"]}, "m/a@preset/mine"),
        ({"tools": [{"type": "openrouter:advisor"}]}, "tools.0"),
    ],
)
def test_model_without_a_price_counts_as_the_settings_say(fields: dict[str, Any], unpriced: str) -> None:
    fields = {"model": "m/a", **fields}
    assert case_of(unknown="refuse", **fields).unpriced == unpriced
    assumed = case_of(unknown="assume", **fields)
    assert (per_million(assumed.price), assumed.unpriced) == (per_million(ASSUMED), "")
    free = case_of(unknown="free", **fields).price
    assert free is None if fields["model"] != "m/a" else per_million(free) == (1, 2)


def test_unknown_price_is_not_assumed_below_a_known_one() -> None:
    case = case_of("m/dear", unknown="assume", models=["m/new"])
    assert per_million(case.price) == (10, 50)


def test_server_that_takes_no_names_of_models_is_not_priced_by_them() -> None:
    case = case_of("local", unknown="refuse", models=["m/dear"])
    assert (case.price, case.unpriced) == (None, "own")


def test_longer_answer_of_the_operators_rules_is_reserved() -> None:
    assert case_of().shortest == 0
    assert case_of(policy=rules(max_tokens=900)).shortest == 0, "a default does not apply: there is a length"
    for rule in ({"lock": 900}, {"min": 900, "max": 1000}):
        case = case_of(policy=rules(max_tokens=rule))
        assert case.shortest == 900
        need = case.to_need(0, 2000, 100)
        assert (need.want, need.least) == (within_rounding(2000 * 2000), within_rounding(900 * 2000))


def test_need_of_a_plain_request() -> None:
    case = WorstCase(Price(1e-6, 2e-6, 1e-7, 4e-6, 0.5))
    need = case.to_need(1000, 300, 100)
    assert need.want == within_rounding(0.5 * NANO + 1500 * 4000 * HOUR + 300 * 2000)
    assert need.least == within_rounding(0.5 * NANO + 1500 * 4000 * HOUR + 100 * 2000)
    assert (need.input, need.unpriced) == (1000, "")
    assert case.to_need(1000, 300, 0).least == need.want, "a floor of 0 shortens no answer"
    assert case.to_need(1000, 300, 1024).least == need.want
    assert replace(case, prompts=2).to_need(1000, 300, 0).want == within_rounding(need.want + 0.5 * NANO + 9.6e6)
    assert replace(case, answers=3).to_need(1000, 300, 0).want == within_rounding(need.want + 2 * 300 * 2000)
    assert replace(case, price=None, unpriced="m").to_need(7, 300, 0) == Need(input=7, unpriced="m")


def test_prompt_that_costs_more_to_read_than_to_cache_is_reserved_at_the_price_of_reading() -> None:
    assert WorstCase(Price(4e-6, 0, 0, 1e-6)).to_need(1000, 0, 0).want == within_rounding(1500 * 4000)


def test_answer_after_each_call_of_a_tool_is_reserved_with_what_it_reads() -> None:
    price = Price(1e-6, 2e-6, 0, 1e-6, 0.25)
    need = WorstCase(price, calls=2, window=100_000).to_need(2000, 100, 10)
    fixed = 3 * 0.25 + 2 * CALL_FEE + (3 * 3000 + 3 * RESULT_TOKENS) * 1e-6
    assert need.want == within_rounding((fixed + 600e-6) * NANO)
    assert need.least == within_rounding((fixed + 60e-6) * NANO)
    within = WorstCase(price, calls=2, window=9000).to_need(2000, 100, 10)
    assert need.want - within.want == within_rounding(4000 * 1000), "no model reads more than its window"
    beyond = WorstCase(price, calls=2, window=10).to_need(2000, 100, 10)
    assert within.want - beyond.want == within_rounding((5000 + 6000) * 1000), (
        "an estimate above the window holds all the same"
    )
    longer = WorstCase(price, calls=2, longest=150, window=100_000).to_need(2000, 100, 10)
    assert longer.want - need.want == within_rounding(2 * 50 * 2000), (
        "an advisor may write more than the request allows its own model"
    )


def test_granted_money_buys_a_shorter_answer() -> None:
    case = WorstCase(Price(0, 2e-6), answers=2, calls=1)
    need = case.to_need(0, 1000, 10)
    fixed = need.want - 1000 * 6000
    assert case.affordable(need.want, need, 1000) == 1000
    assert case.affordable(need.want - 1, need, 1000) == 999
    assert case.affordable(fixed + 600 * 6000, need, 1000) == 600
    assert case.affordable(0, need, 1000) == 1, "the least that an upstream takes"
    assert WorstCase(Price(1e-6)).affordable(0, Need(5), 1000) == 1000
    assert UNCOUNTED.affordable(0, Need(5), 1000) == 1000


def test_prices_of_long_prompts_are_compared_for_each_length() -> None:
    cheap_at_first = Price(1, 1, 0, 0, bands=((200, Price(9, 2)),))
    other = Price(2, 1, 0, 0, bands=((100, Price(3, 7)),))
    price = dearest([cheap_at_first, other], 2)
    assert [(one.input, one.output) for one in (price, price.for_prompt(100), price.for_prompt(500))] == [
        (4, 2), (6, 14), (18, 14),
    ]  # fmt: skip
    need = WorstCase(Price(1e-6, 1e-6, bands=((15, Price(1e-3, 1e-3)),))).to_need(10, 1, 0)
    assert need.want == within_rounding(16 * 1_000_000), "by the length with its margin"


def test_every_answer_of_a_chat_request_that_is_passed_on_is_counted() -> None:
    for several, expected in ((3, 3), (1, 1), (None, 1), ("3", 1), (True, 1)):
        request: Any = {"model": "m/a", "messages": [], "n": several}
        prompt = Prompt(request, 10, original=Original(b"", False, False, NotImplemented))
        case = worst_case(prompt, TABLE.resolve("m/a"), NOTHING_ELSE, TABLE, unknown="free", prompts=2)
        assert (case.answers, case.prompts, case.calls) == (expected, 2, 0)
    request = {"model": "m/a", "messages": [], "n": 3}
    prompt = Prompt(request, 10)
    assert worst_case(prompt, TABLE.resolve("m/a"), Reach(calls=4), TABLE, unknown="free").answers == 1


def test_candidate_for_long_prompts_whose_upstream_is_gone_is_left_out() -> None:
    [route] = TABLE.resolve("long")
    assert RoutingTable((OTHER,), RULES[2:3]).overflow_of(route) == []


@pytest.mark.parametrize("unknown", ["assume", "free", "refuse"])
@pytest.mark.parametrize("model", ["m/a", "m/unknown"])
def test_plain_request_is_priced_as_by_all_rules(model: str, unknown: UnknownPrice) -> None:
    prompt, routes = Prompt({"model": model, "max_tokens": 9, "messages": []}, 100), TABLE.resolve(model)
    nothing = Reach()  # equal to NOTHING_ELSE, but not known to be so
    cases = [worst_case(prompt, routes, reach, TABLE, unknown=unknown) for reach in (NOTHING_ELSE, nothing)]
    assert cases[0] == cases[1]
