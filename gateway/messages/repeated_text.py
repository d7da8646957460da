"""Bytes of a request that need no search: those that earlier requests had, and large media.

What a text search finds in tools, blocks of the system prompt and the beginning of a conversation is kept, so that an
agent's next request is searched in its new parts only. In base64 there is nothing to find.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from gateway.json_values import to_mapping, to_mappings
from gateway.messages.system_cache import CachedBlock
from gateway.messages.tools.tool_cache import KEY as TOOLS
from gateway.messages.tools.tool_cache import CachedTools, places_of
from gateway.messages.turn_cache import KEY as MESSAGES
from gateway.messages.turn_cache import CachedMessages
from gateway.messages.written import Written

# Bytes of a block that are looked for; the rest is compared.
BEGINNING: Final = 64
BETWEEN: Final = b"\0"  # is in no text that is looked for
# Characters of media that are passed over: to find their beginning takes far less than to search them for each text.
LARGE_MEDIA: Final = 128 * 1024


class Base64(Written):
    """The data of an image or a document, but for its beginning.

    It holds no text that begins with a quote or a backslash.
    """

    __slots__ = ()

    def count(self, text: bytes) -> int:
        return 0


@dataclass(slots=True)
class RepeatedText:
    """A request's bytes, with the places of the parts that were seen before.

    A part begins and ends with a bracket, or is base64. Search it for texts without brackets only, that begin with a
    quote or a backslash and are shorter than BEGINNING: none can begin in one part and end in another.
    """

    body: bytes = field(repr=False)
    _parts: list[tuple[int, Written]] = field(default_factory=list, repr=False)
    _rest: bytes | None = field(default=None, repr=False)  # what lies between the parts, once it has been searched

    @classmethod
    def of(cls, body: bytes, request: Mapping[str, Any]) -> "RepeatedText":
        found = cls(body)
        messages, tools, system = request.get("messages"), request.get("tools"), request.get("system")
        if isinstance(messages, CachedMessages) and messages.repeated is not None:
            found._add(messages.repeated.written, places_of(MESSAGES, body))
        if isinstance(tools, CachedTools) and tools.written.json:
            # Behind the messages first, where clients write them.
            behind = found._parts[0][0] + len(found._parts[0][1].json) if found._parts else 0
            places = chain(places_of(TOOLS, body, behind), places_of(TOOLS, body))
            found._add(tools.written, (place - 1 for place in places))
        for block in system if isinstance(system, list) else ():
            if isinstance(block, CachedBlock):
                found._add(block.written, (body.find(block.written.json[:BEGINNING]),))
        for data in _large_media(messages) if len(body) > LARGE_MEDIA else ():
            place = body.find(data[:BEGINNING])
            found._add(Base64(data[BEGINNING:]), (place + BEGINNING if place >= 0 else -1,))
        found._parts.sort(key=lambda part: part[0])
        return found

    def count(self, text: bytes) -> int:
        """Return how often the body holds `text`."""
        if not self._parts:
            return self.body.count(text)
        if self._rest is None:
            self._rest = BETWEEN.join([self.body[start:end] for start, end in self.new_parts()])
        found = self._rest.count(text)
        for _, written in self._parts:
            found += written.count(text)
        return found

    def new_parts(self) -> list[tuple[int, int]]:
        """Return start and end of what lies between the repeated parts; nothing without any.

        The outermost members begin only there.
        """
        if not self._parts:
            return []
        place, found = 0, []
        for start, written in self._parts:
            found.append((place, start))
            place = start + len(written.json)
        return [*found, (place, len(self.body))]

    def _add(self, written: Written, places: Iterable[int]) -> None:
        """Note the first of the places at which the part is, unless it lies within another one."""
        place = next((place for place in places if place >= 0 and self.body.startswith(written.json, place)), None)
        if place is not None and not any(start <= place < start + len(one.json) for start, one in self._parts):
            self._parts.append((place, written))


def _large_media(messages: Any) -> Iterator[bytes]:
    """Yield the data of large media in new messages and in their tools' results, as it is in most bodies."""
    known = len(messages.repeated.messages) if isinstance(messages, CachedMessages) and messages.repeated else 0
    blocks = [block for message in to_mappings(messages)[known:] for block in to_mappings(message.get("content"))]
    for block in (*blocks, *(inner for outer in blocks for inner in to_mappings(outer.get("content")))):
        data = to_mapping(block.get("source")).get("data")
        if isinstance(data, str) and len(data) >= LARGE_MEDIA and '"' not in data and "\\" not in data:
            yield data.encode("utf-8", "surrogatepass")
