"""Token usage in Anthropic's terms, as events carry it."""

from collections.abc import Mapping
from typing import Any

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
