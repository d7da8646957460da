"""Token usage in Anthropic's terms, as events carry it, and the cost that upstreams report in theirs."""

from collections.abc import Mapping
from typing import Any, Final

# Of one answer. More is a fault of the upstream, which must not empty a budget or overflow a sum.
MAX_DOLLARS: Final = 100_000.0
MAX_TOKENS: Final = 10**8

STANDARD = "standard"


def to_delta_usage(usage: Mapping[str, Any], cost: float | None) -> dict[str, Any]:
    """The part of `usage` that a message_delta carries: cumulative counts, and the cost where one is known.

    The split of written cache tokens by TTL, which Anthropic only has in message_start, comes along where there is any:
    otherwise the parts would not add up to the sum. A tier that message_start could not know comes along as well.
    """
    delta = {name: usage[name] for name in DELTA_USAGE_FIELDS if name in usage}
    if usage.get("cache_creation_input_tokens") and "cache_creation" in usage:
        delta["cache_creation"] = usage["cache_creation"]
    if usage.get("service_tier", STANDARD) != STANDARD:
        delta["service_tier"] = usage["service_tier"]
    if cost is not None:
        delta["cost"] = cost
    return delta


DELTA_USAGE_FIELDS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
)


def to_cost(counts: Mapping[str, Any]) -> float | None:
    """US dollars, as OpenRouter reports them with every answer; None from upstreams that do not.

    With a provider key of one's own (BYOK) `cost` is OpenRouter's fee alone, and the provider's price stands beside it.
    """
    cost = to_dollars(counts.get("cost"))
    if cost is None or not counts.get("is_byok"):
        return cost
    details = counts.get("cost_details")
    price = to_dollars(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    return cost + (price or 0.0)


def to_dollars(value: Any) -> float | None:
    """Return an upstream's figure; None for one that cannot be true."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= MAX_DOLLARS else None
