"""One pipelined connection to Redis, for the scripts that each request under a limit runs.

redis-py takes a connection of its pool for each call, which costs 135 µs of processor time; a call here costs 15 to 35.
The commands of one turn of the event loop are sent in one write, and replies belong to the calls in their order. So a
call that is canceled keeps its place, and a later command of this process runs later in Redis too.

redis-py still reads the URL and opens the connection: address, TLS, password, database. A Cluster stays with redis-py,
which finds the node of a key and follows redirections.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.redis.failures import NO_ANSWER, WRONG_SERVER, code_of, redis_failures
from gateway.redis.patience import LOOKS
from gateway.redis.scripts import Argument, LuaScript
from gateway.redis.silence import SilenceLimit

# Calls that wait for a server which answers slowly; each holds about 2 kB.
MAX_WAITING: Final = 50_000


class Receiver(Protocol):
    """The receiver of a reply; asyncio.Future is one."""

    def done(self) -> bool: ...

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


class IgnoredReply:
    """Receiver of a reply that is not needed: where loading scripts is not allowed, their first call loads them."""

    def done(self) -> bool:
        return True

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


IGNORED: Final = IgnoredReply()


@dataclass(frozen=True, slots=True)
class PackedCall:
    """A script with its keys and first arguments, packed once for many calls. `arguments`: number of arguments per
    call."""

    script: LuaScript
    keys: tuple[str, ...] = field(repr=False)
    constants: tuple[Argument, ...] = field(repr=False)
    arguments: int
    _head: bytes = field(init=False, repr=False)
    _start: int = field(init=False, repr=False)  # of the values in a command of these alone

    def __post_init__(self) -> None:
        start = pack(("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.constants))
        parts = 3 + len(self.keys) + len(self.constants) + self.arguments
        object.__setattr__(self, "_head", b"*%d\r\n%s" % (parts, start[start.index(b"$") :]))
        object.__setattr__(self, "_start", len(b"*%d\r\n" % self.arguments))

    def pack(self, values: tuple[Argument, ...]) -> bytes:
        return self._head + pack(values)[self._start :]


def pack(command: tuple[Argument, ...]) -> bytes:
    """Return a command in wire form."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


class Link:
    """Calls to one server. The first call opens the connection; a call after its end opens it again.

    After a failure no call is made for a while (`silence`), which also limits how often it connects. `scripts` are
    loaded on each connection: the server may be new, and a call of an unknown script would take effect later than
    others.
    """

    def __init__(self, redis: Redis, silence: SilenceLimit, scripts: Sequence[LuaScript] = ()) -> None:
        self._pool: Any = redis.connection_pool
        self._scripts = scripts
        self.silence = silence
        self._wire: _Wire | None = None
        self._connection: Any = None  # of the pool, which closes it in the end
        self._opening = asyncio.Lock()

    async def run(self, call: PackedCall, values: tuple[Argument, ...]) -> Any:
        """Return the script's reply. Raises StoreAway, also for a while after no answer in time, or Overloaded."""
        if self._wire is not None and not self.silence.is_away:
            try:
                return await self._sent(call.pack(values))
            except RedisError as error:
                if code_of(error) in WRONG_SERVER and self._wire is not None:
                    self._wire.lose(RedisConnectionError("left a server that has become a replica"))
        # The script may have run: all are safe to repeat, so the call is made again, on a new connection if need be.
        async with self.silence.call():
            with redis_failures():
                if self._wire is None:
                    await self._open()
                return await call.script.evaluate(self, call.keys, (*call.constants, *values))

    def send(self, receiver: Receiver, call: PackedCall, values: tuple[Argument, ...]) -> bool:
        """Send the call, and pass the script's reply or a RedisError to the receiver. Return False if it cannot be sent
        at once; then nothing is sent. Never waits."""
        if self._wire is None or self.silence.is_away or len(self._wire.waiting) >= MAX_WAITING:
            return False
        self._wire.send(receiver, call.pack(values))
        return True

    async def open(self) -> None:
        """Connect ahead of the first call. Raises StoreAway."""
        async with self.silence.call():
            with redis_failures():
                await self._open()

    async def drain(self) -> None:
        """Wait for the replies to all calls, or for the end of the connection."""
        if self._wire is not None and self._wire.waiting:
            with suppress(RedisError):
                await self._sent(pack(("PING",)))

    def evalsha(self, sha: str, keys: int, /, *values: Argument) -> asyncio.Future[Any]:
        return self._sent(pack(("EVALSHA", sha, keys, *values)))

    def eval(self, source: str, keys: int, /, *values: Argument) -> asyncio.Future[Any]:
        return self._sent(pack(("EVAL", source, keys, *values)))

    def _sent(self, packed: bytes) -> asyncio.Future[Any]:
        """Send a command. Raises RedisConnectionError without a connection."""
        wire = self._wire
        if wire is None:
            raise RedisConnectionError("Connection closed by server.")
        if len(wire.waiting) >= MAX_WAITING:
            raise RedisConnectionError("Too many calls wait for their replies.")
        future = wire.loop.create_future()
        wire.send(future, packed)
        return future

    async def _open(self) -> None:
        """Connect, unless another call has done so meanwhile, or has failed to. Raises RedisError."""
        async with self._opening:
            if self._wire is not None:
                return
            if self.silence.is_away:
                raise RedisConnectionError("Another call could not connect.")
            if self._connection is None:
                self._connection = self._pool.get_available_connection()
            await self._connection.disconnect(nowait=True)  # also what a canceled call has opened by half
            await self._connection.connect()
            self._wire = _Wire(self, self._connection)
            for script in self._scripts:
                self._wire.send(IGNORED, pack(("SCRIPT", "LOAD", script.source)))

    def ended(self, wire: "_Wire") -> None:
        """Note the end of a connection."""
        if self._wire is wire:
            self._wire = None


