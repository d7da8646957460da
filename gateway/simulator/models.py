"""Models of the simulator: a table from name to behaviour, and their catalogue entries.

Names that do not start with `sim/` behave like `sim/echo`, so that clients may keep their own model names.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import InvalidRequest
from gateway.simulator import behaviours, faults
from gateway.simulator.failures import CONTEXT_TOKENS
from gateway.simulator.prompt import SimulatedPrompt
from gateway.simulator.script import Script
from gateway.simulator.shapes import COMPLETION_PRICE, PROMPT_PRICE, PROVIDER, Generation, Json

PREFIX = "sim/"
MAX_COMPLETION_TOKENS = 128_000
CATALOGUE_CREATED = 1_767_225_600  # 2026-01-01: entries do not change with the clock

# Names that clients bring along; offered so that model lists hold what Claude Code and the SDKs ask for.
GUESTS = (
    *("anthropic/claude-opus-5", "anthropic/claude-sonnet-5", "anthropic/claude-haiku-4.5"),
    *(f"~anthropic/claude-{line}-latest" for line in ("opus", "sonnet", "haiku")),  # OpenRouter's, and the aliases'
)

SUPPORTED_PARAMETERS = (
    "include_reasoning",
    "max_tokens",
    "parallel_tool_calls",
    "reasoning",
    "response_format",
    "stop",
    "structured_outputs",
    "tool_choice",
    "tools",
)


@dataclass(frozen=True, slots=True)
class Model:
    """One model. `pattern` matches the name after `sim/`; its groups are integers for `play`. `example` matches the
    pattern."""

    pattern: str
    example: str
    says: str
    play: Callable[..., Script]


MODELS: tuple[Model, ...] = (
    Model("echo", "echo", "says what it is and repeats the user's last text", behaviours.echo),
    Model(r"text-(\d{1,5})", "text-200", "that many words of one token each", behaviours.text),
    Model(r"stream-(\d{1,5})-d(\d{1,5})", "stream-200-d10", "N deltas, M ms apart", behaviours.stream),
    Model("thinking", "thinking", "signed thinking before the text", behaviours.thinking),
    Model("thinking-tool", "thinking-tool", "thinks, calls, and wants the thinking back", behaviours.thinking_tool),
    Model("encrypted", "encrypted", "a call with an encrypted thought signature", behaviours.encrypted),
    Model("tool", "tool", "calls the first tool, then ends the loop", behaviours.tool),
    Model("tools-parallel", "tools-parallel", "two calls, one after the other", behaviours.tools_parallel),
    Model("tools-interleaved", "tools-interleaved", "two calls, fragments alternating", behaviours.tools_interleaved),
    Model("length", "length", "stops at max_tokens", behaviours.length),
    Model("refusal", "refusal", "refuses", behaviours.refusal),
    Model("tool-whole", "tool-whole", "a whole call and the end in one chunk", faults.tool_whole),
    Model("tool-stop", "tool-stop", "a call with finish_reason stop", faults.tool_stop),
    Model("tool-bad-json", "tool-bad-json", "a call with arguments that are no JSON", faults.tool_bad_json),
    Model("tools-same-id", "tools-same-id", "two calls with one id", faults.tools_same_id),
    Model("tools-no-id", "tools-no-id", "two calls with empty ids", faults.tools_no_id),
    Model("reasoning-content", "reasoning-content", "thinking as DeepSeek and vLLM send it", faults.reasoning_content),
    Model("think-tags", "think-tags", "thinking in <think> tags within the text", faults.think_tags),
    Model(r"error-([45]\d\d)", "error-429", "an error of that status", faults.error),
    Model("error-in-200", "error-in-200", "200 with an error for a body", faults.error_in_200),
    Model("error-first", "error-first", "a stream that starts with an error", faults.error_first),
    Model("error-mid-stream", "error-mid-stream", "half an answer, then an error", faults.error_mid_stream),
    Model("overflow", "overflow", "the prompt exceeds the context", faults.overflow),
    Model("moderated", "moderated", "the prompt was flagged", faults.moderated),
    Model("unavailable", "unavailable", "no endpoint now, in the newest error form", faults.unavailable),
    Model("hang-up", "hang-up", "closes the connection within the answer", faults.hang_up),
    Model("hang-up-early", "hang-up-early", "closes the connection before the answer", faults.hang_up_early),
    Model("cut-off", "cut-off", "a stream that just stops, without [DONE]", faults.cut_off),
    Model("silent", "silent", "never answers", faults.silent),
    Model("silent-mid-stream", "silent-mid-stream", "falls silent within the answer", faults.silent_mid_stream),
    Model("slow-bytes", "slow-bytes", "a byte at a time", faults.slow_bytes),
    Model("crlf", "crlf", "an event stream with CRLF line ends", faults.crlf),
    Model("late-usage", "late-usage", "usage on a chunk without choices", faults.late_usage),
    Model("no-usage", "no-usage", "no usage at all", faults.no_usage),
    Model("html-200", "html-200", "a page of HTML with status 200", faults.html_200),
)


def to_script(prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Return the answer of the prompt's model. Raises InvalidRequest for an unknown `sim/` name."""
    if not prompt.model.startswith(PREFIX):
        return behaviours.echo(prompt, generation)
    name = prompt.model.removeprefix(PREFIX)
    for model in MODELS:
        if match := re.fullmatch(model.pattern, name):
            return model.play(prompt, generation, *map(int, match.groups()))
    known = ", ".join(PREFIX + model.example for model in MODELS)
    raise InvalidRequest(f"{prompt.model} is not a valid model ID. The simulator has: {known}")


