"""HTTP/1.1 as bytes, without a socket: the header of a request, and the answer that comes back for it.

`encode_head` refuses what could break out of a header line. `AnswerParser` takes an answer cut anywhere; httptools
(llhttp) reads the syntax and knows neither limits nor the end of a connection, so this module caps headers, ends bodies
that have no length and refuses a second answer. Trailers and interim (1xx) answers are skipped; upgrades and transfer
codings other than chunked are refused. Some servers compress bodies against the request's headers: `decoded` undoes
gzip and deflate.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.errors import AnswerCut, InternalError, Misconfigured, UpstreamError
from gateway.upstream.http.client import Call
from gateway.upstream.http.forwarding import OWN_HEADERS

# Largest header of an answer, interim answers included: 8 × what nginx accepts by default from its own upstreams.
MAX_HEADER_BYTES: Final = 64 * 1024

CLOSED_EARLY: Final = "the upstream closed the connection before the end of its answer"
NOT_HTTP: Final = "the upstream's answer is not valid HTTP/1.1"

GZIP: Final = frozenset({"deflate", "gzip", "x-gzip"})
EITHER_FORMAT: Final = zlib.MAX_WBITS | 32  # gzip's or zlib's, by its first bytes
NOT_GZIP: Final = "the upstream's answer is not valid gzip"
# Bytes that one read of a stream may grow to: as large as an event may be.
MAX_INFLATED: Final = 16 * 1024 * 1024
# Members of one gzip body, each of which copies what follows it; servers send one.
MAX_MEMBERS: Final = 64

# Headers that say where a body ends; without them it ends with the connection.
FRAMING: Final = frozenset({"content-length", "transfer-encoding"})

"""Headers the client writes itself: a second one from the caller would let the two ends disagree on framing or host."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE_IN_VALUE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
# A space or a line end would start another request.
_PATH: Final = re.compile(r"[\x21-\x7e]*")
_HOST: Final = re.compile(r"[0-9A-Za-z.:_-]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


class HttpOrigin(NamedTuple):
    """Server that connections are made to; requests to the same one share them."""

    scheme: str
    host: str
    port: int


class HttpTarget(NamedTuple):
    """A URL taken apart: where to connect, what to put into Host and into the request line."""

    origin: HttpOrigin
    authority: str
    path: str


@lru_cache(maxsize=256)
def to_target(url: str) -> HttpTarget:
    """Raises Misconfigured if `url`, which comes from the operator's settings, is no absolute http or https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise Misconfigured("an upstream's URL is not an absolute http or https URL") from None
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(path) or "@" in parts.netloc or parts.fragment:
        raise Misconfigured("an upstream's URL has no host, credentials, a fragment, or characters to be escaped")
    authority = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORTS[parts.scheme]:
        authority += f":{port}"
    return HttpTarget(HttpOrigin(parts.scheme, host, port), authority, path)


def check_headers(headers: Sequence[tuple[str, str]]) -> None:
    """Raises Misconfigured for what HTTP does not allow (line breaks above all), InternalError for OWN_HEADERS.

    Headers come from the operator's settings: a client cannot send others, so its request is never blamed.
    """
    for name, value in headers:
        check_name(name)
        # Nearly all values; this takes a tenth of what the search takes.
        if not (value.isascii() and value.isprintable()) and _UNSAFE_IN_VALUE.search(value):
            raise Misconfigured(f"the request header {name!r} has a value with characters that HTTP does not allow")


@lru_cache(maxsize=256)
def check_name(name: str) -> None:
    """Kept for names that pass: a head with the id of a trace is new in each call, but its names are not."""
    if not _TOKEN.fullmatch(name):
        raise Misconfigured("a request header's name contains characters that HTTP does not allow")
    if name.lower() in OWN_HEADERS:
        raise InternalError(f"the header {name.lower()!r} is set by the upstream client itself")


def encode_head(call: Call) -> bytes:
    """The request line and header of `call`, up to and with the empty line. Raises as `check_headers`, `to_target`."""
    head = _steady_head(call.method, call.url, tuple(call.headers))
    if call.body or call.method in _BODY_METHODS:
        return b"%sContent-Length: %d\r\n\r\n" % (head, len(call.body))
    return head + b"\r\n"


@lru_cache(maxsize=128)
def _steady_head(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """Return the head without length and empty line, which calls to one upstream for one client share."""
    if not _TOKEN.fullmatch(method):
        raise InternalError("a request method is not a token")
    check_headers(headers)
    target = to_target(url)
    lines = [f"{method} {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nAccept-Encoding: identity\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    return "".join(lines).encode("latin-1")


class Part(Enum):
    """Progress of reading an answer. END and BROKEN are final."""

    HEAD = auto()
    BODY = auto()
    END = auto()
    BROKEN = auto()


# To be named without `Part`: Python 3.11 takes as long for a member of an enum as for fifteen other attributes.
HEAD: Final = Part.HEAD
BODY: Final = Part.BODY
END: Final = Part.END
BROKEN: Final = Part.BROKEN


class AnswerParser:
    """One answer from its bytes: `feed` what arrived, `finish` at the end of the connection, then look at `part`.

    `status` and `headers` (lower-case names, repeated values joined by ", ") hold from the moment `part` leaves HEAD.
    `reusable` says at END whether another request may follow on the connection; `fault` says at BROKEN what was wrong.
    """

    __slots__ = (
        "_head_only",
        "_max_header_bytes",
        "_parser",
        "_pieces",
        "_until_close",
        "_unyielding",
        "fault",
        "headers",
        "on_body",
        "part",
        "reusable",
        "status",
    )

    def __init__(self, method: str, max_header_bytes: int = MAX_HEADER_BYTES) -> None:
        self.part = HEAD
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reusable = False
        self.fault = ""
        self._head_only = method == "HEAD"
        self._until_close = False
        self._max_header_bytes = max_header_bytes
        self._unyielding = 0  # bytes since the last piece of body: header, trailers, chunk extensions
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser = HttpResponseParser(self)

    @property
    def started(self) -> bool:
        """Whether any byte of the answer has arrived."""
        return self.part is not HEAD or self._unyielding > 0

    def feed(self, data: bytes) -> bytes:
        """The bytes of body in `data`, in one piece."""
        if self.part is HEAD and self._unyielding + len(data) > self._max_header_bytes:
            data = self._without_excess(data)
        if self.part is BODY or self.part is HEAD:
            self._parse(data)
        else:
            self.reusable = False  # bytes behind the answer
        pieces = self._pieces
        if not pieces:
            if self.part is BODY and self._unyielding > self._max_header_bytes:
                self._break("the upstream's answer has chunk extensions or trailers without end")
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unyielding = 0
        if self._head_only:
            self.reusable = False
            return b""
        return body

    def _without_excess(self, data: bytes) -> bytes:
        """Parse as much as the header's limit allows, and return the rest. A longer header breaks the answer."""
        room = self._max_header_bytes - self._unyielding
        self._parse(data[:room])
        if self.part is HEAD:
            self._break(header_too_large(self._max_header_bytes).message)
        return data[room:]

    def finish(self) -> None:
        """The upstream closed the connection in good order: the proper end only of a body that has no length."""
        if self.part is BODY and self._until_close:
            self.part = END
        elif self.part in (HEAD, BODY):
            self._break(CLOSED_EARLY)

    def close(self) -> None:
        """Release the parser behind, which refers back to this object. Nothing may be fed afterwards."""
        del self._parser

    def _parse(self, data: bytes) -> None:
        self._unyielding += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._break(NOT_HTTP)

    def _break(self, fault: str) -> None:
        self.reusable = False
        if self.part is not END:
            self.part = BROKEN
            self.fault = fault

    # Called by httptools; what they raise makes feed_data raise HttpParserCallbackError.

    def on_message_begin(self) -> None:
        if self.part is END:
            raise UpstreamError("a second answer follows the first")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.part is not HEAD:
            return  # a trailer
        key, text, headers = _header_name(name), value.decode("latin-1").strip(), self.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            if FRAMING.intersection(self.headers):
                raise UpstreamError("an interim answer with a body")
            self.headers = {}
            return
        check_kind(status, self.headers)
        self.status = status
        self.reusable = self._parser.should_keep_alive()
        self._until_close = FRAMING.isdisjoint(self.headers)
        self._unyielding = 0
        self.part = END if self._head_only else BODY

    def on_message_complete(self) -> None:
        if self.part is BODY:
            self.part = END


@lru_cache(maxsize=128)
def _header_name(sent: bytes) -> str:
    return sent.decode("latin-1").lower()


def check_kind(status: int, headers: dict[str, str]) -> None:
    """Raises UpstreamError for what is no plain HTTP: a switch of protocols, a transfer coding beyond chunked."""
    if status < 200 or headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise UpstreamError(NOT_HTTP)


def declared_length(headers: dict[str, str]) -> int:
    """Content-Length, or 0 where the body's length is not known beforehand."""
    return int(headers.get("content-length", 0))


def refuse_coding(coding: str) -> None:
    """Raise UpstreamError for a body in a content coding. `coding` is the answer's Content-Encoding."""
    if coding.lower() not in ("", "identity"):
        raise UpstreamError("the upstream answered in a content coding that was not asked for")


def decoding(receive: Callable[[bytes], None], coding: str) -> Callable[[bytes], None]:
    """A receiver of coded pieces that passes them to `receive` plain; gzip and deflate are undone.

    Raises UpstreamError for another coding, and from the receiver for what is no gzip, or grows out of proportion.
    """
    if coding.lower() not in GZIP:
        refuse_coding(coding)
        return receive
    decoder = zlib.decompressobj(wbits=EITHER_FORMAT)

    def receive_coded(piece: bytes) -> None:
        nonlocal decoder
        while piece:
            if decoder.eof:  # what follows is another member of the same body (RFC 1952)
                decoder = zlib.decompressobj(wbits=EITHER_FORMAT)
            try:
                plain = decoder.decompress(piece, MAX_INFLATED)
            except zlib.error:
                raise UpstreamError(NOT_GZIP) from None
            if decoder.unconsumed_tail:
                raise too_large(MAX_INFLATED)
            piece = decoder.unused_data
            if plain:
                receive(plain)

    return receive_coded


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """`body` without its content coding. Raises UpstreamError when it is another one, broken, or over `limit`."""
    if not body or coding.lower() not in GZIP:
        refuse_coding("" if not body else coding)
        return body
    plain = b""
    for _ in range(MAX_MEMBERS):
        if not body:
            return plain
        decoder = zlib.decompressobj(wbits=EITHER_FORMAT)
        try:
            plain += decoder.decompress(body, limit + 1 - len(plain))
        except zlib.error:
            raise UpstreamError(NOT_GZIP) from None
        if len(plain) > limit:
            raise too_large(limit)
        if not decoder.eof:
            raise UpstreamError(NOT_GZIP)
        body = decoder.unused_data
    raise UpstreamError(NOT_GZIP)


def broken(fault: str) -> UpstreamError:
    return AnswerCut(fault) if fault == CLOSED_EARLY else UpstreamError(fault)


class BoundedBody:
    """Pieces of a body of at most `limit` bytes."""

    __slots__ = ("_limit", "_size", "pieces")

    def __init__(self, limit: int) -> None:
        self.pieces: list[bytes] = []
        self._limit, self._size = limit, 0

    def add(self, piece: bytes) -> None:
        """Raises UpstreamError for more bytes than the limit."""
        self._size += len(piece)
        if self._size > self._limit:
            raise too_large(self._limit)
        self.pieces.append(piece)


def too_large(limit: int) -> UpstreamError:
    return UpstreamError(f"the upstream's answer is larger than {limit} bytes")


def header_too_large(limit: int) -> UpstreamError:
    return UpstreamError(f"the upstream's answer has a header of more than {limit} bytes")
