"""The stream core: bytes of an upstream's event stream in, bytes of a Messages event stream out.

`MessageStream` is pure and complete in itself: no clock, no socket. One network read becomes one `feed`, whose result
is one write. It does not write `error` events by itself: on a failure it stops, sets `failure`, and leaves to its
caller whether to try again (nothing shown yet: `started` is False) or to end the client's stream with an error event.

A delta that only differs from the one before it in its string is not parsed at all but spliced (`splice`), which more
than halves the cost of a delta; everything else goes the full way through `pieces` and `assembly`.
"""

from collections.abc import Callable
from typing import Any

import orjson

from gateway.convert import events
from gateway.convert.assembly import Assembly, TextRun, ToolCall
from gateway.convert.chunks import ChunkDecoder
from gateway.convert.ending import Finish, Stop, broken_finish, to_stop
from gateway.convert.failure import to_embedded_error
from gateway.convert.pieces import add_pieces
from gateway.convert.reply import Reply, empty_message
from gateway.convert.response import Origin, to_origin
from gateway.convert.splice import Splice, derive_splice
from gateway.convert.stops import StopScan
from gateway.convert.tokens import BYTES_PER_TOKEN
from gateway.convert.usage import estimated_usage, to_delta_usage, to_usage
from gateway.errors import GatewayError, UpstreamError
from gateway.sse import EventParser

CUT = "The upstream closed the connection before the end of its answer."


class EventWriter:
    """The assembly's writer for streams: appends events to `out`, which the stream empties after each read."""

    __slots__ = ("out", "output_size")

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.output_size = 0  # bytes of text, thinking and arguments, for an estimate where no usage comes

    def start(self, index: int, block: dict[str, Any]) -> None:
        self.out.append(events.block_start(index, block))

    def delta(self, index: int, kind: bytes, text: str) -> None:
        self.out.append(events.delta(index, kind, text))
        self.output_size += len(text)

    def stop(self, index: int) -> None:
        self.out.append(events.block_stop(index))


