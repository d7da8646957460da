"""Token counts in the terms of OpenAI's APIs, from those of a message."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Sums of larger ones have no JSON of 64 bits.
LARGEST_COUNT = 2**53


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """`prompt` includes what was read from a cache and written to one, as OpenAI counts; Anthropic does not."""

    prompt: int
    cached: int
    written: int
    completion: int
    reasoning: int

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> "TokenCounts":
        cached, written = to_count(usage, "cache_read_input_tokens"), to_count(usage, "cache_creation_input_tokens")
        details = usage.get("output_tokens_details")
        reasoning = to_count(details, "thinking_tokens") if isinstance(details, dict) else 0
        prompt = to_count(usage, "input_tokens") + cached + written
        return cls(prompt, cached, written, to_count(usage, "output_tokens"), reasoning)


def to_count(usage: Mapping[str, Any], name: str) -> int:
    """Return a count; 0 for anything else, since counts of an upstream that speaks Messages pass unchecked."""
    value = usage.get(name)
    return min(int(value), LARGEST_COUNT) if isinstance(value, int | float) else 0


def to_chat_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `usage` of a completion; `cost` (US dollars) is there if the upstream gives it."""
    counts = TokenCounts.of(usage)
    written: dict[str, Any] = {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.total,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": counts.written},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }
    return written | ({"cost": usage["cost"]} if "cost" in usage else {})


def to_responses_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `usage` of a response. Codex needs `total_tokens` and compacts by it."""
    counts = TokenCounts.of(usage)
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": counts.written},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.total,
    }
