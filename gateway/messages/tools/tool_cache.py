"""Cache of tool lists. Agents resend identical `tools` on every turn, and they are most of the body: finding them by
their bytes saves a third of all work on such a request.

A list of tools is cached on its second occurrence, if it was written without spaces, as the SDKs write it. After that
it is not parsed, checked, converted or written again: the request holds `CachedTools`, the upstream's request
`ChatTools`, both lists that cannot be changed. A list that differs by a single byte is processed in full.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar, cast

import orjson

from gateway.messages.written import Written
from gateway.upstream.models.target import Target

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
# Places in a request with separate keys.
MOST_PLACES: Final = 4
# Lists of the same names are one sort. One that differs each time, or is written otherwise, is soon left alone.
MOST_SORTS: Final = 256
MOST_TRIES: Final = 8
# Upstream models for which one list is remembered in their form.
MOST_TARGETS: Final = 4
# Rewrites for servers that refuse something in one list, kept with it.
MOST_FORMS: Final = 8

Result = TypeVar("Result")


class FrozenList(list[Any]):
    """A list that many requests share, and that refuses to change. A copy of it is an ordinary list.

    It is no tuple, because orjson writes no subclasses of tuples.
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a cached list is shared by requests: change a copy of it")

    append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __delitem__ = __iadd__ = __imul__ = __setitem__ = _refuse

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)


def names_of(tools: Iterable[Any]) -> frozenset[str]:
    """Names of the functions and custom tools of a chat request."""
    described = [tool.get("function") or tool.get("custom") or tool for tool in tools]
    return frozenset(named["name"] for named in described if "name" in named)


class ChatTools(FrozenList):
    """Tools as they go upstream, their JSON, and their names."""

    __slots__ = ("_forms", "names", "written")

    def __init__(self, tools: Sequence[Any], written: bytes) -> None:
        super().__init__(tools)
        self.written = written
        self.names = names_of(tools)
        self._forms: dict[Hashable, Any] = {}

    def derive_as(self, form: Hashable, convert: Callable[[], Result]) -> Result:
        """Return what `convert` made of the tools in this form, which is computed once. It must be immutable too."""
        if form not in self._forms:
            if len(self._forms) >= MOST_FORMS:
                self._forms.clear()
            self._forms[form] = convert()
        return cast(Result, self._forms[form])


class CachedTools(FrozenList):
    """A request's tools, and their JSON as it stands there.

    Results of pure functions of them are computed once; they must be immutable too.
    """

    __slots__ = ("_results", "_results_by_target", "written")

    def __init__(self, tools: Sequence[Any], written: bytes = b"") -> None:
        super().__init__(tools)
        self.written = Written(written)
        self._results: dict[Callable[[Sequence[Any]], Any], Any] = {}
        self._results_by_target: list[tuple[Target, Any]] = []  # the latest first

    def derive(self, function: Callable[[Sequence[Any]], Result]) -> Result:
        """Return `function(self)`. What it raises is not cached."""
        if function not in self._results:
            self._results[function] = function(self)
        result: Result = self._results[function]
        return result

    def has_derived(self, function: Callable[[Sequence[Any]], Any]) -> bool:
        return function in self._results

    def derive_for(self, target: Target, convert: Callable[[], Result]) -> Result:
        """Return what `convert` made of the tools for this target. What it raises is not cached."""
        for known, result in self._results_by_target:
            if known is target:
                return cast(Result, result)
        result = convert()
        self._results_by_target = [(target, result), *self._results_by_target[: MOST_TARGETS - 1]]
        return result


def derived(function: Callable[[Any], Result], tools: Any) -> Result:
    """Return `function(tools)`, which must be immutable; computed once for tools that requests share."""
    return tools.derive(function) if isinstance(tools, CachedTools) else function(tools)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CachedToolList:
    tools: CachedTools
    sort: int


class ToolCache:
    """Parse requests, with the tools of earlier ones. `most_bytes`: JSON of all lists together; 0 disables the cache.

    `stand_in`: text in the place of cached tools while the rest is parsed. Random, so that no client can have sent it.
    """

    def __init__(self, stand_in: str, most_bytes: int = MOST_BYTES) -> None:
        self._stand_in = stand_in
        self._most_bytes = most_bytes
        self._known: list[CachedToolList] = []  # the latest first
        self._tries: dict[int, int] = {}  # sort → how often one was remembered since one was last recognised

    def parse(self, body: bytes, loads: Callable[[bytes], object] = orjson.loads) -> object:
        """Parse a body; the result equals that of orjson.loads, but tools may be shared. Raises JSONDecodeError."""
        if len(body) < LEAST_BYTES:
            return orjson.loads(body)
        if not self._most_bytes:
            return loads(body)
        if self._known:
            for place in places_of(KEY, body):
                recalled = self._recall(body, place - 1, loads)
                if recalled is not None:
                    return recalled
        parsed = loads(body)
        if isinstance(parsed, dict) and isinstance(parsed.get("tools"), list):
            self._learn(parsed, body)
        return parsed

    def _recall(self, body: bytes, start: int, loads: Callable[[bytes], object]) -> dict[str, Any] | None:
        """The request, if a known list stands at `start`, and is the request's own."""
        entry = next((entry for entry in self._known if body.startswith(entry.tools.written.json, start)), None)
        if entry is None:
            return None
        rest = body[start + len(entry.tools.written.json) :]
        try:
            parsed = loads(b"".join((body[:start], orjson.dumps(self._stand_in), rest)))
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
        parsed["tools"] = known = CachedTools(tools, written)
        self._known.insert(0, CachedToolList(known, sort))
        while (
            len(self._known) > MOST_LISTS or sum(len(one.tools.written.json) for one in self._known) > self._most_bytes
        ):
            self._known.pop()


def places_of(key: bytes, body: bytes, place: int = 0) -> Iterator[int]:
    """Yield places behind a key that may be the request's own, those behind `place`."""
    for _ in range(MOST_PLACES):
        place = body.find(key, place + 1)
        if place < 0:
            return
        if body[place - 1] in BEFORE_KEY:
            yield place + len(key)


def _written(tools: list[Any]) -> bytes | None:
    """Return the list as most clients write it; None if it is too small or cannot be written."""
    try:
        written = orjson.dumps(tools)
    except orjson.JSONEncodeError:
        # Nested too deeply for orjson; validation refuses it with a path later.
        return None
    return written if len(written) <= MOST_LIST_BYTES else None
