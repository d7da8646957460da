"""Server-sent events: bytes of a stream in, payloads out; and the frame of an event on its way to a client.

The parser follows the WHATWG rules (LF, CRLF and CR line ends, comments, several data lines, an optional space after
the colon) and keeps only `data`: chat upstreams say nothing in the other fields. A network read may cut anywhere, a
character or a CRLF included. It is written around `bytes.split`, since it runs once for every streamed delta.
"""

from gateway.errors import UpstreamError

# An event larger than this is no delta: generated images arrive as data URIs of a few megabytes.
MAX_EVENT_BYTES = 16 * 1024 * 1024


class EventParser:
    """Collects `data` payloads from the pieces of an event stream, and notices comments (`: …`), which are keep-alives."""

    __slots__ = ("_data", "_held", "_size", "_tail")

    def __init__(self) -> None:
        self._tail = b""  # an unfinished line
        self._held = b""  # a CR at the end of a piece: half a CRLF, or a line end by itself
        self._data: list[bytes] = []  # the data lines of the event that is still open
        self._size = 0  # their bytes

    def feed(self, piece: bytes) -> list[bytes]:
        """The payloads that this piece completes. Raises UpstreamError when an event outgrows MAX_EVENT_BYTES."""
        if self._held or b"\r" in piece:
            piece = self._unify_line_ends(piece)
        lines = (self._tail + piece).split(b"\n")
        self._tail = lines.pop()
        payloads: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    payloads.append(self._take_event())
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._size += len(line)
        if self._size + len(self._tail) > MAX_EVENT_BYTES:
            raise UpstreamError("The upstream sent an event larger than the gateway accepts.")
        return payloads

    def finish(self) -> list[bytes]:
        """What is left at the end of the stream: some upstreams omit the blank line after their last event."""
        payloads = self.feed(b"\n\n") if self._tail or self._data or self._held else []
        self._tail = b""
        return payloads

    def _take_event(self) -> bytes:
        data = self._data
        self._data = []
        self._size = 0
        return data[0] if len(data) == 1 else b"\n".join(data)

    def _unify_line_ends(self, piece: bytes) -> bytes:
        piece = self._held + piece
        self._held = b""
        if piece.endswith(b"\r"):
            piece, self._held = piece[:-1], b"\r"
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def to_event(name: bytes, payload: bytes) -> bytes:
    """One event for a client; `payload` is JSON without line ends."""
    return b"event: " + name + b"\ndata: " + payload + b"\n\n"
