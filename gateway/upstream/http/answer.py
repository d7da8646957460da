"""An answer that arrives on a connection of the fast transport, from the sent request to its end or failure.

Body bytes go from the socket's read callback straight to the reader's `receive`, one call for everything that a read
brought. Bytes that arrive before a reader does are held, and the socket is paused above HELD_LIMIT.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final

from gateway.errors import AnswerCut, UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from gateway.upstream.http.client import Timeouts
from gateway.upstream.http.connection import UpstreamConnection
from gateway.upstream.http.http1 import (
    BODY,
    BROKEN,
    CLOSED_EARLY,
    END,
    HEAD,
    AnswerParser,
    BoundedBody,
    broken,
    declared_length,
    decoded,
    decoding,
    too_large,
)

# Bytes of body kept for a reader that has not come yet; the read that crosses it still fits (loops read 256 KiB).
HELD_LIMIT: Final = 256 * 1024


def read_already(_: bytes) -> None:
    """Take the reader's place once the answer has been read."""


class SocketAnswer:
    """An `Answer` that arrives on a connection, from the sent request to its end or failure.

    `ends_at` is the deadline of the whole call in the loop's time. The connection is let go of (`_connection` is None)
    the moment the answer ends or fails, whether or not what is held has been read.
    """

    __slots__ = (
        "_connection",
        "_ends_at",
        "_failure",
        "_held",
        "_held_size",
        "_parser",
        "_paused",
        "_receive",
        "_timeouts",
        "_waiter",
    )

    def __init__(
        self, connection: UpstreamConnection, parser: AnswerParser, timeouts: Timeouts, ends_at: float
    ) -> None:
        self._connection: UpstreamConnection | None = connection
        self._parser = parser
        self._timeouts = timeouts
        self._ends_at = ends_at
        self._failure: BaseException | None = None
        self._held: list[bytes] = []
        self._held_size = 0
        self._paused = False
        self._receive: Callable[[bytes], None] | None = None
        self._waiter: asyncio.Future[None] | None = connection.loop.create_future()

    # For the client that opened it.

    async def opened(self) -> None:
        """Wait for the header. Raises UpstreamUnreachable when the connection broke before any byte of it."""
        try:
            self.sent()
            if self._waiter is not None:
                await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        if not self._parser.status:
            self._raise_failure()

    # The interface Answer.

    @property
    def status(self) -> int:
        return self._parser.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._parser.headers

    @property
    def has_ended(self) -> bool:
        return self._connection is None

    async def read(self, limit: int) -> bytes:
        if self._connection is not None and declared_length(self._parser.headers) > limit:
            self.abort()
            raise too_large(limit)
        body = BoundedBody(limit)
        await self._deliver(body.add)
        return decoded(b"".join(body.pieces), self._coding(), limit)

    def pump(self, receive: Callable[[bytes], None]) -> Coroutine[Any, Any, None]:
        if coding := self._coding():
            try:
                receive = decoding(receive, coding)
            except UpstreamError:
                self.abort()
                raise
        self._parser.headers = {}  # freed now, since the stream may last: some upstreams send a kilobyte of them
        return self._deliver(receive)

    def pause(self) -> None:
        self._paused = True
        self._settle()

    def resume(self) -> None:
        self._paused = False
        self._settle()

    def abort(self) -> None:
        if self._connection is not None:
            self._fail(AnswerCut("the upstream's answer was given up before its end"))

    # For the connection.

    def take(self, data: bytes) -> None:
        """Take bytes that the socket has read."""
        parser = self._parser
        opening = parser.part is HEAD
        piece = parser.feed(data)
        if piece:
            if self._receive is None:
                self._held.append(piece)
                self._held_size += len(piece)
            else:
                with self:
                    self._receive(piece)
        connection = self._connection
        if connection is not None:
            if parser.part is BODY and not (self._paused or self._held or connection.paused):
                self._watch(self._timeouts.idle)  # what `_settle` would do; this runs once for every delta
            else:
                self._settle()
        if opening and self._waiter is not None and parser.part is not HEAD:
            self._wake()

    def finish(self) -> None:
        """The upstream has sent its last byte."""
        if not self._parser.started:
            self.lose()
        else:
            self._parser.finish()
            self._settle()

    def lose(self) -> None:
        """Handle the loss of the connection."""
        if self._parser.started:
            self._fail(AnswerCut(CLOSED_EARLY))
        else:
            self._fail(UpstreamUnreachable("the upstream closed the connection before it answered"))

    def sent(self) -> None:
        """The request has left: from now on the upstream owes a header."""
        if self._parser.part is HEAD:
            self._watch(self._timeouts.first_byte)

    def expire(self) -> None:
        """The deadline that was watched has passed."""
        connection = self._connection
        assert connection is not None
        total_over = connection.loop.time() >= self._ends_at
        if not total_over and self._parser.part is HEAD and connection.upload_progressed():
            self.sent()
        elif total_over:
            self._fail(UpstreamTimedOut(f"the upstream did not finish its answer within {self._timeouts.total:g} s"))
        elif self._parser.part is HEAD:
            self._fail(UpstreamTimedOut(f"the upstream sent no answer within {self._timeouts.first_byte:g} s"))
        else:
            self._fail(UpstreamTimedOut(f"the upstream was silent for {self._timeouts.idle:g} s"))

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Take an exception of the reader, raised in the socket's read callback, to the task that awaits the answer.

        The loop would log it and lose it; here it breaks the answer off and is raised by `read` or `pump`.
        """
        if error is not None:
            self._fail(error)
        return isinstance(error, Exception)

    async def _deliver(self, receive: Callable[[bytes], None]) -> None:
        if self._receive is not None:
            raise RuntimeError("an answer can be read once")
        self._receive = receive
        held, self._held, self._held_size = b"".join(self._held), [], 0
        try:
            if held:
                receive(held)
            del held  # this frame lives until the stream ends
            if self._connection is not None:
                self._settle()
                self._waiter = self._connection.loop.create_future()
                await self._waiter
            self._raise_failure()
        finally:
            self.abort()  # closes an answer that was left early; no effect after its end
            # The reader and the exception's traceback refer back to this: kept, they would be cyclic garbage.
            self._receive, self._failure = read_already, None

    def _settle(self) -> None:
        """Act on where the answer stands: let go of the connection at its end, else read and watch, or rest."""
        connection, part = self._connection, self._parser.part
        if connection is None or part is HEAD:
            return
        if part is BROKEN:
            self._fail(broken(self._parser.fault))
        elif part is END:
            self._let_go(reusable=self._parser.reusable)
        elif self._paused or self._held_size > HELD_LIMIT:
            connection.read_on(False)
            self._watch(None)
        else:
            if connection.paused:
                connection.read_on(True)
            self._watch(self._timeouts.idle)

    def _watch(self, seconds: float | None) -> None:
        connection, deadline = self._connection, self._ends_at
        if connection is None:
            return
        if seconds is not None:
            soon = connection.time() + seconds
            deadline = soon if soon < deadline else deadline
        connection.watchdog.watch(deadline)

    def _fail(self, error: BaseException) -> None:
        if self._connection is not None:
            self._failure = error
            self._let_go(reusable=False)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # it refers to this frame: together they would keep the request alive until the next collection

    def _let_go(self, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        self._parser.close()
        connection.done(reusable)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _coding(self) -> str:
        return self._parser.headers.get("content-encoding", "")
