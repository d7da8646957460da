"""Images and documents of a Messages request as lines of text, for models that read text only.

Requests are not checked before: what has another shape than Messages have stays as it is.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from gateway.dialects.chat.request.fallbacks.media import MEDIA_NAMES, placeholder
from gateway.json_values import to_mappings, to_string
from gateway.messages.notes import Note

# Types of blocks, by their names in chat, by which refusals are read.
BLOCKS: Final[Mapping[str, str]] = {name: MEDIA_NAMES[name] for name in ("file", "image_url")}


def media_of(request: Mapping[str, Any]) -> set[str]:
    """Return the kinds of media in a request, by their names in chat."""
    types = {str(block.get("type")) for block in _blocks(request)}
    return {kind for kind, name in BLOCKS.items() if name in types}


def without_media(request: dict[str, Any], kinds: Collection[str]) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Replace the media of these kinds; return the same request if there are none."""
    wanted = media_of(request).intersection(kinds)
    if not wanted:
        return request, ()
    types = frozenset(BLOCKS[kind] for kind in wanted)
    messages = [
        {**message, "content": _replaced(message.get("content"), types)} if isinstance(message, dict) else message
        for message in request["messages"]
    ]
    names = " or ".join(sorted(types))
    note = Note("changed", "messages", f"this model takes no {names} input; a line of text replaces it")
    return {**request, "messages": messages}, (note,)


def _blocks(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in to_mappings(request.get("messages")):
        for block in to_mappings(message.get("content")):
            yield block
            yield from to_mappings(block.get("content"))


def _replaced(content: Any, types: frozenset[str]) -> Any:
    if not isinstance(content, list):
        return content
    return [_line(block, types) if isinstance(block, dict) else block for block in content]


def _line(block: dict[str, Any], types: frozenset[str]) -> dict[str, Any]:
    kind = block.get("type")
    if kind in types:
        return {"type": "text", "text": placeholder(str(kind), to_string(block.get("title")))}
    if kind == "tool_result" and isinstance(block.get("content"), list):
        return {**block, "content": _replaced(block["content"], types)}
    return block
