"""A client that sends, and reads no bytes until requested."""

import asyncio
import select
import socket
from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit


class Unread:
    """Such a client. `buffer`: bytes that the kernel may accept for it meanwhile."""

    def __init__(self, url: str, *, buffer: int = 4096) -> None:
        address = urlsplit(url)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect((address.hostname, address.port))
        self.socket.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def until_begun(self, seconds: float = 10.0) -> None:
        """Wait for the first bytes without reading them. Raises TimeoutError."""
        begun, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self.socket, begun.set)
        try:
            await asyncio.wait_for(begun.wait(), seconds)
        finally:
            loop.remove_reader(self.socket)

    async def until_reset(self, seconds: float = 10.0) -> None:
        """Wait for the reset without reading. Raises TimeoutError."""
        await until_reset([self], seconds)

    async def read_all(self) -> tuple[bytes, Literal["closed", "reset"]]:
        """Return the received bytes, and how the connection ended."""
        received, loop = bytearray(), asyncio.get_running_loop()
        async with asyncio.timeout(10):
            try:
                while data := await loop.sock_recv(self.socket, 1 << 16):
                    received += data
            except ConnectionError:
                return bytes(received), "reset"
            return bytes(received), "closed"

    def close(self) -> None:
        self.socket.close()


async def until_reset(
    clients: Iterable[Unread], seconds: float, every: float = 0.02, *, or_closed: bool = False
) -> None:
    """Wait until all have been reset. Raises TimeoutError with the number of those that are left.

    `or_closed`: the other side's end of the connection suffices. A client that sends is reset by its next byte only.
    """
    poll, left = select.poll(), {client.socket.fileno() for client in clients}
    watched = select.POLLRDHUP if or_closed else 0
    for descriptor in left:
        poll.register(descriptor, watched)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while left:
        for descriptor, event in poll.poll(0):
            if event & (select.POLLERR | select.POLLHUP | watched):  # the error is cleared once a send has met it
                poll.unregister(descriptor)
                left.discard(descriptor)
        if loop.time() > ends_at:
            raise TimeoutError(f"{len(left)} clients are still connected after {seconds:g} s")
        await asyncio.sleep(every)
