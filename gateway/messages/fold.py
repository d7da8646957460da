"""Fold pieces, or a finished event stream, into whole blocks and a whole message.

`BlockCollector` is the assembly's writer for JSON answers. `fold_stream` folds one of our streams into its message,
for workers, caches and threads. The tests compare it with the JSON answer.
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from gateway.messages.events import SIGNATURE, TEXT, THINKING, TOOL_INPUT

FIELDS = {TEXT: "text", THINKING: "thinking", SIGNATURE: "signature", TOOL_INPUT: "input"}
DELTA_KINDS = {
    "text_delta": (TEXT, "text"),
    "thinking_delta": (THINKING, "thinking"),
    "signature_delta": (SIGNATURE, "signature"),
    "input_json_delta": (TOOL_INPUT, "partial_json"),
}


class BlockCollector:
    """Collects blocks; `blocks` is complete after the last `stop`. Raises ValueError for calls out of order.

    `to_input` reads the arguments of a call.
    """

    __slots__ = ("_fragments", "_to_input", "blocks", "is_open", "output_size")

    def __init__(self, to_input: Callable[[str], Any] = orjson.loads) -> None:
        self._to_input = to_input
        self.blocks: list[dict[str, Any]] = []
        self.is_open = False
        self.output_size = 0  # bytes of text, thinking and arguments
        self._fragments: dict[bytes, list[str]] = {}  # of the open block, by kind

    def start(self, index: int, block: dict[str, Any]) -> None:
        if self.is_open or index != len(self.blocks):
            raise ValueError(f"block {index} starts out of order")
        self.blocks.append(block)
        self.is_open = True

    def delta(self, index: int, kind: bytes, text: str) -> None:
        if FIELDS[kind] not in self._opened(index):
            raise ValueError(f"a delta of another kind than block {index}")
        self._fragments.setdefault(kind, []).append(text)
        if kind != SIGNATURE:
            self.output_size += len(text) if text.isascii() else len(text.encode())

    def stop(self, index: int) -> None:
        block = self._opened(index)
        for kind, fragments in self._fragments.items():
            text, name = "".join(fragments), FIELDS[kind]
            if kind != TOOL_INPUT:
                block[name] += text
            elif text:  # a call without arguments may have deltas without any text
                block[name] = self._to_input(text)
        self._fragments = {}
        self.is_open = False

    def cite(self, index: int, citation: dict[str, Any]) -> None:
        block = self._opened(index)
        if not block.get("citations"):
            block["citations"] = []
        block["citations"].append(citation)

    def _opened(self, index: int) -> dict[str, Any]:
        if not self.is_open or index != len(self.blocks) - 1:
            raise ValueError(f"block {index} is not the open one")
        return self.blocks[index]


def fold_stream(stream: bytes, to_input: Callable[[str], Any] = orjson.loads) -> dict[str, Any]:
    """Fold the bytes of `events`: each event is a line with its name and one with its data.

    The data are parsed all at once: event by event, parsing takes half of the time. `to_input` reads the arguments of a
    call. Raises ValueError as `fold_events`, and for events that lack a field or have one of another type, as an
    upstream may send them.
    """
    payloads = [event.partition(b"\ndata: ")[2] for event in stream.split(b"\n\n") if event]
    try:
        return fold_events(orjson.loads(b"[%b]" % b",".join(payloads)), to_input)
    except (LookupError, TypeError, AttributeError):
        raise ValueError("an event has not the form of its type") from None


def fold_events(events: Iterable[dict[str, Any]], to_input: Callable[[str], Any] = orjson.loads) -> dict[str, Any]:
    """Fold parsed events into their message. Raises ValueError unless they are a well-formed, complete stream."""
    message: dict[str, Any] | None = None
    collector = BlockCollector(to_input)
    ended = False
    for event in events:
        kind = event["type"]
        if kind == "ping":
            continue
        if kind == "error":
            raise ValueError(f"the stream ended in an error: {event['error']['message']}")
        if ended or (message is None) != (kind == "message_start"):
            raise ValueError(f"{kind} is out of order")
        if message is None:
            message = dict(event["message"])
        elif kind == "message_delta":
            message |= event["delta"]
            message["usage"] = {**message["usage"], **event["usage"]}
        elif kind == "message_stop":
            ended = True
        else:
            _fold_block(collector, event)
    if message is None or not ended or collector.is_open:
        raise ValueError("the stream has no end")
    message["content"] = collector.blocks
    return message


def _fold_block(collector: BlockCollector, event: dict[str, Any]) -> None:
    match event["type"]:
        case "content_block_start":
            collector.start(event["index"], dict(event["content_block"]))
        case "content_block_delta":
            index = event["index"]
            delta = event["delta"]
            if delta["type"] == "citations_delta":
                collector.cite(index, delta["citation"])
            elif delta["type"] in DELTA_KINDS:
                kind, name = DELTA_KINDS[delta["type"]]
                collector.delta(index, kind, delta[name])
            else:
                raise ValueError(f"{delta['type']} is unknown, so the block would lack what it says")
        case "content_block_stop":
            collector.stop(event["index"])
        case _:
            pass  # Anthropic's versioning policy: new kinds of events may come, and may be ignored
