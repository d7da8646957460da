"""A sink that keeps a stream's bytes, so that the prompt cache and threads can fold the finished stream into a message.

It appends to a list at each write and parses nothing before the stream has ended.
"""

import asyncio
from typing import Any

from gateway.dialects.chat.response.calls.tool_arguments import to_input
from gateway.exchange.sink import Flow, NoClient, Sink
from gateway.messages.fold import fold_stream

# A recorded answer is held in memory while it streams; a longer one is passed on and forgotten.
MAX_RECORDED_BYTES = 8 * 1024 * 1024
# Reading back a stream of this many bytes takes over 3 ms, and runs in a thread.
INLINE_BYTES = 64 * 1024


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

    def close(self) -> None:
        """Forget the sink and the bytes."""
        self._sink, self._pieces = NoClient(), None

    @property
    def pieces(self) -> list[bytes] | None:
        """Return the bytes written so far; None once they exceed the limit."""
        return self._pieces

    def message(self) -> dict[str, Any] | None:
        """Return the stream's message; None if it failed, was cut, or was too long to be kept."""
        if self._pieces is None:
            return None
        try:
            return fold_stream(b"".join(self._pieces), to_input)
        except ValueError:
            # A stream with events that are not known cannot be folded; the client has it, the cache goes without.
            return None

    async def read_back(self) -> dict[str, Any] | None:
        """Return the stream's message as `message` does, a long one from a thread."""
        if sum(map(len, self._pieces or ())) <= INLINE_BYTES:
            return self.message()
        return await asyncio.to_thread(self.message)
