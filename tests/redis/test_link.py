"""The link answers each call with its own reply, ends calls in time, and connects again by the client's own URL."""

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from gateway.errors import Overloaded, StoreAway
from gateway.redis.connections import queue_client
from gateway.redis.link import Link, PackedCall
from gateway.redis.scripts import LuaScript
from gateway.redis.silence import AWAY_SECONDS, SilenceLimit
from tests.redis.scripted import ScriptedServer, scripted_server
from tests.redis.servers import open_server
from tests.support.certificates import make_certificate


def script_of(source: str) -> LuaScript:
    return LuaScript("test", source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


ECHO = PackedCall(script_of("return ARGV[1]"), (), (), arguments=1)
PATIENT = 20.0


@asynccontextmanager
async def link_to(url: str, seconds: float = PATIENT) -> AsyncIterator[Link]:
    client = queue_client(url)
    try:
        yield Link(client, SilenceLimit(seconds))
    finally:
        await client.aclose()


@asynccontextmanager
async def linked(answer: Any, seconds: float = PATIENT) -> AsyncIterator[tuple[ScriptedServer, Link]]:
    async with (
        scripted_server(answer) as server,
        link_to(f"redis://127.0.0.1:{server.port}", seconds) as link,
    ):
        yield server, link


def echo(command: list[bytes], _: int) -> bytes:
    """Answer a script with its first argument, and all else with OK."""
    if command[0] not in (b"EVALSHA", b"EVAL"):
        return b"+OK\r\n"
    return b"$%d\r\n%s\r\n" % (len(command[3]), command[3])


async def test_five_thousand_calls_at_once_get_their_own_replies() -> None:
    async with linked(echo) as (server, link):
        await link.run(ECHO, (b"first",))
        replies = await asyncio.gather(*(link.run(ECHO, (b"%d" % number,)) for number in range(5_000)))
        assert replies == [b"%d" % number for number in range(5_000)]
        assert server.connections == 1


async def test_replies_that_arrive_byte_by_byte_are_read() -> None:
    async with linked(echo) as (server, link):
        server.piece = 1
        assert await asyncio.gather(*(link.run(ECHO, (bytes([65 + n]) * 9,)) for n in range(20))) == [
            bytes([65 + n]) * 9 for n in range(20)
        ]


async def test_reply_to_a_cancelled_call_goes_to_no_other_call() -> None:
    async with linked(echo) as (_, link):
        await link.run(ECHO, (b"first",))
        tasks = [asyncio.create_task(link.run(ECHO, (b"%d" % number,))) for number in range(100)]
        await asyncio.sleep(0)  # all have been sent
        for task in tasks[::3]:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        for number, reply in enumerate(replies):
            if number % 3:
                assert reply == b"%d" % number
            else:
                assert isinstance(reply, asyncio.CancelledError)


async def test_calls_are_made_again_when_the_connection_ends_before_their_replies() -> None:
    async with linked(echo) as (server, link):
        await link.run(ECHO, (b"first",))
        server.closes_after = 5  # half of the calls below have no reply then
        replies = await asyncio.gather(*(link.run(ECHO, (b"%d" % number,)) for number in range(4)))
        assert replies == [b"0", b"1", b"2", b"3"]


async def test_half_a_reply_fails_its_call_and_the_next_call_has_a_new_connection() -> None:
    def answer(command: list[bytes], connection: int) -> bytes:
        return b"$9\r\nhal" if connection == 1 and command[0] == b"EVALSHA" else echo(command, connection)

    async with linked(answer) as (server, link):
        server.closes_after = 1
        with pytest.raises(StoreAway):
            await link.run(ECHO, (b"whole",))
        server.closes_after = None
        link.silence.clock = lambda: time.monotonic() + AWAY_SECONDS
        assert await link.run(ECHO, (b"whole",)) == b"whole"


async def test_server_that_answers_nothing_fails_its_calls_in_time_and_is_left_alone_for_a_while() -> None:
    silent = False

    def answer(command: list[bytes], connection: int) -> bytes:
        return b"" if silent else echo(command, connection)

    async with linked(answer, 0.1) as (server, link):
        await link.run(ECHO, (b"first",))
        silent = True
        begun = time.monotonic()
        replies = await asyncio.gather(*(link.run(ECHO, (b"x",)) for _ in range(50)), return_exceptions=True)
        assert {type(reply) for reply in replies} == {StoreAway}
        assert time.monotonic() - begun < 2
        assert link.silence.is_away
        sent = len(server.commands)
        with pytest.raises(StoreAway):
            await link.run(ECHO, (b"x",))
        assert len(server.commands) == sent
        silent = False
        link.silence.clock = lambda: time.monotonic() + AWAY_SECONDS
        assert await link.run(ECHO, (b"y",)) == b"y"


async def test_time_in_which_the_loop_was_too_busy_to_read_is_no_silence() -> None:
    async with open_server() as server, link_to(server.url, 0.05) as link:
        link.silence.seconds = PATIENT
        await link.run(ECHO, (b"first",))
        link.silence.seconds = 0.05
        calls = [asyncio.create_task(link.run(ECHO, (b"%d" % number,))) for number in range(100)]
        for _ in range(4):
            await asyncio.sleep(0)
            time.sleep(0.06)  # noqa: ASYNC251 - a busy process
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(100)]


