"""Early ends of calls of every UpstreamClient: broken connections, timeouts, aborts, cancellation, slow readers.

The same suite for each implementation, over real sockets, much of it over TLS as well. At every ending, the error is a
GatewayError of the promised kind, names neither host nor port, and the upstream sees the connection close at once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.errors import AnswerCut, GatewayError, UpstreamTimedOut, UpstreamUnreachable
from gateway.upstream.http.client import Answer, Call, Timeouts, UpstreamClient
from tests.upstream.conftest import MakeClient, Play
from tests.upstream.raw_upstream import SOON, Peer, Script, answering, trusting

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"5\r\nhello\r\n"

AMPLE = Timeouts(connect=20, first_byte=20, idle=20, total=20)
"""A call that waits for these has hung."""

BRIEF = 0.03
LOOK_UP = 0.5  # of a name, in a thread that other work may hold up


def post(url: str, timeouts: Timeouts = AMPLE, body: bytes = b"{}") -> Call:
    return Call("POST", url, body=body, timeouts=timeouts)


@asynccontextmanager
async def failing(url: str, kind: type[GatewayError]) -> AsyncIterator[None]:
    """Expects exactly this kind of error, with a message that names no host."""
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind
    host, port = url.split("/")[2].split(":")
    assert host not in caught.value.message
    assert port not in caught.value.message


class Watched:
    """A script that notes when the client has left."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._left = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        with suppress(ConnectionError):  # the client left while the script was sending
            await self._script(peer)
            await peer.gone()
        self._left.set()

    async def client_left(self) -> None:
        async with asyncio.timeout(SOON):
            await self._left.wait()


