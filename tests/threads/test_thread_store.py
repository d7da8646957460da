"""One continuation a reply, for all callers and crashes; and no unused key stays."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from gateway.errors import GatewayError, InvalidRequest, NotFound, Overloaded, Unavailable
from gateway.json_values import MAX_VALUES
from gateway.redis import scripts
from gateway.redis.answer_limit import TOLERANCE, AnswerLimit
from gateway.redis.connections import queue_client
from gateway.redis.server import RedisServer
from gateway.threads.store import INLINE_BYTES, Addition, ThreadStore
from tests.batches.faults import TORN, snapshot
from tests.threads.conftest import Bench, addition
from tests.workers.proxy import PIECE, RedisProxy

NOT_FOUND = "thread_not_found"
CONTINUED = "thread_already_continued"
IN_FLIGHT = "thread_continue_in_flight"


async def refused(bench: Bench, message_id: str, tenant: str = "acme") -> str | None:
    """The code with which another front end's continuation is refused."""
    with pytest.raises(GatewayError) as raised:
        await bench.store().claim(tenant, message_id)
    return raised.value.code


async def test_any_front_end_continues_with_all_that_was_kept(bench: Bench) -> None:
    await bench.begin("msg_1")
    claim, held = await bench.store().claim("acme", "msg_1")
    assert (held.fields, held.turns) == ({"system": "s"}, [[{"role": "user", "content": "msg_1"}]])
    assert await bench.store().add(claim, addition("msg_2", stop_reason="pause_turn"))
    _, held = await bench.store().claim("acme", "msg_2")
    assert [turn[0]["content"] for turn in held.turns] == ["msg_1", "msg_2"]
    assert (held.stop_reason, held.size) == ("pause_turn", 100)


@pytest.mark.covers("Threads · a reply is continued once")
async def test_a_reply_is_continued_once(bench: Bench) -> None:
    await bench.begin("msg_1")
    claim, _ = await bench.store().claim("acme", "msg_1")
    assert await refused(bench, "msg_1") == IN_FLIGHT
    await bench.store().add(claim, addition("msg_2"))
    assert await refused(bench, "msg_1") == CONTINUED
    await bench.store().claim("acme", "msg_2")


