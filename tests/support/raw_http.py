"""HTTP on a bare socket: send any bytes, and parse every reply strictly."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

STATUS_LINE = re.compile(rb"HTTP/(\d\.\d) (\d{3}) [ -~]*\Z")
HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\x80-\xff]*)\Z")

Piece = bytes | float | None
"""Bytes to send, seconds to wait, or None for the end of the request."""


@dataclass(frozen=True, slots=True)
class RawReply:
    """One reply. `whole`: the body ended as its framing says; without framing it ends with the connection."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """Final replies in order, the number of interim ones (1xx), and the end of the connection."""

    replies: list[RawReply] = field(default_factory=list)
    interim: int = 0
    end: Literal["open", "closed", "reset"] = "open"

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]


async def converse(
    url: str, pieces: Iterable[Piece], *, replies: int | None = None, seconds: float = 5.0
) -> Conversation:
    """Send, and read until `replies` replies are complete, the connection ends, or `seconds` pass without data.

    Raises ValueError for bytes that are not replies.
    """
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    received = bytearray()
    end: Literal["open", "closed", "reset"] = "open"
    try:
        sending = asyncio.create_task(_send(writer, pieces))
        try:
            while True:
                async with asyncio.timeout(seconds):
                    data = await reader.read(1 << 16)
                if not data:
                    end = "closed"
                    break
                received += data
                if replies is not None and _count_whole(bytes(received)) >= replies:
                    break
        except TimeoutError:
            end = "open"
        except ConnectionError:
            end = "reset"
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    finally:
        writer.close()
    return take_apart(bytes(received), end)


def take_apart(received: bytes, end: Literal["open", "closed", "reset"]) -> Conversation:
    """Parse a sequence of replies, of which the last one may be cut off. Raises ValueError for other bytes."""
    replies: list[RawReply] = []
    interim, rest = 0, received
    while rest:
        head, found, after = rest.partition(b"\r\n\r\n")
        if not found:
            raise ValueError(f"a header is cut off: {head[:200]!r}")
        version, status, headers = _parse_head(head)
        if status < 200:
            interim, rest = interim + 1, after
            continue
        body, whole, rest = _take_body(status, headers, after, ended=end == "closed")
        replies.append(RawReply(version, status, headers, body, whole))
        if not whole and rest:
            raise ValueError(f"bytes follow a reply that is cut off: {rest[:200]!r}")
    return Conversation(replies, interim, end)


def _count_whole(received: bytes) -> int:
    try:
        return sum(reply.whole for reply in take_apart(received, "open").replies)
    except ValueError:  # in the middle of one
        return 0


async def _send(writer: asyncio.StreamWriter, pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        if piece is None:
            writer.write_eof()
        elif isinstance(piece, bytes):
            writer.write(piece)
            await writer.drain()
        else:
            await asyncio.sleep(piece)


def _parse_head(head: bytes) -> tuple[str, int, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    status = STATUS_LINE.match(first)
    if status is None:
        raise ValueError(f"not a status line: {first[:200]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        match = HEADER_LINE.match(line)
        if match is None:
            raise ValueError(f"not a header line: {line[:200]!r}")
        headers[match[1].decode().lower()] = match[2].decode("latin-1")
    return status[1].decode(), int(status[2]), headers


def _take_body(status: int, headers: dict[str, str], after: bytes, *, ended: bool) -> tuple[bytes, bool, bytes]:
    """Return the body, whether it is complete, and the remaining bytes."""
    if status in (204, 304):
        return b"", True, after
    if headers.get("transfer-encoding") == "chunked":
        return _take_chunks(after)
    if "content-length" in headers:
        length = int(headers["content-length"])
        return after[:length], len(after) >= length, after[length:]
    return after, ended, b""


def _take_chunks(after: bytes) -> tuple[bytes, bool, bytes]:
    pieces: list[bytes] = []
    while True:
        line, found, rest = after.partition(b"\r\n")
        if not found:
            return b"".join(pieces), False, b""
        if not re.fullmatch(rb"[0-9a-fA-F]+", line):
            raise ValueError(f"not a chunk's size: {line[:200]!r}")
        size = int(line, 16)
        if len(rest) < size + 2:
            return b"".join([*pieces, rest[:size]]), False, b""
        if rest[size : size + 2] != b"\r\n":
            raise ValueError(f"a chunk does not end where it should: {rest[size : size + 20]!r}")
        if size == 0:
            return b"".join(pieces), True, rest[2:]
        pieces.append(rest[:size])
        after = rest[size + 2 :]


def request(
    method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, bytes]] = (), *, version: str = "1.1"
) -> bytes:
    """Return a request with a host and, with a body, its length. Header values are sent unchanged."""
    lines = [f"{method} {path} HTTP/{version}".encode(), b"host: x"]
    lines += [name.encode() + b": " + value for name, value in headers]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
