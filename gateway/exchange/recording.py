"""Sinks that keep a stream's bytes, so that a finished stream can be folded back into a message.

`RecordingSink` passes everything on and serves the prompt cache and threads; `CollectingSink` serves JSON clients and
batch items. Both append to a list at each write and parse nothing before the stream has ended.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UpstreamError
from gateway.exchange.sink import Flow, Sink
from gateway.messages.fold import fold_stream

# Of events: a delta of four bytes makes an event of 130, and the longest answer has 128k tokens.
MAX_COLLECTED_BYTES = 64 * 1024 * 1024
# Folding more than this takes over 20 ms, and runs in a thread.
INLINE_BYTES = 512 * 1024

# A recorded answer is held in memory while it streams; a longer one is passed on and forgotten.
MAX_RECORDED_BYTES = 8 * 1024 * 1024


class RecordingSink:
    """Pass everything on to `sink`, and keep the bytes up to MAX_RECORDED_BYTES."""

    __slots__ = ("_limit", "_pieces", "_sink", "_size")

    def __init__(self, sink: Sink, limit: int = MAX_RECORDED_BYTES) -> None:
        self._sink = sink
        self._limit = limit
        self._pieces: list[bytes] | None = []
        self._size = 0

    @property
    def committed(self) -> bool:
        return self._sink.committed

    def write(self, data: bytes) -> None:
        self._sink.write(data)
        if self._pieces is None:
            return
        self._size += len(data)
        if self._size > self._limit:
            self._pieces = None
        else:
            self._pieces.append(data)

    def attach(self, source: Flow | None) -> None:
        self._sink.attach(source)

    def abort(self) -> None:
        self._sink.abort()

    @property
    def pieces(self) -> list[bytes] | None:
        """Return the bytes written so far; None once they exceed the limit."""
        return self._pieces

    def message(self) -> dict[str, Any] | None:
        """Return the stream's message; None if it failed, was cut, or was too long to be kept."""
        if self._pieces is None:
            return None
        try:
            return fold_stream(b"".join(self._pieces))
        except ValueError:
            return None


@dataclass(slots=True)
class CollectingSink:
    """The sink of a stream whose client wants one message. Never committed, so every failure is raised.

    `begun` is called at the first write.
    """

    begun: Callable[[], None] | None = None
    pieces: list[bytes] = field(default_factory=list, repr=False)
    size: int = 0
    committed: bool = False

    def write(self, data: bytes) -> None:
        if not self.pieces and self.begun is not None:
            self.begun()
        self.size += len(data)
        if self.size > MAX_COLLECTED_BYTES:
            raise UpstreamError("The upstream's answer is longer than the gateway can collect.", should_retry=False)
        self.pieces.append(data)

    def attach(self, source: Flow | None) -> None:
        """Do nothing: a list is never slower than its source."""

    def abort(self) -> None:
        """Do nothing: no client is connected."""

    async def message(self) -> dict[str, Any]:
        events = b"".join(self.pieces)
        return fold_stream(events) if self.size <= INLINE_BYTES else await asyncio.to_thread(fold_stream, events)
