"""`context_management` where the upstream has none: the gateway itself forgets old tool results and old thinking.

Works on the request's messages and returns new ones; untouched messages are shared. What a trigger counts in tokens is
counted as `count_tokens` does, by characters, unless the request's size leaves no doubt. Compaction needs a model to
write the summary and is refused.
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias, cast

import orjson

from gateway.dialects.chat.request.scope import Scope
from gateway.dialects.chat.vocabulary import CLEARED_RESULT
from gateway.errors import InvalidRequest
from gateway.messages.tokens.estimate import estimate_by_size
from gateway.messages.tokens.profiles import Profile, to_profile
from gateway.messages.tokens.prompt import prompt_estimate
from gateway.schemas.anthropic import MessageParam

Messages: TypeAlias = list[dict[str, Any]]

# A block's message and its position there.
Place: TypeAlias = tuple[int, int]

# Anthropic's defaults (docs, context editing, 2026-08).
DEFAULT_TRIGGER = {"type": "input_tokens", "value": 100_000}
DEFAULT_KEPT_USES = 3
DEFAULT_KEPT_TURNS = 1

# An estimate by size differs by less than this factor from one by characters, for every kind of text in the samples.
SIZE_ERROR = 4.0

# Anthropic knows two kinds that are done here, each useful once; each edit reads the whole prompt.
MAX_EDITS = 8
THINKING_TYPES = ("thinking", "redacted_thinking")


def edit_messages(
    request: Mapping[str, Any], edits: Sequence[Mapping[str, Any]], scope: Scope
) -> tuple[list[MessageParam], list[dict[str, Any]]]:
    """The messages as edited, and Anthropic's `applied_edits` for the answer. Raises InvalidRequest for compaction."""
    if len(edits) > MAX_EDITS:
        raise InvalidRequest(f"context_management.edits: at most {MAX_EDITS} edits are allowed")
    edited: Messages = request["messages"]
    profile = to_profile(scope.target.model)
    applied: list[dict[str, Any]] = []
    for index, edit in enumerate(edits):
        path = f"context_management.edits.{index}"
        match edit["type"]:
            case "clear_thinking_20251015":
                edited, result = _clear_thinking(edited, edit, path, profile)
            case "clear_tool_uses_20250919":
                edited, result = _clear_tool_uses({**request, "messages": edited}, edit, path, profile)
            case kind:
                # Claude Code goes on without the field when it reads these words.
                raise InvalidRequest(
                    f"context_management: Extra inputs are not permitted ({kind!r} needs Anthropic's API)"
                )
        if result is not None:
            applied.append({"type": edit["type"], **result})
            scope.note("emulated", path, "the gateway edited the conversation itself")
    return cast(list[MessageParam], edited), applied


def _clear_thinking(
    messages: Messages, edit: Mapping[str, Any], path: str, profile: Profile
) -> tuple[Messages, dict[str, Any] | None]:
    """A turn lasts until the user speaks again; tool results within it do not end it."""
    kept = _kept_turns(edit.get("keep"), f"{path}.keep")
    if kept is None:
        return messages, None
    # Where the user's turns start: tool results start none, and a last message without an answer is no turn.
    starts = [
        index
        for index, message in enumerate(messages)
        if message["role"] == "user"
        and (index == 0 or messages[index - 1]["role"] != "user")
        and not any(block["type"] == "tool_result" for block in _blocks(message))
    ]
    if starts and not any(message["role"] == "assistant" for message in messages[starts[-1] :]):
        starts.pop()
    if kept >= len(starts):
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
    return edited, {
        "cleared_thinking_turns": len(turns),
        "cleared_input_tokens": _difference(messages, edited, profile),
    }


