"""Calls of tools from Messages upstreams: their ids, the tools that they mean, and the ends of their arguments.

What is nearly JSON is repaired, and arguments that were cut end in null, as those of chat upstreams do
(`tool_arguments` has the reasons). In a stream the stop reason decides whether the last call was cut, and follows the
end of its block. So the end of an unfinished call waits for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.dialects.chat.call_ids import to_client_id
from gateway.dialects.chat.response.blocks import OpenToolCall
from gateway.dialects.chat.response.calls.tool_arguments import Ending
from gateway.dialects.chat.response.calls.tool_names import to_offered_name
from gateway.dialects.chat.response.stop_reason import Finish, may_cut_calls, to_stop
from gateway.dialects.native.usage import WHOLE
from gateway.dialects.reply import Reply
from gateway.json_values import to_mapping, to_string
from gateway.messages.notes import Note


class StreamedCall:
    """A call that arrives in pieces. `index`: of its block, as the upstream counts them."""

    __slots__ = ("_call", "_has_any", "index")

    def __init__(self, block: Mapping[str, Any], index: object) -> None:
        self._call = OpenToolCall(name=to_string(block.get("name")))
        self._has_any = False
        self.index = index

    @property
    def is_unfinished(self) -> bool:
        return self._has_any and not self._call.is_over

    def add(self, text: str) -> str:
        """Add a piece; return what can be passed on by it."""
        self._has_any = self._has_any or text != ""
        return self._call.add_rest(text) if self._call.is_over else self._call.add(text)

    def end(self, *, may_be_cut: bool) -> Ending:
        """Return what is still to be passed on. Raises UpstreamError if the arguments cannot be made an object."""
        return self._call.end(may_be_cut=may_be_cut) if self._has_any else Ending("")


@dataclass(slots=True, repr=False)
class WholeCalls:
    """The calls of a whole answer, in order. `may_be_cut`: by the reason that the answer ended for."""

    reply: Reply
    may_be_cut: bool
    notes: list[Note] = field(default_factory=list)
    has_cut_call: bool = False
    _ids: set[str] = field(default_factory=set)

    def completed(self, block: dict[str, Any], index: int) -> dict[str, Any]:
        """Return a call with an id of its own, a name, and an object as input; the same one if it has them."""
        call_id, name = to_own_id(block.get("id"), self._ids, self.reply), to_meant_name(block, self.reply)
        given = block.get("input", block.get("arguments"))
        if isinstance(given, dict) and call_id == block.get("id") and name == block.get("name"):
            return block
        whole = given if isinstance(given, dict) else self._to_input(block, given, index)
        return with_name({**block, "id": call_id, "input": whole}, name)

    def _to_input(self, block: Mapping[str, Any], value: Any, index: int) -> dict[str, Any]:
        """Return the arguments of a call, which some servers leave out or write as JSON within JSON, as chat does."""
        if not isinstance(value, str) or not value.strip():
            return {}
        call = StreamedCall(block, index)
        shown = call.add(value)
        ending = call.end(may_be_cut=self.may_be_cut)
        self.has_cut_call = self.has_cut_call or ending.is_cut
        if ending.reason:
            self.notes.append(Note("changed", f"content.{index}.input", ending.reason))
        return dict(to_mapping(orjson.loads(shown + ending.text)))


def may_be_cut(reason: str | None, counts: Mapping[str, Any], reply: Reply) -> bool:
    """Return whether an answer that ended for this reason may lack the end of its last call."""
    return reason not in WHOLE or may_cut_calls(_to_finish(counts), reply)


def with_cut_call(ended: Mapping[str, Any], counts: Mapping[str, Any], reply: Reply) -> Mapping[str, Any]:
    """Return the end of an answer with a cut call: never under a reason for which clients run it."""
    if ended.get("stop_reason") not in WHOLE:
        return ended
    stop = to_stop(_to_finish(counts), has_tools=True, has_cut_call=True, reply=reply)
    return {**ended, "stop_reason": stop.reason, "stop_sequence": stop.sequence}


def to_own_id(upstream_id: Any, ids: set[str], reply: Reply) -> str:
    """Return the id of a call, or one of ours if the upstream gives none, or gives it to two; add it to `ids`."""
    is_own = isinstance(upstream_id, str) and upstream_id and upstream_id not in ids
    call_id: str = upstream_id if is_own else to_client_id("", reply.message_id, len(ids))
    ids.add(call_id)
    return call_id


def to_meant_name(block: Mapping[str, Any], reply: Reply) -> Any:
    """Return the name of the offered tool that a call means. Claude's stays as it is: it also calls other tools."""
    name = block.get("name")
    meant = to_offered_name(name, reply.offered) if reply.offered and isinstance(name, str) else name
    return meant if meant in reply.offered else name


def with_name(call: dict[str, Any], name: Any) -> dict[str, Any]:
    """Return the call under another name; one without a name has none still."""
    return call if name is None else {**call, "name": name}


def _to_finish(counts: Mapping[str, Any]) -> Finish:
    spent = counts.get("output_tokens")
    return Finish(spent=spent if isinstance(spent, int) else 0)
