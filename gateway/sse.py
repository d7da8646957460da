"""Server-sent events: bytes of a stream in, payloads out; and the frame of an event on its way to a client.

The parser follows the WHATWG rules (LF, CRLF and CR line ends, comments, several data lines, an optional space after
the colon) and keeps only `data`, and whether an event's name reports a failure or is a sign of life; data of the latter
are dropped. Differences: an empty payload is ignored; an event that lacks its blank line at the end of the stream is
still an event, as is one line of JSON right behind another; a byte order mark may stand before any line, as where
streams were joined; a line that is JSON without a field's name is data, and a field that is named `error` an event of
that name, since servers write failures so (Ollama, older llama.cpp). A network read may cut anywhere, a character or a
CRLF included. It is written around `bytes.split`, since it runs once for every streamed delta.
"""

import re
from codecs import BOM_UTF8
from typing import Final

from gateway.errors import UpstreamError

# An event larger than this is no delta: generated images arrive as data URIs of a few megabytes.
MAX_EVENT_BYTES = 16 * 1024 * 1024
DATA = b"data: "
DATA_SIZE = len(DATA)
END = b"\n\n"
# Numbers, since on CPython 3.11 `in` takes six times as long for bytes of one byte: it raises a TypeError first.
CR, LF = 0x0D, 0x0A
# An unfinished line up to this size is put in front of the next piece; a longer one would be copied again and again.
SHORT_TAIL = 4096


NAMED = b"event: "
# In front of the payload of an event so named. No JSON begins like it, so that it is taken for no other payload.
ERROR_EVENT = b"event: error\n"
# How lines of an event stream begin.
LINES = (b"data:", b"event:", b"id:", b"retry:", b":")
# Names of events that report a failure.
FAILURES = frozenset({b"error", b"exception", b"failure", b"fatal"})
# Names of events without content.
SIGNS_OF_LIFE = frozenset({b"ping", b"heartbeat", b"keepalive", b"keep-alive"})
# Data without content: a sign of life or a comment that a server wrote as data, or a value in place of an object.
REPEATED_NAME: Final = re.compile(rb"\A(?:data:\s*+)++")
NO_CONTENT: Final = re.compile(rb"(?::.*|null|\[\]|ping|pong|heartbeat|keep-?alive)?\Z", re.IGNORECASE | re.DOTALL)


class EventParser:
    """Collects `data` payloads from the pieces of an event stream.

    `named`: the beginning of names that are kept, as `event: NAME` on a line in front of the payload.
    """

    __slots__ = ("_after_cr", "_data", "_name", "_named", "_size", "_tail")

    def __init__(self, named: bytes = b"") -> None:
        self._named = named
        self._tail = bytearray()  # an unfinished line
        self._after_cr = False  # the last piece ended in a CR, to which a LF at the start of the next belongs
        self._data: list[bytes] = []  # the data lines of the event that is still open
        self._name = b""  # of that event
        self._size = 0  # their bytes

    @property
    def is_between_events(self) -> bool:
        return not (self._tail or self._data or self._name or self._after_cr)

    def feed(self, piece: bytes) -> list[bytes]:
        """The payloads that this piece completes. Raises UpstreamError when an event outgrows MAX_EVENT_BYTES."""
        if self._tail and len(self._tail) <= SHORT_TAIL and not (self._data or self._after_cr):
            piece = bytes(self._tail) + piece
            self._tail.clear()
        if self.is_between_events and CR not in piece:
            *events, rest = piece.split(END)
            payloads = _payloads_of(events)
            if payloads is not None:
                return payloads + self._feed_lines(rest) if rest else payloads
        return self._feed_lines(piece)

    def _feed_lines(self, piece: bytes) -> list[bytes]:
        if self._after_cr or CR in piece:
            piece, self._after_cr = unify_line_ends(piece, after_cr=self._after_cr)
        lines = piece.split(b"\n")
        payloads: list[bytes] = []
        if len(lines) > 1 and self._tail:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        self._tail += lines.pop()
        if lines and (BOM_UTF8 in piece or lines[0].startswith(BOM_UTF8)):
            lines = [line.removeprefix(BOM_UTF8) for line in lines]
        for line in lines:
            if line.startswith(b"data:"):
                data = line[6:] if line[5:6] == b" " else line[5:]
                if self._data and _begins_another(self._data[-1], data):
                    self._take_event(payloads)
                self._data.append(data)
                self._size += len(line)
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif not line and (self._data or self._name):
                self._take_event(payloads)
            elif line.startswith(b"{"):
                self._data.append(line)
                self._size += len(line)
            elif line.startswith(b"error:"):
                self._name = b"error"
                self._data.append(line[6:].lstrip())
                self._size += len(line)
        if self._size + len(self._tail) > MAX_EVENT_BYTES:
            raise UpstreamError("The upstream sent an event larger than the gateway accepts.")
        return payloads

    def finish(self) -> list[bytes]:
        """Return the rest at the end of the stream: some upstreams omit the blank line after their last event."""
        return self.feed(b"\n\n") if self._tail or self._data or self._name else []

    def _take_event(self, payloads: list[bytes]) -> None:
        payload = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        name, self._name = self._name, b""
        self._data = []
        self._size = 0
        if name in FAILURES:
            payloads.append(ERROR_EVENT + payload)
        elif payload and name not in SIGNS_OF_LIFE:
            is_kept = self._named and name.startswith(self._named)
            payloads.append(b"event: %b\n%b" % (name, payload) if is_kept else payload)