def to_catalogue(offset: int = 0, limit: int = 1000) -> Json:
    """Answer `GET /models`: a page of the simulator's own models and of common model names."""
    entries = [(PREFIX + model.example, model.says) for model in MODELS]
    entries += [(name, behaviours.BANNER) for name in GUESTS]
    return {"data": [to_entry(name, says) for name, says in entries[offset : offset + limit]]}


def to_entry(name: str, says: str) -> Json:
    return {
        "id": name,
        "canonical_slug": name,
        "name": f"Simulator: {name}",
        "created": CATALOGUE_CREATED,
        "description": says,
        "context_length": CONTEXT_TOKENS,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image", "file"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": _pricing(),
        "top_provider": {
            "context_length": CONTEXT_TOKENS,
            "max_completion_tokens": MAX_COMPLETION_TOKENS,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": list(SUPPORTED_PARAMETERS),
        "default_parameters": {},
        "reasoning": {
            "mandatory": False,
            "supported_efforts": ["low", "medium", "high"],
            "default_enabled": False,
            "supports_max_tokens": True,
        },
        "expiration_date": None,
    }


def to_endpoints(name: str) -> Json:
    """Answer `GET /models/{author}/{slug}/endpoints`: every name has one endpoint, the simulator."""
    endpoint: Json = {
        "name": f"{PROVIDER} | {name}",
        "model_name": name,
        "provider_name": PROVIDER,
        "tag": PROVIDER.lower(),
        "quantization": "unknown",
        "context_length": CONTEXT_TOKENS,
        "max_completion_tokens": MAX_COMPLETION_TOKENS,
        "max_prompt_tokens": None,
        "pricing": _pricing(),
        "supported_parameters": list(SUPPORTED_PARAMETERS),
        "supports_implicit_caching": False,
        "status": 0,
        "uptime_last_30m": 100,
    }
    entry = to_entry(name, "")
    kept = {key: entry[key] for key in ("id", "name", "created", "description", "architecture")}
    return {"data": kept | {"endpoints": [endpoint]}}


def to_key_info() -> Json:
    """Answer `GET /key`: a key without a limit and without cost."""
    return {
        "data": {
            "label": "simulator",
            "limit": None,
            "limit_remaining": None,
            "limit_reset": None,
            "usage": 0,
            "usage_daily": 0,
            "usage_weekly": 0,
            "usage_monthly": 0,
            "is_free_tier": False,
            "is_management_key": False,
        }
    }


def _pricing() -> dict[str, str]:
    return {
        "prompt": f"{PROMPT_PRICE:.6f}",
        "completion": f"{COMPLETION_PRICE:.6f}",
        "request": "0",
        "image": "0",
        "web_search": "0",
        "internal_reasoning": "0",
    }
