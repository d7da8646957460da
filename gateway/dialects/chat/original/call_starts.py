"""Starts of calls in a chat stream that is passed on: each is held until it has the name of its tool.

The AI SDK ends a stream with an error if the first piece of a call lacks the name, and other clients take the name of
the first piece for all of it. Some servers send it behind the id, or in pieces.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.chat.response.calls.tool_names import joined_name, to_offered_name
from gateway.errors import UpstreamError

# Characters of arguments that come in front of their names, in all.
MAX_HELD = 1024 * 1024


@dataclass(slots=True, repr=False)
class HeldStart:
    """`first`: the first piece of the call; the others have added to `name` and `arguments`."""

    first: dict[str, Any]
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True, repr=False)
class CallStarts:
    """The starts of one choice's calls, with correct indexes. `offered`: names of the tools."""

    offered: Collection[str]
    _begun: set[int] = field(default_factory=set)
    _held: dict[int, HeldStart] = field(default_factory=dict)  # in their order
    _size: int = 0

    def taken(self, piece: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the pieces that may go on with this one: itself if it is correct. Later ones bring no name."""
        place, function = piece["index"], piece.get("function")
        if place in self._begun:
            return [piece if not isinstance(function, dict) or "name" not in function else _without_name(piece)]
        if not self._held and ("custom" in piece or self._is_whole(function)):
            self._begun.add(place)
            return [self._with_meant_name(piece)]
        self._hold(place, piece)
        return self._released()

    def rest(self) -> list[dict[str, Any]]:
        """Return what is held, for the end of the stream. Raises UpstreamError for a call that never got a name."""
        held, self._held = self._held, {}
        self._begun |= held.keys()
        joined = [self._joined(start) for start in held.values()]
        for call in joined:
            check_name(call)
        return joined

    def _is_whole(self, function: Any) -> bool:
        """Return whether a name can have no other piece: it is known, or arguments follow it."""
        name = function.get("name") if isinstance(function, dict) else None
        return bool(name and (self._is_known(name) or function.get("arguments")))

    def _is_known(self, name: str) -> bool:
        return not self.offered or to_offered_name(name, self.offered) in self.offered

    def _hold(self, place: int, piece: dict[str, Any]) -> None:
        held = self._held.setdefault(place, HeldStart(piece))
        function = piece.get("function") or {}
        name, arguments = function.get("name") or "", function.get("arguments") or ""
        joined = joined_name(held.name, name, self.offered) if held.name and name else ""
        held.name = joined or held.name or name
        if arguments:
            held.arguments.append(arguments)
            self._size += len(arguments)
            if self._size > MAX_HELD:
                raise UpstreamError("The upstream sent longer tool calls than the gateway accepts.")

    def _released(self) -> list[dict[str, Any]]:
        """Return the starts that are whole, up to the first that is not. Another call ends a name, too."""
        released = []
        while self._held:
            place, start = next(iter(self._held.items()))
            is_last = len(self._held) == 1
            if not start.name or (is_last and not start.arguments and not self._is_known(start.name)):
                break
            del self._held[place]
            self._begun.add(place)
            released.append(self._joined(start))
        return released

    def _joined(self, start: HeldStart) -> dict[str, Any]:
        if "custom" in start.first:
            return start.first
        function = {**(start.first.get("function") or {}), "arguments": "".join(start.arguments)}
        named = {**function, "name": start.name} if start.name else function
        return self._with_meant_name({**start.first, "function": named})

    def _with_meant_name(self, piece: dict[str, Any]) -> dict[str, Any]:
        return with_meant_name(piece, self.offered)


def check_name(call: Mapping[str, Any]) -> None:
    """Raises UpstreamError for a call without a name, as for clients of Messages: half a call must not be run."""
    if "custom" not in call and not (call.get("function") or {}).get("name"):
        raise UpstreamError("The upstream sent a tool call without a name.")


def with_meant_name(call: dict[str, Any], offered: Collection[str]) -> dict[str, Any]:
    """Return the call with the name of the offered tool that is meant: the same object if it has it, or none."""
    function = call.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    meant = to_offered_name(name, offered) if name and offered else name
    return call if meant == name else {**call, "function": {**(function or {}), "name": meant}}


def _without_name(piece: dict[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in piece["function"].items() if name != "name"}
    return {**piece, "function": function}
