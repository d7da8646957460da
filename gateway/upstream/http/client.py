"""Interface of an HTTP client for upstreams, without an implementation.

Two implementations pass the same tests: `http_client` (the fast one) and `proxy_client` (the oracle, and for HTTP
proxies). An answer is read either whole (`read`) or pushed to a callback as it arrives (`pump`): in the fast transport
that callback runs inside the socket's read callback, so that a streamed delta costs no task switch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple, Protocol, Self

# Asking again changes nothing at the upstream (RFC 9110, section 9.2.1).
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


class Timeouts(NamedTuple):
    """Seconds; None means unlimited. `total` spans the whole call and is None for streams.

    `first_byte` runs from the sent request to the answer's header; `idle` between two reads of the answer's body, and
    rests while the reader has paused it.
    """

    connect: float = 5.0
    first_byte: float | None = 120.0
    idle: float | None = 60.0
    total: float | None = 600.0

    def within(self, seconds: float) -> Self:
        """The times of an attempt that may take this long: a stream until its header, any other until its end."""
        if seconds == inf:
            return self
        seconds = round(seconds, 2)  # shown in messages
        first_byte = seconds if self.first_byte is None else min(self.first_byte, seconds)
        total = None if self.total is None else min(self.total, seconds)
        return self._replace(connect=min(self.connect, seconds), first_byte=first_byte, total=total)


@dataclass(slots=True)
class Call:
    """One request to an upstream. `headers` need no Host, Content-Length, Accept-Encoding: the client sets these."""

    method: str
    url: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: bytes | memoryview = field(default=b"", repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)


class Answer(Protocol):
    """An upstream's answer with a received header. Exactly one of `read` and `pump` is awaited, once.

    Leaving either before its end (cancellation included), or calling `abort`, closes the connection at once; an answer
    that was read to its end gives its connection back to the pool.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case; a repeated header's values joined by ", ". Not to be asked for after `pump`."""

    @property
    def has_ended(self) -> bool:
        """Whether all of the body has come, or no more of it will."""

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamError over `limit` bytes or when cut short, UpstreamTimedOut on silence."""

    async def pump(self, receive: Callable[[bytes], None]) -> None:
        """Call `receive` with each piece until the body ends. Raises as `read` does, and what `receive` raises."""

    def pause(self) -> None:
        """Stop reading from the socket, since the consumer is slow. Bounds memory to what has been read."""

    def resume(self) -> None: ...

    def abort(self) -> None:
        """Close the connection now; a pending `read` or `pump` raises UpstreamError. Safe to call again, or later."""


class UpstreamClient(Protocol):
    async def open(self, call: Call) -> Answer:
        """Send and wait for the answer's header.

        Raises UpstreamUnreachable (no connection, or broken before any answer byte on a fresh one), UpstreamTimedOut
        (connect, first byte), Overloaded (no free connection within the limit), UpstreamError (not HTTP).
        A call is sent again, once, only where that cannot repeat work: a reused connection turned out to be closed
        before anything was written to it, or the method is one of SAFE_METHODS. Any other repetition is the caller's.
        """

    async def close(self) -> None: ...

    def connections(self) -> tuple[int, int]:
        """Return the numbers of busy and idle connections."""
