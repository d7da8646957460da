"""An answer that is JSON although a stream was asked for, or although its label says that it is one.

Kept until its end. Some servers put the end of a stream behind it (9router issue 1396), some write chunks as separate
lines.
"""

from typing import Any, Final

from gateway.dialects.chat.response.chunks import ChunkDecoder
from gateway.dialects.json_body import JsonBody
from gateway.errors import UpstreamError

MARK: Final = b"[DONE]"


class WholeBody(JsonBody):
    """Pieces of the body; `decode` once all are there."""

    __slots__ = ()

    def decode(self) -> dict[str, Any]:
        """Raises as `to_completion`."""
        return to_completion(self.joined())

    @property
    def is_whole(self) -> bool:
        last = next((piece for piece in reversed(self._pieces) if piece.strip()), b"")
        if not last.rstrip().endswith((b"}", b"]")):
            return False
        try:
            self.decode()
        except UpstreamError:
            return False
        return True


def to_completion(body: bytes) -> dict[str, Any]:
    """Return the whole answer. Raises BrokenChunk if the body is not one JSON object."""
    return ChunkDecoder().decode(_without_mark(body))


def _without_mark(body: bytes) -> bytes:
    """Return what stands before `[DONE]` or `data: [DONE]`. Compared at the end alone: a body has megabytes."""
    end = body.rstrip()
    return end.removesuffix(MARK).rstrip().removesuffix(b"data:") if end.endswith(MARK) else body
