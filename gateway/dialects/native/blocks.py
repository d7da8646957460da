"""Content blocks of a Messages stream in the order that clients require: one open at a time, numbered from 0.

Anthropic's SDKs and Claude Code fail on any other order. Servers that speak Messages begin a block while another is
open, under the same index (ollama issue 17101), skip indexes (new-api 5482), and write thinking into a block of text
(litellm 33224). Such frames are written again; frames in order pass as they are.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.errors import UpstreamError
from gateway.json_values import to_mapping, to_string
from gateway.messages import events
from gateway.sse import to_event

# Where the text of a delta begins.
TEXT = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"')
INDEX = b'"index"'
START, DELTA, STOP = b"content_block_start", b"content_block_delta", b"content_block_stop"
# Types of deltas that only blocks of one type may hold. Calls are of several types.
HOLDERS = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "",
}
NEW_BLOCKS: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
# The part of a delta that is its content.
PARTS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
DISORDER = "The upstream's stream mixes the parts of several content blocks."
NO_BLOCK = "The upstream's stream has a content block that cannot be read."


class BlockOrder:
    """Give it each content event, and write what it returns.

    `head`: the beginning of an event, up to its text, that adds to the open block and may be passed on unread; empty
    while there is none. `has_calls`: whether the client has a tool to run.
    """

    __slots__ = ("_closed", "_held", "_index", "_input", "_is_disordered", "_kind", "_number", "has_calls", "head")

    def __init__(self) -> None:
        self._number = -1  # of the latest block, as the client counts them
        self._index: object = None  # of the open block, as the upstream counts them
        self._kind: str | None = None  # of the open block
        self._held = b""  # start of a block whose type its first delta may correct
        self._input: dict[str, Any] = {}  # of a call that began with all of it
        self._closed: set[int] = set()  # indexes of blocks that the upstream had not ended
        self._is_disordered = False
        self.has_calls = False
        self.head = b""

    def start(self, event: Mapping[str, Any], frame: bytes) -> bytes:
        """Begin a block; `frame` is its event as it was written. A start of text or thinking waits for a delta."""
        closing = self.close()
        if not event.get("content_block"):  # a delta then begins its block
            return closing
        block = to_block(event["content_block"])
        kind, index = block["type"], event.get("index")
        self.has_calls = self.has_calls or kind == "tool_use"
        self._input = dict(to_mapping(block.get("input")))
        empty = NEW_BLOCKS.get(kind, {})
        given = to_deltas(block) if empty else []
        # llama.cpp sends the signature after the next block, LiteLLM has null for none.
        is_odd = block is not event["content_block"] or not all(isinstance(block.get(name), str) for name in empty)
        if given or is_odd:
            frame = _written(START, {**event, "content_block": {**block, **empty}})
        output = closing + self._begin(kind, index, frame)
        return output + b"".join([self._add(index, delta) for delta in given])

    def delta(self, event: Mapping[str, Any], frame: bytes) -> bytes:
        if not event.get("delta"):
            return b""
        told = to_mapping(event["delta"])
        if not told or not isinstance(told.get("type"), str | None):
            raise UpstreamError(NO_BLOCK)
        usual = to_usual_deltas(told)
        if usual != [told]:
            return b"".join([self._add(event.get("index"), delta) for delta in usual])
        kind = HOLDERS.get(str(told.get("type")))
        index = event.get("index")
        if kind == "thinking" and index != self._index and type(index) is int and index in self._closed:
            return b""  # a signature that comes after the end of its block
        is_misplaced = self._kind is None or (kind is not None and not _holds(self._kind, kind))
        if (is_misplaced or self._is_empty_text) and _is_empty(told):
            return b""
        self._input, output = {}, b""
        if is_misplaced:
            output = self._change_to(kind, index)
        elif index != self._index:
            raise UpstreamError(DISORDER)
        output += self._release() + self._numbered(index, frame)
        found = TEXT.search(frame) if index == self._number else None
        head = frame[: found.end()] if found is not None else b""
        # An index that follows the text is not part of the head, which then fits other blocks too.
        self.head = b"" if self._is_disordered and INDEX not in head else head
        return output

    def stop(self, event: Mapping[str, Any], frame: bytes) -> bytes:
        """End the block; the end of one that is not open is left out, and so is a text that is empty."""
        if self._kind is None or event.get("index") != self._index:
            return b""
        if self._is_empty_text:
            return self._drop()
        self._kind, self.head = None, b""
        return self._release() + self._whole_input() + self._numbered(self._index, frame)

    def close(self) -> bytes:
        """End the open block, if the upstream has not."""
        if self._kind is None:
            return b""
        if self._is_empty_text:
            return self._drop()
        self._kind, self.head = None, b""
        if type(self._index) is int:
            self._closed.add(self._index)
        self._is_disordered = True
        return self._release() + self._whole_input() + _written(STOP, {"type": STOP.decode(), "index": self._number})

    def _add(self, index: object, delta: Mapping[str, Any]) -> bytes:
        event = {"type": DELTA.decode(), "index": index, "delta": delta}
        return self.delta(event, _written(DELTA, event))

    def _change_to(self, kind: str | None, index: object) -> bytes:
        """Begin the block that a delta needs, in place of an empty one of another type."""
        if not kind:
            raise UpstreamError(DISORDER)
        closing = self._drop() if self._held else self.close()
        self._is_disordered = True
        event = {"type": START.decode(), "index": index, "content_block": NEW_BLOCKS[kind]}
        return closing + self._begin(kind, index, _written(START, event))

    @property
    def _is_empty_text(self) -> bool:
        """Whether the open block is a text that has had no content, which could not be given back."""
        return self._held != b"" and self._kind == "text"

    def _drop(self) -> bytes:
        """Leave out the open block, whose start is held."""
        self._held, self._kind, self._is_disordered = b"", None, True
        self._number -= 1
        return b""

    def _begin(self, kind: str, index: object, frame: bytes) -> bytes:
        self._number += 1
        self._kind, self._index = kind, index
        start = self._numbered(index, frame)
        if kind not in NEW_BLOCKS:
            return start
        self._held = start
        return b""

    def _release(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def _whole_input(self) -> bytes:
        """Return the input of a call as a delta: clients that join deltas leave out what a block began with."""
        given, self._input = self._input, {}
        return events.delta(self._number, events.TOOL_INPUT, orjson.dumps(given).decode()) if given else b""

    def _numbered(self, index: object, frame: bytes) -> bytes:
        """Return the event with the number that the client counts."""
        if index == self._number:
            return frame
        name, _, payload = frame.removeprefix(b"event: ").partition(b"\ndata: ")
        return _written(name, {**orjson.loads(payload), "index": self._number})


def to_block(told: object) -> dict[str, Any]:
    """Return a block of an answer, or the start of one, with its type. Raises UpstreamError if clients cannot read it.

    A call without a name cannot be run.
    """
    block = told if isinstance(told, dict) else {}
    kind = block.get("type") or next((kind for kind in NEW_BLOCKS if isinstance(block.get(kind), str)), None)
    if not isinstance(kind, str) or (kind == "tool_use" and not to_string(block.get("name"))):
        raise UpstreamError(NO_BLOCK)
    if kind in NEW_BLOCKS and not isinstance(block.get(kind), str | None):
        raise UpstreamError(NO_BLOCK)
    return block if "type" in block and block["type"] == kind else {**block, "type": kind}


def to_deltas(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the text that a block began with as deltas: clients that join deltas leave it out."""
    return [
        {"type": kind, part: block[part]}
        for kind, part in PARTS.items()
        if isinstance(block.get(part), str) and block[part]
    ]


