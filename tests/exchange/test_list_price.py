"""Every field of usage that Anthropic and OpenAI bill is in the cost by the price list."""

from typing import Any

import pytest
from anthropic.types.beta import BetaUsage

from gateway.exchange.list_price import FAST_MODE, FLEX, PRIORITY, REGION, SEARCH_FEE, cost_of
from gateway.exchange.worst_case import factor_of
from gateway.upstream.models.prices import Price

MODEL = Price(2.0, 10.0, 0.2, 2.5, 100.0)
ADVISOR = Price(4.0, 20.0, 0.4, 5.0, 100.0)
LONG = Price(2.0, 10.0, 0.2, 2.5, 0.0, ((50, ADVISOR),))
COUNTS = {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 4}
TOKENS = 10 * 2 + 3 * 10 + 5 * 0.2 + 4 * 2.5
OF_ADVISOR = 10 * 4 + 3 * 20 + 5 * 0.4 + 4 * 5
STEP = {"type": "message", **COUNTS}
REDEEMED = {"status": {"type": "redeemed"}}

# What the usage has beside the counts, and the cost of all.
BILLED: dict[str, tuple[dict[str, Any], float]] = {
    "nothing else": ({}, TOKENS),
    "entries for five minutes": ({"cache_creation": {"ephemeral_5m_input_tokens": 4}}, TOKENS),
    "entries for an hour": ({"cache_creation": {"ephemeral_1h_input_tokens": 4}}, TOKENS + 4 * 2.5 * 0.6),
    "fast mode": ({"speed": "fast"}, TOKENS * FAST_MODE),
    "the usual speed": ({"speed": "standard"}, TOKENS),
    "a region": ({"inference_geo": "us"}, TOKENS * REGION),
    "no region": ({"inference_geo": "global"}, TOKENS),
    "fast mode in a region": ({"speed": "fast", "inference_geo": "us"}, TOKENS * FAST_MODE * REGION),
    "a tier by commitment": ({"service_tier": "priority"}, TOKENS),
    "a batch of the upstream": ({"service_tier": "batch"}, TOKENS * FLEX),
    "searches": ({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 9}}, TOKENS + 2 * SEARCH_FEE),
    "details of the output": ({"output_tokens_details": {"thinking_tokens": 2}}, TOKENS),
    "one step": ({"iterations": [STEP]}, TOKENS),
    "an advisor": ({"iterations": [STEP, {**STEP, "type": "advisor_message", "model": "adv"}]}, TOKENS + OF_ADVISOR),
    "an advisor without a known price": (
        {"iterations": [STEP, {**STEP, "type": "advisor_message", "model": "other"}]},
        2 * TOKENS,
    ),
    "a compaction": ({"iterations": [{**STEP, "type": "compaction"}, STEP]}, 2 * TOKENS),
    "a fallback": ({"iterations": [{**STEP, "type": "fallback_message", "model": "adv"}]}, OF_ADVISOR),
    "steps that do not add up": ({"iterations": [{**STEP, "output_tokens": 1, "model": "adv"}]}, TOKENS),
    "a redeemed credit": ({"fallback_credit": REDEEMED}, TOKENS - 4 * 2.5 + 4 * 0.2),
    "a credit for entries for an hour": (
        {"fallback_credit": REDEEMED, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
        TOKENS - 4 * 2.5 + 4 * 0.2,
    ),
    "a credit that was not applied": (
        {"fallback_credit": {"status": {"type": "not_applied", "reason": "expired"}}},
        TOKENS,
    ),
    "a credit of no form": ({"fallback_credit": 1}, TOKENS),
    "a redeemed credit beside an advisor": (
        {"fallback_credit": REDEEMED, "iterations": [STEP, {**STEP, "type": "advisor_message", "model": "adv"}]},
        TOKENS - 4 * 2.5 + 4 * 0.2 + OF_ADVISOR,
    ),
    "steps of no form": ({"iterations": [1, {}, {"type": "advisor_message"}]}, TOKENS),
    "steps in another form": ({"iterations": "many"}, TOKENS),
    "counts of no form": ({"server_tool_use": 1, "cache_creation": [], "speed": 1, "inference_geo": None}, TOKENS),
}


def prices(model: str) -> Price | None:
    return ADVISOR if model == "adv" else None


@pytest.mark.parametrize("case", BILLED)
def test_what_is_billed_is_in_the_cost(case: str) -> None:
    fields, tokens = BILLED[case]
    assert cost_of({**COUNTS, **fields}, MODEL, prices, is_native=True) == pytest.approx(100 + tokens)


@pytest.mark.parametrize(("tier", "factor"), [("priority", PRIORITY), ("flex", FLEX), ("standard", 1), ("new", 1)])
def test_tiers_of_openai_have_their_factor(tier: str, factor: float) -> None:
    usage = {**COUNTS, "service_tier": tier}
    assert cost_of(usage, MODEL, prices, is_native=False) == pytest.approx(100 + TOKENS * factor)


def test_each_step_is_priced_by_the_length_of_its_own_prompt() -> None:
    usage = {"input_tokens": 80, "output_tokens": 2}
    steps = [{"type": "message", "input_tokens": 40, "output_tokens": 1}] * 2
    assert cost_of(usage, LONG, prices, is_native=True) == 80 * 4 + 2 * 20
    assert cost_of({**usage, "iterations": steps}, LONG, prices, is_native=True) == 80 * 2 + 2 * 10


def test_region_is_reserved_as_it_is_settled() -> None:
    assert factor_of({"inference_geo": "us"}) == REGION
    assert factor_of({"inference_geo": "us", "speed": "fast"}) == REGION * FAST_MODE
    assert factor_of({"inference_geo": "global"}) == 1.0


def test_every_field_of_usage_is_known_here() -> None:
    """A field that is new in the package fails here: look whether it is billed."""
    fields = {*COUNTS, "cache_creation", "speed", "inference_geo", "service_tier", "server_tool_use", "iterations"}
    assert set(BetaUsage.model_fields) == {*fields, "output_tokens_details", "fallback_credit"}
