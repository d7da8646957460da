"""Contract of every UpstreamClient for requests and answers, over real sockets: one suite for all implementations.

How calls end early (timeouts, aborts, cancellation, broken connections) is in test_client_endings.
"""

import asyncio
import gzip
import zlib

import pytest

from gateway.errors import InternalError, Misconfigured, Overloaded, Unavailable, UpstreamError, UpstreamUnreachable
from gateway.upstream.http.client import Call, UpstreamClient
from tests.support.descriptors import no_descriptors_left
from tests.upstream.conftest import MakeClient, Play
from tests.upstream.raw_upstream import SOON, Peer, answering, trusting

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(url: str, body: bytes = b"{}", **options: object) -> Call:
    return Call("POST", url, [("Content-Type", "application/json")], body, **options)  # type: ignore[arg-type]


async def fetch(client: UpstreamClient, call: Call, limit: int = 10_000_000) -> bytes:
    answer = await client.open(call)
    return await answer.read(limit)


async def pumped(client: UpstreamClient, call: Call) -> list[bytes]:
    pieces: list[bytes] = []
    answer = await client.open(call)
    await answer.pump(pieces.append)
    return pieces


# Answers, in every framing.

FRAMINGS = {
    "a body with Content-Length": (OK, 200, b"ok"),
    "an empty body with Content-Length 0": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "an error status with a body": (b"HTTP/1.1 429 Slow Down\r\nContent-Length: 2\r\n\r\n{}", 429, b"{}"),
    "no reason phrase": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "a chunked body": (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
    "an empty chunked body": (CHUNKED + b"0\r\n\r\n", 200, b""),
    "chunk sizes in capitals and with zeros in front": (
        CHUNKED + b"00A\r\n0123456789\r\n0\r\n\r\n",
        200,
        b"0123456789",
    ),
    "chunk extensions": (CHUNKED + b'3;name=value\r\nabc\r\n1;q="x"\r\nd\r\n0;last\r\n\r\n', 200, b"abcd"),
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n", 200, b"abc"),
    "a body that ends with the connection": (b"HTTP/1.1 200 OK\r\n\r\nto the end", 200, b"to the end"),
    "HTTP/1.0, ends with the connection": (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
    "204 has no body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "304 has no body, whatever length it states": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
    "100 Continue comes before": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
    "103 Early Hints come before, twice": (b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" * 2 + OK, 200, b"ok"),
    "an Upgrade offer that nobody takes": (OK.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n"), 200, b"ok"),
}


@pytest.mark.parametrize(("answer", "status", "body"), FRAMINGS.values(), ids=FRAMINGS)
async def test_each_framing_is_read_whole_and_pumped(
    client: UpstreamClient, play: Play, answer: bytes, status: int, body: bytes
) -> None:
    upstream = await play(answering(answer))
    opened = await client.open(post(upstream.url))
    assert opened.status == status
    assert await opened.read(1000) == body
    another = await play(answering(answer))  # the first closes its connection, and a POST is not sent on it again
    assert b"".join(await pumped(client, post(another.url))) == body


async def test_the_answer_to_head_has_no_body_at_any_stated_length(client: UpstreamClient, play: Play) -> None:
    upstream = await play(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", OK))
    answer = await client.open(Call("HEAD", upstream.url))
    assert (answer.status, answer.headers["content-length"]) == (200, "1000")
    assert await answer.read(10) == b""
    assert await fetch(client, post(upstream.url)) == b"ok"


async def test_header_names_are_lower_case_values_trimmed_and_repeated_ones_joined(
    client: UpstreamClient, play: Play
) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Request-ID:  r1 \t\r\nVary: a\r\nX-Empty:\r\nvary:b\r\nContent-Length:2\r\n\r\nok"
    upstream = await play(answering(head))
    answer = await client.open(post(upstream.url))
    assert answer.headers == {"x-request-id": "r1", "vary": "a, b", "x-empty": "", "content-length": "2"}
    assert await answer.read(2) == b"ok"


async def test_headers_of_interim_answers_and_trailers_are_not_headers_of_the_answer(
    client: UpstreamClient, play: Play
) -> None:
    hints = b"HTTP/1.1 103 Hints\r\nX-Hint: 1\r\n\r\n"
    upstream = await play(answering(hints + CHUNKED + b"1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n"))
    answer = await client.open(post(upstream.url))
    assert await answer.read(10) == b"a"
    assert answer.headers == {"transfer-encoding": "chunked"}


CUT_ANSWERS = {
    "Content-Length": b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": CHUNKED + b"3;x\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: 1\r\n\r\n",
    "after 100 Continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("whole", CUT_ANSWERS.values(), ids=CUT_ANSWERS)
async def test_an_answer_cut_at_any_byte_is_the_same_answer(client: UpstreamClient, play: Play, whole: bytes) -> None:
    async def script(peer: Peer) -> None:
        for cut in range(1, len(whole)):
            await peer.request()
            await peer.send_in_pieces(whole[:cut], whole[cut:])

    upstream = await play(script)
    for cut in range(1, len(whole)):
        assert await fetch(client, post(upstream.url)) == b"hello", f"cut at {cut}"
    assert upstream.connections == 1


async def test_an_answer_that_comes_byte_by_byte_is_the_same_answer(client: UpstreamClient, play: Play) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send_in_pieces(*(bytes([byte]) for byte in CUT_ANSWERS["chunked"]))

    upstream = await play(script)
    assert b"".join(await pumped(client, post(upstream.url))) == b"hello"


async def test_large_bodies_arrive_whole_in_both_directions(client: UpstreamClient, play: Play) -> None:
    sent, answered = b"s" * 1_500_000 + b"!", b"a" * 3_000_000 + b"!"
    received: list[bytes | None] = []

    async def script(peer: Peer) -> None:
        received.append(await peer.request())
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answered) + answered)

    upstream = await play(script)
    assert await fetch(client, post(upstream.url, sent)) == answered
    assert received[0] is not None
    assert received[0].endswith(b"\r\n\r\n" + sent)


async def test_a_piece_reaches_the_reader_before_the_next_one_is_sent(client: UpstreamClient, play: Play) -> None:
    seen: list[bytes] = []
    wanted = asyncio.Semaphore(0)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for number in range(5):
            await peer.send(b"7\r\ndata: %d\r\n" % number)
            await wanted.acquire()
        await peer.send(b"0\r\n\r\n")

    def receive(piece: bytes) -> None:
        seen.append(piece)
        wanted.release()

    upstream = await play(script)
    answer = await client.open(post(upstream.url))
    await answer.pump(receive)
    assert seen == [b"data: %d" % number for number in range(5)]


# What is no answer.

MALFORMED = {
    "no HTTP at all": b"220 smtp.example.net ESMTP\r\n",
    "the start of HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80",
    "a status without digits": b"HTTP/1.1 abc OK\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "an empty length": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
    "a length beyond 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "both a length and chunks": CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n")
    + b"2\r\nok\r\n0\r\n\r\n",
    "a chunk size that is no number": CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"fffffffffffffffffff\r\nabc",
    "a chunk longer than its size": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "an unknown transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
async def test_answer_that_is_not_http_is_an_upstream_error_and_its_connection_closed(
    client: UpstreamClient, play: Play, answer: bytes
) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()
        left.set()

    upstream = await play(script)
    with pytest.raises(UpstreamError):
        await fetch(client, post(upstream.url))
    async with asyncio.timeout(SOON):
        await left.wait()


OVERSIZED_HEADERS = {
    "one line too long": [b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n"],
    "lines too many": [b"HTTP/1.1 200 OK\r\n" + b"X-Y: 0123456789\r\n" * 5_000 + b"Content-Length: 0\r\n\r\n"],
    "a line without end": [b"HTTP/1.1 200 OK\r\nX: "] + [b"a" * 8_000] * 40,
    "lines without end": [b"HTTP/1.1 200 OK\r\n"] + [b"X-Y: 0123456789\r\n" * 500] * 40,
    "a reason without end": [b"HTTP/1.1 200 "] + [b"a" * 8_000] * 40,
}


@pytest.mark.parametrize("pieces", OVERSIZED_HEADERS.values(), ids=OVERSIZED_HEADERS)
async def test_a_header_over_64_kib_is_refused(client: UpstreamClient, play: Play, pieces: list[bytes]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send_in_pieces(*pieces)
        await peer.gone()

    upstream = await play(script)
    with pytest.raises(UpstreamError):
        await client.open(post(upstream.url))


async def test_a_header_just_below_the_limit_is_taken(client: UpstreamClient, play: Play) -> None:
    long = b"a" * 65_000
    upstream = await play(answering(b"HTTP/1.1 200 OK\r\nX-Long: " + long + b"\r\nContent-Length: 2\r\n\r\nok"))
    answer = await client.open(post(upstream.url))
    assert answer.headers["x-long"] == long.decode()
    assert await answer.read(2) == b"ok"


# How much is read, and how it is coded.


@pytest.mark.parametrize(
    "answer",
    [OK, CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nok"],
    ids=["with a length", "in chunks", "to the end of the connection"],
)
async def test_read_takes_a_body_of_its_limit_and_refuses_one_byte_more(
    client: UpstreamClient, play: Play, answer: bytes
) -> None:
    upstream = await play(answering(answer))
    assert await fetch(client, post(upstream.url), limit=2) == b"ok"
    another = await play(answering(answer))
    with pytest.raises(UpstreamError, match="larger than 1 bytes"):
        await fetch(client, post(another.url), limit=1)


async def test_read_refuses_a_declared_length_over_its_limit_before_the_body_comes(
    client: UpstreamClient, play: Play
) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        await peer.gone()
        left.set()

    upstream = await play(script)
    with pytest.raises(UpstreamError, match="larger than 1000 bytes"):
        await fetch(client, post(upstream.url), limit=1000)
    async with asyncio.timeout(SOON):
        await left.wait()


def coded(coding: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (coding, len(body), body)


async def test_a_body_in_unrequested_gzip_is_read_plain(client: UpstreamClient, play: Play) -> None:
    plain = b'{"choices": []}' * 1000
    upstream = await play(answering(coded(b"GZIP", gzip.compress(plain))))
    assert await fetch(client, post(upstream.url)) == plain


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(b"hello ") + gzip.compress(b"world")),
        (b"deflate", zlib.compress(b"hello world")),
        (b"identity", b"hello world"),
    ],
    ids=["gzip in members", "deflate", "none"],
)
async def test_a_body_in_another_known_coding_is_read_plain(
    client: UpstreamClient, play: Play, coding: bytes, body: bytes
) -> None:
    upstream = await play(answering(coded(coding, body)))
    assert await fetch(client, post(upstream.url)) == b"hello world"


async def test_an_empty_body_needs_no_coding(client: UpstreamClient, play: Play) -> None:
    upstream = await play(answering(coded(b"br", b"")))
    assert await fetch(client, post(upstream.url)) == b""


BAD_CODINGS = {
    "gzip that grows beyond the limit": coded(b"gzip", gzip.compress(b"0" * 10_000_001)),
    "gzip cut short": coded(b"gzip", gzip.compress(b"hello world")[:-4]),
    "gzip that is none": coded(b"gzip", b"hello"),
    "bytes after gzip": coded(b"gzip", gzip.compress(b"hello") + b"more"),
    "an unknown coding": coded(b"br", b"hello"),
    "two codings": coded(b"gzip, gzip", gzip.compress(gzip.compress(b"hello"))),
}


@pytest.mark.parametrize("answer", BAD_CODINGS.values(), ids=BAD_CODINGS)
async def test_a_body_in_any_other_coding_is_refused(client: UpstreamClient, play: Play, answer: bytes) -> None:
    upstream = await play(answering(answer))
    with pytest.raises(UpstreamError):
        await fetch(client, post(upstream.url), limit=10_000_000)


async def test_a_stream_in_unrequested_gzip_is_pumped_plain(client: UpstreamClient, play: Play) -> None:
    plain = b"".join(b"data: %d\n\n" % number for number in range(1000))
    packed = gzip.compress(plain)
    halves = (packed[: len(packed) // 2], packed[len(packed) // 2 :])
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(half), half) for half in halves)
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    upstream = await play(answering(head + chunks + b"0\r\n\r\n"))
    assert b"".join(await pumped(client, post(upstream.url))) == plain


@pytest.mark.parametrize("case", ["gzip that grows beyond the limit", "gzip that is none", "an unknown coding"])
async def test_a_stream_that_cannot_be_decoded_is_refused(client: UpstreamClient, play: Play, case: str) -> None:
    answer = coded(b"gzip", gzip.compress(b"0" * 20_000_000)) if "grows" in case else BAD_CODINGS[case]
    upstream = await play(answering(answer))
    with pytest.raises(UpstreamError):
        await pumped(client, post(upstream.url))


# Requests.


async def test_a_request_is_framed_by_the_client_and_carries_the_callers_headers_in_order(
    client: UpstreamClient, play: Play
) -> None:
    requests: list[bytes | None] = []

    async def script(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(OK)

    upstream = await play(script)
    headers = [("Authorization", "Bearer k"), ("X-Title", "café"), ("X-Title", "b")]
    await fetch(client, Call("POST", upstream.url + "?a=b%20c&d", headers, b'{"a":1}'))
    assert requests[0] is not None
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    host = upstream.url.split("/")[2].encode()
    assert body == b'{"a":1}'
    assert lines[0] == b"POST /v1/chat?a=b%20c&d HTTP/1.1"
    assert sorted(line for line in lines[1:] if not line.startswith((b"Authorization", b"X-Title"))) == [
        b"Accept-Encoding: identity",
        b"Content-Length: 7",
        b"Host: " + host,
    ]
    assert [line for line in lines if line.startswith((b"Authorization", b"X-Title"))] in (
        [b"Authorization: Bearer k", "X-Title: café".encode("latin-1"), b"X-Title: b"],
        [b"Authorization: Bearer k", "X-Title: café".encode(), b"X-Title: b"],  # aiohttp writes UTF-8
    )


async def test_a_get_has_no_body_and_states_no_length(client: UpstreamClient, play: Play) -> None:
    requests: list[bytes | None] = []

    async def script(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(OK)

    upstream = await play(script)
    assert await fetch(client, Call("GET", upstream.url)) == b"ok"
    assert requests[0] is not None
    assert requests[0].startswith(b"GET /v1/chat HTTP/1.1\r\n")
    assert b"content-length" not in requests[0].lower()


BAD_REQUESTS = {
    "a line break in a value": (("X-A", "a\r\nX-Evil: 1"), Misconfigured),
    "a bare line feed in a value": (("X-A", "a\nb"), Misconfigured),
    "a NUL in a value": (("X-A", "a\x00"), Misconfigured),
    "a character beyond Latin-1": (("X-A", "日本"), Misconfigured),
    "a line break in a name": (("X-A\r\nX-Evil", "1"), Misconfigured),
    "a colon in a name": (("X-A:", "1"), Misconfigured),
    "an empty name": (("", "1"), Misconfigured),
    "a Host of the caller's": (("Host", "evil.example"), InternalError),
    "a length of the caller's": (("content-LENGTH", "0"), InternalError),
    "a transfer coding of the caller's": (("Transfer-Encoding", "chunked"), InternalError),
}


@pytest.mark.parametrize(("header", "error"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_headers_that_would_break_the_framing_are_refused_unsent(
    client: UpstreamClient, play: Play, header: tuple[str, str], error: type[Exception]
) -> None:
    upstream = await play(answering(OK))
    with pytest.raises(error):
        await client.open(Call("POST", upstream.url, [header]))
    assert upstream.connections == 0


BAD_URLS = {
    "nothing": "",
    "no scheme": "/v1/chat",
    "another scheme": "ftp://127.0.0.1/",
    "no host": "http://",
    "a port that is no number": "http://127.0.0.1:x/",
    "credentials": "http://a:b@127.0.0.1/",
    "a space in the path": "http://127.0.0.1/a b",
    "a line break": "http://127.0.0.1/\r\nX-Evil: 1",
    "a fragment": "http://127.0.0.1/#x",
    "an unescaped letter": "http://127.0.0.1/é",
    "a space in the host": "http://ex ample/",
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS)
async def test_a_url_that_is_not_plain_http_is_refused(client: UpstreamClient, url: str) -> None:
    with pytest.raises(Misconfigured):
        await client.open(Call("POST", url))


# Connections, and how many.


async def test_answers_read_to_their_end_share_one_connection(client: UpstreamClient, play: Play) -> None:
    upstream = await play(answering(OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n", OK, OK))
    assert [await fetch(client, post(upstream.url)) for _ in range(4)] == [b"ok", b"ok", b"", b"ok"]
    assert await pumped(client, post(upstream.url)) == [b"ok"]
    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 2),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 1),
        (OK + OK, 2),
    ],
    ids=["Connection: close", "HTTP/1.0", "HTTP/1.0 kept alive", "a second answer behind it"],
)
async def test_a_connection_is_used_again_only_when_its_answer_allows(
    client: UpstreamClient, play: Play, answer: bytes, connections: int
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(answer)

    upstream = await play(script)
    assert [await fetch(client, post(upstream.url)) for _ in range(2)] == [b"ok", b"ok"]
    assert upstream.connections == connections


async def test_an_answer_without_length_is_never_followed_by_another_on_its_connection(
    client: UpstreamClient, play: Play
) -> None:
    upstream = await play(answering(b"HTTP/1.1 200 OK\r\n\r\nok"))
    assert [await fetch(client, post(upstream.url)) for _ in range(3)] == [b"ok"] * 3
    assert upstream.connections == 3


async def test_parallel_calls_have_separate_connections(client: UpstreamClient, play: Play) -> None:
    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            await asyncio.sleep(0)
            body = request.partition(b"\r\n\r\n")[2]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    upstream = await play(script)
    bodies = [b"%d" % number for number in range(20)]
    for _ in range(3):
        assert await asyncio.gather(*(fetch(client, post(upstream.url, body)) for body in bodies)) == bodies
    assert upstream.connections == 20


async def test_a_call_beyond_the_limit_waits_for_a_connection_to_come_back(make_client: MakeClient, play: Play) -> None:
    client = make_client(max_connections=1)
    upstream = await play(answering(OK, OK, OK))
    first = await client.open(post(upstream.url))
    waiting = [asyncio.create_task(fetch(client, post(upstream.url))) for _ in range(2)]
    await first.read(10)
    assert await asyncio.gather(*waiting) == [b"ok", b"ok"]
    assert upstream.connections == 1


async def test_a_call_that_finds_no_free_connection_in_time_is_overloaded(make_client: MakeClient, play: Play) -> None:
    client = make_client(max_connections=2, pool_wait=0.02)
    upstream = await play(stalling)
    held = [await client.open(post(upstream.url)) for _ in range(2)]
    with pytest.raises(Overloaded, match="all 2 connections"):
        await client.open(post(upstream.url))
    held[0].abort()
    assert (await client.open(post(upstream.url))).status == 200


async def test_the_limit_counts_each_origin_by_itself(make_client: MakeClient, play: Play) -> None:
    client = make_client(max_connections=1, pool_wait=0.02)
    one, other = await play(stalling), await play(stalling)
    assert (await client.open(post(one.url))).status == 200
    assert (await client.open(post(other.url))).status == 200


async def stalling(peer: Peer) -> None:
    """Starts an answer and never ends it."""
    await peer.request()
    await peer.send(CHUNKED)
    await peer.gone()


async def test_place_in_the_pool_is_free_after_every_ending_of_a_call(make_client: MakeClient, play: Play) -> None:
    client = make_client(max_connections=1, pool_wait=2.0)
    stalled, broken = await play(stalling), await play(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx"))

    async def give_up() -> None:
        (await client.open(post(stalled.url))).abort()

    async def cancel() -> None:
        answer = await client.open(post(stalled.url))
        reading = asyncio.create_task(answer.read(10))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    async def cancel_in_line() -> None:
        answer = await client.open(post(stalled.url))
        waiting = asyncio.create_task(client.open(post(stalled.url)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        answer.abort()

    async def cancel_as_the_place_becomes_free() -> None:
        answer = await client.open(post(stalled.url))
        waiting = asyncio.create_task(client.open(post(stalled.url)))
        await asyncio.sleep(0)
        answer.abort()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    for end in [give_up, cancel, cancel_in_line, cancel_as_the_place_becomes_free] * 2:
        await end()
    for _ in range(3):
        with pytest.raises(UpstreamError):
            await fetch(client, post(broken.url))
    await give_up()


async def test_an_idle_connection_is_closed_after_its_time(make_client: MakeClient, play: Play) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()
        left.set()

    client = make_client(max_idle=0.02)
    upstream = await play(script)
    await fetch(client, post(upstream.url))
    async with asyncio.timeout(SOON):
        await left.wait()


# Limits of this process.


async def test_a_call_without_descriptors_left_is_overload_of_the_gateway_and_passes(
    client: UpstreamClient, play: Play
) -> None:
    upstream = await play(answering(OK))
    with no_descriptors_left(), pytest.raises(Overloaded, match="descriptors"):
        await client.open(post(upstream.url))
    assert await fetch(client, post(upstream.url)) == b"ok"


# TLS.


async def test_tls_with_a_trusted_certificate_carries_requests_and_streams(make_client: MakeClient, play: Play) -> None:
    client = make_client(ssl_context=trusting())
    upstream = await play(answering(OK, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", OK), tls=True)
    assert await fetch(client, post(upstream.url, b"x" * 1_000_000)) == b"ok"
    assert b"".join(await pumped(client, post(upstream.url))) == b"abc"
    assert await fetch(client, post(upstream.url)) == b"ok"
    assert upstream.connections == 1


async def test_self_signed_certificate_is_not_trusted(client: UpstreamClient, play: Play) -> None:
    upstream = await play(answering(OK), tls=True)
    with pytest.raises(UpstreamUnreachable, match="certificate"):
        await client.open(post(upstream.url))


async def test_a_trusted_certificate_for_another_host_is_refused(make_client: MakeClient, play: Play) -> None:
    client = make_client(ssl_context=trusting())
    upstream = await play(answering(OK), tls=True)
    with pytest.raises(UpstreamUnreachable, match="certificate"):
        await client.open(post(upstream.url.replace("localhost", "127.0.0.1")))


async def test_tls_towards_a_server_that_speaks_none_is_unreachable(make_client: MakeClient, play: Play) -> None:
    client = make_client(ssl_context=trusting())

    async def script(peer: Peer) -> None:
        await peer.some()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    upstream = await play(script)
    with pytest.raises(UpstreamUnreachable):
        await client.open(post(upstream.url.replace("http://127.0.0.1", "https://localhost")))


# The end of the client.


async def test_closing_ends_pending_calls_and_refuses_new_ones(make_client: MakeClient, play: Play) -> None:
    client = make_client(max_connections=1)
    upstream, another = await play(stalling), await play(stalling)
    answer = await client.open(post(upstream.url))
    reading = asyncio.create_task(answer.read(10))
    waiting = asyncio.create_task(client.open(post(upstream.url)))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(UpstreamError):
        await reading
    with pytest.raises(Unavailable):
        await waiting
    for url in (upstream.url, another.url):
        with pytest.raises(Unavailable):
            await client.open(post(url))
    await client.close()
