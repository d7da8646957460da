"""Chat requests as JSON, with the check on nesting that a separate pass would repeat.

Tools and messages that earlier requests had too are inserted as they were written then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.messages.tools.tool_cache import ChatTools, FrozenList
from gateway.messages.validation.depth import FRAME, FRAME_LEVELS, MAX_DEPTH

# Below this size the depth frame costs more than the serialisation that it guards.
SMALL_BODY = 4096


@dataclass(frozen=True, slots=True, repr=False)
class ConvertedPrefix:
    """The first `count` messages of a conversation, as chat messages that are never changed.

    `written`: their JSON without brackets. `call_ids`: as in `Scope`.
    """

    count: int = 0
    messages: list[Any] = field(default_factory=list)
    written: bytes = b""
    call_ids: tuple[str, ...] = ()


class ChatMessages(FrozenList):
    """Messages as they go upstream; those of `prefix` begin at `start`."""

    __slots__ = ("prefix", "start")

    def __init__(self, messages: Sequence[Any], start: int, prefix: ConvertedPrefix) -> None:
        super().__init__(messages)
        self.start = start
        self.prefix = prefix

    def to_fragments(self) -> list[Any]:
        """Return the list for `orjson.dumps`, which takes JSON of several elements in the place of one."""
        end = self.start + len(self.prefix.messages)
        return [*self[: self.start], orjson.Fragment(self.prefix.written), *self[end:]]


def to_json(chat_body: Mapping[str, object], size: int) -> bytes | memoryview:
    """Return the JSON for the upstream, of a request of `size` bytes. Raises JSONEncodeError where it nests too deeply.

    Depth is not looked at before: that would be one more pass over all of it. What is small and opens few brackets is
    written without the frame, which would cost more than the rest.
    """
    tools, messages = chat_body.get("tools"), chat_body.get("messages")
    if isinstance(tools, ChatTools):
        chat_body = {**chat_body, "tools": orjson.Fragment(tools.written)}
    if isinstance(messages, ChatMessages):
        chat_body = {**chat_body, "messages": messages.to_fragments()}
    return _to_json(chat_body, size)


def to_written_messages(messages: Sequence[Any]) -> bytes | None:
    """Return the JSON of messages without brackets; None where it nests too deeply."""
    try:
        _to_json({"messages": messages}, SMALL_BODY + 1)
    except orjson.JSONEncodeError:
        return None  # the encoding of the request reports it
    return orjson.dumps(messages)[1:-1]


def to_shared_tools(tools: Sequence[Any]) -> ChatTools | None:
    """Return tools with their JSON, which is written into requests unseen; None where it nests too deeply."""
    try:
        _to_json({"tools": tools}, SMALL_BODY + 1)
    except orjson.JSONEncodeError:
        return None  # the encoding of each request reports it
    return ChatTools(tools, orjson.dumps(tools))


def _to_json(chat_body: Mapping[str, object], size: int) -> bytes | memoryview:
    if size <= SMALL_BODY:
        written = orjson.dumps(chat_body)
        if written.count(b"{") + written.count(b"[") <= MAX_DEPTH:
            return written
    return memoryview(orjson.dumps(FRAME, default=lambda _: chat_body))[FRAME_LEVELS:-FRAME_LEVELS]
