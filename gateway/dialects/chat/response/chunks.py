"""One payload of an upstream's stream to one chunk, surrogates made whole.

A tokenizer's pieces may split a character outside the basic plane, and upstreams that escape such text send the two
halves in two chunks: `"\\ud83d"`, then `"\\ude00"`. orjson rightly refuses half a pair, so such chunks are read with
the standard library, and a half that ends a string is carried over to the chunk that brings the other. Halves that
never meet become U+FFFD, as a browser would show them; one at the very end of the stream is left out.

What has one meaning only is read though it is no JSON: control characters within a string, bytes that are no UTF-8 (as
U+FFFD), and Python's NaN and Infinity, which stand where a model has no probability (as null); and an event behind the
beginning of another answer's, on one line.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.errors import UpstreamError
from gateway.json_values import MAX_VALUES, check_answer_values

TEXT_FIELDS = ("content", "reasoning", "reasoning_content", "refusal")
# First halves of surrogate pairs; the second half may come in the next delta.
HIGH = range(0xD800, 0xDC00)
# The id of a chunk, and its delta before any content.
ID = re.compile(rb'"id": ?"([^"]+)"')
BARE_DELTA = b':{"role":"assistant",'


class BrokenChunk(UpstreamError):
    """A payload that is not one JSON object."""


class ChunkDecoder:
    """Decodes payloads in order; remembers only halves of pairs, by the place they stood in.

    `changes`: how many payloads do not hold, byte for byte, what was decoded.
    """

    __slots__ = ("_halves", "changes")

    def __init__(self) -> None:
        self._halves: dict[str, str] = {}
        self.changes = 0

    @property
    def is_whole(self) -> bool:
        """Whether no half is waiting for its other."""
        return not self._halves

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Raises BrokenChunk if the payload is not one JSON object, UpstreamError if it has too many values."""
        if len(payload) > MAX_VALUES:  # as many bytes at least as values
            check_answer_values(payload)
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            chunk = self._decode_loosely(payload)
        else:
            if self._halves and isinstance(chunk, dict):
                self._join(chunk)
        if isinstance(chunk, list) and len(chunk) == 1:  # as Gemini wraps its errors
            chunk = chunk[0]
            self.changes += 1
        if not isinstance(chunk, dict):
            raise BrokenChunk("The upstream sent a chunk that is not a JSON object.")
        return chunk

    def _decode_loosely(self, payload: bytes) -> Any:
        """The standard library also reads what orjson could not write; the way back through orjson refuses that."""
        try:
            text = _without_stale_start(payload).decode("utf-8", "replace")
            chunk = json.loads(text, strict=False, parse_constant=_to_null)
            if isinstance(chunk, dict):
                self._join(chunk)
            return orjson.loads(_paired(json.dumps(chunk, ensure_ascii=False)))
        except (ValueError, RecursionError):
            raise BrokenChunk("The upstream sent a chunk that is not JSON.") from None

    def _join(self, chunk: dict[str, Any]) -> None:
        self.changes += 1
        for place, holder, name in _strings(chunk):
            text = self._halves.pop(place, "") + holder[name]
            if text and ord(text[-1]) in HIGH:
                self._halves[place] = text[-1]
                text = text[:-1]
            holder[name] = _paired(text)


def _without_stale_start(payload: bytes) -> bytes:
    """Return the event behind the beginning of another answer's that a server's buffer kept (Z.AI, 2026).

    Two ids and a cut in front of all content show that nothing of this answer is lost; others stay as they are.
    """
    start, mark, event = payload.partition(b"data: {")
    delta = b"".join(start.partition(b'"delta"')[2].split())
    stale, own = ID.search(start), ID.search(event)
    if not mark or stale is None or own is None or stale[1] == own[1] or not BARE_DELTA.startswith(delta):
        return payload
    return b"{" + event


def _to_null(_: str) -> None:
    """Read `NaN`, `Infinity` and `-Infinity` as null."""


def _paired(text: str) -> str:
    """Halves that stand side by side as one character, and those that stand alone as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _strings(chunk: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each streamed string of a chunk: its place in the whole stream, and where to put it back."""
    for choice in _dicts(chunk.get("choices")):
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            continue
        yield from [(name, delta, name) for name in TEXT_FIELDS if isinstance(delta.get(name), str)]
        for number, entry in enumerate(_dicts(delta.get("reasoning_details"))):
            yield from [(f"entry {number} {name}", entry, name) for name in ("text", "summary") if _has(entry, name)]
        for call in _dicts(delta.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, dict) and _has(function, "arguments"):
                yield f"call {call.get('index')}", function, "arguments"


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _has(holder: dict[str, Any], name: str) -> bool:
    return isinstance(holder.get(name), str)
