"""One attempt at a stream: an upstream's answer flows through a `StreamConverter` into the client's sink.

Everything happens in the socket's read callback: one read in, one write out, no task woken in between. Deadlines are
checked on the heartbeat only: to commit a 200 while the upstream queues or thinks, to ping, to end a complete answer
with an open body, and to give up on an upstream that is silent or a client that stopped reading. The sink's buffer
decides the pace: when it is full, the upstream's socket is not read, so memory per stream is bounded when either side
is slow.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Self

from gateway.dialects.base import StreamConverter
from gateway.errors import GatewayError, RequestTimedOut, UpstreamError, UpstreamTimedOut
from gateway.exchange.sink import Sink
from gateway.upstream.http.client import Answer

# Seconds that a body may stay open after `[DONE]`: its end usually follows in the next packet, which makes the
# connection reusable.
DONE_GRACE = 0.2
# Seconds from a finish reason to the end of a body that stays open, with its usage and while that may still come.
WHOLE_GRACE = 1.0
USAGE_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """Seconds. Claude Code shows a stall after 20 s without bytes, so a ping comes well before that.

    `commit_after` runs from the request, whether or not the upstream's header has come: a server without a free slot
    sends none (llama.cpp b11549). `first_content` is the longest silence before content; comments end a silence.
    """

    commit_after: float = 5.0
    ping_after: float = 10.0
    first_content: float = 120.0
    stalled_client: float = 60.0

    def within(self, seconds: float) -> Self:
        """Return the timeouts of an attempt that must have its first content within this time."""
        return self if seconds >= self.first_content else replace(self, first_content=seconds)


class Relay:
    """Joins one converter, one sink and, once its header has come, one answer.

    Register it with the heartbeat from the request on. `first_content`: when content first came, on `clock`.
    """

    __slots__ = (
        "_answer",
        "_begun",
        "_clock",
        "_content_within",
        "_finished_at",
        "_heard_at",
        "_lingering",
        "_paused_at",
        "_quiet_since",
        "_sink",
        "_started_at",
        "_timeouts",
        "converter",
        "first_content",
    )

    def __init__(
        self,
        converter: StreamConverter,
        sink: Sink,
        timeouts: StreamTimeouts,
        clock: Callable[[], float],
        begun: Callable[[], object] | None,
        content_within: float = inf,
    ) -> None:
        """`begun` is called at the first content.

        `content_within`: seconds until that is overdue. Events without content do not extend it.
        """
        self._content_within = content_within
        self._answer: Answer | None = None
        self._begun = begun
        self._sink = sink
        self._timeouts = timeouts
        self._clock = clock
        self._started_at = self._quiet_since = self._heard_at = clock()
        self._paused_at: float | None = None
        self._finished_at: float | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.first_content: float | None = None
        self.converter = converter

    async def run(self, answer: Answer) -> None:
        """Raise the stream's failure; what was complete before it has then been written."""
        self._answer = answer
        self._heard_at = self._clock()
        self._sink.attach(self)
        try:
            await answer.pump(self._receive)
            self._send(self.converter.end())
        except GatewayError as error:
            self._send(self.converter.fail(error))
        finally:
            self._sink.attach(None)
            if self._lingering is not None:
                self._lingering.cancel()
        # The failure's traceback refers to this relay: a kept reference would be a cycle, freed only by the collector.
        failure, self.converter.failure = self.converter.failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure

    def pause(self) -> None:
        self._paused_at = self._clock()
        if self._answer is not None:
            self._answer.pause()

    def resume(self) -> None:
        self._paused_at = None
        if self._answer is not None:
            self._answer.resume()

    def tick(self, now: float) -> None:
        if self.converter.done:
            return
        if self._paused_at is not None:
            if now - self._paused_at >= self._timeouts.stalled_client:
                self._give_up(RequestTimedOut("The client stopped reading its stream."))
                self._sink.abort()
        elif self.converter.is_finished:
            # A complete answer followed by more data, such as comments after [DONE] (bifrost#6784), ends here.
            if self._finished_at is None:
                self._finished_at = now
            elif now - self._finished_at >= (WHOLE_GRACE if self.converter.has_usage else USAGE_GRACE):
                self._send(self.converter.end())
                self._abort()
        elif self._is_silent(now):
            self._give_up(UpstreamTimedOut("The upstream sent no content in time."))
        elif not self._sink.committed and now - self._started_at >= self._timeouts.commit_after:
            self._write(self.converter.open(), now)
        elif self._sink.committed and now - self._quiet_since >= self._timeouts.ping_after:
            self._write(self.converter.ping, now)

    def _is_silent(self, now: float) -> bool:
        """Return True if content is overdue. The wait for the header has a separate timeout, in the client."""
        if self._answer is None or self.converter.started:
            return False
        is_silent = now - self._heard_at >= self._timeouts.first_content
        return is_silent or now - self._started_at >= self._content_within

    def _receive(self, piece: bytes) -> None:
        converter, answer = self.converter, self._answer
        assert answer is not None  # the client calls this
        now = self._heard_at = self._clock()
        data = converter.feed(piece)
        if self.first_content is None:
            self._note_content()
        if data:
            self._write(data, now)
        if converter.failure is not None or converter.abandoned:
            answer.abort()
        elif converter.done and self._lingering is None and not answer.has_ended:
            self._lingering = asyncio.get_running_loop().call_later(DONE_GRACE, answer.abort)

    def _send(self, data: bytes) -> None:
        self._note_content()
        if data:
            self._write(data, self._clock())

    def _note_content(self) -> None:
        if self.first_content is None and self.converter.started:
            self.first_content = self._clock()
            if self._begun is not None:
                self._begun()

    def _write(self, data: bytes, now: float) -> None:
        self._quiet_since = now
        try:
            self._sink.write(data)
        except UpstreamError as error:  # of a sink that reads the stream for its client, and cannot
            self.converter.fail(error)
            self.converter.failure = error  # also that of an answer which is whole
            self._abort()

    def _give_up(self, error: GatewayError) -> None:
        self._send(self.converter.fail(error))
        self._abort()

    def _abort(self) -> None:
        if self._answer is not None:
            self._answer.abort()


def is_event_stream(answer: Answer) -> bool:
    """Return True if the answer is to be read as a stream. Raises UpstreamError for a web page."""
    content_type = answer.headers.get("content-type", "")
    if "html" in content_type:
        answer.abort()
        raise UpstreamError("The upstream answered with a web page instead of a stream.")
    return "json" not in content_type
