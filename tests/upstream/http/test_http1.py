"""The parts of HTTP/1.1 that need no socket to be tried: what stays open after an answer, and where limits bite."""

import gzip

import pytest

from gateway.errors import InternalError, Misconfigured, UpstreamError
from gateway.upstream.http.client import Call
from gateway.upstream.http.http1 import (
    AnswerParser,
    HttpOrigin,
    HttpTarget,
    Part,
    check_name,
    decoded,
    encode_head,
    to_target,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

REUSE = {
    "a whole answer": ("POST", [OK], True),
    "a chunked one with trailers": ("POST", [CHUNKED + b"1\r\na\r\n0\r\nX: y\r\n\r\n"], True),
    "bytes behind it in the same read": ("POST", [OK + b"x"], False),
    "bytes behind it in the next read": ("POST", [OK, b"x"], False),
    "half an answer behind it": ("POST", [OK + OK[:20]], False),
    "Connection: close": ("POST", [OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")], False),
    "Connection: close with bytes behind it": (
        "POST",
        [OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") + b"x"],
        False,
    ),
    "HEAD": ("HEAD", [OK[:-2]], True),
    "HEAD answered with a body": ("HEAD", [OK], False),
    "HEAD answered with a body a read later": ("HEAD", [OK[:-2], b"ok"], False),
}


@pytest.mark.parametrize(("method", "reads", "reusable"), REUSE.values(), ids=REUSE)
def test_a_connection_without_unread_bytes_is_reusable(method: str, reads: list[bytes], reusable: bool) -> None:
    parser = AnswerParser(method)
    body = b"".join(parser.feed(read) for read in reads)
    assert (parser.part, parser.reusable) == (Part.END, reusable)
    assert method == "POST" or body == b""


HEADER_END = OK.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize("reads", [[OK], [OK[:10], OK[10:]], [bytes([byte]) for byte in OK]], ids=["1", "2", "many"])
def test_a_header_of_exactly_the_limit_passes_and_one_byte_more_does_not(reads: list[bytes]) -> None:
    passing, failing = AnswerParser("POST", HEADER_END), AnswerParser("POST", HEADER_END - 1)
    assert b"".join(passing.feed(read) for read in reads) == b"ok"
    assert b"".join(failing.feed(read) for read in reads) == b""
    assert (passing.part, failing.part) == (Part.END, Part.BROKEN)
    assert "header of more than" in failing.fault


def test_the_limit_of_the_header_covers_interim_answers() -> None:
    parser = AnswerParser("POST", 100)
    for _ in range(20):
        parser.feed(b"HTTP/1.1 103 Hints\r\n\r\n")
    assert parser.part is Part.BROKEN


def test_a_body_answered_within_the_limit_of_the_header_ends_there_although_more_follows() -> None:
    answer = b"HTTP/1.1 204 No\r\n\r\n"
    parser = AnswerParser("POST", len(answer))
    assert parser.feed(answer + OK) == b""
    assert (parser.status, parser.part, parser.reusable) == (204, Part.END, False)


ENDLESS = {
    "a chunk extension": (b"5;", b"x" * 50),
    "trailers": (b"0\r\n", b"X-Trailer: 0123456789\r\n"),
    "a trailer's value": (b"0\r\nX: ", b"x" * 50),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
def test_bytes_that_yield_no_body_are_bounded(start: bytes, more: bytes) -> None:
    parser = AnswerParser("POST", 1000)
    parser.feed(CHUNKED + b"1\r\na\r\n" + start)
    for _ in range(100):
        parser.feed(more)
    assert parser.part is Part.BROKEN
    assert "without end" in parser.fault


def test_small_chunks_may_go_on_for_ever() -> None:
    parser = AnswerParser("POST", 1000)
    parser.feed(CHUNKED)
    assert b"".join(parser.feed(read) for _ in range(1000) for read in (b"1;x=y\r\n", b"a\r\n")) == b"a" * 1000
    assert parser.part is Part.BODY


TARGETS = {
    "the default port": ("https://openrouter.ai/api/v1", ("https", "openrouter.ai", 443), "openrouter.ai", "/api/v1"),
    "another port": ("http://127.0.0.1:8000/v1", ("http", "127.0.0.1", 8000), "127.0.0.1:8000", "/v1"),
    "the other scheme's port": ("http://a:443/", ("http", "a", 443), "a:443", "/"),
    "no path": ("http://a", ("http", "a", 80), "a", "/"),
    "a query": ("http://a/b?c=d&e=%20", ("http", "a", 80), "a", "/b?c=d&e=%20"),
    "capitals in the host": ("HTTP://LocalHost/", ("http", "localhost", 80), "localhost", "/"),
    "IPv6": ("http://[::1]:80/x", ("http", "::1", 80), "[::1]", "/x"),
}


@pytest.mark.parametrize(("url", "origin", "authority", "path"), TARGETS.values(), ids=TARGETS)
def test_a_url_is_taken_apart(url: str, origin: tuple[str, str, int], authority: str, path: str) -> None:
    assert to_target(url) == HttpTarget(HttpOrigin(*origin), authority, path)


@pytest.mark.parametrize("method", ["", "GET /x", "PO\r\nST", "G:T"])
def test_a_method_that_is_no_token_is_refused(method: str) -> None:
    with pytest.raises(InternalError):
        encode_head(Call(method, "http://a/"))


def test_a_post_without_a_body_states_a_length_of_zero() -> None:
    assert encode_head(Call("POST", "http://a/")) == (
        b"POST / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: identity\r\nContent-Length: 0\r\n\r\n"
    )


def test_a_body_in_gzip_may_fill_its_limit_exactly() -> None:
    assert decoded(gzip.compress(b"x" * 1000), "x-gzip", 1000) == b"x" * 1000
    with pytest.raises(UpstreamError, match="larger than 999 bytes"):
        decoded(gzip.compress(b"x" * 1000), "gzip", 999)


def test_names_of_headers_are_checked_once_and_values_each_time() -> None:
    def head(value: str) -> bytes:
        return encode_head(Call("POST", "http://a/", (("traceparent", value), ("x-a", "ä\t1"))))

    assert head("1").endswith("\r\ntraceparent: 1\r\nx-a: ä\t1\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    checked = check_name.cache_info().misses
    assert b"\r\ntraceparent: 2\r\n" in head("2")
    for value in ("3\r\nX-Evil: 1", "3\n", "3\x00", "3\x7f", "日本"):
        with pytest.raises(Misconfigured, match="'traceparent' has a value"):
            head(value)
    assert check_name.cache_info().misses == checked