def sending(*pieces: bytes) -> Script:
    """Reads a request, sends these pieces, and no more."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send_in_pieces(*pieces)

    return script


async def ignore(peer: Peer) -> None:
    """Neither reads nor sends."""


# Broken connections.

WHOLE_ANSWERS = {
    "Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("whole", WHOLE_ANSWERS.values(), ids=WHOLE_ANSWERS)
async def test_an_answer_cut_short_at_any_byte_is_an_upstream_error(
    make_client: MakeClient, play: Play, whole: bytes
) -> None:
    client = make_client()
    cuts = iter(range(1, len(whole)))
    upstream = await play(lambda peer: sending(whole[: next(cuts)])(peer))
    for _ in range(1, len(whole)):
        async with failing(upstream.url, AnswerCut):
            answer = await client.open(post(upstream.url))
            await answer.read(100)
    assert next(cuts, None) is None


async def test_bytes_before_the_break_are_delivered_before_the_error(client: UpstreamClient, play: Play) -> None:
    pieces: list[bytes] = []
    upstream = await play(sending(CHUNKED + CHUNK, CHUNK + b"5\r\nhe"))
    answer = await client.open(post(upstream.url))
    async with failing(upstream.url, AnswerCut):
        await answer.pump(pieces.append)
    assert b"".join(pieces) == b"hellohellohe"


async def test_a_reset_in_the_middle_of_an_answer_is_an_upstream_error(client: UpstreamClient, play: Play) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send_in_pieces(CHUNKED + CHUNK)
        peer.reset()

    upstream = await play(script)
    answer = await client.open(post(upstream.url))
    async with failing(upstream.url, AnswerCut):
        await answer.read(100)


@pytest.mark.parametrize("break_off", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_a_fresh_connection_broken_before_any_byte_is_unreachable_and_not_tried_again(
    client: UpstreamClient, play: Play, break_off: Callable[[Peer], None]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        break_off(peer)

    upstream = await play(script)
    for method in ("POST", "GET"):
        async with failing(upstream.url, UpstreamUnreachable):
            await client.open(Call(method, upstream.url, timeouts=AMPLE))
    assert upstream.connections == 2


def answering_once_a_connection(requests: list[bytes], break_off: Callable[[Peer], None]) -> Script:
    """An upstream that answers the first request of a connection, and reads a second one only to break off."""

    async def script(peer: Peer) -> None:
        for answer in (OK, None):
            request = await peer.request()
            if request is None:
                return
            requests.append(request)
            if answer is not None:
                await peer.send(answer)
        break_off(peer)

    return script


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("break_off", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_a_post_that_the_upstream_may_have_read_is_not_sent_again(
    make_client: MakeClient, play: Play, break_off: Callable[[Peer], None], tls: bool
) -> None:
    requests: list[bytes] = []
    client = make_client(ssl_context=trusting())
    upstream = await play(answering_once_a_connection(requests, break_off), tls=tls)
    assert await (await client.open(post(upstream.url))).read(10) == b"ok"
    async with failing(upstream.url, UpstreamUnreachable):
        await client.open(post(upstream.url))
    assert len(requests) == 2


@pytest.mark.parametrize("break_off", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_a_get_is_sent_again_once_where_a_kept_connection_breaks(
    client: UpstreamClient, play: Play, break_off: Callable[[Peer], None]
) -> None:
    requests: list[bytes] = []
    upstream = await play(answering_once_a_connection(requests, break_off))
    for _ in range(2):
        answer = await client.open(Call("GET", upstream.url, timeouts=AMPLE))
        assert await answer.read(10) == b"ok"
    assert len(requests) == 3


async def test_the_fresh_connection_after_a_stale_one_is_the_last_try(client: UpstreamClient, play: Play) -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            requests.append(request)
            if len(requests) > 1:
                return
            await peer.send(OK)

    upstream = await play(script)
    answer = await client.open(Call("GET", upstream.url, timeouts=AMPLE))
    await answer.read(10)
    async with failing(upstream.url, UpstreamUnreachable):
        await client.open(Call("GET", upstream.url, timeouts=AMPLE))
    assert len(requests) == 3


async def test_a_kept_connection_that_breaks_in_the_middle_of_a_header_is_not_tried_again(
    client: UpstreamClient, play: Play
) -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        for answer in (OK, b"HTTP/1.1 200 OK\r\nContent-Le"):
            request = await peer.request()
            assert request is not None
            requests.append(request)
            await peer.send(answer)

    upstream = await play(script)
    answer = await client.open(post(upstream.url))
    await answer.read(10)
    async with failing(upstream.url, AnswerCut):
        await client.open(post(upstream.url))
    assert len(requests) == 2


async def test_closed_port_is_unreachable(client: UpstreamClient, play: Play) -> None:
    upstream = await play(ignore)
    upstream.stop()
    async with failing(upstream.url, UpstreamUnreachable):
        await client.open(post(upstream.url))


@pytest.mark.parametrize("after", [Peer.close, lambda peer: None], ids=["and closes", "and stays"])
async def test_an_answer_that_comes_before_the_request_is_read_is_taken(
    client: UpstreamClient, play: Play, after: Callable[[Peer], None]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.some()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        after(peer)
        await finished.wait()

    finished = asyncio.Event()
    upstream = await play(script)
    answer = await client.open(post(upstream.url, body=b"x" * 20_000_000))
    assert answer.status == 413
    assert await answer.read(10) == b"large"
    finished.set()


# Timeouts.


async def test_a_connection_that_is_not_made_in_time_has_timed_out(make_client: MakeClient, play: Play) -> None:
    client = make_client(ssl_context=trusting())
    script = Watched(ignore)
    upstream = await play(script)
    url = upstream.url.replace("http://127.0.0.1", "https://localhost")  # it never says hello
    async with failing(url, UpstreamTimedOut):
        await client.open(post(url, Timeouts(connect=LOOK_UP)))
    await script.client_left()


SILENCES: dict[str, tuple[Script, Timeouts]] = {
    "no byte of an answer": (sending(), Timeouts(first_byte=BRIEF)),
    "half a header": (sending(b"HTTP/1.1 200 OK\r\nX-"), Timeouts(first_byte=BRIEF)),
    "hints but no answer": (sending(b"HTTP/1.1 103 Hints\r\n\r\n"), Timeouts(first_byte=BRIEF)),
    "a header but no body": (sending(CHUNKED), Timeouts(idle=BRIEF)),
    "half a body": (sending(CHUNKED + CHUNK), Timeouts(idle=BRIEF)),
    "a body without an end": (sending(CHUNKED, CHUNK, b"0\r\n"), Timeouts(idle=BRIEF)),
    "no answer within the total": (sending(), Timeouts(first_byte=None, total=BRIEF)),
    "no end within the total": (sending(CHUNKED + CHUNK), Timeouts(idle=None, total=BRIEF)),
}


@pytest.mark.parametrize("reader", ["read", "pump"])
@pytest.mark.parametrize(("silence", "timeouts"), SILENCES.values(), ids=SILENCES)
async def test_silence_has_timed_out_and_its_connection_is_closed(
    client: UpstreamClient, play: Play, silence: Script, timeouts: Timeouts, reader: str
) -> None:
    script = Watched(silence)
    upstream = await play(script)
    async with failing(upstream.url, UpstreamTimedOut):
        answer = await client.open(post(upstream.url, timeouts))
        await (answer.read(100) if reader == "read" else answer.pump(lambda piece: None))
    await script.client_left()


async def test_the_total_ends_an_answer_that_keeps_coming(client: UpstreamClient, play: Play) -> None:
    more = asyncio.Semaphore(1)

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while await more.acquire():
            await peer.send(CHUNK)

    upstream = await play(endless)
    answer = await client.open(post(upstream.url, Timeouts(total=0.5)))
    async with failing(upstream.url, UpstreamTimedOut):
        await answer.pump(lambda piece: more.release())


async def test_without_timeouts_an_answer_may_take_its_time(client: UpstreamClient, play: Play) -> None:
    upstream = await play(answering(OK))
    answer = await client.open(post(upstream.url, Timeouts(first_byte=None, idle=None, total=None)))
    assert await answer.read(10) == b"ok"


@pytest.mark.parametrize("timeouts", [Timeouts(total=BRIEF), Timeouts(first_byte=BRIEF)], ids=["total", "first byte"])
async def test_a_request_that_the_upstream_does_not_take_times_out(
    client: UpstreamClient, play: Play, timeouts: Timeouts
) -> None:
    upstream = await play(stuck)
    async with failing(upstream.url, UpstreamTimedOut):
        await client.open(post(upstream.url, timeouts, body=b"x" * 20_000_000))


async def stuck(peer: Peer) -> None:
    await asyncio.Event().wait()


# Giving up: abort and cancellation, in every window.


async def settle() -> None:
    """Let both ends handle what is on its way: they share this loop."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("reader", ["nobody", "read", "pump", "paused pump"])
