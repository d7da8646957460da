"""Cache of tool lists. Agents resend identical `tools` on every turn, and they are most of the body: finding them by
their bytes saves a third of all work on such a request.

A list of tools is cached on its second occurrence, if it was written without spaces, as the SDKs write it. After that
it is not parsed, checked, converted or written again: the request holds `KnownTools`, the upstream request `ChatTools`,
both ordinary lists. A list that differs by a single byte is processed in full.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.upstream.target import Target

# As the SDKs write it: a list that is written with spaces goes the full way.
KEY: Final = b'"tools":['
# Before a key that is none within a string: there the quotation mark would follow a backslash.
BEFORE_KEY: Final = b"{,"
# Of requests: what is in smaller ones is not worth looking for.
LEAST_BYTES: Final = 8 * 1024
# Of a list of tools, as JSON. Parsed it takes up to ten times as much.
MOST_LIST_BYTES: Final = 512 * 1024
MOST_LISTS: Final = 32
MOST_BYTES: Final = 2 * 1024 * 1024
# Places in a request where its tools may stand.
MOST_PLACES: Final = 4
# Lists of the same names are one sort. One that differs each time, or is written otherwise, is soon left alone.
MOST_SORTS: Final = 256
MOST_TRIES: Final = 8
# Upstream models for which one list is remembered in their form.
MOST_TARGETS: Final = 4


class ChatTools(list[Any]):
    """Tools as they go upstream; `written` is their JSON, once it is known not to nest too deeply."""

    __slots__ = ("written",)

    def __init__(self, tools: Sequence[Any]) -> None:
        super().__init__(tools)
        self.written: bytes | None = None


class KnownTools(list[Any]):
    """A request's tools, which many requests share. `names` is set when they were checked, and valid; `unknown`,
    notes for their unknown keys, when those were searched for."""

    __slots__ = ("_chat", "names", "unknown")

    def __init__(self, tools: Sequence[Any]) -> None:
        super().__init__(tools)
        self.names: Sequence[str] | None = None
        self.unknown: Sequence[Any] | None = None
        self._chat: list[tuple[Target, ChatTools]] = []

    def chat_for(self, target: Target) -> ChatTools | None:
        for known, tools in self._chat:
            if known is target:
                return tools
        return None

    def keep_chat(self, target: Target, tools: Sequence[Any]) -> ChatTools:
        kept = ChatTools(tools)
        self._chat = [(target, kept), *self._chat[: MOST_TARGETS - 1]]
        return kept


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CachedToolList:
    """`written`: the list as written in requests."""

    written: bytes
    tools: KnownTools
    sort: int


def is_checked(tools: object) -> bool:
    return isinstance(tools, KnownTools) and tools.names is not None


class ToolMemory:
    """Parses requests, and knows the tools of those before. `most_bytes`: of JSON, of all lists together; 0: none.

    `stand_in`: text in the place of known tools while the rest is parsed. Random, so that no client can have sent it.
    """

    def __init__(self, stand_in: str, most_bytes: int = MOST_BYTES) -> None:
        self._stand_in = stand_in
        self._most_bytes = most_bytes
        self._known: list[CachedToolList] = []  # the latest first
        self._tries: dict[int, int] = {}  # sort → how often one was remembered since one was last recognised

    def parse(self, body: bytes) -> object:
        """Parse a body; the result equals that of orjson.loads, but tools may be shared. Raises JSONDecodeError."""
        if len(body) < LEAST_BYTES or not self._most_bytes:
            return orjson.loads(body)
        if self._known:
            for start in _places(body):
                recalled = self._recall(body, start)
                if recalled is not None:
                    return recalled
        parsed = orjson.loads(body)
        if isinstance(parsed, dict) and isinstance(parsed.get("tools"), list):
            self._learn(parsed, body)
        return parsed

    def _recall(self, body: bytes, start: int) -> dict[str, Any] | None:
        """The request, if a known list stands at `start`, and is the request's own."""
        entry = next((entry for entry in self._known if body.startswith(entry.written, start)), None)
        if entry is None:
            return None
        rest = body[start + len(entry.written) :]
        try:
            parsed = orjson.loads(b"".join((body[:start], orjson.dumps(self._stand_in), rest)))
        except orjson.JSONDecodeError:
            return None  # the full parse finds the position of the error
        if not isinstance(parsed, dict) or parsed.get("tools") != self._stand_in:
            return None
        if entry is not self._known[0]:
            self._known.remove(entry)
            self._known.insert(0, entry)
        self._tries[entry.sort] = 0
        parsed["tools"] = entry.tools
        return parsed

    def _learn(self, parsed: dict[str, Any], body: bytes) -> None:
        tools = parsed["tools"]
        sort = hash(tuple(str(tool.get("name")) for tool in tools if isinstance(tool, dict)))
        tries = self._tries.pop(sort, -1) + 1
        if len(self._tries) >= MOST_SORTS:
            del self._tries[next(iter(self._tries))]
        self._tries[sort] = tries
        if not 0 < tries <= MOST_TRIES:
            return
        written = _written(tools)
        if written is None or KEY[:-1] + written not in body:
            return
        parsed["tools"] = known = KnownTools(tools)
        self._known.insert(0, CachedToolList(written, known, sort))
        while len(self._known) > MOST_LISTS or sum(len(entry.written) for entry in self._known) > self._most_bytes:
            self._known.pop()


def _places(body: bytes) -> Iterator[int]:
    """Return the start of a list that may be the request's tools."""
    place = 0
    for _ in range(MOST_PLACES):
        place = body.find(KEY, place + 1)
        if place < 0:
            return
        if body[place - 1] in BEFORE_KEY:
            yield place + len(KEY) - 1


def _written(tools: list[Any]) -> bytes | None:
    """Return the list as most clients write it; None if it is too small or cannot be written."""
    try:
        written = orjson.dumps(tools)
    except orjson.JSONEncodeError:
        return None
    return written if len(written) <= MOST_LIST_BYTES else None
