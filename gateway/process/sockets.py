"""Client sockets: a bound on what the kernel buffers, closing with a reset, and the address to count by."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any, cast

# Of the kernel's buffer for a connection. Without it, the kernel takes up to 4 MB for a client that does not read, and
# one that reads slowly frees no room for minutes.
UNSENT_BYTES = 128 * 1024
NO_LINGER = struct.pack("ii", 1, 0)  # on, for 0 seconds


def limit_unsent(listening: socket.socket) -> None:
    """Bound the kernel's buffer of every connection accepted from this socket, on systems that have the option."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        listening.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection so that its client sees a reset.

    To an HTTP/1.0 client, a plain close looks like the regular end of a reply. The kernel also drops unsent bytes.
    """
    own = transport.get_extra_info("socket")
    if own is not None:
        with suppress(OSError):  # it is closed already
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    cast(asyncio.Transport, transport).abort()


def to_network(peer: Any) -> str:
    """Return the part of a peer's address to count by: of IPv6 the first 64 bits, since a site has all of those."""
    host = str(peer[0]) if isinstance(peer, tuple) else ""
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    mapped = packed.startswith(b"\0" * 10 + b"\xff\xff")
    return socket.inet_ntoa(packed[12:]) if mapped else packed[:8].hex()
