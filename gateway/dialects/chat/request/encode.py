"""Chat requests as JSON, with the check on nesting that a separate pass would repeat."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.messages.tools.tool_cache import ChatTools
from gateway.messages.validation.depth import FRAME, FRAME_LEVELS, MAX_DEPTH

# Below this size the depth frame costs more than the serialisation that it guards.
SMALL_BODY = 4096


def to_json(chat_body: Mapping[str, object], size: int) -> bytes | memoryview:
    """Return the JSON for the upstream, of a request of `size` bytes. Raises JSONEncodeError where it nests too deeply.

    Depth is not looked at before: that would be one more pass over all of it. What is small and opens few brackets is
    written without the frame, which would cost more than the rest.
    """
    tools = chat_body.get("tools")
    if isinstance(tools, ChatTools):
        return _to_json({**chat_body, "tools": orjson.Fragment(tools.written)}, size)
    return _to_json(chat_body, size)


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