def to_usual_deltas(delta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a delta in the form that clients read, as one or more; the same one if it is usual.

    Some servers leave out its type or an empty text, have null for it or an object for arguments, and put the signature
    beside the thinking (bifrost issue 5638).
    """
    kind = delta.get("type")
    if kind is None:
        return list(to_deltas(delta)) or [delta]
    part = PARTS.get(str(kind))
    if part is None:
        return [delta]
    value = delta.get(part, delta.get("input"))
    if not isinstance(value, str):
        value = orjson.dumps(value).decode() if value is not None else ""
    usual: list[Mapping[str, Any]] = [delta if value == delta.get(part) else {"type": kind, part: value}]
    if part == "thinking" and isinstance(delta.get("signature"), str) and delta["signature"]:
        return [{"type": kind, part: value}, {"type": "signature_delta", "signature": delta["signature"]}]
    return usual


def _is_empty(delta: Mapping[str, Any]) -> bool:
    part = PARTS.get(str(delta.get("type")))
    return part is not None and not delta.get(part)


def _holds(block: str, kind: str) -> bool:
    """Return whether a block of this type may hold deltas for blocks of `kind`; types that are not known may."""
    if block in NEW_BLOCKS:
        return block == kind
    return not kind or "tool" not in block


def _written(name: bytes, event: Mapping[str, Any]) -> bytes:
    return to_event(name, orjson.dumps(event))
