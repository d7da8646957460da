"""The events of an answer that arrives in pieces, unparsed: a dialect that passes them on looks into few of them."""

from gateway.dialects.json_body import BodyForm, JsonBody
from gateway.errors import UpstreamError
from gateway.sse import CR, END, MAX_EVENT_BYTES, unify_line_ends, without_mark


class FrameReader:
    r"""Joins pieces to whole events, with `\n` as line ends. `json`: the body, if it is JSON instead."""

    __slots__ = ("_after_cr", "_form", "_mark", "_tail", "_tail_size")

    def __init__(self) -> None:
        self._form = BodyForm()
        self._mark = b""  # the start of a byte order mark
        self._after_cr = False  # whether the last piece ended in a CR
        self._tail: list[bytes] = []  # an unfinished event
        self._tail_size = 0

    @property
    def json(self) -> JsonBody | None:
        return self._form.json

    def read(self, piece: bytes) -> bytes:
        """Return the events that are whole with this piece. Raises UpstreamError for one that is too large."""
        if not self._form.has_begun:
            self._mark, piece = without_mark(self._mark, piece)
        if not self._form.is_event_piece(piece):
            return b""
        if self._after_cr or CR in piece:
            piece, self._after_cr = unify_line_ends(piece, after_cr=self._after_cr)
        if piece.find(END) < 0 and not (piece[:1] == b"\n" and self._tail and self._tail[-1].endswith(b"\n")):
            self._keep(piece)
            return b""
        # The rest waits for the next read; joining pieces once keeps this linear.
        data = b"".join((*self._tail, piece)) if self._tail else piece
        cut = data.rfind(END) + len(END)
        self._tail, self._tail_size = [], 0
        if cut < len(data):
            self._keep(data[cut:])
            data = data[:cut]
        return data

    def rest(self) -> bytes:
        """Return an event without its blank line, at the end of the body."""
        rest, self._tail = b"".join(self._tail), []
        return rest

    def _keep(self, piece: bytes) -> None:
        self._tail.append(piece)
        self._tail_size += len(piece)
        if self._tail_size > MAX_EVENT_BYTES:
            raise UpstreamError("The upstream sent an event larger than the gateway accepts.")
