"""Token counts in the terms of OpenAI's APIs, from those of a message."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
        cached, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
        reasoning = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
        prompt = (usage.get("input_tokens") or 0) + cached + written
        return cls(prompt, cached, written, usage.get("output_tokens") or 0, reasoning)


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
