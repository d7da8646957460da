"""The body of an answer that is JSON, kept in pieces until its end."""

from gateway.errors import UpstreamError

# 128k tokens of text are half a megabyte, generated images some tens.
MAX_BODY_BYTES = 64 * 1024 * 1024


class JsonBody:
    """Pieces of a body up to MAX_BODY_BYTES."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    @staticmethod
    def begins(piece: bytes) -> bool:
        """Return True for the first piece of a JSON body: no line of an event stream begins so."""
        return piece.lstrip()[:1] in (b"{", b"[")

    def add(self, piece: bytes) -> None:
        """Raises UpstreamError for a body that is too large."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_BODY_BYTES:
            raise UpstreamError("The upstream sent an answer larger than the gateway accepts.")

    def joined(self) -> bytes:
        return b"".join(self._pieces)

    def lines(self) -> list[bytes]:
        """Return the lines that are not blank."""
        return [line.strip() for line in self.joined().splitlines() if line.strip()]


class BodyForm:
    """Recognises an event stream or JSON by the first byte of an answer; content types are often wrong."""

    __slots__ = ("is_stream", "json")

    def __init__(self) -> None:
        self.is_stream = False
        self.json: JsonBody | None = None

    @property
    def has_begun(self) -> bool:
        return self.is_stream or self.json is not None

    def is_event_piece(self, piece: bytes) -> bool:
        """Return True for a piece of an event stream, and keep one of JSON. Raises UpstreamError as `JsonBody.add`."""
        if self.is_stream:
            return True
        if self.json is None:
            if not JsonBody.begins(piece):
                self.is_stream = piece.strip() != b""
                return self.is_stream
            self.json = JsonBody()
        self.json.add(piece)
        return False
