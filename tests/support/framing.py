"""Odd HTTP: framing, pipelining and header bytes, with the expected replies, and invariants for any bytes.

The expectations apply to the gateway without a proxy. Behind a proxy, which may refuse more and repair some requests,
only the invariants apply (`check_invariants`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from tests.support.raw_http import Conversation, Piece, request

BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
KEY = "framing-key-0123456789"
KEYED = [("x-api-key", KEY.encode()), ("content-type", b"application/json")]
PATH = "/v1/messages/count_tokens"
LIVE = request("GET", "/livez")
POST = request("POST", PATH, BODY, KEYED)
POST_HEAD = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\n".encode()
CHUNKED = POST_HEAD + b"transfer-encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
HIDDEN = b"GET /v1/hidden HTTP/1.1\r\nhost: x\r\n\r\n"  # a second 404 shows that it was taken for a request


@dataclass(frozen=True, slots=True)
class Framing:
    """`statuses`: of the final replies, in order. `ends`: the gateway closes the connection.

    `requests` are more than the replies where the parser refuses a whole read for what is at its end.
    """

    pieces: tuple[Piece, ...]
    statuses: tuple[int, ...]
    ends: bool = False
    interim: int = 0
    requests: int = 1

    @property
    def most(self) -> int:
        """Return the largest number of replies."""
        return max(self.requests, len(self.statuses))


def good(*pieces: Piece, replies: int = 1, ends: bool = False, interim: int = 0) -> Framing:
    return Framing(pieces, (200,) * replies, ends, interim)


def refused(*pieces: Piece, after: int = 0, requests: int = 1) -> Framing:
    """A 400, after this many good replies, and the end."""
    return Framing(pieces, (*(200,) * after, 400), ends=True, requests=requests)


def with_line(line: bytes) -> bytes:
    return LIVE.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")


def with_length(value: bytes) -> bytes:
    return POST_HEAD + b"content-length: " + value + b"\r\n\r\n" + BODY


LENGTH = b"%d" % len(BODY)

SOUND: Mapping[str, Framing] = {
    "one request": good(POST),
    "byte by byte": good(*[POST[i : i + 1] for i in range(len(POST))]),
    "three in one piece": good(LIVE + POST + LIVE, replies=3),
    "thirty in one piece": good((LIVE + POST) * 15, replies=30),
    "a hundred probes in one piece": good(LIVE * 100, replies=100),
    "a chunked one among others": good(LIVE + CHUNKED + CHUNKS + LIVE, replies=3),
    "chunks in pieces": good(CHUNKED, *[CHUNKS[i : i + 7] for i in range(0, len(CHUNKS), 7)]),
    "chunk sizes with zeros in front, in capitals": good(CHUNKED + b"000%X\r\n%b\r\n000\r\n\r\n" % (len(BODY), BODY)),
    "chunk extensions": good(CHUNKED + b'%x;a=b;c="d"\r\n%b\r\n0;e\r\n\r\n' % (len(BODY), BODY)),
    "trailers": good(CHUNKED + CHUNKS[:-2] + b"a: b\r\nx-api-key: other\r\n\r\n" + LIVE, replies=2),
    "chunked, in capitals": good(POST_HEAD + b"Transfer-Encoding: CHUNKED\r\n\r\n" + CHUNKS),
    "empty lines before a request": good(b"\r\n\r\n" + LIVE),
    "100-continue": good(
        POST_HEAD + b"expect: 100-continue\r\ncontent-length: %b\r\n\r\n" % LENGTH, 0.1, BODY, interim=1
    ),
    "an absolute target": good(LIVE.replace(b"/livez", b"http://other.example/livez")),
    "white space around a value": good(with_line(b"x: \t a \t ")),
    "an empty value": good(with_line(b"x:")),
    "a value in UTF-8": good(with_line("x: ☃".encode())),
    "a leading zero in the length": good(with_length(b"0" + LENGTH)),
    "HTTP/1.0": good(request("GET", "/livez", version="1.0"), ends=True),
    "HTTP/1.0, kept alive": good(
        request("GET", "/livez", headers=[("connection", b"keep-alive")], version="1.0"), LIVE, replies=2
    ),
    "to be closed": good(request("GET", "/livez", headers=[("connection", b"close")]) + b"\r\n", ends=True),
    "an upgrade that is not taken": good(with_line(b"connection: upgrade\r\nupgrade: websocket") + LIVE, replies=2),
    "an upgrade to HTTP/2 that is not taken": good(
        with_line(b"connection: upgrade\r\nupgrade: h2c"), 0.1, LIVE, replies=2
    ),
    "a request within a body": good(request("POST", PATH, BODY + b" " * 2000, KEYED) + LIVE, replies=2),
}

UNSOUND: Mapping[str, Framing] = {
    "no HTTP": refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "HTTP/2's preface": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/9.9": refused(LIVE.replace(b"1.1", b"9.9")),
    "an unknown method": refused(LIVE.replace(b"GET", b"DANCE")),
    "a method in small letters": refused(LIVE.replace(b"GET", b"get")),
    "a space in the path": refused(LIVE.replace(b"/livez", b"/li vez")),
    "a path with a byte beyond ASCII": refused(LIVE.replace(b"/livez", b"/\xff")),
    "a path too long": refused(LIVE.replace(b"/livez", b"/" + b"a" * 9000)),
    "an absolute target with a bad port": refused(LIVE.replace(b"/livez", b"http://x:99999/livez")),
    "no host": refused(b"GET /livez HTTP/1.1\r\n\r\n"),
    "two hosts": refused(with_line(b"host: y")),
    "lines that end without CR": refused(b"GET /livez HTTP/1.1\nhost: x\n\n"),
    "a CR within a value": refused(with_line(b"x: a\rb")),
    "a NUL within a value": refused(with_line(b"x: a\x00b")),
    "a control character within a value": refused(with_line(b"x: a\x01b")),
    "a line that goes on in the next": refused(with_line(b"x: a\r\n b")),
    "a header without a colon": refused(with_line(b"no colon")),
    "a space before the colon": refused(with_line(b"x : a")),
    "a header without a name": refused(with_line(b": a")),
    "a name with a byte beyond ASCII": refused(with_line(b"x\xff: a")),
    "a value too long": refused(with_line(b"x: " + b"a" * 9000)),
    "too many headers": refused(with_line(b"\r\n".join([b"x%d: a" % number for number in range(130)]))),
    "garbage after a request": refused(LIVE, 0.1, b"\x00\x01\x02\r\n\r\n", after=1),
    "garbage with a request": refused(LIVE + b"\x00\x01\x02\r\n\r\n", requests=2),
    "a request after one to be closed": refused(request("GET", "/livez", headers=[("connection", b"close")]) + HIDDEN),
    "two lengths": refused(with_length(LENGTH + b"\r\ncontent-length: " + LENGTH)),
    "two lengths that differ": refused(with_length(LENGTH + b"\r\ncontent-length: 0") + HIDDEN),
    "a list of lengths": refused(with_length(LENGTH + b", " + LENGTH)),
    "a length with a sign": refused(with_length(b"+" + LENGTH)),
    "a negative length": refused(with_length(b"-1")),
    "a length in hexadecimal": refused(with_length(b"0x10")),
    "a length beyond 64 bits": refused(with_length(b"9" * 30)),
    "an empty length": refused(with_length(b"")),
    "a length and chunks": refused(with_length(LENGTH + b"\r\ntransfer-encoding: chunked") + HIDDEN),
    "chunks and a length": refused(
        POST_HEAD + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n" + CHUNKS + HIDDEN
    ),
    "chunked twice": refused(POST_HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS),
    "identity": refused(POST_HEAD + b"transfer-encoding: identity\r\n\r\n" + HIDDEN),
    "an unknown coding": refused(POST_HEAD + b"transfer-encoding: xchunked\r\n\r\n" + CHUNKS + HIDDEN),
    "chunked, but not last": refused(POST_HEAD + b"transfer-encoding: chunked, identity\r\n\r\n" + CHUNKS + HIDDEN),
    "a control character before chunked": refused(POST_HEAD + b"transfer-encoding: \x0bchunked\r\n\r\n" + CHUNKS),
    "no chunk size": refused(CHUNKED + b"\r\nabc\r\n"),
    "a negative chunk size": refused(CHUNKED + b"-1\r\n"),
    "a chunk size with 0x": refused(CHUNKED + b"0x1\r\na\r\n0\r\n\r\n"),
    "a chunk size beyond 64 bits": refused(CHUNKED + b"f" * 17 + b"\r\n"),
    "a space after the chunk size": refused(CHUNKED + b"1 \r\na\r\n0\r\n\r\n"),
    "chunk lines without CR": refused(CHUNKED + b"1\na\n0\n\n"),
    "a chunk longer than its size": refused(CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "a chunk longer than its size, later": refused(CHUNKED, 0.1, b"3\r\nabcd\r\n0\r\n\r\n"),
    "a broken trailer": refused(CHUNKED, 0.1, CHUNKS[:-2] + b"a b\r\n\r\n"),
}

ODD: Mapping[str, Framing] = {
    "a value that is not UTF-8": Framing((with_line(b"x: \xff") + LIVE,), (400, 200)),
    "headers of 100 KiB together": Framing(
        (with_line(b"\r\n".join([b"x%d: " % i + b"a" * 8000 for i in range(13)])),), (400,)
    ),
    "a tunnel": Framing((b"CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n",), (404,)),
    "a trace": Framing((LIVE.replace(b"GET", b"TRACE"),), (405,)),
    "any path": Framing((LIVE.replace(b"GET /livez", b"OPTIONS *"),), (404,)),
    "line breaks in the path, escaped": Framing((LIVE.replace(b"/livez", b"/a%0d%0aset-cookie:%20b"),), (404,)),
    "an expectation that is not known": Framing((with_line(b"expect: a-miracle"),), (400,)),
    "an expectation that is not UTF-8": Framing((with_line(b"expect: \xff"),), (400,)),
    "a key that is not UTF-8": Framing((request("POST", PATH, BODY, [("x-api-key", b"\xff")]),), (400,)),
    "a coding that is not taken": Framing(
        (request("POST", PATH, BODY, [*KEYED, ("content-encoding", b"br")]),), (415,)
    ),
    "gzip that is none": Framing((request("POST", PATH, BODY, [*KEYED, ("content-encoding", b"gzip")]),), (400,)),
    "a body where none belongs": Framing((request("GET", "/livez", BODY) + LIVE,), (200, 200)),
    "half a request, and the end": Framing((POST[:40], 0.05, None), (), ends=True),
    "half a body, and the end": Framing((POST[:-3], 0.05, None), (), ends=True),
    "half a chunk, and the end": Framing((CHUNKED + CHUNKS[:5], 0.05, None), (), ends=True),
    "nothing, and the end": Framing((None,), (), ends=True),
}

CORPUS: Mapping[str, Framing] = SOUND | UNSOUND | ODD
# haproxy goes on in HTTP/2.
NOT_FOR_PROXIES = frozenset({"HTTP/2's preface"})

# A front end never fails for what a client sends. 501 and 505 are the proxies'.
CLIENT_FAULTS = frozenset({400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 426, 431, 501, 505})


def check_invariants(told: Conversation, *, most: int, ours: bool = True) -> None:
    """Check for well-formed replies, no more than `most`, and none of a failure. `ours`: no proxy answered."""
    assert len(told.replies) <= most, f"{len(told.replies)} replies to {most} requests"
    for reply in told.replies:
        assert reply.status == 200 or reply.status in CLIENT_FAULTS, reply
        assert reply.whole or told.end == "reset", reply
        if ours and reply.status != 200:
            error = orjson.loads(reply.body)
            assert error["type"] == "error", reply
            assert error["request_id"] == reply.headers["request-id"], reply
