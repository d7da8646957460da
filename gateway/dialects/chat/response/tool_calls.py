"""The tool calls of one answer: which call a piece belongs to, and the ids under which the client knows them."""

import re
from typing import Any

from gateway.dialects.chat.response.blocks import ToolCall
from gateway.dialects.reply import Reply
from gateway.errors import UpstreamError

ILLEGAL_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


class CallBook:
    """Calls by the upstream's index, which some upstreams leave out and others use for several calls."""

    __slots__ = ("_calls", "_ids", "_last", "_reply")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._calls: dict[int, ToolCall] = {}
        self._last: ToolCall | None = None
        self._ids: set[str] = set()

    def find(self, index: int | None, call_id: str, name: str) -> tuple[ToolCall, bool]:
        """The call that a piece belongs to, and whether that is a new one."""
        if index is None:
            same = next((call for call in self._calls.values() if call_id and call.id == call_id), None)
            call = same or (None if call_id or name else self._last)
            index = max(self._calls, default=-1) + 1
        else:
            call = self._calls.get(index)
        is_new = call is None or call.is_over_at(call_id, name)
        if call is None or is_new:
            call = self._calls[index] = ToolCall()
        call.id = call.id or call_id
        self._last = call
        return call, is_new

    def to_block(self, call: ToolCall, index: int) -> dict[str, Any]:
        """The start of the `tool_use` block at `index`, under the client's name of the tool."""
        if not call.name:
            raise UpstreamError("The upstream sent a tool call without a name.")
        name = self._reply.tool_names.get(call.name, call.name)
        block = {"type": "tool_use", "id": self._to_legal_id(call.id, index), "name": name, "input": {}}
        toolset = self._reply.toolsets.get(call.name)
        if toolset is not None:
            block["toolset_name"] = toolset
        return block

    def _to_legal_id(self, upstream_id: str, index: int) -> str:
        """The upstream's id where Anthropic's rules allow it: legal characters, and used once in a message."""
        legal = ILLEGAL_IN_ID.sub("_", upstream_id)
        if not legal or legal in self._ids:
            legal = f"toolu_{ILLEGAL_IN_ID.sub('_', self._reply.message_id)}_{index}"
        self._ids.add(legal)
        return legal