async def test_of_many_continuations_at_once_one_gets_the_thread(bench: Bench) -> None:
    await bench.begin("msg_1")
    stores = [bench.store() for _ in range(20)]
    results = await asyncio.gather(*(store.claim("acme", "msg_1") for store in stores), return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert {result.code for result in results if isinstance(result, GatewayError)} == {IN_FLIGHT}


async def test_a_turn_that_came_to_nothing_may_be_taken_again(bench: Bench) -> None:
    await bench.begin("msg_1")
    claim, _ = await bench.store().claim("acme", "msg_1")
    await bench.store().release(claim)
    again, _ = await bench.store().claim("acme", "msg_1")
    await bench.store().release(claim)
    assert await refused(bench, "msg_1") == IN_FLIGHT, "what was released before is another's now"
    assert await bench.store().add(again, addition("msg_2"))


async def test_the_claim_of_a_dead_process_falls(bench: Bench) -> None:
    thread = await bench.begin("msg_1")
    late, _ = await bench.store().claim("acme", "msg_1")
    await bench.claim_falls(thread)
    claim, _ = await bench.store().claim("acme", "msg_1")
    assert not await bench.store().add(late, addition("msg_late")), "whoever comes late has lost it"
    await bench.store().renew(late)
    await bench.store().release(late)
    assert await bench.store().add(claim, addition("msg_2"))
    assert await refused(bench, "msg_late") == NOT_FOUND


async def test_a_renewed_claim_stands_and_keeps_the_thread_alive(bench: Bench) -> None:
    thread = await bench.begin("msg_1")
    store = bench.store()
    claim, _ = await store.claim("acme", "msg_1")
    await bench.claim_falls(thread)
    for name in await bench.stored():
        await bench.redis.pexpire(bench.keys.prefix + name, 1000)
    await store.renew(claim)
    assert await refused(bench, "msg_1") == IN_FLIGHT
    assert min((await bench.stored()).values()) > 290_000


async def test_what_is_not_used_for_five_minutes_is_gone(bench: Bench) -> None:
    await bench.begin("msg_1")
    assert all(290_000 < life <= 300_000 for life in (await bench.stored()).values())
    for name in await bench.stored():
        await bench.redis.pexpire(bench.keys.prefix + name, 1000)
    claim, _ = await bench.store().claim("acme", "msg_1")
    assert all(290_000 < life <= 300_000 for life in (await bench.stored()).values()), "its use is a new beginning"
    await bench.store().add(claim, addition("msg_2"))
    assert all(290_000 < life <= 300_000 for life in (await bench.stored()).values())
    await bench.redis.delete(*[bench.keys.prefix + name for name in await bench.stored()])
    assert await refused(bench, "msg_2") == NOT_FOUND
    assert not await bench.store().add(claim, addition("msg_3"))


@pytest.mark.parametrize("gone", ["the thread", "the reply's key"])
async def test_half_of_a_thread_is_none(bench: Bench, gone: str) -> None:
    thread = await bench.begin("msg_1")
    keys = bench.keys
    await bench.redis.delete(keys.thread(thread.thread_id) if gone == "the thread" else keys.thread_of("acme", "msg_1"))
    assert await refused(bench, "msg_1") == NOT_FOUND


@pytest.mark.parametrize("tenant", ["other", "", "acme:msg_1", "ACME", "acme}"])
async def test_another_tenant_finds_nothing(bench: Bench, tenant: str) -> None:
    await bench.begin("msg_1")
    assert await refused(bench, "msg_1", tenant) == NOT_FOUND


@pytest.mark.parametrize("message_id", ["", "msg_1 ", "msg_1}:of", "*", "ä", "m" * 129, "msg_1\x00"])
async def test_no_key_is_named_after_what_is_no_id(message_id: str) -> None:
    away = ThreadStore(RedisServer(queue_client("unix:///nowhere/server.sock")))
    with pytest.raises(NotFound):
        await away.claim("acme", message_id)
    await away.server.redis.aclose()


async def test_an_id_of_no_reply_is_not_found(bench: Bench) -> None:
    await bench.begin("msg_1")
    assert await refused(bench, "msg_2") == NOT_FOUND


async def test_what_a_newer_version_stored_is_not_usable(bench: Bench) -> None:
    thread = await bench.begin("msg_1")
    await bench.redis.hset(bench.keys.thread(thread.thread_id), "v", 99)
    assert await refused(bench, "msg_1") == NOT_FOUND


async def test_what_is_damaged_is_not_usable(bench: Bench) -> None:
    thread = await bench.begin("msg_1")
    await bench.redis.hset(bench.keys.thread(thread.thread_id), "0", b"?nonsense")
    assert await refused(bench, "msg_1") == NOT_FOUND


async def test_what_is_stored_is_compressed_however_long(bench: Bench) -> None:
    words = "the same words again " * 100_000
    assert len(words) > INLINE_BYTES
    store = bench.store()
    claim = await store.create("acme")
    turn = addition("msg_1", words, fields=b"{}")
    await store.add(claim, type(turn)(turn.message_id, "end_turn", turn.messages, len(turn.messages), b"{}"))
    assert await bench.redis.hstrlen(bench.keys.thread(claim.thread_id), "0") < 10_000
    _, held = await store.claim("acme", "msg_1")
    assert held.turns == [[{"role": "user", "content": words}]]


async def test_no_thread_is_created_when_the_store_is_short_of_memory(bench: Bench) -> None:
    now = 0.0
    store = bench.store(memory_share=0.0)
    store.clock = lambda: now
    with pytest.raises(Overloaded):
        await store.create("acme")
    store.policy = bench.store().policy
    with pytest.raises(Overloaded):
        await store.create("acme")  # as was read a moment ago
    now = 1.0
    await store.create("acme")


@dataclass(slots=True)
class Freezing(RedisProxy):
    """Passes replies on while `flows` is set, and holds them otherwise."""

    flows: asyncio.Event = field(default_factory=asyncio.Event)

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            await self.flows.wait()
            writer.write(piece)


async def test_a_store_that_does_not_answer_is_not_waited_for(bench: Bench, thread_server_url: str) -> None:
    await bench.begin("msg_1")
    async with Freezing(thread_server_url) as proxy, asyncio.timeout(5):
        client = queue_client(proxy.url)
        for step in (
            bench.store(client, AnswerLimit(0.05)).create("acme"),
            bench.store(client, AnswerLimit(0.05)).claim("acme", "msg_1"),
        ):
            with pytest.raises(Unavailable):
                await step
        proxy.flows.set()
        claim, _ = await bench.store(client).claim("acme", "msg_1")
        proxy.flows.clear()
        with pytest.raises(Unavailable):
            await bench.store(client, AnswerLimit(0.05)).add(claim, addition("msg_2"))
        proxy.flows.set()
        assert await bench.store(client).add(claim, addition("msg_2")), "what was cut off is safe to repeat"
        await client.aclose()


async def test_while_a_store_is_silent_it_is_not_asked_again(bench: Bench, thread_server_url: str) -> None:
    await bench.begin("msg_1")
    now = 0.0
    async with Freezing(thread_server_url) as proxy:
        client = queue_client(proxy.url)
        store = bench.store(client, AnswerLimit(0.05, lambda: now))
        with pytest.raises(Unavailable):
            await store.claim("acme", "msg_1")
        proxy.flows.set()
        with pytest.raises(Unavailable):
            await store.claim("acme", "msg_1")
        now = TOLERANCE.open_seconds
        await store.claim("acme", "msg_1")
        await client.aclose()


async def test_a_store_that_is_away_is_unavailable(bench: Bench) -> None:
    away = queue_client("unix:///nowhere/server.sock")
    for step in (bench.store(away).create("acme"), bench.store(away).claim("acme", "msg_1")):
        with pytest.raises(Unavailable):
            await step
    await away.aclose()


class Stale(Redis):
    """Its first use of each command fails, as kept connections do when the server was restarted."""

    seen: set[str]

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        if arguments[0] not in self.seen:
            self.seen.add(arguments[0])
            raise RedisConnectionError("Connection closed by server.")
        return await super().execute_command(*arguments, **options)


async def test_kept_connections_that_a_restart_has_broken_go_unnoticed(bench: Bench) -> None:
    await bench.begin("msg_1")
    for step in ("create", "claim"):
        stale = Stale(connection_pool=bench.redis.connection_pool)
        stale.seen = set()
        store = bench.store(stale)
        assert await (store.create("acme") if step == "create" else store.claim("acme", "msg_1"))


class Twice(Redis):
    """Runs every script twice, as when the first reply was lost, and sees that the second run changes nothing."""

    prefix: str
    ran: set[str]

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        if sha == scripts.PROBE.sha:  # not the threads' own
            return await super().evalsha(sha, numkeys, *keys_and_args)
        script = next(one for one in (scripts.THREAD, scripts.THREAD_OF) if one.sha == sha)
        first = await super().eval(script.source, numkeys, *keys_and_args)
        before = await unclocked(self, self.prefix)
        reply = await super().evalsha(sha, numkeys, *keys_and_args)
        assert await unclocked(self, self.prefix) == before
        assert reply == first or keys_and_args[1] == "release"
        self.ran.add(str(keys_and_args[1]))
        return reply


async def unclocked(redis: Redis, prefix: str) -> dict[bytes, Any]:
    """All that is stored, without the claim's end, which a repeated claim moves."""
    found = await snapshot(redis, prefix)
    for content, _ in found.values():
        if isinstance(content, dict):
            content.pop(b"until", None)
    return found


async def test_every_script_may_be_run_again(bench: Bench) -> None:
    twice = Twice(connection_pool=bench.redis.connection_pool)
    twice.prefix, twice.ran = bench.keys.prefix, set()
    store = bench.store(twice)
    await bench.begin("msg_1", store=store)
    claim, _ = await store.claim("acme", "msg_1")
    await store.renew(claim)
    await store.release(claim)
    claim, _ = await store.claim("acme", "msg_1")
    assert await store.add(claim, addition("msg_2"))
    assert twice.ran >= {"claim", "keep", "hold", "release"}


class Torn(Redis):
    """Loses its power after `writes` of the script that keeps a turn."""

    writes: int

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # type: ignore[override]
        if keys_and_args[1] != "keep":
            return await super().evalsha(sha, numkeys, *keys_and_args)
        return await super().eval(TORN % self.writes + scripts.THREAD.source, numkeys, *keys_and_args)


@pytest.mark.parametrize("writes", range(5))
@pytest.mark.parametrize("continued", [False, True])
async def test_a_turn_of_which_a_part_was_written_is_there_or_not(bench: Bench, writes: int, continued: bool) -> None:
    """Check each prefix of the writes that can survive a crash, and the claim with it."""
    torn = Torn(connection_pool=bench.redis.connection_pool)
    torn.writes = writes
    claim = await bench.store().create("acme")
    if continued:
        await bench.begin("msg_1")
        claim, _ = await bench.store().claim("acme", "msg_1")
    try:
        kept = await bench.store(torn).add(claim, addition("msg_2", fields=b"" if continued else b"{}"))
    except ResponseError:
        kept = False
        if continued:
            await bench.claim_falls(claim)
    codes = [await outcome(bench, "msg_1"), await outcome(bench, "msg_2")]
    whole = [CONTINUED if continued else NOT_FOUND, None]
    assert codes == whole or (not kept and codes == [None if continued else NOT_FOUND, NOT_FOUND])


async def outcome(bench: Bench, message_id: str) -> str | None:
    try:
        await bench.store().claim("acme", message_id)
    except GatewayError as error:
        return error.code
    return None


async def test_thread_with_too_many_values_is_unsupported_and_its_claim_released(bench: Bench) -> None:
    store = bench.store()
    claim = await store.create("acme")
    words = orjson.dumps([{"role": "user", "content": [[]] * (MAX_VALUES // 2)}])
    assert await store.add(claim, Addition("msg_1", "end_turn", words, len(words), b"{}"))
    for _ in range(2):  # a claim that stayed would be another error
        with pytest.raises(InvalidRequest, match="too long to be held"):
            await store.claim("acme", "msg_1")
