"""A relay's commit, pings, end and timeouts: one stream on a clock that the test sets."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from gateway.dialects.chat.response.stream import MessageStream
from gateway.errors import GatewayError, UpstreamError, UpstreamTimedOut
from gateway.exchange.relay import Relay, StreamTimeouts
from gateway.exchange.sink import Flow
from tests.support.streams import reply

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
COMMENT = b": still here\n\n"


@dataclass(slots=True)
class OpenAnswer:
    """An answer with a body that stays open until it is aborted."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    receive: Callable[[bytes], None] | None = None
    aborted: asyncio.Event = field(default_factory=asyncio.Event)

    has_ended: bool = False

    async def read(self, limit: int) -> bytes:
        raise NotImplementedError

    async def pump(self, receive: Callable[[bytes], None]) -> None:
        self.receive = receive
        await self.aborted.wait()
        raise UpstreamError("given up")

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None:
        self.aborted.set()


@dataclass(slots=True)
class Wire:
    pieces: list[bytes] = field(default_factory=list)

    @property
    def committed(self) -> bool:
        return bool(self.pieces)

    @property
    def events(self) -> list[bytes]:
        written = b"".join(self.pieces)
        return [line.removeprefix(b"event: ") for line in written.split(b"\n") if line.startswith(b"event: ")]

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def attach(self, source: Flow | None) -> None: ...

    def abort(self) -> None: ...


@dataclass(slots=True)
class Bench:
    now: float = 100.0
    wire: Wire = field(default_factory=Wire)
    answer: OpenAnswer = field(default_factory=OpenAnswer)
    relay: Relay = field(init=False)

    def __post_init__(self) -> None:
        timeouts = StreamTimeouts(commit_after=5.0, ping_after=10.0, first_content=20.0)
        self.relay = Relay(MessageStream(reply()), self.wire, timeouts, lambda: self.now, None)

    async def start(self) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.relay.run(self.answer))
        await asyncio.sleep(0)  # to the first wait, in `pump`
        return task

    def read(self, piece: bytes) -> None:
        assert self.answer.receive is not None
        self.answer.receive(piece)

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.relay.tick(self.now)


async def test_stream_is_committed_and_kept_alive_before_the_header_has_come() -> None:
    bench = Bench()
    bench.after(4.0)
    assert bench.wire.events == []
    bench.after(2.0)
    assert bench.wire.events == [b"message_start", b"ping"]
    bench.after(500.0)
    assert bench.wire.events == [b"message_start", b"ping", b"ping"]
    assert not bench.answer.aborted.is_set()


async def test_silence_before_content_is_given_up() -> None:
    bench = Bench()
    task = await bench.start()
    bench.after(20.0)
    with pytest.raises(UpstreamTimedOut):
        await task


async def test_comments_end_a_silence() -> None:
    bench = Bench()
    task = await bench.start()
    for _ in range(5):
        bench.after(15.0)
        bench.read(COMMENT)
    bench.read(TEXT + FINISH + USAGE + DONE)
    await task
    assert bench.wire.events[-1] == b"message_stop"


async def test_reply_ends_after_done_though_the_body_stays_open() -> None:
    bench = Bench()
    task = await bench.start()
    bench.read(TEXT + FINISH + USAGE + DONE)
    await asyncio.wait_for(task, 1.0)
    assert bench.answer.aborted.is_set()
    assert bench.wire.events.count(b"message_stop") == 1


@pytest.mark.parametrize(("pieces", "grace"), [(FINISH + USAGE, 1.0), (FINISH, 5.0)], ids=["with usage", "without"])
async def test_finished_answer_ends_though_comments_go_on(pieces: bytes, grace: float) -> None:
    bench = Bench()
    task = await bench.start()
    bench.read(TEXT + pieces)
    bench.after(0.5)
    bench.read(COMMENT)
    bench.after(grace - 0.1)
    assert not bench.answer.aborted.is_set()
    bench.after(0.2)
    await asyncio.wait_for(task, 1.0)
    assert bench.wire.events[-2:] == [b"message_delta", b"message_stop"]


async def test_whole_json_answer_ends_though_its_body_stays_open() -> None:
    whole = b'{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"hello"}}]}'
    bench = Bench()
    task = await bench.start()
    bench.read(whole[:30])
    bench.after(1.0)
    bench.read(whole[30:] + b"\n")
    bench.after(0.5)
    bench.read(b"\n")
    bench.after(1.1)
    await asyncio.wait_for(task, 1.0)
    assert bench.wire.events[-2:] == [b"message_delta", b"message_stop"]


async def test_no_ping_follows_message_stop() -> None:
    bench = Bench()
    task = await bench.start()
    bench.read(TEXT + FINISH + USAGE + DONE)
    bench.after(60.0)
    await asyncio.wait_for(task, 1.0)
    assert bench.wire.events[-1] == b"message_stop"


async def test_failure_is_raised_once_and_forgotten() -> None:
    bench = Bench()
    task = await bench.start()
    bench.read(TEXT)
    bench.answer.abort()
    with pytest.raises(GatewayError):
        await task
    assert bench.relay.converter.failure is None


@dataclass(slots=True)
class ReadingWire(Wire):
    """A sink that reads the stream for its client, and cannot."""

    def write(self, data: bytes) -> None:
        raise UpstreamError("It cannot be read.")


@pytest.mark.parametrize("rest", [b"", FINISH + USAGE + DONE], ids=["content", "a whole answer"])
async def test_stream_that_its_sink_cannot_read_fails_and_leaves_the_upstream(rest: bytes) -> None:
    bench = Bench(wire=ReadingWire())
    task = await bench.start()
    bench.read(TEXT + rest)
    with pytest.raises(UpstreamError, match="cannot be read"):
        await task
    assert bench.answer.aborted.is_set()
