"""Requests with the same header as the one before on their connection, which is not parsed again.

The requests of a client differ in their body and its length, and have all other bytes of the header in common (both
`anthropic` SDKs, Claude Code, Codex). Parsing a header of five lines takes 5 % of a small request's instructions, and
clients send up to thirty lines. So a connection keeps its last header, with what aiohttp's parser has read from it. All
of its bytes are compared, so a request is read as the parser would read it; any other one goes to the parser.
"""

import re
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EmptyStreamReader, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

END = b"\r\n\r\n"
LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*+(\d{1,12})", re.IGNORECASE)
MAX_LENGTH_DIGITS = 12
MAX_HEAD_BYTES = 8 * 1024  # kept by each connection
# After so many other headers in a row, as from a balancer that shares its connections, none is kept any more.
MAX_MISSES = 8
# Bytes of a body that may wait to be read before the socket is left alone, half of them. This is aiohttp's own limit.
BODY_LIMIT = 256 * 1024

Parsed = tuple[Any, bool, bytes]
NOTHING: Parsed = ((), False, b"")


class Parser(Protocol):
    """Methods of aiohttp's parser that its server calls."""

    def feed_data(self, data: bytes) -> Parsed: ...
    def feed_eof(self) -> Any: ...
    def message_consumed(self) -> None: ...
    def pause_reading(self) -> None: ...
    def set_upgraded(self, val: bool) -> None: ...


@dataclass(slots=True, repr=False)
class Head:
    """A header: its bytes `before` the digits of its content-length and `after` them, and what was read from it."""

    before: bytes
    digits: bytes
    after: bytes
    message: RawRequestMessage

    def to_message(self, digits: bytes) -> RawRequestMessage:
        """Return the message with another content-length."""
        if digits != self.digits:
            headers = CIMultiDict(self.message.headers)
            headers[hdrs.CONTENT_LENGTH] = digits.decode()
            self.digits, self.message = digits, self.message._replace(headers=CIMultiDictProxy(headers))
        return self.message


class CompleteBody(EmptyStreamReader):
    """A body that came together with its header."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data
        self.total_bytes = len(data)

    def at_eof(self) -> bool:
        return not self._data

    def read_nowait(self, n: int = -1) -> bytes:
        data = self._data
        taken, self._data = (data, b"") if n < 0 else (data[:n], data[n:])
        return taken

    async def read(self, n: int = -1) -> bytes:
        return self.read_nowait(n)

    async def readany(self) -> bytes:
        return self.read_nowait()

    async def readchunk(self) -> tuple[bytes, bool]:
        return (self.read_nowait(), False) if self._data else await super().readchunk()

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        return self.read_nowait(self._data.find(b"\n") + 1 or -1)


class RepeatedHeads:
    """aiohttp's parser of one connection, behind a comparison with the last header.

    `_left`: bytes of a body that the parser is still to read. `_body`: one that is fed here, with `_missing` bytes to
    come. `_watches`: it is known where in the bytes the parser is, and so where a request begins.
    """

    __slots__ = ("_behind", "_body", "_connection", "_head", "_left", "_loop", "_misses", "_missing", "_watches")

    def __init__(self, parser: Parser, connection: BaseProtocol, loop: AbstractEventLoop) -> None:
        self._behind = parser
        self._connection = connection
        self._loop = loop
        self._head: Head | None = None
        self._body: StreamReader | None = None
        self._missing = 0
        self._left = 0
        self._misses = 0
        self._watches = True

    def feed_data(self, data: bytes) -> Parsed:
        """Return the requests that begin in the data, as aiohttp's parser does. Raises its errors."""
        if self._body is not None:
            return self._feed_body(self._body, data)
        if self._left:
            self._left -= len(data)
            self._watches = self._left >= 0
            self._left = max(0, self._left)
        elif self._watches and data:
            head = self._head
            found = self._begin(head, data) if head is not None and data.startswith(head.before) else None
            return found or self._parse(data)
        return self._behind.feed_data(data)

    def feed_eof(self) -> Any:
        return self._behind.feed_eof()

    def message_consumed(self) -> None:
        self._behind.message_consumed()

    def pause_reading(self) -> None:
        if self._body is None:
            self._behind.pause_reading()

    def set_upgraded(self, val: bool) -> None:
        self._behind.set_upgraded(val)

    def _begin(self, head: Head, data: bytes) -> Parsed | None:
        """Return the request at the start of the data, if it has this header and nothing follows its body."""
        end = data.find(b"\r", len(head.before), len(head.before) + MAX_LENGTH_DIGITS + 1)
        digits = data[len(head.before) : end]
        if end < 0 or not digits.isdigit() or not data.startswith(head.after, end):
            return None
        start, length = end + len(head.after), int(digits)
        missing = length - (len(data) - start)
        if missing < 0 or not length:
            return None
        self._misses = 0
        message = head.to_message(digits)
        if not missing:
            return [(message, CompleteBody(data[start:]))], False, b""
        body = StreamReader(self._connection, BODY_LIMIT, loop=self._loop)
        self._body, self._missing = body, missing
        body.feed_data(data[start:])
        return [(message, body)], False, b""

    def _feed_body(self, body: StreamReader, data: bytes) -> Parsed:
        piece = data if len(data) <= self._missing else data[: self._missing]
        self._missing -= len(piece)
        body.feed_data(piece)
        if self._missing:
            return NOTHING
        self._body = None
        body.feed_eof()
        return self.feed_data(data[len(piece) :]) if len(piece) < len(data) else NOTHING

    def _parse(self, data: bytes) -> Parsed:
        """Parse data that begin with a request, and keep its header if it is alone in them."""
        self._watches, self._misses = False, self._misses + 1
        parsed = self._behind.feed_data(data)
        messages, is_upgraded, _ = parsed
        if self._misses <= MAX_MISSES and len(messages) == 1 and not is_upgraded:
            self._learn(messages[0][0], data)
        if not self._watches:
            self._head = None
        return parsed

    def _learn(self, message: RawRequestMessage, data: bytes) -> None:
        end = data.find(END, 0, MAX_HEAD_BYTES) + len(END)
        # The parser refuses what follows a request that closes the connection.
        if end < len(END) or message.chunked or message.upgrade or message.should_close:
            return
        declared = message.headers.get(hdrs.CONTENT_LENGTH, "0")
        left = int(declared) - (len(data) - end)
        if left < 0:
            return
        self._watches, self._left = True, left
        length = LENGTH_LINE.search(data, 0, end)
        if length is not None and length[1] == declared.encode():
            self._head = Head(data[: length.start(1)], length[1], data[length.end(1) : end], message)
