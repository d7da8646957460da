"""Further calls that a server left in the arguments of the one in front of them.

Parsers for DeepSeek V3 take everything up to the last mark as the first call's arguments, and others concatenate the
objects of parallel calls. Calls are read only if they are all of the text: each object is complete, and none repeats or
extends the one before it, since servers also send arguments that begin again.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.dialects.chat.response.calls.call_markup import WrittenCall
from gateway.dialects.chat.response.calls.tool_names import to_offered_name

REASON: Final = "the upstream put the next call into the arguments of this one"
# V3 and R1 write a fence around arguments, V3.1 does not.
END: Final = r"\s*+(?:```)?\s*+(?:<｜tool▁call▁end｜>)?"
NEXT: Final = re.compile(
    rf"{END}\s*+<｜tool▁call▁begin｜>"
    r"(?:function<｜tool▁sep｜>(?P<fenced>[\w.-]+)\s*+```json\s*+|(?P<plain>[\w.-]+)<｜tool▁sep｜>\s*+)"
)
LAST: Final = re.compile(rf"{END}\s*+(?:<｜tool▁calls▁end｜>)?\s*+(?:<｜end▁of▁sentence｜>)?\s*+")
SPACE: Final = re.compile(r"\s*+")
# Models make a handful of calls at once.
MAX_CALLS: Final = 64
DECODER: Final = json.JSONDecoder()


def following_calls(arguments: str, rest: str, name: str, offered: Collection[str]) -> list[WrittenCall]:
    """Return the calls in the text behind the arguments of a call of `name`; none if it is anything else."""
    calls: list[WrittenCall] = []
    place = 0
    latest = _object_at(arguments, 0)
    while latest is not None and LAST.fullmatch(rest, place) is None:
        marked = NEXT.match(rest, place)
        start = marked.end() if marked is not None else _skipped(rest, place)
        called = to_offered_name((marked["fenced"] or marked["plain"]) if marked is not None else name, offered)
        found = _object_at(rest, start)
        if found is None or called not in offered or len(calls) == MAX_CALLS:
            return []
        if marked is None and _is_same(latest[0], found[0]):
            return []
        calls.append(WrittenCall("", called, rest[start : found[1]]))
        latest, place = found, found[1]
    return calls


def _skipped(text: str, place: int) -> int:
    found = SPACE.match(text, place)
    return found.end() if found is not None else place


def _object_at(text: str, place: int) -> tuple[Mapping[str, Any], int] | None:
    """Return the object that begins here, and the place behind it."""
    try:
        value, end = DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None
    return (value, end) if isinstance(value, dict) else None


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether one of the objects has all that the other has."""
    shorter, longer = sorted((one, other), key=len)
    return all(name in longer and longer[name] == value for name, value in shorter.items())
