"""Bytes of a request that earlier requests had: its tools and the beginning of its conversation.

What a text search finds in them is kept, so that an agent's next request is searched in its new parts only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.messages.tools.tool_cache import KEY as TOOLS
from gateway.messages.tools.tool_cache import CachedTools, places_of
from gateway.messages.turn_cache import KEY as MESSAGES
from gateway.messages.turn_cache import CachedMessages
from gateway.messages.written import Written


@dataclass(slots=True)
class RepeatedText:
    """A request's bytes, with the places of the parts that were seen before.

    A part begins and ends with a bracket. Search it for texts without brackets only: none can begin in one part and end
    in another.
    """

    body: bytes = field(repr=False)
    _parts: list[tuple[int, Written]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, body: bytes, request: Mapping[str, Any]) -> "RepeatedText":
        found = cls(body)
        messages, tools = request.get("messages"), request.get("tools")
        if isinstance(messages, CachedMessages) and messages.repeated is not None:
            found._add(messages.repeated.written, MESSAGES)
        if isinstance(tools, CachedTools) and tools.written.json:
            found._add(tools.written, TOOLS)
        found._parts.sort(key=lambda part: part[0])
        return found

    def count(self, text: bytes) -> int:
        """Return how often the body holds `text`."""
        new = sum(self.body.count(text, start, end) for start, end in self.new_parts())
        return new + sum(written.count(text) for _, written in self._parts)

    def new_parts(self) -> list[tuple[int, int]]:
        """Return start and end of what lies between the repeated parts. The outermost members begin only there."""
        place, found = 0, []
        for start, written in self._parts:
            found.append((place, start))
            place = start + len(written.json)
        return [*found, (place, len(self.body))]

    def _add(self, written: Written, key: bytes) -> None:
        """Note the place of a part, which is the value of `key` or begins within it."""
        opening = len(key) - key.index(b"[") if written.json.startswith(b"[") else 0
        behind = self._parts[0][0] + len(self._parts[0][1].json) if self._parts else 0
        for start in (behind, 0) if behind else (0,):
            for place in places_of(key, self.body, start):
                if self.body.startswith(written.json, place - opening):
                    self._parts.append((place - opening, written))
                    return
