"""The tool calls of one answer: which call a piece belongs to, and the ids and names that the client gets."""

from typing import Any

from gateway.dialects.chat.call_ids import LEGAL, to_client_id
from gateway.dialects.chat.response.blocks import OpenToolCall
from gateway.dialects.chat.response.calls.tool_names import joined_name, to_offered_name
from gateway.dialects.reply import Reply
from gateway.errors import UpstreamError


class CallBook:
    """Calls by the upstream's index, which some upstreams leave out and others use for several calls."""

    __slots__ = ("_by_id", "_calls", "_ids", "_last", "_next", "_offered", "_reply")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._calls: dict[int, OpenToolCall] = {}
        self._next = 0  # index of a call without one
        self._by_id: dict[str, OpenToolCall] = {}
        self._last: OpenToolCall | None = None
        self._ids: set[str] = set()
        self._offered = reply.offered

    @property
    def latest_id(self) -> str:
        """The upstream's id of the call that the last piece belonged to."""
        return self._last.id if self._last is not None else ""

    def find(self, index: int | None, call_id: str, name: str, fragment: str) -> tuple[OpenToolCall, bool]:
        """The call that a piece belongs to, and whether that is a new one."""
        if index is None:
            call = self._find_without_index(call_id, name)
            index = self._next
        else:
            call = self._calls.get(index) or self._continued(call_id, name, fragment)
        is_new = call is None or (call.is_over_at(call_id, name) and not self._names_on(call, name))
        if call is not None and call.is_over and not is_new and call.is_followed_by(fragment):
            is_new, name = True, name or call.name  # without a word that another begins: of the same tool
        if call is None or is_new:
            call = self._calls[index] = OpenToolCall(name=name)
            self._next = max(self._next, index + 1)
        if name:
            call.is_named = not self._offered or to_offered_name(call.name or name, self._offered) in self._offered
        call.id = call.id or call_id
        self._by_id[call.id] = call
        self._last = call
        return call, is_new

    def _continued(self, call_id: str, name: str, fragment: str) -> OpenToolCall | None:
        """The open call if a piece under a new index has no word that another begins: some servers count pieces."""
        return None if call_id or name or not fragment or self._last is None or self._last.is_over else self._last

    def _names_on(self, call: OpenToolCall, name: str) -> bool:
        """Return whether the name continues that of a call of which only the name is known."""
        joined = "" if call.ready or call.fragments else joined_name(call.name, name, self._offered)
        call.name = joined or call.name
        return joined != ""

    def _find_without_index(self, call_id: str, name: str) -> OpenToolCall | None:
        last = self._last
        if name:
            return self._find_id(call_id)
        if call_id and (last is None or last.id):
            return self._find_id(call_id)
        return last  # which an id may still be said of

    def _find_id(self, call_id: str) -> OpenToolCall | None:
        """The latest call of that id."""
        return self._by_id.get(call_id) if call_id else None

    def to_block(self, call: OpenToolCall, index: int) -> dict[str, Any]:
        """The start of the `tool_use` block at `index`, under the client's name of the tool."""
        names = self._reply.tool_names
        called = call.name if call.name in names else to_offered_name(call.name, self._offered)
        if not called:
            raise UpstreamError("The upstream sent a tool call without a name.")
        block = {"type": "tool_use", "id": self._to_id(call.id, index), "name": names.get(called, called), "input": {}}
        toolset = self._reply.toolsets.get(called)
        if toolset is not None:
            block["toolset_name"] = toolset
        return block

    def _to_id(self, upstream_id: str, index: int) -> str:
        """The upstream's id, if the client may have it and has no other call of that id."""
        if upstream_id in self._ids:
            return to_client_id("", self._reply.message_id, index)
        self._ids.add(upstream_id)
        if LEGAL.fullmatch(upstream_id) and upstream_id not in self._reply.used_call_ids:
            return upstream_id
        return to_client_id(upstream_id, self._reply.message_id, index)