REFUSALS = {
    "-LOADING Redis is loading the dataset in memory": (StoreAway, "LOADING"),
    "-BUSY Redis is busy running a script": (StoreAway, "BUSY"),
    "-MOVED 866 127.0.0.1:7001": (StoreAway, "MOVED"),
    "-MASTERDOWN Link with MASTER is down": (StoreAway, "MASTERDOWN"),
    "-READONLY You can't write against a read only replica.": (StoreAway, "READONLY"),
    "-OOM command not allowed when used memory > 'maxmemory'.": (Overloaded, None),
    "-ERR value is not an integer or out of range": (RedisError, None),
}


@pytest.mark.parametrize(("refusal", "expected"), REFUSALS.items())
async def test_refusal_is_raised_as_by_the_other_client(refusal: str, expected: tuple[Any, str | None]) -> None:
    def answer(command: list[bytes], _: int) -> bytes:
        return f"{refusal}\r\n".encode() if command[0] == b"EVALSHA" else b"+OK\r\n"

    async with linked(answer) as (_, link):
        with pytest.raises(expected[0]) as raised:
            await link.run(ECHO, (b"x",))
        assert getattr(raised.value, "refusal", None) == expected[1]


async def test_server_that_has_become_a_replica_is_left_for_a_new_connection() -> None:
    def answer(command: list[bytes], connection: int) -> bytes:
        is_demoted = demoted and connection == 1 and command[0] == b"EVALSHA"
        return (
            b"-READONLY You can't write against a read only replica.\r\n" if is_demoted else echo(command, connection)
        )

    demoted = False
    async with linked(answer) as (server, link):
        assert await link.run(ECHO, (b"first",)) == b"first"
        demoted = True
        assert await asyncio.gather(*(link.run(ECHO, (b"%d" % n,)) for n in range(9))) == [b"%d" % n for n in range(9)]
        assert server.connections == 2


async def test_bytes_of_another_protocol_end_the_connection() -> None:
    def answer(command: list[bytes], connection: int) -> bytes:
        return b"HTTP/1.1 400 Bad Request\r\n\r\n" if command[0] == b"EVALSHA" else echo(command, connection)

    async with linked(answer) as (_, link):
        with pytest.raises(StoreAway) as raised:
            await link.run(ECHO, (b"x",))
        assert raised.value.reason == "the answer is not in the protocol of Redis"


async def test_reply_to_no_call_ends_the_connection() -> None:
    async with linked(lambda command, number: echo(command, number) * 2) as (server, link):
        await link.run(ECHO, (b"x",))
        for _ in range(20):
            await asyncio.sleep(0.01)
            if link._wire is None:
                break
        assert link._wire is None
        assert server.connections == 1


async def test_script_that_the_server_does_not_know_is_loaded() -> None:
    script = PackedCall(script_of("return KEYS[1] .. ARGV[1] .. ARGV[2]"), ("ab",), ("c",), arguments=1)
    async with open_server() as server, link_to(server.url) as link:
        assert await asyncio.gather(*(link.run(script, ("d",)) for _ in range(5))) == [b"abcd"] * 5


