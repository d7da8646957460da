"""One attempt at a stream: an upstream's answer flows through a `StreamConverter` into the client's sink.

Everything happens in the socket's read callback: one read in, one write out, no task woken in between. Time is looked
at only on the heartbeat: to commit a 200 while the upstream thinks, to ping, and to give up on an upstream that
shows no content or a client that stopped reading. The sink's buffer decides the pace: when it is full, the upstream's
socket is not read, so memory per stream is bounded whichever side is slow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from gateway.dialects.base import StreamConverter
from gateway.errors import GatewayError, RequestTimedOut, UpstreamTimedOut
from gateway.exchange.sink import Sink
from gateway.messages.events import PING
from gateway.upstream.client import Answer


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """Seconds. Claude Code shows a stall after 20 s without bytes, so a ping comes well before that."""

    commit_after: float = 5.0
    ping_after: float = 10.0
    first_content: float = 120.0
    stalled_client: float = 60.0

    def within(self, seconds: float) -> Self:
        """The pace of an attempt whose first content must come within this time."""
        return self if seconds >= self.first_content else replace(self, first_content=seconds)


class Relay:
    """Joins one answer, one stream and one sink. `first_content`: when content first came, on `time.monotonic`."""

    __slots__ = (
        "_answer",
        "_begun",
        "_clock",
        "_converter",
        "_paused_at",
        "_quiet_since",
        "_sink",
        "_started_at",
        "_timeouts",
        "first_content",
    )

    def __init__(
        self,
        answer: Answer,
        converter: StreamConverter,
        sink: Sink,
        timeouts: StreamTimeouts,
        clock: Callable[[], float],
        begun: Callable[[], None] | None,
    ) -> None:
        """`begun` is called at the first content."""
        self._answer = answer
        self._begun = begun
        self._sink = sink
        self._timeouts = timeouts
        self._clock = clock
        self._started_at = self._quiet_since = clock()
        self._paused_at: float | None = None
        self.first_content: float | None = None
        self._converter = converter

    async def run(self) -> None:
        """Raises the stream's failure; what was whole before it has then been written."""
        self._sink.attach(self)
        try:
            await self._answer.pump(self._receive)
            self._send(self._converter.end())
        except GatewayError as error:
            self._send(self._converter.fail(error))
        finally:
            self._sink.attach(None)
        self._check()

    def pause(self) -> None:
        self._paused_at = self._clock()
        self._answer.pause()

    def resume(self) -> None:
        self._paused_at = None
        self._answer.resume()

    def tick(self, now: float) -> None:
        if self._paused_at is not None:
            if now - self._paused_at >= self._timeouts.stalled_client:
                self._give_up(RequestTimedOut("The client stopped reading its stream."))
                self._sink.abort()
            return
        if not self._converter.started and now - self._started_at >= self._timeouts.first_content:
            self._give_up(UpstreamTimedOut("The upstream sent no content in time."))
        elif not self._sink.committed and now - self._started_at >= self._timeouts.commit_after:
            self._write(self._converter.open())
        elif self._sink.committed and now - self._quiet_since >= self._timeouts.ping_after:
            self._write(PING)

    def _check(self) -> None:
        """Raise the stream's failure, and forget it: its traceback refers to this relay."""
        failure, self._converter.failure = self._converter.failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure

    def _receive(self, piece: bytes) -> None:
        converter = self._converter
        self._send(converter.feed(piece))
        if converter.failure is not None or converter.abandoned:
            self._answer.abort()

    def _send(self, data: bytes) -> None:
        if data:
            if self.first_content is None:
                self.first_content = self._clock()
                if self._begun is not None:
                    self._begun()
            self._write(data)

    def _write(self, data: bytes) -> None:
        self._quiet_since = self._clock()
        self._sink.write(data)

    def _give_up(self, error: GatewayError) -> None:
        self._send(self._converter.fail(error))
        self._answer.abort()
