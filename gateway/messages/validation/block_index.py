"""Index of a conversation for later checks, built in one pass: media, cache breakpoints, unknown keys.

A request of a coding agent holds hundreds of blocks, of which a handful matter here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from gateway.messages.validation.unknown_keys import BLOCK_KEYS, MESSAGE_KEYS, SOURCE_KEYS, Unknown
from gateway.schemas.anthropic import (
    MessageParam,
    RedactedThinkingBlockParam,
    TextBlockParam,
    ThinkingBlockParam,
    ToolUseBlockParam,
)

MEDIA_TYPES = frozenset({"image", "document", "input_audio", "video_url"})
UNMARKED_KEYS = {kind: keys - {"cache_control"} for kind, keys in BLOCK_KEYS.items()}
# Blocks with nothing in them to be found. One with no more keys than it must have has no unknown ones.
PLAIN_LENGTHS = {
    get_args(shape.__annotations__["type"])[0]: len(shape.__required_keys__)
    for shape in (TextBlockParam, ToolUseBlockParam, ThinkingBlockParam, RedactedThinkingBlockParam)
}
# `role` and `content`: a message with no more keys has no unknown ones.
LEAST_MESSAGE_KEYS = 2
NONE: frozenset[str] = frozenset()
SOURCED_TYPES = frozenset({"image", "document"})
HOLDERS = frozenset({"tool_result", "search_result", "mcp_tool_result"})  # blocks with blocks in `content`


@dataclass(slots=True, repr=False)
class Inventory:
    """Blocks with their paths, in the order of the conversation; a block inside another precedes it."""

    media: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cached: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    unknown: Unknown = field(default_factory=Unknown)


def take_inventory(messages: Sequence[MessageParam]) -> Inventory:
    inventory = Inventory()
    for index, message in enumerate(messages):
        if len(message) > LEAST_MESSAGE_KEYS:
            inventory.unknown.look("message", f"messages.{index}", message, MESSAGE_KEYS)
        content: Any = message.get("content")
        if isinstance(content, list) and _may_hold(content):
            _take(content, f"messages.{index}.content", inventory)
    return inventory


def _may_hold(blocks: list[dict[str, Any]]) -> bool:
    """Whether there may be anything to be found in blocks, as in few of them."""
    for block in blocks:
        kind = block["type"]
        if len(block) == PLAIN_LENGTHS.get(kind):
            continue
        if not block.keys() <= UNMARKED_KEYS.get(kind, NONE):
            return True
        if kind not in PLAIN_LENGTHS:
            inner = block.get("content") if kind == "tool_result" else ()
            if not isinstance(inner, str) and (not isinstance(inner, list) or _may_hold(inner)):
                return True
    return False


def _take(blocks: list[dict[str, Any]], path: str, inventory: Inventory) -> None:
    for index, block in enumerate(blocks):
        kind = block["type"]
        if kind in BLOCK_KEYS:
            inventory.unknown.look(kind, f"{path}.{index}", block, BLOCK_KEYS[kind])
        if kind in HOLDERS:
            _take_inner(block.get("content"), f"{path}.{index}.content", inventory)
        elif kind in MEDIA_TYPES:
            inventory.media.append((f"{path}.{index}", block))
            if kind in SOURCED_TYPES:
                inventory.unknown.look("source", f"{path}.{index}.source", block["source"], SOURCE_KEYS)
            if kind == "document" and block["source"]["type"] == "content":
                _take_inner(block["source"]["content"], f"{path}.{index}.source.content", inventory)
        if "cache_control" in block and block["cache_control"] is not None:
            inventory.cached.append((f"{path}.{index}", block))


def _take_inner(content: Any, path: str, inventory: Inventory) -> None:
    if isinstance(content, list):
        _take(content, path, inventory)
