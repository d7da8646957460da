"""From pieces, or from a finished event stream, to whole blocks and a whole message.

`BlockCollector` is the assembly's writer for JSON answers. `fold_events` reads a stream back into the message it told:
what workers record and what the tests compare with the JSON answer.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.convert.events import SIGNATURE, TEXT, THINKING, TOOL_INPUT

FIELDS = {TEXT: "text", THINKING: "thinking", SIGNATURE: "signature"}
DELTA_KINDS = {
    "text_delta": (TEXT, "text"),
    "thinking_delta": (THINKING, "thinking"),
    "signature_delta": (SIGNATURE, "signature"),
    "input_json_delta": (TOOL_INPUT, "partial_json"),
}


class BlockCollector:
    """Collects blocks in order; `blocks` is complete after the last `stop`."""

    __slots__ = ("_fragments", "_kind", "blocks")

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self._fragments: list[str] = []
        self._kind = b""

    def start(self, index: int, block: dict[str, Any]) -> None:
        if index != len(self.blocks):
            raise ValueError(f"block {index} started after {len(self.blocks)} blocks")
        self.blocks.append(block)

    def delta(self, index: int, kind: bytes, text: str) -> None:
        if index != len(self.blocks) - 1:
            raise ValueError(f"a delta for block {index} while block {len(self.blocks) - 1} is open")
        if kind != self._kind:
            self._settle()
            self._kind = kind
        self._fragments.append(text)

    def stop(self, index: int) -> None:
        if index != len(self.blocks) - 1:
            raise ValueError(f"block {index} stopped while block {len(self.blocks) - 1} is open")
        self._settle()

    def cite(self, index: int, citation: dict[str, Any]) -> None:
        block = self.blocks[index]
        block["citations"] = [*(block.get("citations") or ()), citation]

    def _settle(self) -> None:
        """Write what one kind of delta has brought into the open block."""
        if self._fragments:
            text = "".join(self._fragments)
            block = self.blocks[-1]
            if self._kind == TOOL_INPUT:
                block["input"] = orjson.loads(text)
            else:
                block[FIELDS[self._kind]] += text
        self._fragments = []
        self._kind = b""


def fold_events(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The message that parsed events tell. Raises ValueError for a sequence that is no well-formed, complete stream."""
    message: dict[str, Any] | None = None
    collector = BlockCollector()
    ended = False
    for event in events:
        match event["type"]:
            case "message_start":
                message = dict(event["message"])
            case "content_block_start":
                collector.start(event["index"], dict(event["content_block"]))
            case "content_block_delta":
                _fold_delta(collector, event["index"], event["delta"])
            case "content_block_stop":
                collector.stop(event["index"])
            case "message_delta" if message is not None:
                message.update(event["delta"])
                message["usage"] = {**message["usage"], **event["usage"]}
            case "message_stop":
                ended = True
            case "error":
                raise ValueError(f"the stream ended in an error: {event['error']['message']}")
    if message is None or not ended:
        raise ValueError("the stream has no end")
    message["content"] = collector.blocks
    return message


def _fold_delta(collector: BlockCollector, index: int, delta: dict[str, Any]) -> None:
    if delta["type"] == "citations_delta":
        collector.cite(index, delta["citation"])
        return
    kind, name = DELTA_KINDS[delta["type"]]
    collector.delta(index, kind, delta[name])
