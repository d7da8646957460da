"""An answer that is JSON although a stream was asked for, or although its label says that it is one.

Kept until its end. Some servers put the end of a stream behind it (9router issue 1396), some write chunks as separate
lines.
"""

import re
from typing import Any

from gateway.dialects.chat.response.chunks import ChunkDecoder
from gateway.errors import UpstreamError

# 128k tokens of text are half a megabyte, generated images some tens.
MAX_BODY_BYTES = 64 * 1024 * 1024
DONE = re.compile(rb"\s*(?:data: ?)?\[DONE\]\s*\Z")


class WholeBody:
    """Pieces of the body; `decode` once all are there."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    @staticmethod
    def begins(piece: bytes) -> bool:
        """Whether a body that begins so is JSON: no line of an event stream does."""
        return piece.lstrip()[:1] in (b"{", b"[")

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_BODY_BYTES:
            raise UpstreamError("The upstream sent an answer larger than the gateway accepts.")

    def decode(self) -> dict[str, Any]:
        """The whole answer. Raises BrokenChunk if the body is not one JSON object."""
        return ChunkDecoder().decode(DONE.sub(b"", b"".join(self._pieces)))

    def lines(self) -> list[bytes]:
        return [line.strip() for line in b"".join(self._pieces).splitlines() if line.strip()]

    @property
    def is_whole(self) -> bool:
        try:
            self.decode()
        except UpstreamError:
            return False
        return True