def _clear_tool_uses(
    request: Mapping[str, Any], edit: Mapping[str, Any], path: str, profile: Profile
) -> tuple[Messages, dict[str, Any] | None]:
    messages: Messages = request["messages"]
    calls, places = _read_calls(messages)
    trigger = edit.get("trigger") or DEFAULT_TRIGGER
    if isinstance(trigger, Mapping) and trigger.get("type") == "tool_uses":
        triggered = len(calls) >= _value(trigger, "tool_uses", f"{path}.trigger", 0)
    else:
        triggered = _reaches(request, _value(trigger, "input_tokens", f"{path}.trigger", 0), profile)
    if not triggered:
        return messages, None
    excluded = set(edit.get("exclude_tools") or ())
    candidates = [number for number, name in enumerate(calls) if name not in excluded]
    kept = _value(edit.get("keep"), "tool_uses", f"{path}.keep", DEFAULT_KEPT_USES)
    cleared = {number: calls[number] for number in candidates[: max(0, len(candidates) - kept)]}
    emptied = _emptied_tools(edit.get("clear_tool_inputs"), cleared.values(), f"{path}.clear_tool_inputs")
    names = {place: cleared[number] for place, number in places.items() if number in cleared}
    edited = [_without_uses(message, index, names, emptied) for index, message in enumerate(messages)]
    saved = _difference(messages, edited, profile)
    if not cleared or saved < _value(edit.get("clear_at_least"), "input_tokens", f"{path}.clear_at_least", 0):
        return messages, None
    return edited, {"cleared_tool_uses": len(cleared), "cleared_input_tokens": saved}


def _read_calls(messages: Messages) -> tuple[list[str], dict[Place, int]]:
    """The tools called, in order, and which of the calls the block at a place makes or answers.

    A result belongs to the latest call of its id: some upstreams restart their ids in every turn.
    """
    calls: list[str] = []
    latest: dict[str, int] = {}
    places: dict[Place, int] = {}
    for index, message in enumerate(messages):
        for position, block in enumerate(_blocks(message)):
            if block["type"] == "tool_use":
                latest[block["id"]] = places[index, position] = len(calls)
                calls.append(block["name"])
            elif block["type"] == "tool_result" and block["tool_use_id"] in latest:
                places[index, position] = latest[block["tool_use_id"]]
    return calls, places


def _emptied_tools(setting: Any, cleared: Collection[str], path: str) -> frozenset[str]:
    """The tools that lose their inputs too: all of them, those named, or none."""
    match setting:
        case None | False:
            return frozenset()
        case True:
            return frozenset(cleared)
        case list() if all(isinstance(name, str) for name in setting):
            return frozenset(setting)
    raise InvalidRequest(f"{path}: Input should be a boolean or a list of tool names")


def _without_uses(
    message: dict[str, Any], index: int, names: Mapping[Place, str], emptied: frozenset[str]
) -> dict[str, Any]:
    """`names`: the tools of the blocks to clear, by their place."""
    blocks = _blocks(message)
    if not any((index, position) in names for position in range(len(blocks))):
        return message
    content = [_cleared_block(block, names.get((index, position)), emptied) for position, block in enumerate(blocks)]
    return {**message, "content": content}


def _cleared_block(block: dict[str, Any], name: str | None, emptied: frozenset[str]) -> dict[str, Any]:
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


def _kept_turns(keep: Any, path: str) -> int | None:
    """Return how many turns keep their thinking; None for all."""
    if keep == "all" or (isinstance(keep, Mapping) and keep.get("type") == "all"):
        return None
    return _value(keep, "thinking_turns", path, DEFAULT_KEPT_TURNS)


def _reaches(request: Mapping[str, Any], tokens: int, profile: Profile) -> bool:
    """Return whether the whole prompt has that many tokens: messages, system prompt and tools."""
    by_size = estimate_by_size(len(orjson.dumps(request)), request, profile).tokens()
    if not tokens / SIZE_ERROR < by_size < tokens * SIZE_ERROR:
        return by_size >= tokens
    return prompt_estimate(request, profile).tokens() >= tokens


def _value(setting: Any, kind: str, path: str, default: int) -> int:
    """The number in `{"type": kind, "value": n}`."""
    if setting is None:
        return default
    value = setting.get("value") if isinstance(setting, Mapping) and setting.get("type") == kind else None
    if not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"{path}: expected {{'type': {kind!r}, 'value': <number>}}")
    return value


def _difference(before: Messages, after: Messages, profile: Profile) -> int:
    return int(max(0, len(orjson.dumps(before)) - len(orjson.dumps(after))) / profile.bytes_per_token)
