"""One socket to an upstream: what asyncio calls, and what is done to the socket.

A connection carries one answer at a time or lies idle in its pool. It has one `Watchdog` for all its waits. It knows
nothing of HTTP, and neither connects nor retries.
"""

import asyncio
from typing import Final, Protocol, cast

from gateway.upstream.http.deadline import Watchdog

# Bodies up to this size are joined with the header: copying is cheaper than a second system call. (`writelines` would
# copy large ones as well, before Python 3.12.)
ONE_WRITE_LIMIT: Final = 256 * 1024


class Carried(Protocol):
    """The answer that a connection carries; notified of events on the socket."""

    def take(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def lose(self) -> None: ...
    def sent(self) -> None: ...
    def expire(self) -> None: ...


class Keeper(Protocol):
    """Owner of connections. Notified when one has a request to flush, now or soon; when it has ended its answer
    (closed, or ready for another); and when it is lost."""

    def post(self, connection: "UpstreamConnection") -> None: ...
    def release(self, connection: "UpstreamConnection") -> None: ...
    def forget(self, connection: "UpstreamConnection") -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """A socket. `used`: it carried an answer before, so the upstream may have closed it meanwhile. `written`: some of
    the request on it has left this process, so the upstream may have read it."""

    __slots__ = (
        "_answer",
        "_keeper",
        "_max_idle",
        "_posted",
        "_transport",
        "_unsent",
        "loop",
        "paused",
        "time",
        "used",
        "watchdog",
        "written",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, keeper: Keeper, max_idle: float) -> None:
        self.loop = loop
        self.time = loop.time
        self.used = False
        self.written = False
        self.watchdog = Watchdog(loop, self._expired)
        self._keeper = keeper
        self._max_idle = max_idle
        self._transport: asyncio.Transport | None = None
        self._answer: Carried | None = None
        self.paused = False
        self._posted: tuple[bytes | memoryview, ...] = ()  # the request, until it is flushed
        self._unsent = 0  # bytes of request in the transport's buffer when last looked at

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def send(self, head: bytes, body: bytes | memoryview, answer: Carried) -> None:
        """Send a request. Its answer goes to `answer`."""
        assert self._transport is not None
        assert self._answer is None
        self._answer = answer
        self.written = False
        self._posted = (head + body,) if len(body) <= ONE_WRITE_LIMIT else (head, body)
        self._keeper.post(self)

    def flush(self) -> None:
        """Write the request, unless it was given up meanwhile."""
        pieces, self._posted = self._posted, ()
        if not self.closed:
            self.written = True
            for piece in pieces:
                self._transport.write(piece)  # type: ignore[union-attr]  # not closed

    def read_on(self, wanted: bool) -> None:
        """Read from the socket, or stop."""
        if wanted == (not self.paused) or self._transport is None:
            return
        self.paused = not wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def upload_progressed(self) -> bool:
        """Return whether the upstream has taken more of the request since the last look."""
        before, self._unsent = self._unsent, self._unsent_now()
        return self._unsent < before

    def done(self, reusable: bool) -> None:
        """The answer has ended or was given up."""
        self._answer = None
        self.used = True
        if reusable and not self.closed and not self._unsent_now():
            if self.paused:
                self.read_on(True)
            self.watchdog.watch(self.loop.time() + self._max_idle)
        else:
            self.abort()
        self._keeper.release(self)

    def abort(self) -> None:
        self.watchdog.stop()
        if self._transport is not None:
            self._transport.abort()

    def _unsent_now(self) -> int:
        posted = sum(map(len, self._posted)) if self._posted else 0
        return posted if self._transport is None else posted + self._transport.get_write_buffer_size()

    def _expired(self) -> None:
        if self._answer is None:
            self.abort()
        else:
            self._answer.expire()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # unsolicited: a late 408, or an upstream that does not count its bytes
        else:
            self._answer.take(data)

    def eof_received(self) -> None:
        if self._answer is not None:
            self._answer.finish()

    def connection_lost(self, _error: Exception | None) -> None:
        self.watchdog.retire()
        self._transport = None
        if self._answer is not None:
            self._answer.lose()
        self._keeper.forget(self)

    def pause_writing(self) -> None:
        self._unsent = self._unsent_now()

    def resume_writing(self) -> None:
        self._unsent = 0
        if self._answer is not None:
            self._answer.sent()
