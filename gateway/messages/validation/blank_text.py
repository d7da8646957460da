"""Blank text in earlier answers: what is left of the conversation without it."""

from collections.abc import Sequence
from typing import Any

from gateway.messages.notes import Note
from gateway.schemas.anthropic import MessageParam

BLANK = "an earlier answer's blank text, which upstreams refuse"
EMPTY = "an earlier answer without content, which upstreams refuse"


def without_blank_text(
    messages: Sequence[MessageParam], indexes: Sequence[int]
) -> tuple[list[MessageParam], list[Note]]:
    """The messages without the blank text of those at `indexes`, and a note of the first.

    An assistant's message with nothing left is dropped as well, unless it is the last, which asks for a reply.
    """
    kept: list[Any] = list(messages)
    first = kept[indexes[0]]["content"]
    last = len(messages) - 1
    for index in reversed(indexes):
        content: Any = kept[index]["content"]
        blocks = [] if isinstance(content, str) else [block for block in content if not _is_blank(block)]
        if blocks or index == last:
            kept[index] = {**kept[index], "content": blocks}
        else:
            del kept[index]
    return kept, [Note("dropped", f"messages.{indexes[0]}.content", BLANK if first else EMPTY)]


def _is_blank(block: dict[str, Any]) -> bool:
    return block["type"] == "text" and not block["text"].strip()
