"""Recognise answers in which nothing needs a repair: text, from a server that writes Messages as Anthropic does.

Most answers are like this, and reading one takes half the time if the repairs of `answer` are not tried.
"""

from typing import Any, Final

from gateway.dialects.native.usage import CHAT_COUNTS

# Fields that clients' types demand. vLLM 0.32 leaves out those that are null.
FIELDS: Final = frozenset({"content", "id", "model", "role", "stop_reason", "stop_sequence", "type", "usage"})
# Counts of a usage that are texts or objects. Those that end in `_tokens` are numbers.
OTHER_COUNTS: Final = frozenset({"cache_creation", "inference_geo", "server_tool_use", "service_tier"})
COUNTS: Final = frozenset({"input_tokens", "output_tokens"})
ENDS: Final = ("end_turn", "max_tokens")


def usual_counts(told: Any) -> dict[str, Any] | None:
    """Return the counts of a message that can be passed on as it came, but for its model; None for any other value."""
    if not isinstance(told, dict) or not told.keys() >= FIELDS or told["type"] != "message":
        return None
    is_named = type(told["id"]) is str and type(told["role"]) is str and type(told["model"]) is str
    if not is_named or told["stop_reason"] not in ENDS or told["stop_sequence"] is not None:
        return None
    content, usage = told["content"], told["usage"]
    if type(content) is not list or type(usage) is not dict:
        return None
    for block in content:
        is_text = type(block) is dict and block.get("type") == "text"
        if not is_text or type(block.get("text")) is not str or not block["text"]:
            return None
    return _usual(usage)


def _usual(usage: dict[str, Any]) -> dict[str, Any] | None:
    counts = usage if None not in usage.values() else {name: it for name, it in usage.items() if it is not None}
    if not counts.keys() >= COUNTS or not CHAT_COUNTS.keys().isdisjoint(counts):
        return None
    for name, value in counts.items():
        is_usual = value >= 0 if type(value) is int else name in OTHER_COUNTS and _is_described(value)
        if not is_usual:
            return None
    return counts


def _is_described(value: Any) -> bool:
    """Return False for a number in a text, which is read as a number."""
    return type(value) is dict or (type(value) is str and not value.isdigit())
