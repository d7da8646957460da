"""The connections to one origin: a bound on their number, reuse of the newest, and an orderly line when all are busy.

A *slot* is the right to have one connection. A call holds it from `lease` to the end of its answer; an idle connection
holds one too. Waiters are served in order of arrival, with either a freed connection or a free slot.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.errors import Overloaded, Unavailable
from gateway.upstream.http.connection import UpstreamConnection
from gateway.upstream.http.dialer import Dialer

SHUTTING_DOWN: Final = "the gateway is shutting down"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of the connections to one origin; times in seconds."""

    connections: int
    wait: float
    idle: float


class Pool:
    """Leases connections; they come back by themselves (`release`) when their answer has ended."""

    def __init__(self, dialer: Dialer, limits: PoolLimits) -> None:
        self._dialer = dialer
        self._limits = limits
        self._slots = limits.connections
        self._idle: dict[UpstreamConnection, None] = {}  # the newest last
        self._open: set[UpstreamConnection] = set()
        self._line: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._posts: list[UpstreamConnection] = []
        self._closing: asyncio.Future[None] | None = None
        self._retired = False

    async def lease(self, connect: float, ends_at: float, *, fresh: bool = False) -> UpstreamConnection:
        """A connection for one call; `fresh` asks for one that never carried an answer.

        Raises Overloaded (none free in time), UpstreamTimedOut or UpstreamUnreachable (connecting), Unavailable.
        """
        connection = self._newest_idle() if not fresh else None
        if connection is not None:
            return connection
        handed = await self._slot(ends_at)
        if handed is not None and not fresh and not handed.closed:
            return handed
        if handed is not None:
            handed.abort()
        try:
            connection = await self._connect(connect, ends_at)
        finally:
            if connection is None:
                self._free_slot()
        return connection

    async def close(self) -> None:
        """Abort all connections, busy ones too, and wait until they are closed."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
        while (waiter := self._first_in_line()) is not None:
            waiter.set_result(None)
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await self._closing

    @property
    def connections(self) -> tuple[int, int]:
        """Return the numbers of busy and idle connections."""
        return len(self._open) - len(self._idle), len(self._idle)

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def retire(self) -> None:
        """Close idle connections now, and each busy one when its answer has ended."""
        self._retired = True
        for connection in tuple(self._idle):
            connection.abort()

    # Keeper: called by connections.

    def post(self, connection: UpstreamConnection) -> None:
        """Requests of one turn of the loop are written together at its end; one that is alone at once.

        A write wakes up who reads at the other end; one by one, each finds it asleep again. Together with the same for
        replies (`web.reply`) that took a fifth of a small request's CPU.
        """
        if len(self._open) - len(self._idle) == 1:
            connection.flush()
            return
        if not self._posts:
            connection.loop.call_soon(self._flush)
        self._posts.append(connection)

    def release(self, connection: UpstreamConnection) -> None:
        if connection.closed:
            self._free_slot()
        elif (waiter := self._first_in_line()) is not None:
            waiter.set_result(connection)
        elif self._retired:
            connection.abort()
            self._free_slot()
        else:
            self._idle[connection] = None

    def forget(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            del self._idle[connection]
            self._free_slot()
        if self._closing is not None and not self._open and not self._closing.done():
            self._closing.set_result(None)

    def _flush(self) -> None:
        connections, self._posts = self._posts, []
        for connection in connections:
            connection.flush()

    def _newest_idle(self) -> UpstreamConnection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            if not connection.closed:
                return connection
            self._free_slot()
        return None

    async def _slot(self, ends_at: float) -> UpstreamConnection | None:
        """Take a slot, waiting for one if need be; a connection that comes with it is returned."""
        if self._slots == 0 and self._idle:  # asked for a fresh one: an idle one makes room
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.abort()
            return None
        if self._slots > 0:
            self._slots -= 1
            return None
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[UpstreamConnection | None] = loop.create_future()
        self._line.append(waiter)
        try:
            async with asyncio.timeout_at(min(loop.time() + self._limits.wait, ends_at)):
                return await waiter
        except TimeoutError:
            self._leave_line(waiter)
            raise Overloaded(f"all {self._limits.connections} connections to the upstream are busy") from None
        except asyncio.CancelledError:
            self._leave_line(waiter)
            raise

    def _leave_line(self, waiter: asyncio.Future[UpstreamConnection | None]) -> None:
        """Leave the line; pass on a connection that arrived in the same moment."""
        if waiter in self._line:
            self._line.remove(waiter)
        elif not waiter.cancelled():
            connection = waiter.result()
            if connection is None:
                self._free_slot()
            else:
                self.release(connection)

    def _first_in_line(self) -> asyncio.Future[UpstreamConnection | None] | None:
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_slot(self) -> None:
        waiter = self._first_in_line()
        if waiter is None:
            self._slots += 1
        else:
            waiter.set_result(None)

    async def _connect(self, seconds: float, ends_at: float) -> UpstreamConnection:
        self._refuse_when_closed()
        make = partial(UpstreamConnection, asyncio.get_running_loop(), self, self._limits.idle)
        connection = await self._dialer.dial(make, seconds, ends_at)
        self._open.add(connection)
        if self._closing is not None:
            connection.abort()
        self._refuse_when_closed()
        return connection

    def _refuse_when_closed(self) -> None:
        if self._closing is not None:
            raise Unavailable(SHUTTING_DOWN)
