"""Rules between a request's parameters, and those that a type cannot state.

Each rule takes the whole request and raises InvalidRequest. Those about chat parameters look at the request and at its
`openrouter` and `openai` objects alike.
"""

from typing import Any

from gateway.errors import InvalidRequest, shorten
from gateway.messages.validation.error_messages import EXTRA_INPUT
from gateway.schemas.anthropic import CountTokensRequest, MessagesRequest

# A thinking budget may then span several replies, and so exceed max_tokens (Anthropic docs, extended thinking).
INTERLEAVED_THINKING = "interleaved-thinking-2025-05-14"

SAMPLING_FIELDS = ("temperature", "top_p", "top_k")
# Since this version a request cannot set them (migration guide).
VERSION_WITHOUT_SAMPLING = "2026-10-21"

# What an `openrouter`, `openai` or `upstream` object may not hold: the request itself does, or the gateway's routing.
RESERVED_FIELDS = (
    "model",
    "messages",
    "prompt",
    "max_tokens",
    "stream",
    "tools",
    "functions",
    "function_call",
)
NAMESPACES = ("openrouter", "openai", "upstream")

# What the rules below look at, beside `max_tokens`: without one of them there is nothing to check.
RULED_FIELDS = frozenset(
    {
        "stop_sequences",
        "thinking",
        "output_config",
        "output_format",
        "response_format",
        "logit_bias",
        "top_logprobs",
        "reasoning",
        "reasoning_effort",
        *NAMESPACES,
    }
)

# OpenAI's limits for logit_bias.
MAX_BIASED_TOKENS = 1024
MAX_BIAS = 100

# Fields that ask for another conversation or another result than the rest of the request does: never ignored.
UNSUPPORTED_FIELDS = {
    "thread": "Message threads are not supported here; send the whole conversation in `messages`.",
    "compaction": "Compaction is not supported here.",
    "fallback_credit_token": "Fallback credits are not supported here.",
    "billing_policy": "Billing policies are not supported here.",
    "mcp_servers": "MCP servers are not connected to from here; offer their tools in `tools`.",
    "container": "Code-execution containers are not available here.",
}
ERROR_CODES = {"thread": "thread_unsupported_request"}

COMPACT_EDIT = "compact_20260112"


def refuse_unsupported(body: dict[str, Any]) -> None:
    """Refuse fields that are not supported, before any rule that would name a consequence of them."""
    for name, reason in UNSUPPORTED_FIELDS.items():
        if body.get(name) not in (None, [], {}):
            raise InvalidRequest(f"{name}: {EXTRA_INPUT}. {reason}", code=ERROR_CODES.get(name))
    management = body.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    for index, edit in enumerate(edits if isinstance(edits, list) else ()):
        if isinstance(edit, dict) and edit.get("type") == COMPACT_EDIT:
            raise InvalidRequest(f"context_management.edits.{index}: {COMPACT_EDIT} is not supported here")


def refuse_sampling(body: dict[str, Any], version: str) -> None:
    if version != VERSION_WITHOUT_SAMPLING:
        return
    for name in SAMPLING_FIELDS:
        if name in body:
            raise InvalidRequest(f"{name}: {EXTRA_INPUT}")


def check_fields(request: MessagesRequest | CountTokensRequest, betas: frozenset[str]) -> None:
    if any(not sequence or sequence.isspace() for sequence in request.get("stop_sequences") or ()):
        raise InvalidRequest("stop_sequences: each stop sequence must contain non-whitespace")
    _check_thinking(request, betas)
    _check_empty_reply(request)
    _check_output_format(request)
    _check_chat_parameters(request, "")
    for name in NAMESPACES:
        overrides: Any = request.get(name)
        if overrides:
            reserved = [field for field in RESERVED_FIELDS if field in overrides]
            if reserved:
                raise InvalidRequest(f"{name}.{reserved[0]}: {EXTRA_INPUT}")
            _check_chat_parameters(overrides, f"{name}.")


def _check_thinking(request: MessagesRequest | CountTokensRequest, betas: frozenset[str]) -> None:
    thinking = request.get("thinking")
    if thinking is None:
        return
    if thinking["type"] == "disabled" and "display" in thinking:
        raise InvalidRequest(f"thinking.display: {EXTRA_INPUT}")
    if thinking["type"] != "enabled":
        return
    max_tokens = request.get("max_tokens")
    if max_tokens is not None and thinking["budget_tokens"] >= max_tokens and INTERLEAVED_THINKING not in betas:
        raise InvalidRequest("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if _forces_tool(request):
        raise InvalidRequest("Thinking may not be enabled when tool_choice forces tool use.")


def _check_empty_reply(request: MessagesRequest | CountTokensRequest) -> None:
    """A limit of no tokens only fills the upstream's cache, so nothing may be asked of the reply."""
    if request.get("max_tokens") != 0:
        return
    thinking = request.get("thinking")
    asked = {
        "`stream` is true": request.get("stream"),
        "`thinking` is enabled": thinking is not None and thinking["type"] == "enabled",
        "`output_config.format` is set": (request.get("output_config") or {}).get("format"),
        "`output_format` is set": request.get("output_format"),
        "`tool_choice` forces tool use": _forces_tool(request),
    }
    for condition, holds in asked.items():
        if holds:
            raise InvalidRequest(f"max_tokens: Input should be greater than or equal to 1 when {condition}")


def _forces_tool(request: MessagesRequest | CountTokensRequest) -> bool:
    choice = request.get("tool_choice")
    return choice is not None and choice["type"] in ("any", "tool")


def _check_output_format(request: MessagesRequest | CountTokensRequest) -> None:
    given = [
        name
        for name, value in (
            ("output_config.format", (request.get("output_config") or {}).get("format")),
            ("output_format", request.get("output_format")),
            ("response_format", request.get("response_format")),
        )
        if value
    ]
    if len(given) > 1:
        raise InvalidRequest(f"{given[1]}: cannot be combined with {given[0]}")


def _check_chat_parameters(parameters: Any, scope: str) -> None:
    bias = parameters.get("logit_bias")
    if bias is not None:
        _check_bias(bias, f"{scope}logit_bias")
    if parameters.get("top_logprobs") and not parameters.get("logprobs"):
        raise InvalidRequest(f"{scope}top_logprobs: can only be used when logprobs is true")
    short, full = parameters.get("reasoning_effort"), (parameters.get("reasoning") or {}).get("effort")
    if short and full and short != full:
        raise InvalidRequest(f"{scope}reasoning_effort: differs from reasoning.effort; give only one of them")


def _check_bias(bias: object, path: str) -> None:
    if not isinstance(bias, dict):
        raise InvalidRequest(f"{path}: Input should be a valid dictionary")
    if len(bias) > MAX_BIASED_TOKENS:
        raise InvalidRequest(f"{path}: Dictionary should have at most {MAX_BIASED_TOKENS} items")
    for token, value in bias.items():
        if not (token.isascii() and token.isdigit()):
            raise InvalidRequest(f"{path}: keys should be token ids, not '{shorten(token)}'")
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_BIAS:
            raise InvalidRequest(f"{path}.{shorten(token)}: Input should be a number from -{MAX_BIAS} to {MAX_BIAS}")