async def test_scripts_are_loaded_before_the_first_call_where_that_is_allowed() -> None:
    def answer(command: list[bytes], number: int) -> bytes:
        return b"-NOPERM no permissions to run 'script|load'\r\n" if command[0] == b"SCRIPT" else echo(command, number)

    async with linked(answer) as (server, link):
        link._scripts = (ECHO.script,)
        assert await link.run(ECHO, (b"first",)) == b"first"
        names = [command[0] for command in server.commands]
        assert names.index(b"SCRIPT") < names.index(b"EVALSHA")


async def test_restarted_server_is_connected_to_again() -> None:
    async with open_server() as server, link_to(server.url) as link:
        assert await link.run(ECHO, (b"1",)) == b"1"
        await server.kill()
        with pytest.raises(StoreAway) as raised:
            await link.run(ECHO, (b"2",))
        assert raised.value.refusal is None
        await server.start()
        link.silence.clock = lambda: time.monotonic() + AWAY_SECONDS
        assert await link.run(ECHO, (b"3",)) == b"3"


async def test_password_and_database_are_those_of_the_url() -> None:
    def answer(command: list[bytes], connection: int) -> bytes:
        is_wrong = command[0] == b"AUTH" and command[1:] != [b"ann", b"secret"]
        return b"-WRONGPASS invalid username-password pair\r\n" if is_wrong else echo(command, connection)

    async with scripted_server(answer) as server:
        async with link_to(f"redis://ann:secret@127.0.0.1:{server.port}/3") as link:
            assert await link.run(ECHO, (b"x",)) == b"x"
        assert [command[0] for command in server.commands] == [b"AUTH", b"SELECT", b"EVALSHA"]
        assert server.commands[1] == [b"SELECT", b"3"]
        async with link_to(f"redis://ann:wrong@127.0.0.1:{server.port}") as link:
            with pytest.raises(StoreAway) as raised:
                await link.run(ECHO, (b"x",))
            assert raised.value.refusal == "WRONGPASS"
        assert server.connections == 2


async def test_calls_that_wait_for_a_connection_share_one_attempt() -> None:
    attempts = []

    def answer(command: list[bytes], connection: int) -> bytes:
        attempts.append(connection)
        return b"-WRONGPASS invalid username-password pair\r\n"

    async with scripted_server(answer) as server, link_to(f"redis://:x@127.0.0.1:{server.port}") as link:
        replies = await asyncio.gather(*(link.run(ECHO, (b"x",)) for _ in range(100)), return_exceptions=True)
        assert {type(reply) for reply in replies} == {StoreAway}
        assert server.connections == 1


async def test_tls_is_that_of_the_url(tmp_path: Path) -> None:
    chain, key = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    async with scripted_server(echo, context) as server:
        server.piece = 3
        async with link_to(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={chain}") as link:
            assert await link.run(ECHO, (b"sealed",)) == b"sealed"


class Kept:
    """A receiver that keeps its reply."""

    def __init__(self) -> None:
        self.reply: Any = None

    def done(self) -> bool:
        return self.reply is not None

    def set_result(self, result: Any, /) -> None:
        self.reply = result

    def set_exception(self, exception: BaseException, /) -> None:
        self.reply = exception


async def test_commands_sent_without_waiting_are_answered_when_drained() -> None:
    async with linked(echo) as (_, link):
        kept = [Kept() for _ in range(3)]
        assert not link.send(kept[0], ECHO, (b"0",))  # there is no connection yet
        await link.run(ECHO, (b"first",))
        for number, one in enumerate(kept):
            assert link.send(one, ECHO, (b"%d" % number,))
        await link.drain()
        assert [one.reply for one in kept] == [b"0", b"1", b"2"]


async def test_link_that_was_opened_before_takes_the_first_call_at_once() -> None:
    async with linked(echo) as (_, link):
        await link.open()
        one = Kept()
        assert link.send(one, ECHO, (b"0",))
        await link.drain()
        assert one.reply == b"0"


async def test_commands_sent_without_waiting_fail_when_the_connection_ends() -> None:
    async with linked(echo) as (server, link):
        await link.run(ECHO, (b"first",))
        server.closes_after = 2
        kept = [Kept() for _ in range(3)]
        for one in kept:
            link.send(one, ECHO, (b"x",))
        await link.drain()
        assert kept[0].reply == b"x"
        assert {type(one.reply).__name__ for one in kept[1:]} == {"ConnectionError"}
