"""A sink that keeps what passes through it, so that a finished stream can be read back as the message it told.

Whoever needs the whole answer (the prompt cache, threads) hangs on here: a list append per write, and nothing is parsed
before the stream has ended.
"""

from typing import Any

from gateway.exchange.sink import Flow, Sink
from gateway.messages.fold import fold_stream

# A recorded answer is held in memory while it streams; a longer one is passed on and forgotten.
MAX_RECORDED_BYTES = 8 * 1024 * 1024


class RecordingSink:
    """Passes everything on to `sink`, and keeps the bytes up to MAX_RECORDED_BYTES."""

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
        """What was written so far; None once it was too much."""
        return self._pieces

    def message(self) -> dict[str, Any] | None:
        """What the stream told; None if it failed, was cut, or was too long to be kept."""
        if self._pieces is None:
            return None
        try:
            return fold_stream(b"".join(self._pieces))
        except ValueError:
            return None
