"""Any cut of a sound answer gives the same answer; any bytes at all give an answer or a GatewayError, never a hang."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError, UpstreamError
from gateway.upstream.http.http1 import AnswerParser, Part
from tests.upstream.fake_socket import Line

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@dataclass(frozen=True)
class Sound:
    """An answer that keeps to the rules, and how it is to be understood."""

    wire: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    to_the_end: bool


def in_chunks(pieces: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0" + extension + b"\r\n" + trailer + b"\r\n"


@st.composite
def sound_answers(draw: st.DrawFn) -> Sound:
    status = draw(st.sampled_from([200, 201, 400, 429, 500, 599]))
    headers = draw(st.dictionaries(TOKENS, VALUES, max_size=4))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    framing = draw(st.sampled_from(["length", "chunks", "end"]))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"]))
    body = b"".join(pieces)
    payload = body
    if framing == "length":
        headers["content-length"] = str(len(body))
    if framing == "chunks":
        headers["transfer-encoding"] = "chunked"
        extension = draw(st.sampled_from([b"", b";a", b';a=b;c="d"']))
        payload = in_chunks(pieces, extension, draw(st.sampled_from([b"", b"X-T: 1\r\n"])))
    lines = "".join(f"{name.title()}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Reason\r\n{lines}\r\n".encode()
    return Sound(interim + head + payload, status, headers, body, framing == "end")


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)


@given(sound_answers(), CUTS)
@settings(max_examples=300)
def test_a_sound_answer_is_parsed_the_same_however_it_is_cut(answer: Sound, cuts: list[int]) -> None:
    parser = AnswerParser("POST")
    body = b"".join(parser.feed(piece) for piece in cut(answer.wire, cuts))
    assert parser.part is (Part.BODY if answer.to_the_end else Part.END)
    parser.finish()
    assert (parser.part, parser.fault) == (Part.END, "")
    assert (parser.status, parser.headers, body) == (answer.status, answer.headers, answer.body)
    assert parser.reusable is not answer.to_the_end


async def converse(pieces: list[bytes], method: str = "POST") -> tuple[int, dict[str, str], bytes, Line]:
    """Feed these reads and the end of the connection to a connection that carries a call; read the answer."""
    line = Line()
    answer = line.call(method=method)
    opening = asyncio.ensure_future(answer.opened())
    await asyncio.sleep(0)
    for piece in pieces:
        line.connection.data_received(piece)
    line.connection.eof_received()
    line.connection.connection_lost(None)
    await opening
    headers, received = dict(answer.headers), list[bytes]()
    await answer.pump(received.append)
    return answer.status, headers, b"".join(received), line


@given(sound_answers(), CUTS)
@settings(max_examples=100)
def test_a_sound_answer_arrives_the_same_in_reads_of_any_size(answer: Sound, cuts: list[int]) -> None:
    status, headers, body, line = asyncio.run(converse(cut(answer.wire, cuts)))
    assert (status, headers, body) == (answer.status, answer.headers, answer.body)
    assert line.keeper.released == 1


@given(sound_answers(), CUTS, st.data())
@settings(max_examples=100)
def test_a_truncated_answer_is_an_upstream_error_in_reads_of_any_size(
    answer: Sound, cuts: list[int], data: st.DataObject
) -> None:
    short = data.draw(st.integers(min_value=0, max_value=len(answer.wire) - 1))
    head_end = answer.wire.index(b"\r\n\r\n", answer.wire.rindex(b"HTTP/1.1 ")) + 4
    if answer.to_the_end and short >= head_end:
        return
    with pytest.raises(UpstreamError):
        asyncio.run(converse(cut(answer.wire[:short], cuts)))


FRAGMENTS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.1 101 X\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Content-Encoding: gzip\r\n",
    b"5\r\nhello\r\n",
    b"hello",
    b"0\r\n\r\n",
    b"5;",
    b"ffffffffffffffff\r\n",
    b"X",
    b":",
    b" ",
    b"\n",
    b"\x00",
]
JUNK = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=30)), max_size=12)


@given(JUNK, st.sampled_from(["POST", "GET", "HEAD"]))
@settings(max_examples=300)
def test_any_bytes_end_the_call_in_an_answer_or_a_gateway_error(pieces: list[bytes], method: str) -> None:
    try:
        status, _, _, line = asyncio.run(converse([piece for piece in pieces if piece], method))
    except GatewayError:
        return
    assert 200 <= status <= 999
    assert line.keeper.released == 1


@given(sound_answers(), CUTS, st.integers(min_value=0), st.binary(min_size=1, max_size=4))
@settings(max_examples=300)
def test_a_sound_answer_with_bytes_changed_ends_in_an_answer_or_a_gateway_error(
    answer: Sound, cuts: list[int], place: int, change: bytes
) -> None:
    place %= len(answer.wire)
    wire = answer.wire[:place] + change + answer.wire[place + len(change) :]
    try:
        asyncio.run(converse(cut(wire, cuts)))
    except GatewayError:
        return
