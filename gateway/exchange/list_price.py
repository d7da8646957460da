"""Cost of an answer by the price list, for upstreams that report none: each field of Anthropic's usage that is billed.

Fields are those of the `anthropic` package 2.12 (2026-11). A redeemed `fallback_credit` bills what is written to the
cache, as far as the refused model had it there, at the price of reading (Anthropic's documents). How much that is, is
not reported; all but the last turn is, so that all of it counts so.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.json_values import to_mapping, to_mappings
from gateway.messages.usage import MAX_TOKENS, STANDARD
from gateway.upstream.models.prices import Price

# How much dearer faster answers are: Anthropic's fast mode, OpenAI's priority processing (prices of 2026-11).
FAST_MODE: Final = 6.0
PRIORITY: Final = 2.0
FLEX: Final = 0.5
# Of tiers in the words of OpenAI. Anthropic's priority tier is paid by commitment, not by the list.
TIERS: Final = {"priority": PRIORITY, "fast": PRIORITY, "flex": FLEX, "batch": FLEX}
# Of answers that stay in a region (Anthropic's `inference_geo`, Claude from 4.6 on).
REGION: Final = 1.1
REGIONS: Final = frozenset({"us"})
# Dollars for a search that the upstream runs, as Anthropic and OpenAI have it.
SEARCH_FEE: Final = 0.01
# Steps that the counts of the answer include, and those that are billed beside them, by their own model.
OWN_STEPS: Final = frozenset({"message", "fallback_message"})
STEPS_BESIDE: Final = frozenset({"advisor_message", "compaction"})

PriceOf = Callable[[str], Price | None]


def cost_of(usage: Mapping[str, Any], price: Price, price_of: PriceOf, *, is_native: bool) -> float:
    """Return US dollars. `price_of` looks up the models that steps name; `is_native`: the upstream speaks Messages.

    The counts at the top of a usage are checked where it is read.
    """
    if usage.get("iterations"):
        tokens = _steps_cost(usage, price, price_of)
    else:
        read, written = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
        if written and is_redeemed(usage):
            read, written = read + written, 0
        for_hour = _written_for_hour(usage) if written else 0
        tokens = price.tokens_cost(usage["input_tokens"], usage["output_tokens"], read, written, for_hour)
    if usage.get("service_tier", STANDARD) != STANDARD or "speed" in usage or "inference_geo" in usage:
        tokens *= _factor_of(usage, is_native=is_native)
    searches = usage.get("server_tool_use")
    fees = _count(searches, "web_search_requests") * SEARCH_FEE if searches else 0.0
    return price.request + tokens + fees


def _factor_of(usage: Mapping[str, Any], *, is_native: bool) -> float:
    tier = usage.get("service_tier")
    factor = 1.0 if is_native and tier != "batch" else TIERS.get(str(tier), 1.0)
    if usage.get("speed") == "fast":
        factor *= FAST_MODE
    return factor * REGION if usage.get("inference_geo") in REGIONS else factor


def is_redeemed(usage: Mapping[str, Any]) -> bool:
    """Return whether a credit has been applied that an earlier model's refusal gave."""
    return to_mapping(to_mapping(usage.get("fallback_credit")).get("status")).get("type") == "redeemed"


def tokens_beside(usage: Mapping[str, Any] | None) -> tuple[int, int]:
    """Return the tokens that were read anew and written in steps beside those that the counts include."""
    if not usage or not usage.get("iterations"):
        return 0, 0
    beside = [step for step in to_mappings(usage["iterations"]) if step.get("type") in STEPS_BESIDE]
    read = sum(_count(step, "input_tokens") + _count(step, "cache_creation_input_tokens") for step in beside)
    return min(read, MAX_TOKENS), min(sum(_count(step, "output_tokens") for step in beside), MAX_TOKENS)


def _repriced(counts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the counts with all that was written to the cache as read from it."""
    read = _count(counts, "cache_read_input_tokens") + _count(counts, "cache_creation_input_tokens")
    kept = {name: counts[name] for name in ("input_tokens", "output_tokens", "model") if name in counts}
    return {**kept, "cache_read_input_tokens": read}


def _tokens_cost(counts: Mapping[str, Any], price: Price) -> float:
    return price.tokens_cost(
        _count(counts, "input_tokens"),
        _count(counts, "output_tokens"),
        _count(counts, "cache_read_input_tokens"),
        _count(counts, "cache_creation_input_tokens"),
        _written_for_hour(counts),
    )


def _written_for_hour(counts: Mapping[str, Any]) -> int:
    return _count(counts.get("cache_creation"), "ephemeral_1h_input_tokens")


def _steps_cost(usage: Mapping[str, Any], price: Price, price_of: PriceOf) -> float:
    """Return the cost of an answer in steps: each by its own model, and by the length of its own prompt."""
    steps = to_mappings(usage["iterations"])
    own = [step for step in steps if step.get("type") in OWN_STEPS]
    beside = [step for step in steps if step.get("type") in STEPS_BESIDE]
    # Steps that do not add up are no base for a bill.
    is_whole = sum(_count(step, "output_tokens") for step in own) == _count(usage, "output_tokens")
    counted = own if own and is_whole else [usage]
    counted = [*(map(_repriced, counted) if is_redeemed(usage) else counted), *beside]
    return sum(_tokens_cost(step, _price_of_step(step, price, price_of)) for step in counted)


def _price_of_step(step: Mapping[str, Any], price: Price, price_of: PriceOf) -> Price:
    model = step.get("model")
    return (price_of(model) or price) if isinstance(model, str) and model else price


def _count(counts: object, name: str) -> int:
    count = to_mapping(counts).get(name)
    return count if type(count) is int and count > 0 else 0
