"""Index of a conversation for later checks: media, cache breakpoints, unknown keys.

A request of a coding agent holds hundreds of blocks, of which a handful matter here. The pass over all of them
(`turns`) lists the messages with such blocks, and only these are looked into.
"""

from collections.abc import Mapping, Sequence
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
# Of a result without marks.
RESULT_KEYS = BLOCK_KEYS["tool_result"] - {"cache_control"}
# Blocks with nothing in them to be found. One with no more keys than it must have has no unknown ones.
PLAIN_LENGTHS = {
    get_args(shape.__annotations__["type"])[0]: len(shape.__required_keys__)
    for shape in (TextBlockParam, ToolUseBlockParam, ThinkingBlockParam, RedactedThinkingBlockParam)
}
# `role` and `content`: a message with no more keys has no unknown ones.
LEAST_MESSAGE_KEYS = 2
SOURCED_TYPES = frozenset({"image", "document"})
HOLDERS = frozenset({"tool_result", "search_result", "mcp_tool_result"})  # blocks with blocks in `content`


@dataclass(slots=True, repr=False)
class Inventory:
    """Blocks with their paths, in the order of the conversation; a block inside another precedes it.

    `first`: index of the first system message, or message with any of them; None if there is none.
    """

    media: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cached: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    unknown: Unknown = field(default_factory=Unknown)
    first: int | None = None


def take_inventory(messages: Sequence[MessageParam], indexes: Sequence[int]) -> Inventory:
    """`indexes`: the messages to look into, found by `turns`; there is nothing to be found in the others."""
    inventory = Inventory()
    for index in indexes:
        message = messages[index]
        if len(message) > LEAST_MESSAGE_KEYS:
            inventory.unknown.look("message", f"messages.{index}", message, MESSAGE_KEYS)
        _take(message.get("content"), f"messages.{index}.content", inventory)
        is_found = inventory.media or inventory.cached or inventory.unknown or message["role"] == "system"
        if inventory.first is None and is_found:
            inventory.first = index
    return inventory


def is_plain_result(block: Mapping[str, Any]) -> bool:
    """Return whether a tool's result holds nothing but text, without marks and unknown keys."""
    if not block.keys() <= RESULT_KEYS:
        return False
    content = block.get("content")
    if not isinstance(content, list):
        return True
    return all(len(inner) == PLAIN_LENGTHS["text"] and inner["type"] == "text" for inner in content)


def _take(content: Any, path: str, inventory: Inventory) -> None:
    """Take the blocks of a message, or those within a block. Text in place of a list has none."""
    for index, block in enumerate(content if isinstance(content, list) else ()):
        kind = block["type"]
        if kind in BLOCK_KEYS:
            inventory.unknown.look(kind, f"{path}.{index}", block, BLOCK_KEYS[kind])
        if kind in HOLDERS:
            _take(block.get("content"), f"{path}.{index}.content", inventory)
        elif kind in MEDIA_TYPES:
            inventory.media.append((f"{path}.{index}", block))
            if kind in SOURCED_TYPES:
                inventory.unknown.look("source", f"{path}.{index}.source", block["source"], SOURCE_KEYS)
            if kind == "document" and block["source"]["type"] == "content":
                _take(block["source"]["content"], f"{path}.{index}.source.content", inventory)
        if "cache_control" in block and block["cache_control"] is not None:
            inventory.cached.append((f"{path}.{index}", block))
