"""The two destinations of an answer's blocks: the event stream of a client, and one whole message."""

from typing import Any

from gateway.dialects.base import Answered, Origin
from gateway.errors import UpstreamError
from gateway.messages import events
from gateway.messages.fold import BlockCollector
from gateway.messages.notes import Note
from gateway.messages.replay import to_events
from gateway.messages.usage import to_delta_usage

# Text, thinking and arguments of a collected message: the longest answer has 128k tokens, generated images come apart.
MAX_COLLECTED_BYTES = 64 * 1024 * 1024


class EventWriter:
    """Writes events. The stream takes them after each network read."""

    __slots__ = ("out", "output_size", "started")

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.output_size = 0  # bytes of text, thinking and arguments
        self.started = False  # whether any event has been taken

    def start(self, index: int, block: dict[str, Any]) -> None:
        self.out.append(events.block_start(index, block))

    def delta(self, index: int, kind: bytes, text: str) -> None:
        self.out.append(events.delta(index, kind, text))
        if kind != events.SIGNATURE:
            self.output_size += len(text) if text.isascii() else len(text.encode())

    def cite(self, index: int, citation: dict[str, Any]) -> None:
        self.out.append(events.citation_delta(index, citation))

    def stop(self, index: int) -> None:
        self.out.append(events.block_stop(index))

    def end(self, fields: dict[str, Any], usage: dict[str, Any], cost: float | None) -> None:
        self.out += (events.message_delta(fields, to_delta_usage(usage, cost)), events.MESSAGE_STOP)

    def repeat(self, answered: Answered, *, opened: bool) -> None:
        """Write a message that came whole."""
        data = to_events(answered.message, answered.origin.cost)
        self.out.append(events.without_start(data) if opened else data)

    def take(self) -> bytes:
        out = self.out
        if not out:
            return b""
        self.started = True
        self.out = []
        return events.line_safe(out[0] if len(out) == 1 else b"".join(out))


class MessageWriter(BlockCollector):
    """Collects blocks and the end of their message, for clients that want one JSON answer."""

    __slots__ = ("started",)

    def __init__(self) -> None:
        super().__init__()
        self.started = False

    def start(self, index: int, block: dict[str, Any]) -> None:
        self.started = True
        super().start(index, block)

    def delta(self, index: int, kind: bytes, text: str) -> None:
        super().delta(index, kind, text)
        if self.output_size > MAX_COLLECTED_BYTES:
            raise UpstreamError("The upstream's answer is longer than the gateway can collect.", should_retry=False)

    def write_text(self, text: str) -> None:
        """Write a message of one text."""
        self.blocks = [{"type": "text", "text": text, "citations": None}]
        self.output_size = len(text) if text.isascii() else len(text.encode())

    def to_answered(self, message: dict[str, Any], origin: Origin, notes: tuple[Note, ...]) -> Answered:
        """Fill the blocks into a message that only lacks them."""
        self.started = True
        message["content"] = self.blocks
        if origin.cost is not None:
            message["usage"] = {**message["usage"], "cost": origin.cost}
        return Answered(message, origin, notes)

    def repeat(self, answered: Answered, *, opened: bool) -> None:
        """Do nothing: a message that came whole needs no events."""
        self.started = True

    def take(self) -> bytes:
        return b""