class MessageStream:
    """One answer's way through the gateway. `opened` says that an earlier attempt already sent message_start."""

    __slots__ = (
        "_assembly", "_counts", "_decoder", "_finish", "_last_chunk", "_opened", "_parser", "_reply", "_scan", "_splice",
        "_writer", "done", "failure", "started", "stop",
    )  # fmt: skip

    def __init__(self, reply: Reply, *, opened: bool = False) -> None:
        self._reply = reply
        self._opened = opened
        self._parser = EventParser()
        self._decoder = ChunkDecoder()
        self._writer = EventWriter()
        self._assembly = Assembly(reply, self._writer)
        self._finish = Finish()
        self._counts: dict[str, Any] | None = None
        self._last_chunk: dict[str, Any] = {}
        self._splice: Splice | None = None
        self._scan = StopScan(reply.stop_sequences) if reply.stop_sequences else None
        self.failure: GatewayError | None = None
        self.stop: Stop | None = None
        self.started = False  # whether the client has been shown any content
        self.done = False

    @property
    def opened(self) -> bool:
        return self._opened

    @property
    def origin(self) -> Origin:
        return to_origin(self._last_chunk, self._counts)

    @property
    def notes(self) -> tuple[Any, ...]:
        return tuple(self._assembly.notes)

    @property
    def usage(self) -> dict[str, Any]:
        """The upstream's count, or an estimate from bytes where it has given none (`origin.estimated`)."""
        if self._counts:
            return to_usage(self._counts, self._reply)
        return estimated_usage(self._reply.input_estimate, -(-self._writer.output_size // BYTES_PER_TOKEN))

    def open(self) -> bytes:
        """message_start and a ping: sent when the upstream is silent and the client should not wait for a sign of life."""
        return self._message_start() + events.PING

    def feed(self, piece: bytes) -> bytes:
        """Convert one network read. Never raises: a failure is in `failure`, and what was whole before it is returned."""
        return self._guarded(self._read, piece)

    def end(self) -> bytes:
        """The upstream's stream is over. Without a finish reason or `[DONE]` that is a failure, never a silent end."""
        return self._guarded(self._read_end, b"")

    def fail(self, error: GatewayError) -> bytes:
        """The transport failed. If the answer was already whole, only its end is missing, and the client gets that."""
        if self._finish.said and self.failure is None:
            return self._guarded(lambda _: self._complete(), b"")
        self.failure = self.failure or error
        return b""

    def _guarded(self, step: Callable[[bytes], None], piece: bytes) -> bytes:
        if self.failure is not None or self.done:
            return b""
        try:
            step(piece)
        except GatewayError as error:
            self.failure = error
        return self._take()

    def _take(self) -> bytes:
        out = self._writer.out
        if not out:
            return b""
        self.started = True
        self._writer.out = []
        return self._message_start() + b"".join(out)

    def _message_start(self) -> bytes:
        if self._opened:
            return b""
        self._opened = True
        return events.message_start(empty_message(self._reply, estimated_usage(self._reply.input_estimate)))

    def _read(self, piece: bytes) -> None:
        for payload in self._parser.feed(piece):
            splice = self._splice
            if splice is None or not splice.apply(payload, self._writer):
                self._take_payload(payload)
            if self.done:
                return

    def _read_end(self, _: bytes) -> None:
        for payload in self._parser.finish():
            self._take_payload(payload)
        if not self.done:
            if not self._finish.said:
                raise UpstreamError(CUT)
            self._complete()

    def _take_payload(self, payload: bytes) -> None:
        self._splice = None
        if payload == b"[DONE]":
            self._complete()
            return
        chunk = self._decoder.decode(payload)
        if chunk.get("error"):
            raise to_embedded_error(chunk["error"], self._reply.input_estimate)
        if "model" in chunk or not self._last_chunk:  # a closing usage chunk may come without
            self._last_chunk = chunk
        counts = chunk.get("usage")
        if isinstance(counts, dict) and counts:
            self._counts = counts
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._take_choice(choices[0], payload)

    def _take_choice(self, choice: dict[str, Any], payload: bytes) -> None:
        if choice.get("error"):
            raise to_embedded_error(choice["error"], self._reply.input_estimate)
        delta = choice.get("delta") or choice.get("message") or {}
        self._finish.note(choice)
        error = broken_finish(self._finish)
        if error is not None:
            raise error
        if not isinstance(delta, dict) or self._finish.matched is not None:
            return
        if self._scan is not None:
            delta = self._scanned(delta, self._scan)
        before = self._assembly.open
        add_pieces(delta, self._assembly, self._finish)
        if self._scan is None and before is self._assembly.open and isinstance(before, TextRun | ToolCall):
            self._splice = derive_splice(payload, delta, self._assembly)

    def _scanned(self, delta: dict[str, Any], scan: StopScan) -> dict[str, Any]:
        """The delta with its text cut at a stop sequence, or held back where one could begin."""
        content = delta.get("content")
        if not isinstance(content, str):
            return delta
        text, self._finish.matched = scan.feed(content)
        return {**delta, "content": text} if self._finish.matched is None else {"content": text}

    def _complete(self) -> None:
        """Close every block and write the end: the stop reason, the exact usage, message_stop."""
        if self._scan is not None and self._finish.matched is None:
            held = self._scan.flush()
            if held:
                self._assembly.add_text(held)
        self._decoder.finish()
        self._assembly.close()
        assembly = self._assembly
        self.stop = to_stop(self._finish, has_tools=assembly.has_tools, truncated=assembly.truncated, reply=self._reply)
        stop = {"stop_reason": self.stop.reason, "stop_sequence": self.stop.sequence, "stop_details": self.stop.details}
        usage = to_delta_usage(self.usage, self.origin.cost)
        self._writer.out += (events.message_delta({**stop, "container": None}, usage), events.MESSAGE_STOP)
        self.done = True
