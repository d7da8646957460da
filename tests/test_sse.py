"""The event-stream parser: WHATWG's rules, cuts at every place, and no more memory than one event needs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.errors import UpstreamError
from gateway.sse import ERROR_EVENT, EventParser, holds_events, meant_by, to_event

STREAMS: dict[str, tuple[bytes, list[bytes]]] = {
    "one event": (b"data: a\n\n", [b"a"]),
    "several events": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "no space after the colon": (b"data:a\n\n", [b"a"]),
    "only the first space goes": (b"data:  a \n\n", [b" a "]),
    "CRLF line ends": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "CR line ends": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed line ends": (b"data: a\r\n\ndata: b\r\r\ndata: c\n\r", [b"a", b"b", b"c"]),
    "several data lines are joined by line feeds": (b"data: a\ndata:\ndata: b\n\n", [b"a\n\nb"]),
    "several data lines with CRLF": (b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
    "several data lines with CR": (b"data: a\rdata: b\r\r", [b"a\nb"]),
    "comments": (b": hello\n\n:\n\ndata: a\n: data: no\n\n", [b"a"]),
    "other fields": (b"event: x\nid: 1\nretry: 9\ndata: a\nanything\n\n", [b"a"]),
    "an event named error": (b"data: a\n\nevent: error\ndata: b\n\ndata: c\n\n", [b"a", ERROR_EVENT + b"b", b"c"]),
    "a name behind its data": (b"data: b\nevent:error\n\n", [ERROR_EVENT + b"b"]),
    "an event named error without data": (b"event: error\r\n\r\n", [ERROR_EVENT]),
    "an event named error at the end": (b"event: error\ndata: b", [ERROR_EVENT + b"b"]),
    "a field named error": (b"data: a\n\nerror: b\n\n", [b"a", ERROR_EVENT + b"b"]),
    "a bare line of JSON": (b'data: a\n\n{"b": 1}\n\n', [b"a", b'{"b": 1}']),
    "JSON without blank lines between": (
        b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n',
        [b'{"a": 1}', b'{"b": 2}', b"[DONE]"],
    ),
    "JSON over several data lines": (b'data: {"a":\ndata: {"b": 2}}\n\n', [b'{"a":\n{"b": 2}}']),
    "an event that is a sign of life": (b"event: ping\ndata: a\n\nevent:heartbeat\ndata: b\n\ndata: c\n\n", [b"c"]),
    "the latest of two names": (b"event: ping\nevent: x\ndata: a\n\n", [b"a"]),
    "a field that only begins like data": (b"database: a\n\ndata\n\n", []),
    "byte order marks before lines": (
        b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\r\n\r\n\xef\xbb\xbfevent: error\n\xef\xbb\xbfdata: c\n\n",
        [b"a", b"b", ERROR_EVENT + b"c"],
    ),
    "a byte order mark before a long line": (
        b"data: a\n\n\xef\xbb\xbfdata: " + b"b" * 200 + b"\n\n",
        [b"a", b"b" * 200],
    ),
    "a byte order mark in data": (b"data: \xef\xbb\xbfa\xef\xbb\xbf\n\n", [b"\xef\xbb\xbfa\xef\xbb\xbf"]),
    "blank lines before and after": (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
    "an empty payload says nothing": (b"data:\n\ndata: \n\ndata: a\n\n", [b"a"]),
    "the last event without its blank line": (b"data: a\n\ndata: b\n", [b"a", b"b"]),
    "the last line without its end": (b"data: a\n\ndata: b", [b"a", b"b"]),
    "the last line with half a CRLF": (b"data: a\r", [b"a"]),
    "only comments": (b": OPENROUTER PROCESSING\n\n", []),
    "nothing": (b"", []),
    "bytes that are no UTF-8": (b"data: \xff\xfe\n\n", [b"\xff\xfe"]),
}


def parse(pieces: list[bytes]) -> list[bytes]:
    parser = EventParser()
    payloads = [payload for piece in pieces for payload in parser.feed(piece)]
    return payloads + parser.finish()


@pytest.mark.parametrize("case", STREAMS)
def test_payloads_of(case: str) -> None:
    stream, payloads = STREAMS[case]
    assert parse([stream]) == payloads


@pytest.mark.parametrize("case", STREAMS)
def test_cuts_change_nothing_in(case: str) -> None:
    stream, payloads = STREAMS[case]
    for position in range(len(stream) + 1):
        assert parse([stream[:position], stream[position:]]) == payloads
    assert parse([stream[index : index + 1] for index in range(len(stream))]) == payloads


def payloads_by_the_book(stream: bytes) -> list[bytes]:
    """Line by line, over the whole stream, with a blank line supplied at its end."""
    payloads: list[bytes] = []
    data: list[bytes] = []
    name = b""
    for line in [*re.split(rb"\r\n|\n|\r", stream), b""]:
        line = line.removeprefix(b"\xef\xbb\xbf")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].strip()
        elif not line:
            payload = b"\n".join(data)
            if name == b"error":
                payloads.append(ERROR_EVENT + payload)
            elif payload and name != b"ping":
                payloads.append(payload)
            data, name = [], b""
    return payloads


WORDS = [
    b"\xef\xbb\xbf",
    b"event: error\n",
    b"event: ping\n",
    b"data: a\n\n",
    b"data: a",
    b"data: ",
    b"data",
    b": a\n\n",
    b":",
    b"\r",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"x",
]


@given(st.lists(st.lists(st.sampled_from(WORDS)).map(b"".join)))
def test_any_pieces_are_what_the_book_says(pieces: list[bytes]) -> None:
    assert parse(pieces) == payloads_by_the_book(b"".join(pieces))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_given_as_soon_as_its_blank_line_has_come(line_end: bytes) -> None:
    parser = EventParser()
    assert parser.feed(b"data: a" + line_end) == []
    assert parser.feed(line_end) == [b"a"]


def test_an_unfinished_line_is_not_given_twice() -> None:
    parser = EventParser()
    parser.feed(b"data: a")
    assert parser.finish() == [b"a"]
    assert parser.finish() == []


@pytest.mark.parametrize(
    "piece",
    [b"data: " + b"x" * 99_999, b"data: " + b"x" * 99_999 + b"\n", b"x" * 99_999],
    ids=["line", "lines", "junk"],
)
def test_an_event_without_end_is_refused_before_it_fills_memory(piece: bytes) -> None:
    parser = EventParser()
    for _ in range(sse.MAX_EVENT_BYTES // len(piece)):
        parser.feed(piece)
    with pytest.raises(UpstreamError, match="larger than the gateway accepts"):
        parser.feed(piece)


def test_the_bound_is_for_one_event_not_for_the_stream() -> None:
    parser = EventParser()
    event = b"data: " + b"x" * (sse.MAX_EVENT_BYTES // 2) + b"\n\n"
    for _ in range(4):
        assert len(parser.feed(event)) == 1


def test_an_event_for_a_client_has_a_name_and_one_line_of_data() -> None:
    assert to_event(b"ping", b'{"type":"ping"}') == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (b"", b""),
        (b" \n", b""),
        (b"Keep-Alive", b""),
        (b" ping ", b""),
        (b": OPENROUTER PROCESSING\nmore", b""),
        (b"null", b""),
        (b"[]", b""),
        (b"data: \n\n", b""),
        (b'data: data:{"a": 1}\n\n', b'{"a": 1}'),
        (b"data: [DONE]", b"[DONE]"),
        (b"pinged", b"pinged"),
        (b"[1]", b"[1]"),
        (b"database", b"database"),
        (ERROR_EVENT, ERROR_EVENT),
        (ERROR_EVENT + b"ping", ERROR_EVENT + b"ping"),
    ],
)
def test_data_that_do_not_begin_like_json_are_what_the_server_meant(data: bytes, meant: bytes) -> None:
    assert meant_by(data) == meant


def test_field_name_that_is_repeated_without_end_is_read_in_linear_time() -> None:
    assert meant_by(b"data: " * 1_000_000 + b"x") == b"x"


@pytest.mark.parametrize("body", [b"data: a", b"\r\nevent: a", b": a", b"id:1", b"retry:1"])
def test_body_is_an_event_stream_by_its_first_line(body: bytes) -> None:
    assert holds_events(body)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>", b"Internal Server Error"])
def test_body_is_no_event_stream(body: bytes) -> None:
    assert not holds_events(body)