async def test_abort_closes_the_connection_and_ends_the_reader(
    make_client: MakeClient, play: Play, reader: str, tls: bool
) -> None:
    client = make_client(ssl_context=trusting())
    script = Watched(sending(CHUNKED, CHUNK))
    upstream = await play(script, tls=tls)
    answer = await client.open(post(upstream.url))
    reading = asyncio.create_task(consume(answer, reader))
    await settle()
    answer.abort()
    answer.abort()
    await script.client_left()
    if reader == "nobody":
        await reading
        reading = asyncio.create_task(consume(answer, "read"))
    async with failing(upstream.url, AnswerCut):
        await reading


async def consume(answer: Answer, reader: str) -> None:
    def receive(piece: bytes) -> None:
        if reader == "paused pump":
            answer.pause()

    if reader == "read":
        await answer.read(100)
    elif reader != "nobody":
        await answer.pump(receive)


async def test_abort_after_the_end_changes_nothing(client: UpstreamClient, play: Play) -> None:
    upstream = await play(answering(OK, OK))
    answer = await client.open(post(upstream.url))
    assert await answer.read(10) == b"ok"
    answer.abort()
    answer.pause()
    answer.resume()
    following = await client.open(post(upstream.url))
    answer.abort()
    assert await following.read(10) == b"ok"
    assert upstream.connections == 1


async def test_abort_out_of_receive_ends_the_pump(client: UpstreamClient, play: Play) -> None:
    script = Watched(sending(CHUNKED, CHUNK, CHUNK, CHUNK))
    upstream = await play(script)
    answer = await client.open(post(upstream.url))
    pieces: list[bytes] = []

    def receive(piece: bytes) -> None:
        pieces.append(piece)
        answer.abort()

    async with failing(upstream.url, AnswerCut):
        await answer.pump(receive)
    assert len(pieces) == 1
    await script.client_left()


class Refused(Exception):
    pass


@pytest.mark.parametrize("pieces", [[CHUNKED + CHUNK], [CHUNKED, CHUNK, CHUNK]], ids=["held", "as it comes"])
async def test_error_of_the_receiver_is_raised_by_the_pump(
    client: UpstreamClient, play: Play, pieces: list[bytes]
) -> None:
    script = Watched(sending(*pieces))
    upstream = await play(script)
    answer = await client.open(post(upstream.url))

    def receive(piece: bytes) -> None:
        raise Refused

    with pytest.raises(Refused):
        await answer.pump(receive)
    await script.client_left()


async def test_an_answer_is_read_once(client: UpstreamClient, play: Play) -> None:
    upstream = await play(answering(OK))
    answer = await client.open(post(upstream.url))
    await answer.read(10)
    with pytest.raises(RuntimeError):
        await answer.read(10)


async def call_and(client: UpstreamClient, url: str, reader: str) -> None:
    await consume(await client.open(post(url, body=b"x" * 3_000_000)), reader)


WINDOWS: dict[str, tuple[Script, str]] = {
    "while the request is sent": (ignore, "read"),
    "before the first byte": (sending(), "read"),
    "in the middle of the header": (sending(b"HTTP/1.1 200 OK\r\nX-"), "read"),
    "after the header": (sending(CHUNKED), "read"),
    "in the middle of a body being read": (sending(CHUNKED, CHUNK), "read"),
    "in the middle of a body being pumped": (sending(CHUNKED, CHUNK), "pump"),
    "while the pump is paused": (sending(CHUNKED, CHUNK), "paused pump"),
    "before the very last byte": (sending(CHUNKED, CHUNK, b"0\r\n\r"), "pump"),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(("window", "reader"), WINDOWS.values(), ids=WINDOWS)
async def test_cancelling_a_call_closes_its_connection_in_every_window(
    make_client: MakeClient, play: Play, window: Script, reader: str, tls: bool
) -> None:
    client = make_client(ssl_context=trusting())
    there = asyncio.Event()

    async def noted(peer: Peer) -> None:
        await window(peer)
        there.set()

    script = Watched(noted)
    upstream = await play(script, tls=tls)
    call = asyncio.create_task(call_and(client, upstream.url, reader))
    await there.wait()
    await settle()
    await cancel(call)
    await script.client_left()


async def cancel(call: asyncio.Task[None]) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_cancelling_a_call_that_connects_closes_its_connection(make_client: MakeClient, play: Play) -> None:
    client = make_client(ssl_context=trusting())
    there = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.some()
        there.set()

    script = Watched(silent)
    upstream = await play(script)
    url = upstream.url.replace("http://127.0.0.1", "https://localhost")
    call = asyncio.create_task(call_and(client, url, "read"))
    await there.wait()
    await cancel(call)
    await script.client_left()


@pytest.mark.parametrize("steps", range(12))
async def test_cancelling_as_the_answer_arrives_neither_leaks_nor_breaks_the_next_call(
    make_client: MakeClient, play: Play, steps: int
) -> None:
    client = make_client(max_connections=1, pool_wait=20.0)
    upstream = await play(answering(*[OK] * 10))
    for _ in range(3):
        call = asyncio.create_task(call_and(client, upstream.url, "read"))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    answer = await client.open(post(upstream.url))
    assert await answer.read(10) == b"ok"


# Slow readers.

PIECE = b"%x\r\n" % 65536 + b"p" * 65536 + b"\r\n"
PIECES = 256  # 16 MiB: more than the kernel's buffers and the client's bound together
BOUND = 1024 * 1024


class Flood:
    """A script that sends 16 MiB, and notes how far it comes before the client stops taking."""

    def __init__(self) -> None:
        self.stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        sent = await peer.send_until_stuck(PIECE, PIECES)
        self.stopped.set_result(sent)
        for _ in range(sent + 1, PIECES):
            await peer.send(PIECE)
        await peer.send(b"0\r\n\r\n")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_paused_answer_stops_the_upstream_and_goes_on_where_it_was(
    make_client: MakeClient, play: Play, tls: bool
) -> None:
    client = make_client(ssl_context=trusting())
    flood = Flood()
    upstream = await play(flood, tls=tls)
    answer = await client.open(post(upstream.url))
    received = 0

    def receive(piece: bytes) -> None:
        nonlocal received
        received += len(piece)
        if not flood.stopped.done():
            answer.pause()

    pumping = asyncio.create_task(answer.pump(receive))
    assert await flood.stopped < PIECES
    assert received < BOUND  # a busy machine fills the sockets before the first piece is read
    answer.resume()
    await pumping
    assert received == PIECES * 65536


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_unread_answer_is_held_within_a_bound(make_client: MakeClient, play: Play, tls: bool) -> None:
    client = make_client(ssl_context=trusting())
    flood = Flood()
    upstream = await play(flood, tls=tls)
    answer = await client.open(post(upstream.url))
    assert await flood.stopped < PIECES
    pieces: list[int] = []
    await answer.pump(lambda piece: pieces.append(len(piece)))
    assert max(pieces) < BOUND
    assert sum(pieces) == PIECES * 65536


async def test_the_idle_timeout_rests_while_the_reader_pauses(client: UpstreamClient, play: Play) -> None:
    upstream = await play(Watched(sending(CHUNKED, CHUNK)))
    answer = await client.open(post(upstream.url, Timeouts(idle=BRIEF)))
    other = await client.open(post(upstream.url, Timeouts(idle=BRIEF * 2)))
    pumping = asyncio.create_task(answer.pump(lambda piece: answer.pause()))
    async with failing(upstream.url, UpstreamTimedOut):
        await other.pump(lambda piece: None)
    assert not pumping.done()
    answer.resume()
    async with failing(upstream.url, UpstreamTimedOut):
        await pumping


async def test_the_total_goes_on_while_the_reader_pauses(client: UpstreamClient, play: Play) -> None:
    script = Watched(sending(CHUNKED, CHUNK))
    upstream = await play(script)
    answer = await client.open(post(upstream.url, Timeouts(total=0.5)))  # the header takes a part of it
    async with failing(upstream.url, UpstreamTimedOut):
        await answer.pump(lambda piece: answer.pause())
    await script.client_left()
