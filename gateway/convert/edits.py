"""`context_management` where the upstream has none: the gateway itself forgets old tool results and old thinking.

Works on the request's messages and returns new ones; untouched messages are shared. What a trigger counts in tokens is
an estimate here. Compaction needs a model to write the summary and is refused.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from gateway.convert.scope import Scope
from gateway.convert.tokens import BYTES_PER_TOKEN, estimate_input_tokens
from gateway.convert.vocabulary import CLEARED_RESULT
from gateway.errors import InvalidRequest
from gateway.schemas.anthropic import MessageParam

Messages = list[dict[str, Any]]

# Anthropic's defaults (docs, context editing, 2026-08).
DEFAULT_TRIGGER = {"type": "input_tokens", "value": 100_000}
DEFAULT_KEPT_USES = 3
DEFAULT_KEPT_TURNS = 1

THINKING_TYPES = ("thinking", "redacted_thinking")


def edit_messages(
    messages: Sequence[MessageParam], edits: Sequence[Mapping[str, Any]], scope: Scope
) -> tuple[list[MessageParam], list[dict[str, Any]]]:
    """The messages as edited, and Anthropic's `applied_edits` for the answer. Raises InvalidRequest for compaction."""
    edited = cast(Messages, list(messages))
    applied: list[dict[str, Any]] = []
    for index, edit in enumerate(edits):
        path = f"context_management.edits.{index}"
        match edit["type"]:
            case "clear_thinking_20251015":
                edited, result = _clear_thinking(edited, edit, path)
            case "clear_tool_uses_20250919":
                edited, result = _clear_tool_uses(edited, edit, path)
            case kind:
                # Claude Code goes on without the field when it reads these words.
                raise InvalidRequest(
                    f"context_management: Extra inputs are not permitted ({kind!r} needs Anthropic's API)"
                )
        if result is not None:
            applied.append({"type": edit["type"], **result})
            scope.note("emulated", path, "the gateway edited the conversation itself")
    return cast(list[MessageParam], edited), applied


def _clear_thinking(messages: Messages, edit: Mapping[str, Any], path: str) -> tuple[Messages, dict[str, Any] | None]:
    """A turn lasts until the user speaks again; tool results within it do not end it."""
    kept = _kept_turns(edit.get("keep"), f"{path}.keep")
    starts = _turn_starts(messages)
    if kept is None or kept >= len(starts):
        return messages, None
    oldest = starts[-kept] if kept else len(messages)
    cleared = [index for index in range(oldest) if any(_is_thinking(block) for block in _blocks(messages[index]))]
    if not cleared:
        return messages, None
    edited = list(messages)
    for index in cleared:
        content = [block for block in _blocks(messages[index]) if not _is_thinking(block)]
        edited[index] = {**messages[index], "content": content}
    turns = {bisect_right(starts, index) for index in cleared}
    return edited, {"cleared_thinking_turns": len(turns), "cleared_input_tokens": _difference(messages, edited)}


def _clear_tool_uses(messages: Messages, edit: Mapping[str, Any], path: str) -> tuple[Messages, dict[str, Any] | None]:
    uses = [block for message in messages for block in _blocks(message) if block["type"] == "tool_use"]
    if not _is_triggered(messages, edit.get("trigger") or DEFAULT_TRIGGER, len(uses), f"{path}.trigger"):
        return messages, None
    excluded = set(edit.get("exclude_tools") or ())
    candidates = [block for block in uses if block["name"] not in excluded]
    kept = _value(edit.get("keep"), "tool_uses", f"{path}.keep", DEFAULT_KEPT_USES)
    cleared = {block["id"]: block["name"] for block in candidates[: max(0, len(candidates) - kept)]}
    emptied = _emptied_tools(edit.get("clear_tool_inputs"), cleared)
    edited = [_without_uses(message, cleared, emptied) for message in messages]
    saved = _difference(messages, edited)
    if not cleared or saved < _value(edit.get("clear_at_least"), "input_tokens", f"{path}.clear_at_least", 0):
        return messages, None
    return edited, {"cleared_tool_uses": len(cleared), "cleared_input_tokens": saved}


def _emptied_tools(setting: bool | list[str] | None, cleared: Mapping[str, str]) -> frozenset[str]:
    """The tools whose inputs go too: all of them, those named, or none."""
    return frozenset(setting) if isinstance(setting, list) else frozenset(cleared.values() if setting else ())


def _without_uses(message: dict[str, Any], cleared: Mapping[str, str], emptied: frozenset[str]) -> dict[str, Any]:
    if not any(_cleared_id(block) in cleared for block in _blocks(message)):
        return message
    return {**message, "content": [_cleared_block(block, cleared, emptied) for block in message["content"]]}


def _cleared_id(block: Mapping[str, Any]) -> Any:
    return block.get("tool_use_id") if block["type"] == "tool_result" else block.get("id")


def _cleared_block(block: dict[str, Any], cleared: Mapping[str, str], emptied: frozenset[str]) -> dict[str, Any]:
    name = cleared.get(_cleared_id(block) or "")
    if name is None:
        return block
    if block["type"] == "tool_result":
        return {**block, "content": CLEARED_RESULT}
    return {**block, "input": {}} if name in emptied else block


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _is_thinking(block: Mapping[str, Any]) -> bool:
    return block["type"] in THINKING_TYPES


def _turn_starts(messages: Messages) -> list[int]:
    """Where the user speaks, other than to give tool results. What has no answer yet is no turn."""
    starts = [
        index
        for index, message in enumerate(messages)
        if message["role"] == "user"
        and (index == 0 or messages[index - 1]["role"] != "user")
        and not any(block["type"] == "tool_result" for block in _blocks(message))
    ]
    if starts and not any(message["role"] == "assistant" for message in messages[starts[-1] :]):
        starts.pop()
    return starts


def _kept_turns(keep: Any, path: str) -> int | None:
    """None keeps all."""
    if keep == "all" or (isinstance(keep, Mapping) and keep.get("type") == "all"):
        return None
    return _value(keep, "thinking_turns", path, DEFAULT_KEPT_TURNS)


def _is_triggered(messages: Messages, trigger: Any, use_count: int, path: str) -> bool:
    if isinstance(trigger, Mapping) and trigger.get("type") == "tool_uses":
        return use_count >= _value(trigger, "tool_uses", path, 0)
    size = len(orjson.dumps(messages))
    return estimate_input_tokens(size, {"messages": messages}) >= _value(trigger, "input_tokens", path, 0)


def _value(setting: Any, kind: str, path: str, default: int) -> int:
    """The number in `{"type": kind, "value": n}`."""
    if setting is None:
        return default
    value = setting.get("value") if isinstance(setting, Mapping) and setting.get("type") == kind else None
    if not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"{path}: expected {{'type': {kind!r}, 'value': <number>}}")
    return value


def _difference(before: Messages, after: Messages) -> int:
    return max(0, len(orjson.dumps(before)) - len(orjson.dumps(after))) // BYTES_PER_TOKEN
