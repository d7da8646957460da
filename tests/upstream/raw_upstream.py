"""A loopback server for tests of HTTP clients that sends exactly the scripted bytes at scripted times.

Each connection is played by a script: `async def script(peer)`, which reads requests, sends bytes, and sees the client
leave. A script that fails makes the test fail.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("localhost.pem")

SOON = 1.0
"""Seconds within which the other end must have noticed: the limit of the promise, never a wait."""


class Peer:
    """One connection, as the upstream sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes | None:
        """The next request, header and body; None when the client has left."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            return head + await self._reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def some(self) -> bytes:
        """Return the bytes that have arrived; none when the client has left."""
        try:
            return await self._reader.read(65536)
        except ConnectionError:
            return b""

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError  # as asyncio's loop says it; uvloop's has a RuntimeError for this
        self._writer.write(data)
        await self._writer.drain()

    async def send_in_pieces(self, *pieces: bytes) -> None:
        """Each piece in its own packet, read by the client before the next is sent: both run on one loop."""
        for piece in pieces:
            await self.send(piece)
            for _ in range(3):
                await asyncio.sleep(0)

    async def send_until_stuck(self, piece: bytes, pieces: int) -> int:
        """Send up to `pieces` pieces; how many of them the other end had room for before it stopped reading."""
        for sent in range(pieces):
            self._writer.write(piece)
            draining = asyncio.ensure_future(self._writer.drain())
            done, _ = await asyncio.wait({draining}, timeout=0.1)
            if not done:
                draining.cancel()
                return sent
        return pieces

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close with RST instead of FIN, as a crashed or overrun server does."""
        linger_for_no_time = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_no_time)
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed the connection, reading all that it sends before."""
        while await self.some():
            pass


Script = Callable[[Peer], Awaitable[None]]


class RawUpstream:
    """A listening server. `connections` counts those that were accepted."""

    def __init__(self, script: Script, *, tls: bool = False) -> None:
        self.url = ""
        self.connections = 0
        self._script = script
        self._server: asyncio.Server | None = None
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RawUpstream"]:
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
        server = self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        self.url = f"https://localhost:{port}/v1/chat" if self._tls else f"http://127.0.0.1:{port}/v1/chat"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self._failures, self._failures

    def stop(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._script(Peer(reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        except BaseException as error:  # noqa: BLE001 - raised by `running`
            self._failures.append(error)
        finally:
            writer.close()


def answering(*answers: bytes) -> Script:
    """A script that answers the requests of each connection with these, in turn, and then closes it."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            if await peer.request() is None:
                return
            await peer.send(answer)

    return script


def trusting() -> ssl.SSLContext:
    """A client's context that knows the certificate of these tests."""
    return ssl.create_default_context(cafile=CERTIFICATE)
