"""Find and replace members of a JSON object in its bytes, without parsing and writing it.

A key that is named twice is refused: two parsers would read two values, and a policy that checks one of them could be
bypassed with the other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any

import orjson

from gateway.errors import InvalidRequest

STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
KEY = b'"model"'
MODEL_KEY = re.compile(KEY + rb"[ \t\r\n]*+:[ \t\r\n]*+")
BACKSLASH = ord("\\")  # in front of a quotation mark within a string: text which looks like the key
# A letter of "model" as an escape. Rare: no writer escapes letters by itself.
ESCAPED_LETTER = re.compile(rb"\\u006[45cdfCDF]")
START_OF_ESCAPED = b"\\u006"  # is found four times as fast
STRING_TOKEN = re.compile(STRING, re.DOTALL)
STRING_OR_BRACKET = re.compile(STRING + rb"|[{}\[\]]", re.DOTALL)
NEXT_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + STRING + rb")*+[{}\[\]]", re.DOTALL)
COLON = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")
SPACE = b" \t\r\n"
OPENING = b"{["
# Parsing each prefix grows with the square of the hits: 5,000 nested keys in 1.7 MB took 5.2 s, one pass 84 ms.
MAX_TRIALS = 16

Span = tuple[int, int]

NAMED_TWICE = "model is named twice"
ESCAPED = "model: the key must be written without escapes"


@dataclass(frozen=True, slots=True)
class Member:
    """One key of the outermost object. `start` is that of the key; the value spans `value` to `end`."""

    key: bytes = field(repr=False)
    start: int
    value: int
    end: int


def find_model(body: bytes, model: str, parts: Sequence[Span] = ()) -> Span:
    """Return the span of the outermost key "model", which has the parsed value `model`.

    `parts`: the only places where outermost members begin, if they are known. Raises InvalidRequest if the key is named
    twice or with escapes.
    """
    place = _only_place(body, parts) if parts else body.find(KEY) if body.count(KEY) == 1 else -1
    key = MODEL_KEY.match(body, place) if place > 0 and body[place - 1] != BACKSLASH else None
    if key is None or (not parts and START_OF_ESCAPED in body):
        token = _only_model(body, parts or ((0, len(body)),))
    else:
        token = STRING_TOKEN.match(body, key.end())
    if token is None or orjson.loads(token[0]) != model:
        raise InvalidRequest(NAMED_TWICE)
    return token.span()


def _only_place(body: bytes, parts: Sequence[Span]) -> int:
    """Return the only place where the key stands in the parts, or -1; without looking at what is around it."""
    found = -1
    for start, end in parts:
        place = body.find(KEY, start, end)
        if place >= 0 and (found >= 0 or body.find(KEY, place + 1, end) >= 0):
            return -1
        if body.find(START_OF_ESCAPED, start, end) >= 0:
            return -1
        found = max(found, place)
    return found


def has_escaped_letter(body: bytes, parts: Sequence[Span]) -> bool:
    """Return True if a letter of "model" stands as an escape in one of the parts."""
    return any(
        body.find(START_OF_ESCAPED, start, end) >= 0 and ESCAPED_LETTER.search(body, start, end) is not None
        for start, end in parts
    )


def _only_model(body: bytes, parts: Sequence[Span]) -> re.Match[bytes] | None:
    """Return the value of the outermost key "model", None for several such keys."""
    keys = (hit for start, end in parts for hit in _model_keys(body, start, end))
    hits = list(islice(keys, MAX_TRIALS + 1))
    if has_escaped_letter(body, parts) or not 1 <= len(hits) <= MAX_TRIALS:
        found = [member for member in members(body) if orjson.loads(member.key) == "model"]
        if len(found) == 1 and found[0].key != b'"model"':
            raise InvalidRequest(ESCAPED)
        places = [member.value for member in found]
    elif len(hits) == 1:
        places = [hits[0].end()]
    else:
        places = [hit.end() for hit in hits if _is_outermost(body, hit.start())]
    return STRING_TOKEN.match(body, places[0]) if len(places) == 1 else None


def _model_keys(body: bytes, start: int, end: int) -> Iterator[re.Match[bytes]]:
    """Yield what looks like the key. `bytes.find` leaps over other text, a regular expression reads all of it."""
    while (start := body.find(KEY, start, end)) >= 0:
        key = MODEL_KEY.match(body, start, end)
        start += len(KEY)
        if key is not None and body[key.start() - 1] != BACKSLASH:
            yield key


def members(body: bytes, parsed: Mapping[str, Any] = MappingProxyType({})) -> Iterator[Member]:
    """Yield the members of a valid JSON object, in one pass over its strings and brackets.

    A value of `parsed`, the object itself, is passed over as a whole where it is written as orjson writes it: 67 kB
    take 0.1 ms instead of 1.2.
    """
    key: tuple[bytes, int, int] | None = None
    depth, place = 1, body.index(b"{") + 1
    while depth:
        token = (STRING_OR_BRACKET if depth == 1 else NEXT_BRACKET).search(body, place)
        assert token is not None  # the body has been parsed
        place = token.end()
        last = body[place - 1]
        if last != ord('"'):
            depth += 1 if last in OPENING else -1
            continue
        colon = COLON.match(body, place)
        if colon is None:
            continue
        if key is not None:
            yield Member(*key, _trimmed(body, token.start()))
        key = token[0], token.start(), colon.end()
        place = colon.end() + _written_length(body, colon.end(), parsed.get(token[0][1:-1].decode()))
    if key is not None:
        yield Member(*key, _trimmed(body, place - 1))


def _written_length(body: bytes, place: int, value: Any) -> int:
    """Return the length of an array or object at `place`, 0 if it is written otherwise."""
    if not isinstance(value, list | dict):
        return 0
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # nests deeper than orjson writes
        return 0
    return len(written) if body.startswith(written, place) else 0


def first_item_end(body: bytes, start: int) -> int:
    """Return the end of the object that begins at `start`."""
    depth, place = 0, start
    while True:
        token = NEXT_BRACKET.match(body, place)
        assert token is not None  # the body has been parsed
        place = token.end()
        depth += 1 if body[place - 1] in OPENING else -1
        if not depth:
            return place


def spliced(body: bytes, start: int, end: int, value: bytes) -> bytes:
    return b"".join((body[:start], value, body[end:]))


def _is_outermost(body: bytes, place: int) -> bool:
    """Return True for a key at depth one: only there does one closing brace complete the text before it."""
    try:
        orjson.loads(body[:place] + b'"_":0}')
    except orjson.JSONDecodeError:
        return False
    return True


def _trimmed(body: bytes, end: int) -> int:
    """Return the end of a value before `end`, where the next key or the closing brace begins."""
    while end and body[end - 1] in SPACE:
        end -= 1
    if body[end - 1 : end] == b",":
        end -= 1
    while end and body[end - 1] in SPACE:
        end -= 1
    return end
