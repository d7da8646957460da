"""Listening sockets with an accept loop of our own.

uvloop accepts one connection per turn of the loop; under load a turn takes long, and 256 clients that connect at once
waited up to ten seconds (measured 2026-11). Here one wake-up accepts all that are there, up to ACCEPT_BATCH.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.process.descriptors import out_of_descriptors
from gateway.process.sockets import limit_unsent
from gateway.process.tls import HANDSHAKE_SECONDS

# Connections that wait while a turn of the loop takes long; the kernel lowers it to net.core.somaxconn.
BACKLOG = 4096
ACCEPT_BATCH = 256
REST_SECONDS = 0.1  # without descriptors left, accepting again at once would only spin


class Listener:
    """Accepts on `sockets` from `start` until `close`; each connection gets a protocol from `factory`. `tls`: for the
    handshake of each, None for plain connections."""

    def __init__(
        self,
        sockets: list[socket.socket],
        factory: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._factory = factory
        self._tls = tls
        self._opening: set[asyncio.Task[object]] = set()
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._closing = False

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    def start(self) -> None:
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def close(self) -> None:
        """Stop listening; connections that were accepted stay."""
        self._closing = True
        for timer in self._resting.values():
            timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            self._accept(listening)  # what the kernel has accepted by now is served, not reset
            listening.close()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                # No connection is left, or the client hung up before it was accepted.
                return
            except OSError as error:
                if not out_of_descriptors(error, "client"):
                    raise
                if not self._closing:
                    self._loop.remove_reader(listening)
                    self._resting[listening] = self._loop.call_later(REST_SECONDS, self._wake, listening)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone again, or speaks no TLS
            if self._tls is None:
                await self._loop.connect_accepted_socket(self._factory, connection)
            else:
                limit = HANDSHAKE_SECONDS
                await self._loop.connect_accepted_socket(
                    self._factory, connection, ssl=self._tls, ssl_handshake_timeout=limit
                )

    def _wake(self, listening: socket.socket) -> None:
        self._loop.add_reader(listening, self._accept, listening)


@asynccontextmanager
async def listening(
    factory: Callable[[], asyncio.BaseProtocol], sockets: list[socket.socket], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listener]:
    """Accept on the sockets while the context lasts, and close them."""
    listener = Listener(sockets, factory, tls)
    listener.start()
    try:
        yield listener
    finally:
        await listener.close()


async def open_sockets(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """Open a socket for each address of `host`, all on one port; on a `shared` one others may listen too.

    Raises OSError, or UnicodeError for an invalid host name.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            bound = (address[0], sockets[0].getsockname()[1], *address[2:]) if sockets and not port else address
            opened = socket.create_server(bound[:2], family=family, backlog=BACKLOG, reuse_port=shared)
            opened.setblocking(False)
            limit_unsent(opened)
            sockets.append(opened)
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets
