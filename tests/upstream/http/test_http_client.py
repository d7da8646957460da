"""Promises of the fast transport beyond the interface: strictness, pooling, and a call's cost for the loop.

The second half runs connections on a fake socket with a clock set by hand.
"""

import asyncio
import gc
import random
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from gateway.errors import AnswerCut, GatewayError, Unavailable, UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from gateway.upstream.http.answer import SocketAnswer
from gateway.upstream.http.client import Call, Timeouts
from gateway.upstream.http.connection import UpstreamConnection
from gateway.upstream.http.deadline import Watchdog
from gateway.upstream.http.dialer import Address, Dialer
from gateway.upstream.http.http1 import AnswerParser, HttpOrigin, to_target
from gateway.upstream.http.http_client import Transport
from gateway.upstream.http.pool import Pool, PoolLimits
from tests.upstream.conftest import Play
from tests.upstream.fake_socket import Line, ManualLoop, NoKeeper
from tests.upstream.raw_upstream import SOON, Peer, answering

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"5\r\nhello\r\n"
AMPLE = Timeouts(connect=20, first_byte=20, idle=20, total=20)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport()
    yield made
    await made.close()


def post(url: str, body: bytes = b"{}") -> Call:
    return Call("POST", url, body=body, timeouts=AMPLE)


async def fetch(transport: Transport, url: str) -> bytes:
    answer = await transport.open(post(url))
    return await answer.read(10_000_000)


# Strictness.

MALFORMED = {
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "an interim answer with a body": b"HTTP/1.1 150 OK\r\nContent-Length: 2\r\n\r\nok" + OK,
    "a chunk extension without end": CHUNKED + b"5;" + b"x" * 70_000,
    "trailers without end": CHUNKED + CHUNK + b"0\r\n" + b"X-Trailer: 0123456789\r\n" * 5_000,
    "an interim answer cut off": b"HTTP/1.1 103 Hints\r\n\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
async def test_syntax_that_others_forgive_is_an_upstream_error(transport: Transport, play: Play, answer: bytes) -> None:
    upstream = await play(answering(answer))
    with pytest.raises(UpstreamError) as caught:
        await fetch(transport, upstream.url)
    assert type(caught.value) in (UpstreamError, AnswerCut)


async def test_a_header_may_have_any_number_of_lines_within_its_size(transport: Transport, play: Play) -> None:
    upstream = await play(answering(OK.replace(b"\r\n\r\n", b"\r\n" + b"X-A: b\r\n" * 2_000 + b"\r\n")))
    answer = await transport.open(post(upstream.url))
    assert answer.headers["x-a"].count("b") == 2_000
    assert await answer.read(2) == b"ok"


async def test_a_reset_is_no_end_of_a_body_without_length(transport: Transport, play: Play) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send_in_pieces(b"HTTP/1.1 200 OK\r\n\r\nhello")
        peer.reset()

    upstream = await play(script)
    answer = await transport.open(post(upstream.url))
    with pytest.raises(UpstreamError):
        await answer.read(100)


async def test_bytes_before_a_broken_chunk_are_delivered_before_the_error(transport: Transport, play: Play) -> None:
    pieces: list[bytes] = []
    upstream = await play(answering(CHUNKED + CHUNK + CHUNK + b"no chunk size\r\n"))
    answer = await transport.open(post(upstream.url))
    with pytest.raises(UpstreamError):
        await answer.pump(pieces.append)
    assert b"".join(pieces) == b"hellohello"


async def test_a_host_that_names_cannot_spell_is_unreachable(transport: Transport) -> None:
    with pytest.raises(UpstreamUnreachable):
        await transport.open(post(f"http://{'a' * 64}.invalid/"))


# Pooling.


@pytest.mark.parametrize("rest", [b"garbage", b"0\r\n\r\n", OK[:-1]], ids=["garbage", "a chunk", "half an answer"])
async def test_bytes_behind_an_answer_do_not_spoil_it_but_end_its_connection(
    transport: Transport, play: Play, rest: bytes
) -> None:
    upstream = await play(answering(OK + rest, OK))
    assert [await fetch(transport, upstream.url) for _ in range(2)] == [b"ok", b"ok"]
    assert upstream.connections == 2


async def test_bytes_on_an_idle_connection_close_it(transport: Transport, play: Play) -> None:
    speak, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await speak.wait()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()
        left.set()

    upstream = await play(script)
    await fetch(transport, upstream.url)
    speak.set()
    async with asyncio.timeout(SOON):
        await left.wait()
    assert await fetch(transport, upstream.url) == b"ok"
    assert upstream.connections == 2


async def test_a_connection_is_free_as_soon_as_its_answer_has_arrived_read_or_not(play: Play) -> None:
    transport = Transport(max_connections=1)
    upstream = await play(answering(OK, OK))
    unread = await transport.open(post(upstream.url))
    assert await fetch(transport, upstream.url) == b"ok"
    assert await unread.read(10) == b"ok"
    assert upstream.connections == 1
    await transport.close()


async def test_after_a_stale_connection_at_the_limit_another_used_one_is_no_substitute(play: Play) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()  # and closes: every connection is stale after its first answer

    async def get() -> bytes:
        answer = await transport.open(Call("GET", upstream.url, timeouts=AMPLE))
        return await answer.read(10)

    transport = Transport(max_connections=1)
    upstream = await play(script)
    await get()
    assert await asyncio.gather(*(get() for _ in range(2))) == [b"ok"] * 2
    await transport.close()


async def test_idle_connections_that_the_upstream_closes_give_up_their_places(play: Play) -> None:
    transport = Transport(max_connections=1, pool_wait=0.02)
    upstream = await play(answering(OK))
    for _ in range(3):
        assert await fetch(transport, upstream.url) == b"ok"
        for _ in range(10):
            await asyncio.sleep(0)
    await transport.close()


async def test_an_idle_connection_that_is_closing_is_not_leased(play: Play) -> None:
    upstream = await play(Peer.gone)
    pool = Pool(Dialer(to_target(upstream.url).origin, None), PoolLimits(connections=1, wait=0.02, idle=20))
    line = Line()
    await pool.lease(20, float("inf"))
    pool.release(line.connection)
    line.socket.closing = True
    assert await pool.lease(20, float("inf")) is not line.connection
    await pool.close()


async def test_a_connection_that_closes_while_it_is_handed_over_is_not_leased(play: Play) -> None:
    upstream = await play(Peer.gone)
    pool = Pool(Dialer(to_target(upstream.url).origin, None), PoolLimits(connections=1, wait=20, idle=20))
    line = Line()
    await pool.lease(20, float("inf"))
    waiting = asyncio.create_task(pool.lease(20, float("inf")))
    await asyncio.sleep(0)
    pool.release(line.connection)
    line.socket.closing = True
    assert await waiting is not line.connection
    await pool.close()


async def test_closing_refuses_those_in_line_and_closes_what_is_being_connected(play: Play) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()
        left.set()

    upstream = await play(script)
    may_look_up, left = asyncio.Event(), asyncio.Event()

    async def look_up(host: str, port: int) -> list[Address]:
        await may_look_up.wait()
        return [address_of(upstream.url)]

    pool = Pool(
        Dialer(HttpOrigin("http", "upstream.test", 80), None, look_up), PoolLimits(connections=1, wait=20, idle=20)
    )
    connecting, in_line = (asyncio.create_task(pool.lease(20, float("inf"))) for _ in range(2))
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(Unavailable):
        await in_line
    may_look_up.set()
    with pytest.raises(Unavailable):
        await connecting
    async with asyncio.timeout(SOON):
        await left.wait()


async def test_a_fresh_connection_takes_the_place_of_an_idle_one(play: Play) -> None:
    upstream = await play(Peer.gone)
    pool = Pool(Dialer(to_target(upstream.url).origin, None), PoolLimits(connections=1, wait=20, idle=20))
    idle = await pool.lease(20, float("inf"))
    pool.release(idle)
    fresh = await pool.lease(20, float("inf"), fresh=True)
    assert fresh is not idle
    assert idle.closed
    pool.release(fresh)
    assert await pool.lease(20, float("inf")) is fresh
    await pool.close()


async def test_after_a_storm_of_cancelled_and_broken_calls_every_place_is_free(play: Play) -> None:
    chance = random.Random(7)

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send_in_pieces(CHUNKED, CHUNK)
            if chance.random() < 0.2:
                return
            await peer.send(b"0\r\n\r\n")

    async def call() -> None:
        answer = await transport.open(post(upstream.url))
        if chance.random() < 0.2:
            answer.abort()
        await answer.read(100)

    transport = Transport(max_connections=5, pool_wait=20)
    upstream = await play(script)
    for _ in range(20):
        calls = [asyncio.create_task(call()) for _ in range(15)]
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        for one in chance.sample(calls, 5):
            one.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(result is None or isinstance(result, GatewayError | asyncio.CancelledError) for result in results)
    stalled = [await transport.open(post(upstream.url)) for _ in range(5)]
    assert len(stalled) == 5
    await transport.close()


# Making connections.


async def test_connections_made_at_the_same_time_share_one_lookup_of_the_name(play: Play) -> None:
    upstream = await play(answering(OK))
    lookups: list[tuple[str, int]] = []

    async def look_up(host: str, port: int) -> list[Address]:
        lookups.append((host, port))
        await asyncio.sleep(0)
        return [address_of(upstream.url)]

    dialer = Dialer(HttpOrigin("http", "upstream.test", 80), None, look_up)
    made = await asyncio.gather(*(dialer.dial(lambda: Line().connection, 20, float("inf")) for _ in range(10)))
    made.append(await dialer.dial(lambda: Line().connection, 20, float("inf")))
    assert lookups == [("upstream.test", 80)]
    for connection in made:
        connection.abort()


async def test_a_cancelled_lookup_is_taken_over_by_a_waiting_call(play: Play) -> None:
    upstream = await play(answering(OK))
    begun = 0

    async def look_up(host: str, port: int) -> list[Address]:
        nonlocal begun
        begun += 1
        await (asyncio.sleep(0) if begun > 1 else asyncio.Event().wait())
        return [address_of(upstream.url)]

    dialer = Dialer(HttpOrigin("http", "upstream.test", 80), None, look_up)
    first, second = (asyncio.create_task(dialer.dial(lambda: Line().connection, 20, float("inf"))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    (await second).abort()
    assert first.cancelled()


async def test_an_address_that_refuses_gives_way_to_the_next(play: Play) -> None:
    dead, live = await play(answering()), await play(answering(OK))
    dead.stop()

    async def look_up(host: str, port: int) -> list[Address]:
        return [address_of(dead.url), address_of(live.url)]

    dialer = Dialer(HttpOrigin("http", "upstream.test", 80), None, look_up)
    connection = await dialer.dial(lambda: Line().connection, 20, float("inf"))
    assert (dead.connections, connection.closed) == (0, False)
    connection.abort()


async def test_a_connection_that_the_upstream_closes_at_once_is_unreachable(play: Play) -> None:
    class Closing(UpstreamConnection):
        closed = True  # type: ignore[assignment]

    upstream = await play(Peer.gone)
    dialer = Dialer(to_target(upstream.url).origin, None)
    made = Closing(asyncio.get_running_loop(), NoKeeper(), 20)
    with pytest.raises(UpstreamUnreachable):
        await dialer.dial(lambda: made, 20, float("inf"))
    made.abort()


def address_of(url: str) -> Address:
    origin = to_target(url).origin
    return socket.AF_INET, socket.SOCK_STREAM, 0, "", (origin.host, origin.port)


# What a call costs the loop.


async def test_receive_is_called_within_the_read_callback_once_for_all_that_was_read(
    transport: Transport, play: Play
) -> None:
    pieces: list[tuple[bytes, bool]] = []
    upstream = await play(burst)
    answer = await transport.open(post(upstream.url))
    await answer.pump(lambda piece: pieces.append((piece, asyncio.current_task() is None)))
    assert pieces == [(b"hello" * 100, True)]


async def burst(peer: Peer) -> None:
    await peer.request()
    await peer.send_in_pieces(CHUNKED, CHUNK * 100 + b"0\r\n\r\n")


def objects_of_calls() -> int:
    return sum(isinstance(one, SocketAnswer | AnswerParser | Call) for one in gc.get_objects())


@pytest.mark.parametrize(
    "answer",
    [CHUNKED + CHUNK + b"0\r\n\r\n", b"no HTTP", CHUNKED + b"no chunk", CHUNKED + CHUNK],
    ids=["answered", "not HTTP", "broken", "cut short"],
)
async def test_calls_leave_nothing_to_the_garbage_collector(transport: Transport, play: Play, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    async def call_and_forget() -> None:
        with suppress(UpstreamError):
            await fetch(transport, upstream.url)

    upstream = await play(script)
    for _ in range(10):
        await call_and_forget()
    gc.collect()
    before = objects_of_calls()  # other tests may have left some
    gc.disable()
    try:
        for _ in range(20):
            await call_and_forget()
        after = objects_of_calls()
    finally:
        gc.enable()
    assert after <= before + 1


# On a fake socket and a fake clock.


async def opened(line: Line, timeouts: Timeouts = AMPLE, head: bytes = CHUNKED) -> "asyncio.Task[None]":
    """Open a call on `line` with a received header, and discard its body."""
    answer = line.call(timeouts)
    opening = asyncio.create_task(answer.opened())
    await asyncio.sleep(0)
    line.connection.data_received(head)
    await opening
    pumping = asyncio.create_task(answer.pump(lambda _piece: None))
    await asyncio.sleep(0)
    return pumping


async def test_the_idle_timeout_restarts_with_every_piece() -> None:
    line = Line()
    pumping = await opened(line, Timeouts(idle=10))
    for _ in range(20):
        line.loop.advance(9)
        line.connection.data_received(CHUNK)
    assert not line.socket.closing
    line.loop.advance(10)
    assert line.socket.closing
    with pytest.raises(UpstreamTimedOut, match="silent for 10 s"):
        await pumping


async def test_first_byte_counts_from_the_request_to_the_whole_header() -> None:
    line = Line()
    opening = asyncio.create_task(line.call(Timeouts(first_byte=10)).opened())
    await asyncio.sleep(0)
    for byte in CHUNKED[:9]:
        line.loop.advance(1)
        line.connection.data_received(bytes([byte]))
    assert not line.socket.closing
    line.loop.advance(1)
    with pytest.raises(UpstreamTimedOut, match="no answer within 10 s"):
        await opening


async def test_a_stream_of_chunks_sets_hardly_any_timers() -> None:
    line = Line()
    await opened(line, Timeouts(idle=60))
    before = line.loop.set_timers
    for _ in range(1000):
        line.loop.advance(0.1)
        line.connection.data_received(CHUNK)
    assert line.loop.set_timers - before <= 2
    assert len(line.loop.pending()) == 1


async def test_calls_one_after_another_share_one_timer() -> None:
    line = Line(max_idle=30)
    for _ in range(100):
        answer = line.call(AMPLE)
        opening = asyncio.create_task(answer.opened())
        await asyncio.sleep(0)
        line.connection.data_received(OK)
        await opening
    assert line.loop.set_timers <= 2
    line.loop.advance(31)
    assert line.socket.closing
    assert not line.loop.pending()


async def test_the_first_byte_is_awaited_from_the_end_of_a_long_upload() -> None:
    line = Line()
    line.socket.unsent = 5_000_000
    opening = asyncio.create_task(line.call(Timeouts(first_byte=10)).opened())
    line.connection.pause_writing()
    await asyncio.sleep(0)
    for _ in range(4):
        line.loop.advance(9)
        line.socket.unsent -= 1_000_000
    line.connection.resume_writing()
    line.loop.advance(9)
    assert not line.socket.closing
    line.loop.advance(1)
    with pytest.raises(UpstreamTimedOut):
        await opening


async def test_an_upload_that_stands_still_times_out() -> None:
    line = Line()
    line.socket.unsent = 5_000_000
    opening = asyncio.create_task(line.call(Timeouts(first_byte=10)).opened())
    line.connection.pause_writing()
    await asyncio.sleep(0)
    line.loop.advance(10)
    with pytest.raises(UpstreamTimedOut):
        await opening


async def test_an_answer_ahead_of_its_request_ends_the_connection() -> None:
    line = Line()
    line.socket.unsent = 1
    opening = asyncio.create_task(line.call().opened())
    await asyncio.sleep(0)
    line.connection.data_received(OK)
    await opening
    assert line.socket.closing
    assert line.keeper.released == 1


@pytest.mark.parametrize(("size", "writes"), [(10, 1), (64 * 1024, 1), (1_500_000, 2)])
async def test_a_small_request_is_one_write_and_a_large_body_is_not_copied(size: int, writes: int) -> None:
    line = Line()
    line.call(body=b"x" * size)
    assert len(line.socket.writes) == writes
    assert b"".join(line.socket.writes) == b"HEAD " + b"x" * size


async def test_unread_data_pauses_the_socket_above_256_kib_until_somebody_does() -> None:
    line = Line()
    answer = line.call()
    opening = asyncio.create_task(answer.opened())
    await asyncio.sleep(0)
    line.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 256 * 1024)
    assert line.socket.reading
    line.connection.data_received(b"a")
    assert not line.socket.reading
    line.loop.advance(1000)
    await opening
    sizes: list[int] = []
    pumping = asyncio.create_task(answer.pump(lambda piece: sizes.append(len(piece))))
    await asyncio.sleep(0)
    assert line.socket.reading
    line.connection.eof_received()
    await pumping
    assert sizes == [256 * 1024 + 1]


async def test_error_of_the_receiver_does_not_reach_the_loop() -> None:
    line = Line()
    answer = line.call()
    opening = asyncio.create_task(answer.opened())
    await asyncio.sleep(0)
    line.connection.data_received(CHUNKED)
    await opening

    def receive(piece: bytes) -> None:
        raise LookupError(piece)

    pumping = asyncio.create_task(answer.pump(receive))
    await asyncio.sleep(0)
    line.connection.data_received(CHUNK)
    assert line.socket.closing
    with pytest.raises(LookupError):
        await pumping


async def test_a_pause_at_the_end_of_an_answer_does_not_stop_the_next() -> None:
    line = Line()
    answer = line.call()
    opening = asyncio.create_task(answer.opened())
    await asyncio.sleep(0)
    line.connection.data_received(CHUNKED)
    await opening
    answer.pause()
    assert not line.socket.reading
    line.connection.data_received(CHUNK + b"0\r\n\r\n")  # was on its way into the loop
    assert line.socket.reading
    answer.pause()
    assert line.socket.reading
    assert await answer.read(10) == b"hello"


async def test_a_lost_connection_leaves_no_timer() -> None:
    idle = Line()
    opening = asyncio.create_task(idle.call().opened())
    await asyncio.sleep(0)
    idle.connection.data_received(OK)
    await opening
    assert idle.loop.pending()
    idle.connection.connection_lost(None)
    assert not idle.loop.pending()
    line = Line()
    pumping = await opened(line)
    line.connection.connection_lost(None)
    assert not line.loop.pending()
    assert (line.keeper.released, line.keeper.forgotten) == (1, 1)
    with pytest.raises(UpstreamError):
        await pumping


async def test_a_watchdog_wakes_at_its_deadline_wherever_that_moved() -> None:
    loop = ManualLoop()
    woken: list[float] = []
    watchdog = Watchdog(loop, lambda: woken.append(loop.now))  # type: ignore[arg-type]
    start = loop.now
    watchdog.watch(start + 10)
    watchdog.watch(start + 20)
    loop.advance(15)
    watchdog.watch(start + 17)
    loop.advance(100)
    watchdog.watch(start + 200)
    watchdog.watch(float("inf"))
    loop.advance(200)
    watchdog.watch(start + 400)
    watchdog.stop()
    loop.advance(200)
    assert woken == [start + 17]


@pytest.mark.parametrize("flushed", [False, True])
async def test_only_a_request_that_was_flushed_counts_as_written(flushed: bool) -> None:
    line = Line()
    line.keeper.posts = True
    opening = asyncio.create_task(line.call().opened())
    await asyncio.sleep(0)
    if flushed:
        line.connection.flush()
    line.connection.connection_lost(None)
    line.connection.flush()
    with pytest.raises(UpstreamUnreachable):
        await opening
    assert line.connection.written is flushed


async def test_a_request_that_is_given_up_before_it_is_flushed_is_not_written() -> None:
    line = Line()
    line.keeper.posts = True
    answer = line.call(AMPLE)
    answer.abort()
    line.connection.flush()
    assert line.socket.writes == []


async def test_an_answer_to_what_was_not_yet_written_ends_its_connection() -> None:
    line = Line()
    line.keeper.posts = True
    opening = asyncio.create_task(line.call(AMPLE).opened())
    await asyncio.sleep(0)
    line.connection.data_received(OK)
    await opening
    line.connection.flush()
    assert line.socket.closing
    assert line.socket.writes == []


async def test_a_request_that_is_alone_is_written_at_once_and_others_in_the_next_turn(play: Play) -> None:
    upstream = await play(Peer.gone)
    pool = Pool(Dialer(to_target(upstream.url).origin, None), PoolLimits(connections=3, wait=20, idle=20))
    lines = [Line() for _ in range(3)]
    for line in lines:
        line.keeper.posts = True
        line.call(AMPLE)
    await pool.lease(20, float("inf"))
    pool.post(lines[0].connection)
    assert lines[0].socket.writes
    await pool.lease(20, float("inf"))
    pool.post(lines[1].connection)
    pool.post(lines[2].connection)
    assert not lines[1].socket.writes
    await asyncio.sleep(0)
    assert lines[1].socket.writes
    assert lines[2].socket.writes
    await pool.close()
