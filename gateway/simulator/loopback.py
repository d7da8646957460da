"""The simulator on a real loopback port, scripted and observed: the upstream of tests.

`async with Simulator() as simulator:` listens on `simulator.url`. `simulator.script(...)` queues answers that precede
the models' own, each used once. Every request is recorded, and each record shows when its connection ended and who
closed it.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import orjson
from aiohttp import web

from gateway.simulator.script import Script
from gateway.simulator.server import BASE, Clock, Handler, Sleep, application, play

CHAT = "POST /chat/completions"

# Enough for any test; a longer run forgets its oldest requests instead of growing.
MAX_RECORDS = 10_000

# A test that waits longer for a request waits for something that will not happen.
ARRIVAL_SECONDS = 10.0


class SimulatorConnection(web.RequestHandler):
    """Connection of a client, which reports its end and whether the client closed it."""

    __slots__ = ("closed", "closed_at", "closed_by_client", "number", "owner", "wire")

    def __init__(self, server: web.Server, owner: "Simulator", number: int) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]
        self.owner = owner
        self.number = number
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self.closed_by_client = False

    def abort(self) -> None:
        """Close without sending the rest. aiohttp has dropped its own `transport` by then."""
        self.wire.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.wire = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.owner.connections.add(self)
        super().connection_made(transport)

    def eof_received(self) -> None:
        self.closed_by_client = True
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.closed_by_client = self.closed_by_client or exc is not None
        self.closed_at = asyncio.get_running_loop().time()
        self.closed.set()
        self.owner.connections.discard(self)
        super().connection_lost(exc)


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """One request as it arrived. Times are the event loop's.

    `finished`: the answer has ended in any way. `complete`: all of it was written to the socket.
    """

    on: str  # method and path below the base, "POST /chat/completions"
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    json: Any
    received_at: float
    connection: SimulatorConnection
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    complete: bool = False

    @property
    def closed(self) -> asyncio.Event:
        """Set when the connection of this request has ended. A kept-alive one outlives the answer."""
        return self.connection.closed

    @property
    def closed_at(self) -> float | None:
        return self.connection.closed_at

    @property
    def closed_by_client(self) -> bool:
        return self.connection.closed_by_client


class Simulator:
    """The running simulator (see the module). `key`, `clock`, `sleep` and `other_apis` are those of `application`."""

    def __init__(
        self,
        *,
        key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
        other_apis: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.connections: set[SimulatorConnection] = set()
        self._opened = 0
        self._scripts: defaultdict[str, deque[Script]] = defaultdict(deque)
        self._arrivals = asyncio.Condition()
        middlewares = [self._observe]
        app = application(key=key, clock=clock, sleep=sleep, middlewares=middlewares, other_apis=other_apis)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Return the base URL, as configured for an upstream."""
        return f"http://{self.host}:{self.port}{BASE}"

    @property
    def pending(self) -> int:
        """Return the scripts that no request has used yet."""
        return sum(map(len, self._scripts.values()))

    def script(self, *scripts: Script, on: str = CHAT) -> None:
        """Queue answers for this method and path below the base, even if it does not exist. The key is not checked."""
        self._scripts[on].extend(scripts)

    def requests(self, on: str = CHAT) -> list[Record]:
        return [record for record in self.records if record.on == on]

    async def received(self, count: int = 1, *, on: str = CHAT) -> Record:
        """Return the count-th request for this method and path, once it has arrived. Raises TimeoutError."""
        async with asyncio.timeout(ARRIVAL_SECONDS), self._arrivals:
            await self._arrivals.wait_for(lambda: len(self.requests(on)) >= count)
        return self.requests(on)[count - 1]

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(self._connect, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the port, break off all answers, and end all connections."""
        assert self._server is not None
        self._server.close()
        await self._runner.cleanup()
        for connection in list(self.connections):
            connection.abort()
            await connection.closed.wait()
        await self._server.wait_closed()

    def _connect(self) -> SimulatorConnection:
        self._opened += 1
        server = self._runner.server
        assert server is not None
        return SimulatorConnection(server, self, self._opened)

    @web.middleware
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        record = await _to_record(request)
        async with self._arrivals:
            self.records.append(record)
            self._arrivals.notify_all()
        try:
            waiting = self._scripts[record.on]
            response = await (play(request, waiting.popleft()) if waiting else handler(request))
            transport = request.transport
            record.complete = transport is not None and not transport.is_closing()
            return response
        finally:
            record.finished.set()


async def _to_record(request: web.Request) -> Record:
    raw = await request.read()
    connection = request.protocol
    assert isinstance(connection, SimulatorConnection)
    return Record(
        on=f"{request.method} {request.path.removeprefix(BASE)}",
        method=request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        raw=raw,
        json=_parsed(raw),
        received_at=asyncio.get_running_loop().time(),
        connection=connection,
    )


def _parsed(raw: bytes) -> Any:
    """Return the body as JSON, None if it is not JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
