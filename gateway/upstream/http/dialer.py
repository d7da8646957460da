"""New connections to one origin: name lookup, Happy Eyeballs, TLS, within a time.

`loop.create_connection` could do most of it, but uvloop's knows no Happy Eyeballs, and neither loop shares lookups: a
burst of calls would queue hundreds of them in the loop's few threads.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohappyeyeballs import start_connection

from gateway.errors import Overloaded, UpstreamTimedOut, UpstreamUnreachable
from gateway.process import descriptors
from gateway.upstream.http.connection import UpstreamConnection
from gateway.upstream.http.http1 import HttpOrigin

# Seconds until the next address is tried beside one that has not answered (RFC 8305, section 5).
HAPPY_EYEBALLS_DELAY: Final = 0.25

# Seconds for which looked-up addresses serve further connections: aiohttp's choice as well.
ADDRESSES_TTL: Final = 10.0

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
LookUp = Callable[[str, int], Awaitable[Sequence[Address]]]


async def look_up(host: str, port: int) -> Sequence[Address]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Dialer:
    """Makes connections to `origin`, over TLS where `tls` is given."""

    def __init__(self, origin: HttpOrigin, tls: ssl.SSLContext | None, look_up: LookUp = look_up) -> None:
        self._origin = origin
        self._tls = tls
        self._look_up = look_up
        self._one_lookup = asyncio.Lock()
        self._addresses: Sequence[Address] = ()
        self._addresses_until = 0.0

    async def dial(self, make: Callable[[], UpstreamConnection], seconds: float, ends_at: float) -> UpstreamConnection:
        """A connection within `seconds` and before `ends_at` (the loop's time). Cancelling it leaves none open.

        Raises UpstreamTimedOut, UpstreamUnreachable, Overloaded (this process has no descriptors left).
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(loop.time() + seconds, ends_at)):
                addresses = await self._current_addresses(loop)
                sock = await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY, loop=loop)
                host = self._origin.host if self._tls is not None else None
                _, made = await loop.create_connection(make, sock=sock, ssl=self._tls, server_hostname=host)
        except TimeoutError:
            raise UpstreamTimedOut(f"no connection to the upstream within {seconds:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise UpstreamUnreachable("the upstream's certificate is not trusted") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that DNS cannot spell
            if descriptors.out_of_descriptors(error, "upstream"):
                raise Overloaded(descriptors.MESSAGE, retry_after=descriptors.RETRY_AFTER) from error
            raise UpstreamUnreachable("no connection to the upstream could be made") from error
        if made.closed:
            raise UpstreamUnreachable("the upstream closed the connection before it was used")
        return made

    async def _current_addresses(self, loop: asyncio.AbstractEventLoop) -> Sequence[Address]:
        """Return the addresses of the last lookup while they hold. One lookup runs at a time; others wait for it."""
        async with self._one_lookup:
            if loop.time() >= self._addresses_until:
                self._addresses = await self._look_up(self._origin.host, self._origin.port)
                self._addresses_until = loop.time() + ADDRESSES_TTL
        return self._addresses
