"""State that a turn leaves behind at each of its ends, and the client's view by then."""

from typing import Any

import pytest

from gateway.context import Context
from gateway.errors import GatewayError, InvalidRequest, Overloaded, Unavailable, UpstreamError
from gateway.exchange.sink import Sink
from gateway.messages.events import MESSAGE_STOP
from gateway.messages.replay import to_events
from gateway.redis.server import RedisServer
from gateway.threads.store import Addition, ThreadClaim, ThreadStore
from gateway.threads.turns import Threads
from tests.threads.conftest import Bench
from tests.threads.test_held_back_end import Written

CONTEXT = Context("req_1", tenant="acme")
USAGE = {
    "input_tokens": 1,
    "output_tokens": 1,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard",
}


def create(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "a"}], "thread": {"type": "create"}, **fields}


def going_on(message_id: str, **fields: Any) -> dict[str, Any]:
    return create(thread={"type": "continue", "previous_message_id": message_id}, **fields)


def message(message_id: str, text: str = "x") -> dict[str, Any]:
    content = [{"type": "text", "text": text, "citations": None}]
    ending = {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None, "container": None}
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        **ending,
        "usage": USAGE,
    }


async def take(threads: Threads, body: dict[str, Any], message_id: str) -> dict[str, Any]:
    """A turn that goes well; what was asked upstream."""
    async with threads.turn(CONTEXT, body, 100) as turn:
        await turn.keep(message(message_id))
        return turn.request


async def code(threads: Threads, body: dict[str, Any], size: int = 100) -> str | None:
    """Return the code of the error with which a turn is refused."""
    with pytest.raises(GatewayError) as raised:
        async with threads.turn(CONTEXT, body, size):
            pass
    return raised.value.code


async def test_a_turn_gives_the_whole_conversation_and_what_it_adds(bench: Bench) -> None:
    threads = Threads(bench.store())
    request = await take(threads, create(system="s"), "msg_1")
    assert request == {"model": "m", "messages": [{"role": "user", "content": "a"}], "system": "s"}
    request = await take(threads, going_on("msg_1"), "msg_2")
    assert request["system"] == "s"
    assert [said["role"] for said in request["messages"]] == ["user", "assistant", "user"]
    async with threads.turn(CONTEXT, going_on("msg_2"), 100) as turn:
        assert [said["role"] for said in turn.request["messages"]] == ["user", "assistant"] * 2 + ["user"]
        assert turn.held_bytes > 100


@pytest.mark.parametrize("ending", ["an error", "no whole reply"])
async def test_a_turn_without_a_reply_leaves_the_thread_as_it_was(bench: Bench, ending: str) -> None:
    threads = Threads(bench.store())
    await take(threads, create(), "msg_1")
    try:
        async with threads.turn(CONTEXT, going_on("msg_1"), 100) as turn:
            if ending == "an error":
                raise UpstreamError("no")
            await turn.keep(None)
    except UpstreamError:
        pass
    await take(threads, going_on("msg_1"), "msg_2")


async def test_a_refused_turn_does_not_hold_the_thread(bench: Bench) -> None:
    threads = Threads(bench.store())
    await take(threads, create(), "msg_1")
    assert await code(threads, going_on("msg_1", system="other")) == "thread_fingerprint_mismatch"
    await take(threads, going_on("msg_1"), "msg_2")


async def test_a_conversation_that_has_become_too_long_is_sent_whole(bench: Bench) -> None:
    threads = Threads(bench.store(max_bytes=1000))
    await take(threads, create(), "msg_1")
    assert await code(threads, going_on("msg_1"), size=950) == "thread_unsupported_request"
    await take(threads, going_on("msg_1"), "msg_2")


async def test_open_turns_are_renewed_and_others_are_not(bench: Bench) -> None:
    threads = Threads(bench.store())
    await take(threads, create(), "msg_1")
    async with threads.turn(CONTEXT, going_on("msg_1"), 100) as turn, threads.turn(CONTEXT, create(), 100):
        await bench.claim_falls(turn.claim)
        await threads.renew()
        assert await code(threads, going_on("msg_1")) == "thread_continue_in_flight"
    for name in await bench.stored():
        await bench.redis.pexpire(bench.keys.prefix + name, 60_000)
    await threads.renew()
    assert max((await bench.stored()).values()) <= 60_000
    await take(threads, going_on("msg_1"), "msg_2")


