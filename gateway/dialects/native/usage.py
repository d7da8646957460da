"""Token usage as an upstream that speaks Messages reports it, with every field that a usage record reads."""

import re
from collections.abc import Mapping
from typing import Any

from gateway.dialects.chat.response.stop_reason import REFUSALS, STOP_REASONS, failure_of
from gateway.dialects.reply import Reply
from gateway.json_values import to_mapping, to_string
from gateway.messages.usage import STANDARD
from gateway.upstream.models.target import signs_thinking

# Stop reasons of answers that the model ended. With any other the last call may lack its end.
WHOLE = frozenset({"end_turn", "tool_use"})
# Names of chat completions, which some servers use here too.
CHAT_COUNTS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
TOKENS = "_tokens"  # the end of a count's name
NUMBER = re.compile(r"\d{1,9}", re.ASCII)
# Words of chat completions, which some servers use here too. Words that are in no table are the upstream's to explain.
CHAT_WORDS = {
    **{word: reason for word, reason in STOP_REASONS.items() if word is not None},
    **dict.fromkeys(REFUSALS, "refusal"),
    **dict.fromkeys(("completed", "end", "eos", "eos_token", "stop"), "end_turn"),
    **dict.fromkeys(("function_call", "tool_call", "tool_calls"), "tool_use"),
}


def counted(usage: object) -> dict[str, Any]:
    """Return the counts of a usage, as numbers, without those that are none: some servers have null for all of them."""
    found = [(CHAT_COUNTS.get(name, name), _as_number(value)) for name, value in to_mapping(usage).items()]
    return {name: value for name, value in found if value is not None and _may_count(name, value)}


def is_as_told(counts: Mapping[str, Any], usage: object) -> bool:
    """Return whether clients read these counts in the usage as the upstream has written it."""
    told = to_mapping(usage)
    if None in told.values():
        told = {name: value for name, value in told.items() if value is not None}
    return told == counts and float not in map(type, told.values())


def without_lost_input(counts: dict[str, Any], known: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the counts of a message_delta without a zero for input that message_start has counted, and if it had one.

    Counts are cumulative, so that clients take the last ones.
    """
    if counts.get("input_tokens") != 0 or not to_count(known.get("input_tokens")):
        return counts, False
    if to_count(counts.get("cache_read_input_tokens")) or to_count(counts.get("cache_creation_input_tokens")):
        return counts, False
    return {name: value for name, value in counts.items() if name != "input_tokens"}, True


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


def _as_number(value: Any) -> Any:
    if isinstance(value, str):
        return int(value) if NUMBER.fullmatch(value) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _may_count(name: str, value: object) -> bool:
    """Return False for a number of tokens that is no number, or a negative one."""
    return not name.endswith(TOKENS) or (type(value) is int and value >= 0)


def to_count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def to_stop_reason(told: Mapping[str, Any], reply: Reply, *, has_calls: bool) -> str | None:
    """Return the stop reason of a message, or of its last delta; None if the upstream has none.

    Raises the error that a word of chat completions means: a broken answer is never an end of turn.
    Servers report an end of turn beside a call, which clients would not run, and beside a stop sequence, and a whole
    call beside a sequence that cut it (llama.cpp, build 11549).
    """
    reason: str | None = to_string(told.get("stop_reason")) or None
    reason = CHAT_WORDS.get(reason.lower(), reason) if reason is not None else None
    error = None if reason in WHOLE else failure_of(reason)
    if error is not None:
        raise error
    if reason in WHOLE and to_string(told.get("stop_sequence")) and not signs_thinking(reply.upstream_model):
        return "stop_sequence"
    if reason == "tool_use" and not has_calls and not signs_thinking(reply.upstream_model):
        return "end_turn"
    return "tool_use" if has_calls and reason == "end_turn" else reason
