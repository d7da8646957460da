"""Tool calls in a chat stream that is passed on: each has an index, and says its id and type once.

Clients join pieces with equal indices by appending each field, so a repeated name becomes `bashbash` (openai 3.57.0),
and calls without an index become one. Some servers send such chunks; they are corrected here, and names in
`call_starts`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.dialects.chat.original.call_starts import with_meant_name
from gateway.dialects.chat.response.calls.call_markup import WrittenCall
from gateway.dialects.chat.response.delta import ARGUMENTS
from gateway.errors import UpstreamError
from gateway.messages.notes import Note

ONCE = ("id", "type")
TYPES = ("function", "custom")
# Fields of a function that some servers put beside it.
LOOSE = frozenset({"name", *ARGUMENTS})
UNKNOWN_SHAPE = "The upstream sent tool calls of an unknown shape."


@dataclass(slots=True, repr=False)
class CallIndexes:
    """Calls of one choice so far. `prefix`: of the ids that the upstream leaves out. `offered`: names of the tools."""

    prefix: str
    offered: Collection[str] = ()
    _by_id: dict[str, int] = field(default_factory=dict)
    _by_index: dict[int, int] = field(default_factory=dict)
    _ids: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._ids)

    def without_empty(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out empty pieces before any call has begun. Return the same list if there are none."""
        if self._ids or all(map(_has_content, calls)):
            return calls
        return [call for call in calls if _has_content(call)]

    def corrected(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return the piece of a call as clients need it: the same object if it is correct."""
        call_id, told = call.get("id") or "", call.get("index")
        index = told if type(told) is int else None
        function = call.get("function")
        place = self._find(call_id, index, starts=isinstance(function, dict) and bool(function.get("name")))
        if place is None:
            return self._begin(call, call_id, index)
        if place == index and not call_id and not (function or {}).get("name") and "type" not in call:
            return call
        return {name: value for name, value in call.items() if name not in ONCE} | {"index": place}

    def begun(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return a whole call with a name, a type and an id of its own: the same object if it has them."""
        return with_meant_name(self._begin(call, call.get("id") or "", len(self)), self.offered)

    def _find(self, call_id: str, index: int | None, *, starts: bool) -> int | None:
        """Return the place of the call that this is a piece of; None for a new one."""
        is_new_index = index is not None and index not in self._by_index
        if call_id in self._by_id and not (starts and is_new_index):  # two calls may have one id
            return self._by_id[call_id]
        if index is None or (is_new_index and not (call_id or starts)):  # the index alone begins no call
            return len(self._ids) - 1 if self._ids and not (call_id or starts) else None
        place = self._by_index.get(index)
        # Another id under the same index is another call, if it has a name (Gemini numbers each of them 0).
        return None if place is not None and call_id and starts and self._ids[place] != call_id else place

    def _begin(self, call: dict[str, Any], call_id: str, index: int | None) -> dict[str, Any]:
        place = len(self._ids)
        known = call_id if call_id and call_id not in self._by_id else f"{self.prefix}{place}"
        self._ids.append(known)
        self._by_id[known] = place
        if index is not None:
            self._by_index[index] = place
        is_typed = call.get("type") in TYPES
        if index == place and known == call_id and is_typed:
            return call
        return {**call, "index": place, "id": known, "type": call["type"] if is_typed else TYPES[0]}


def to_calls(value: Any) -> list[dict[str, Any]]:
    """Return calls, or pieces of them, as a list in which ids and arguments are texts; the same list if they are.

    Ollama sends arguments as an object, others one call without a list, or null for none. Raises UpstreamError for any
    other shape.
    """
    calls = [value] if isinstance(value, dict) else value
    if isinstance(calls, list) and None in calls:
        calls = [call for call in calls if call is not None]
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise UpstreamError(UNKNOWN_SHAPE)
    texts = [_with_texts(call) for call in calls]
    return texts if any(one is not other for one, other in zip(texts, calls, strict=True)) else calls


def to_call(call: WrittenCall) -> dict[str, Any]:
    return {"function": {"name": call.name, "arguments": call.arguments}}


def without_index(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call as a whole message has it."""
    return {name: value for name, value in call.items() if name != "index"}


def _has_content(call: Mapping[str, Any]) -> bool:
    function = call.get("function")
    return bool(call.get("id") or call.get("custom") or (isinstance(function, dict) and any(function.values())))


def _with_texts(call: dict[str, Any]) -> dict[str, Any]:
    call_id, function = call.get("id"), call.get("function")
    changed: dict[str, Any] = {}
    if function is None and call.keys() & LOOSE:  # some servers leave out the level between
        function = {name: call[name] for name in LOOSE if name in call}
        call = {name: value for name, value in call.items() if name not in LOOSE} | {"function": function}
    if call_id is not None and not isinstance(call_id, str):
        changed["id"] = str(call_id) if isinstance(call_id, int) else None
    if not isinstance(function, dict | None) or not isinstance((function or {}).get("name"), str | None):
        raise UpstreamError(UNKNOWN_SHAPE)
    told = next((name for name in ARGUMENTS if (function or {}).get(name) is not None), "arguments")
    arguments = (function or {}).get(told)
    if arguments is not None and not (isinstance(arguments, str) and told == "arguments"):
        try:
            changed["function"] = _with_arguments(function or {}, told)
        except orjson.JSONEncodeError:
            raise UpstreamError("The upstream sent tool arguments that nest too deeply.") from None
    return {**call, **changed} if changed else call


def _with_arguments(function: dict[str, Any], told: str) -> dict[str, Any]:
    """Return a function with its arguments as text, under their usual name. `told`: the name that they have."""
    arguments = function[told]
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return {name: value for name, value in function.items() if name not in ARGUMENTS} | {"arguments": text}


def without_forbidden(message: dict[str, Any], notes: list[Note]) -> bool:
    """Leave calls out of a message or a delta, with a note, where the client allowed none: it would run them."""
    note = Note("dropped", "content", "the answer's calls, which tool_choice forbids, could not be carried over")
    if note not in notes:
        notes.append(note)
    del message["tool_calls"]
    return True


def continues_calls(delta: Mapping[str, Any]) -> bool:
    """Return whether a delta begins no call, and lengthens those it has, so that others may be written like it."""
    return all(
        "id" not in call
        and "name" not in (call.get("function") or {})
        and (call.get("function") or {}).get("arguments")
        for call in to_calls(delta.get("tool_calls") or [])
    )
