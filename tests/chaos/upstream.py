"""The upstream of the fault tests: fast, countable, and faulty on request. It counts calls by worker and item.

Every process is given its own address (`url(caller)`), so that a poisonous prompt can kill its sender. A prompt is a
mark (`<batch>/<number>`), which the answer repeats.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import cast

import orjson

PATH = re.compile(rb"POST /(\w+)/v1/chat/completions ")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MARK = re.compile(r"[\w-]+/\d+")

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
NO_CREDIT = (
    b'HTTP/1.1 402 No\r\ncontent-type: application/json\r\ncontent-length: 34\r\n\r\n{"error":{"message":"no credit."}}'
)
NOT_FOUND = b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"
REFUSAL = b"HTTP/1.1 %d No\r\ncontent-type: application/json\r\nretry-after: %d\r\ncontent-length: 2\r\n\r\n{}"


class Mode(Enum):
    WORKS = "works"
    DOWN = "down"  # connections break before an answer
    LIMITED = "limited"  # 429, retry-after
    BUSY = "busy"  # one call of three: 503


@dataclass(frozen=True, slots=True)
class Call:
    caller: str
    mark: str
    at: float


@dataclass(slots=True)
class Upstream:
    """`latency` in seconds, least and most.

    A prompt in `poisonous` is not answered; `poison` is called with the sender. One in `unaffordable` is answered with
    a 402.
    """

    chance: random.Random
    latency: tuple[float, float] = (0.01, 0.2)
    mode: Mode = Mode.WORKS
    retry_after: int = 3
    poisonous: set[str] = field(default_factory=set)
    unaffordable: set[str] = field(default_factory=set)
    poison: Callable[[str], None] = lambda caller: None
    calls: list[Call] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)  # when a 429 was sent
    turned_away: int = 0  # calls answered with a 503
    connections: set[asyncio.Transport] = field(default_factory=set)
    _port: int = 0
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in self.connections:
            transport.abort()
        await asyncio.sleep(0)  # until they are closed

    def url(self, caller: str) -> str:
        return f"http://127.0.0.1:{self._port}/{caller}/v1"

    def forget(self) -> None:
        self.calls.clear()
        self.refused.clear()

    def marks(self) -> Counter[str]:
        """Return the number of calls for each item."""
        return Counter(call.mark for call in self.calls)

    def delay(self) -> float:
        return self.chance.uniform(*self.latency)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests do not overlap."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.connections.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._upstream.connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if found and head.startswith(b"GET "):  # the list of models, without which a front end waits for a second
            self._buffer = rest
            assert self._transport is not None
            self._transport.write(NOT_FOUND)
            return
        length = LENGTH.search(head)
        if not found or length is None or len(rest) < int(length[1]):
            return
        size = int(length[1])
        self._buffer = rest[size:]
        path = PATH.match(head)
        assert path is not None, head
        self._asked(path[1].decode(), rest[:size])

    def _asked(self, caller: str, body: bytes) -> None:
        upstream, transport = self._upstream, self._transport
        assert transport is not None
        asked = orjson.loads(body)
        found = MARK.search(orjson.dumps(asked["messages"][-1]).decode())
        mark = found[0] if found else "live"
        upstream.calls.append(Call(caller, mark, time.monotonic()))
        if upstream.mode is Mode.DOWN:
            transport.abort()
            return
        if upstream.mode is Mode.LIMITED:
            upstream.refused.append(time.monotonic())
            transport.write(REFUSAL % (429, upstream.retry_after))
            return
        if mark in upstream.poisonous:
            upstream.poison(caller)
            return
        if upstream.mode is Mode.BUSY and upstream.chance.random() < 1 / 3:
            upstream.turned_away += 1
            transport.write(REFUSAL % (503, 1))
            return
        if mark in upstream.unaffordable:
            transport.write(NO_CREDIT)
            return
        answer = _stream(mark) if asked.get("stream") else _completion(mark)
        self._timer = asyncio.get_running_loop().call_later(upstream.delay(), self._answer, answer)

    def _answer(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.00001}


def _stream(text: str) -> bytes:
    said = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}
    body = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in (said, end)) + b"data: [DONE]\n\n"
    return HEAD % (b"text/event-stream", len(body)) + body


def _completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    body = orjson.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE})
    return HEAD % (b"application/json", len(body)) + body
