"""Token usage as an upstream that speaks Messages reports it, with every field that a usage record reads."""

from collections.abc import Mapping
from typing import Any

from gateway.messages.usage import STANDARD


def to_usage(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts; compatible servers leave some out, which count as zero."""
    written = to_count(counts.get("cache_creation_input_tokens"))
    tier = counts.get("service_tier")
    return {
        **counts,
        "input_tokens": to_count(counts.get("input_tokens")),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": to_count(counts.get("cache_read_input_tokens")),
        "cache_creation": counts.get("cache_creation")
        or {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": to_count(counts.get("output_tokens")),
        "service_tier": tier if isinstance(tier, str) else STANDARD,
    }


def to_count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def to_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def to_stop_reason(value: object, *, has_calls: bool) -> str | None:
    """Return the upstream's stop reason; `tool_use` for an end of turn with calls, which clients would not run else."""
    reason = to_text(value)
    return "tool_use" if has_calls and reason == "end_turn" else reason