def name_and_payload(payload: bytes) -> tuple[bytes, bytes]:
    """Return the name that the parser has kept with a payload, and the payload alone."""
    if not payload.startswith(NAMED):
        return b"", payload
    name, _, payload = payload.removeprefix(NAMED).partition(b"\n")
    return name, payload


def holds_events(body: bytes) -> bool:
    """Return whether a whole body is an event stream, by its first line: content types are often wrong."""
    return body.lstrip().startswith(LINES)


def meant_by(payload: bytes) -> bytes:
    """Return the meaning of data that does not start like JSON: empty, or the text after a second `data:`.

    Servers made with a library that writes the field's name write it once more (sse-starlette, 2026).
    """
    if payload.startswith(ERROR_EVENT):
        return payload
    data = REPEATED_NAME.sub(b"", payload.strip(), count=1)
    return b"" if NO_CONTENT.match(data) else data


def without_mark(held: bytes, piece: bytes) -> tuple[bytes, bytes]:
    """Return the start of a byte order mark that may go on in the next read, and the piece without the mark.

    `held`: the first value of the call before, at the start of a stream.
    """
    piece = held + piece
    if len(piece) < len(BOM_UTF8) and BOM_UTF8.startswith(piece):
        return piece, b""
    return b"", piece.removeprefix(BOM_UTF8)


def unify_line_ends(piece: bytes, *, after_cr: bool) -> tuple[bytes, bool]:
    r"""Return the piece with `\n` as line ends, and whether it ended in a CR, to which a LF in the next one belongs."""
    if after_cr and piece.startswith(b"\n"):
        piece = piece[1:]
        after_cr = False
    if piece:
        after_cr = piece.endswith(b"\r")
    return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), after_cr


def _payloads_of(events: list[bytes]) -> list[bytes] | None:
    """Return the data of one-line events, as nearly all are, without comments and empty data; None for others."""
    payloads = []
    for event in events:
        if LF in event:
            return None
        if event.startswith(DATA) and len(event) > DATA_SIZE:
            payloads.append(event[DATA_SIZE:])
        elif not event.startswith(b":"):
            return None
    return payloads


def _begins_another(data: bytes, following: bytes) -> bool:
    """Return whether the second of two lines belongs to another event: both are whole, without a blank line between."""
    return data.startswith(b'{"') and data.endswith(b"}") and following.startswith((b'{"', b"[DONE]"))


def to_event(name: bytes, payload: bytes) -> bytes:
    """One event for a client; `payload` is JSON without line ends."""
    return b"event: " + name + b"\ndata: " + payload + b"\n\n"
