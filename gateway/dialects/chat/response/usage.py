"""Token usage and cost, from an upstream's terms into Anthropic's.

An upstream counts cached and cache-written tokens inside `prompt_tokens` (OpenRouter docs and OpenAI's guide; checked
live by aplisay/llm-agent #345); Anthropic's `input_tokens` excludes both, so they are subtracted and clamped at zero.
Passing them through instead doubles Claude Code's context meter.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal

from gateway.dialects.reply import Reply
from gateway.json_values import to_mapping
from gateway.messages.tokens.estimate import to_tokens
from gateway.messages.tools.tool_cache import derived
from gateway.messages.turn_cache import known_messages
from gateway.messages.usage import STANDARD, to_cost

# Where upstreams count tokens read from and written to their prompt cache, inside `prompt_tokens_details` or beside it:
# OpenAI, DeepSeek, Moonshot; OpenRouter, vLLM 0.32, and two wordings of proxies.
CACHE_READS = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "num_cached_tokens")
CACHE_WRITES = ("cache_write_tokens", "created_cache_tokens", "cache_creation_tokens", "cache_creation_input_tokens")

# No count of tokens; floats beyond it are no exact numbers.
MAX_COUNT = 2.0**53
COUNT = re.compile(r"[0-9]{1,15}")
TIERS = {"default": STANDARD, "auto": STANDARD}


def estimated_usage(input_tokens: int, output_size: int = 0) -> dict[str, Any]:
    """Estimated tokens, used before or instead of an upstream's own count; `output_size` is in bytes."""
    return _usage(input_tokens, 0, 0, to_tokens(output_size), "5m")