class Failing(ThreadStore):
    """Does what it should until `error` is set."""

    error: GatewayError | None = None
    asked: int = 0

    async def claim(self, tenant: str, message_id: str) -> Any:
        self._fail()
        return await super().claim(tenant, message_id)

    async def create(self, tenant: str) -> ThreadClaim:
        self._fail()
        return await super().create(tenant)

    async def add(self, claim: ThreadClaim, turn: Addition) -> bool:
        self._fail()
        return await super().add(claim, turn)

    async def release(self, claim: ThreadClaim) -> None:
        self._fail()
        await super().release(claim)

    def _fail(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


AWAY = [pytest.param(Unavailable("away"), id="away"), pytest.param(Overloaded("full"), id="full")]


@pytest.mark.parametrize("error", AWAY)
async def test_without_threads_clients_are_asked_to_send_everything(bench: Bench, error: GatewayError) -> None:
    store = Failing(RedisServer(bench.redis, bench.keys))
    threads = Threads(store)
    await take(threads, create(), "msg_1")
    store.error = error
    for body in (create(), going_on("msg_1")):
        with pytest.raises(InvalidRequest, match="Send the whole conversation") as raised:
            await take(threads, body, "msg_2")
        assert raised.value.code == "thread_unsupported_request"


@pytest.mark.parametrize("error", AWAY)
async def test_a_reply_that_could_not_be_kept_goes_out_and_is_no_place_to_continue_from(
    bench: Bench, error: GatewayError
) -> None:
    store = Failing(RedisServer(bench.redis, bench.keys))
    threads, sink = Threads(store), Written()
    async with threads.turn(CONTEXT, create(), 100) as turn:
        store.error = error
        await turn.stream(sink, telling("msg_1"))
    assert b"".join(sink.pieces).endswith(MESSAGE_STOP)
    assert store.asked == 2, "and the store is not asked again while the client waits"
    store.error = None
    assert await code(threads, going_on("msg_1")) == "thread_not_found"


async def test_a_claim_that_cannot_be_given_back_hides_no_error(bench: Bench) -> None:
    store = Failing(RedisServer(bench.redis, bench.keys))
    threads = Threads(store)
    await take(threads, create(), "msg_1")

    async def fail() -> None:
        async with threads.turn(CONTEXT, going_on("msg_1"), 100):
            store.error = Unavailable("away")
            raise UpstreamError("no")

    with pytest.raises(UpstreamError):
        await fail()


async def test_a_turn_whose_claim_fell_keeps_nothing(bench: Bench) -> None:
    threads, other = Threads(bench.store()), Threads(bench.store())
    await take(threads, create(), "msg_1")
    async with threads.turn(CONTEXT, going_on("msg_1"), 100) as turn:
        await bench.claim_falls(turn.claim)
        await take(other, going_on("msg_1"), "msg_2")
        await turn.keep(message("msg_late"))
        assert turn.outcome == "not_kept"
    assert await code(threads, going_on("msg_late")) == "thread_not_found"
    await take(threads, going_on("msg_2"), "msg_3")


def telling(message_id: str) -> Any:
    async def tell(sink: Sink) -> None:
        sink.write(to_events(message(message_id), None))

    return tell


class Watching(ThreadStore):
    """Records the client's bytes at the time when the turn was kept."""

    sink: Written
    told: bytes = b""

    async def add(self, claim: ThreadClaim, turn: Addition) -> bool:
        self.told = b"".join(self.sink.pieces)
        return await super().add(claim, turn)


async def test_a_streams_end_goes_out_once_the_reply_is_kept(bench: Bench) -> None:
    sink = Written()
    store = Watching(RedisServer(bench.redis, bench.keys))
    store.sink = sink
    async with Threads(store).turn(CONTEXT, create(), 100) as turn:
        await turn.stream(sink, telling("msg_1"))
    assert b"message_delta" in store.told
    assert MESSAGE_STOP not in store.told
    assert b"".join(sink.pieces) == to_events(message("msg_1"), None)
    await take(Threads(bench.store()), going_on("msg_1"), "msg_2")


async def test_a_stream_that_fails_is_not_kept(bench: Bench) -> None:
    async def fail(sink: Sink) -> None:
        sink.write(to_events(message("msg_1"), None).removesuffix(MESSAGE_STOP))
        sink.write(b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no"}}\n\n')

    sink, threads = Written(), Threads(bench.store())
    async with threads.turn(CONTEXT, create(), 100) as turn:
        await turn.stream(sink, fail)
    assert turn.outcome == "failed"
    assert b"".join(sink.pieces).count(b"event: error") == 1
    assert await code(threads, going_on("msg_1")) == "thread_not_found"