class _Wire(asyncio.Protocol):
    """An open connection, taken over from redis-py once it is ready. `waiting`: calls without a reply."""

    def __init__(self, link: Link, connection: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.waiting: deque[Receiver] = deque()
        self._link = link
        self._transport: asyncio.Transport = connection._writer.transport  # it has no public name
        self._opener = self._transport.get_protocol()  # redis-py waits for its end when it closes the connection
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error)
        self._unsent: list[bytes] = []
        self._quiet = 0  # looks since the last data
        self._look_later: asyncio.TimerHandle | None = None
        self._transport.set_protocol(self)

    def send(self, receiver: Receiver, packed: bytes) -> None:
        if not self._unsent:
            self.loop.call_soon(self._write)
        self._unsent.append(packed)
        self.waiting.append(receiver)
        if self._look_later is None:
            self._quiet = 0
            self._look_later = self.loop.call_later(self._link.silence.seconds / LOOKS, self._look)

    def lose(self, error: RedisError) -> None:
        """End the connection. Waiting calls fail with this kind of error."""
        self._link.ended(self)
        self._transport.abort()
        if self._look_later is not None:
            self._look_later.cancel()
        while self.waiting:
            waiting = self.waiting.popleft()
            if not waiting.done():
                own = type(error)(*error.args)
                own.__cause__ = error.__cause__
                waiting.set_exception(own)

    def data_received(self, data: bytes) -> None:
        self._quiet = 0
        self._link.silence.note_answer(self.loop.time())
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                waiting = self.waiting.popleft()
                if waiting.done():
                    continue
                if isinstance(reply, Exception):
                    waiting.set_exception(reply)
                else:
                    waiting.set_result(reply)
        except (InvalidResponse, IndexError) as error:  # no RESP, or a reply to no call
            self.lose(InvalidResponse(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._opener.connection_lost(exc)
        error = RedisConnectionError("Connection closed by server.")
        error.__cause__ = exc
        self.lose(error)

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _look(self) -> None:
        """Count one step of waiting, however late: time in which the loop was too busy to read does not count."""
        self._look_later = None
        if not self.waiting:
            return
        self._quiet += 1
        if self._quiet >= LOOKS:
            self._link.silence.note_silence()
            self.lose(RedisTimeoutError(NO_ANSWER))
        else:
            self._look_later = self.loop.call_later(self._link.silence.seconds / LOOKS, self._look)
