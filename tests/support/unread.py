"""A client that sends, and reads nothing until it is told to."""

import asyncio
import select
import socket
from typing import Literal
from urllib.parse import urlsplit


class Unread:
    """`buffer`: bytes that the kernel may take for it meanwhile."""

    def __init__(self, url: str, *, buffer: int = 4096) -> None:
        address = urlsplit(url)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect((address.hostname, address.port))
        self.socket.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def until_reset(self, seconds: float = 10.0) -> None:
        """Wait for the reset without reading. Raises TimeoutError."""
        poll = select.poll()
        poll.register(self.socket, 0)
        async with asyncio.timeout(seconds):
            while not any(event & select.POLLERR for _, event in poll.poll(0)):  # noqa: ASYNC110 - a socket's state
                await asyncio.sleep(0.02)

    async def read_all(self) -> tuple[bytes, Literal["closed", "reset"]]:
        """What has come, and how the connection ended."""
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
