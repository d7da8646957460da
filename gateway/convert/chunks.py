"""One payload of an upstream's stream to one chunk, surrogates made whole.

A tokenizer's pieces may split a character outside the basic plane, and upstreams that escape such text send the two
halves in two chunks: `"\\ud83d"`, then `"\\ude00"`. orjson rightly refuses half a pair, so such chunks are read with
the standard library, and a half that ends a string is carried over to the chunk that brings the other.
"""

import json
from typing import Any

import orjson

from gateway.errors import UpstreamError

TEXT_FIELDS = ("content", "reasoning", "reasoning_content", "refusal")
HIGH = range(0xD800, 0xDC00)
LOW = range(0xDC00, 0xE000)
REPLACEMENT = "\ufffd"


class ChunkDecoder:
    """Decodes payloads in order; remembers only halves of pairs, by the place they stood in."""

    __slots__ = ("_halves",)

    def __init__(self) -> None:
        self._halves: dict[str, str] = {}

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Raises UpstreamError when the payload is not one JSON object."""
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            chunk = self._decode_with_halves(payload)
        else:
            if self._halves and isinstance(chunk, dict):
                self._join(chunk)
        if not isinstance(chunk, dict):
            raise UpstreamError("The upstream sent a chunk that is not a JSON object.")
        return chunk

    def finish(self) -> None:
        """Halves whose other never came are lost with the character they were of."""
        self._halves.clear()

    def _decode_with_halves(self, payload: bytes) -> Any:
        if b"\\u" not in payload:
            raise UpstreamError("The upstream sent a chunk that is not JSON.")
        try:
            chunk = json.loads(payload)
        except ValueError as error:
            raise UpstreamError("The upstream sent a chunk that is not JSON.") from error
        if isinstance(chunk, dict):
            self._join(chunk)
        return chunk

    def _join(self, chunk: dict[str, Any]) -> None:
        for place, holder, name in _strings(chunk):
            holder[name] = self._whole(place, holder[name])

    def _whole(self, place: str, text: str) -> str:
        """`text` with the half that came before it in front, without a half at its end, and nothing unpaired inside."""
        text = self._halves.pop(place, "") + text
        if text and ord(text[-1]) in HIGH:
            self._halves[place] = text[-1]
            text = text[:-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _strings(chunk: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Every streamed string of a chunk: the place it belongs to over the whole stream, and where to put it back."""
    found: list[tuple[str, dict[str, Any], str]] = []
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            continue
        found += [(name, delta, name) for name in TEXT_FIELDS if isinstance(delta.get(name), str)]
        for number, entry in enumerate(delta.get("reasoning_details") or ()):
            found += [(f"entry {number} {name}", entry, name) for name in ("text", "summary") if _has(entry, name)]
        for call in delta.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if _has(function, "arguments"):
                found.append((f"call {call.get('index')}", function, "arguments"))
    return found


def _has(holder: Any, name: str) -> bool:
    return isinstance(holder, dict) and isinstance(holder.get(name), str)