def counts_of(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the upstream's count, if an answer or a chunk has one: at the top, within its choice (Moonshot), or within
    an extension (`x_groq`) in the last chunk of a choice or behind it.

    A count of zeros is none: some servers send it with each chunk and no other at the end (MiniMax).
    """
    counts = answer.get("usage")
    if counts is None:
        choices = answer.get("choices")
        choice = to_mapping(first_of(choices))
        counts = choice.get("usage")
        if counts is None and (choices == [] or choice.get("finish_reason")):
            extensions = [to_mapping(answer[name]) for name in answer if name.startswith("x_")]
            counts = next((extension["usage"] for extension in extensions if extension.get("usage")), None)
    if not isinstance(counts, dict):
        return None
    if "prompt_tokens" not in counts and "input_tokens" in counts:
        counts = _in_chat_names(counts)
    return counts if _count(counts.get("prompt_tokens")) or _count(counts.get("completion_tokens")) else None


def _in_chat_names(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts by the names of OpenAI's Responses, or of Anthropic, who counts cached tokens beside the input."""
    cached = _first_count(("cache_read_input_tokens",), counts)
    written = _first_count(("cache_creation_input_tokens",), counts)
    return {
        **counts,
        "prompt_tokens": _count(counts.get("input_tokens")) + cached + written,
        "completion_tokens": counts.get("output_tokens"),
        "prompt_tokens_details": counts.get("input_tokens_details") or {"cached_tokens": cached},
        "completion_tokens_details": counts.get("output_tokens_details"),
    }


def first_of(choices: Any) -> Any:
    return choices[0] if isinstance(choices, list) and choices else None


@dataclass(slots=True)
class UpstreamCounts:
    """An upstream's count, read once. `prompt` includes `cached` and `written` tokens, `output` includes `thinking`.

    `adds_up`: whether prompt and completion add up to the total; they do not where an upstream counts parts in neither.
    `cost` is in US dollars.
    """

    prompt: int
    output: int
    cached: int
    written: int
    thinking: int
    searches: int
    adds_up: bool
    cost: float | None


def read_counts(counts: Mapping[str, Any]) -> UpstreamCounts:
    """Read the `usage` of an answer or a chunk; unknown or broken figures count as zero.

    xAI counts reasoning beside `completion_tokens` and in `total_tokens` only, and bills it (sub2api#5771).
    """
    prompt, completion = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
    total = _count(counts.get("total_tokens"))
    prompt_details = to_mapping(counts.get("prompt_tokens_details") or counts.get("input_tokens_details"))
    details = to_mapping(counts.get("completion_tokens_details"))
    thinking = _count(details.get("reasoning_tokens")) if details else 0
    beside = thinking or _count(counts.get("reasoning_tokens"))
    output = completion + beside if beside and prompt + completion + beside == total else completion
    searches = counts.get("server_tool_use_details") or counts.get("server_tool_use")
    return UpstreamCounts(
        prompt,
        output,
        _first_count(CACHE_READS, prompt_details, counts),
        _first_count(CACHE_WRITES, prompt_details, counts),
        min(thinking, output),
        _count(to_mapping(searches).get("web_search_requests")) if searches else 0,
        not counts.get("total_tokens") or total == prompt + output,
        to_cost(counts),
    )


def is_readable(usage: object, *, has_output: bool) -> bool:
    """Return whether a client of chat completions reads the whole count in a `usage` as it is written."""
    told = to_mapping(usage)
    read, written, total = told.get("prompt_tokens"), told.get("completion_tokens"), told.get("total_tokens")
    if type(read) is not int or type(written) is not int or type(total) not in (int, NoneType):
        return False
    return read > 0 and (written > 0 or (written == 0 and not has_output))


def to_usage(counts: UpstreamCounts, reply: Reply, output_size: int = 0) -> dict[str, Any]:
    """Convert to Anthropic's `usage`. A prompt that was not counted is estimated: no prompt is empty.

    So is the output of an answer with `output_size` bytes.
    """
    uncached = (counts.prompt or reply.input_estimate) - counts.cached - counts.written
    output = counts.output or (to_tokens(output_size) if output_size else 0)
    usage = _usage(uncached if uncached > 0 else 0, counts.written, counts.cached, output, reply.cache_ttl)
    if counts.thinking:
        usage["output_tokens_details"] = {"thinking_tokens": counts.thinking}
    if counts.searches:
        usage["server_tool_use"] = {"web_search_requests": counts.searches, "web_fetch_requests": 0}
    return usage


def to_tier(answer: Mapping[str, Any]) -> str:
    """The service tier that an answer or a chunk says it had, in Anthropic's words where there are any."""
    tier = answer.get("service_tier")
    return TIERS.get(tier, tier) if isinstance(tier, str) and tier else STANDARD


def requested_ttl(request: Mapping[str, Any]) -> Literal["5m", "1h"]:
    """The TTL of the cache entries that a request writes: an upstream counts written tokens, but not by TTL.

    The first mark decides, since no 1h may come after a 5m (`validation.breakpoints`).
    """
    tools = request.get("tools")
    ttl = derived(_first_ttl, tools) if tools else None
    ttl = ttl or _first_ttl(_markable(request))
    return "1h" if ttl == "1h" else "5m"


def _first_ttl(blocks: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the TTL of the first mark, None without any."""
    for block in blocks:
        mark = block.get("cache_control")
        if mark is not None:
            return mark.get("ttl") or "5m"
    return None


def _markable(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield all parts behind the tools that may have a mark, in the order of the prompt.

    Messages of a prefix that is known have none.
    """
    system, messages = request.get("system"), request.get("messages") or ()
    if isinstance(system, list):
        yield from system
    for message in messages[known_messages(messages) :]:
        content = message.get("content")
        if isinstance(content, list):
            yield from content
    yield request


def _usage(uncached: int, written: int, cached: int, output: int, ttl: str) -> dict[str, Any]:
    return {
        "input_tokens": uncached,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written if ttl == "5m" else 0,
            "ephemeral_1h_input_tokens": written if ttl == "1h" else 0,
        },
        "output_tokens": output,
        "service_tier": STANDARD,
    }


def _count(value: object) -> int:
    """Some servers write counts as floats (9.0), or as texts."""
    if type(value) is int:
        return value if value > 0 else 0
    if type(value) is str and COUNT.fullmatch(value):
        return int(value)
    return int(value) if type(value) is float and value.is_integer() and 0 < value < MAX_COUNT else 0


def _first_count(names: tuple[str, ...], *holders: Mapping[str, Any]) -> int:
    for holder in holders:
        if holder.keys().isdisjoint(names):
            continue
        for name in names:
            count = holder.get(name)
            if count and _count(count):
                return _count(count)
    return 0
