"""One call to the upstream, and everybody in this process who waits for its answer.

A flight belongs to none of its followers: who leaves, even the one whose request went upstream, leaves the others
undisturbed, and only when the last one has left is the call broken off. Streams are followed as they arrive: whoever
joins late gets at once what has been told so far. A client that reads slowly is not waited for; it has a backlog of its
own, and the upstream is slowed down when nobody keeps up, or when the answer has become too long to be held.

Every follower has a message id of its own: it is put into the first event. A failure is everybody's.
"""

import asyncio
from collections.abc import Awaitable, Callable

import orjson

from gateway.cache.entry import Entry
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError
from gateway.exchange.recording import RecordingSink
from gateway.exchange.sink import Flow, Sink
from gateway.messages import events

# What came of a flight. None: an answer that is not held, so that only those who were following it have got it.
Landed = Entry | GatewayError | None

# Asks the upstream on behalf of a follower: what came of it, and whether it may be kept.
Call = Callable[[], Awaitable[tuple[Landed, bool]]]

_ERROR = b"event: error\n"


class Follower:
    """One reply to come. Without a sink, which a stream is given before it is followed, it wants the answer whole."""

    __slots__ = ("_backlog", "_flight", "begun", "call", "paused", "reply", "sink", "streams")

    def __init__(self, flight: "Flight", reply: Reply, call: Call, *, streams: bool) -> None:
        self._flight = flight
        self._backlog: list[bytes] = []
        self.reply = reply
        self.call = call
        self.streams = streams
        self.sink: Sink | None = None
        self.begun = False
        self.paused = False

    def write(self, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            self._backlog.append(data)
            if self.sink is not None:
                self._open(self.sink)
        elif self.sink is None or self.paused:
            self._backlog.append(self._own(data))
        else:
            self.sink.write(self._own(data))

    def attach(self, sink: Sink) -> None:
        self.sink = sink
        sink.attach(self)
        if self.begun:
            self._open(sink)

    def detach(self) -> None:
        if self.sink is not None:
            self.sink.attach(None)
            self.sink = None

    def pause(self) -> None:
        self.paused = True
        self._flight.pace()

    def resume(self) -> None:
        self.paused = False
        self._write_backlog()
        self._flight.pace()

    def beat(self) -> None:
        """A sign of life, while nobody tells anything."""
        if self.sink is not None and not self.begun and not self.paused:
            self.sink.write(events.PING if self.sink.committed else MessageStream(self.reply).open())

    def finish(self, landed: Landed) -> bool:
        """What is still to be written. False when the answer cannot be had from here. Raises the flight's failure,
        unless the client has been shown something."""
        if self.sink is None or self.begun:
            self._write_backlog()
            return self.begun
        if isinstance(landed, Entry):
            told = landed.to_events(self.reply.message_id, self.reply.model)
            self.sink.write(events.without_start(told) if self.sink.committed else told)
        elif landed is not None:
            if not self.sink.committed:
                raise landed
            self.sink.write(events.error_event(landed, self.reply.request_id))
        return landed is not None

    def _open(self, sink: Sink) -> None:
        """The first bytes begin with message_start, which has to be this reply's own."""
        told = b"".join(self._backlog)
        self._backlog = []
        if sink.committed:
            told = events.without_start(told)
        elif self is not self._flight.speaker:
            told = with_start_of(self.reply, told)
        if told:
            self._backlog.append(told)
        if not self.paused:
            self._write_backlog()

    def _write_backlog(self) -> None:
        if self.sink is not None and self._backlog:
            self.sink.write(b"".join(self._backlog))
            self._backlog = []

    def _own(self, data: bytes) -> bytes:
        speaker = self._flight.speaker
        if speaker is not None and data.startswith(_ERROR):
            return data.replace(speaker.reply.request_id.encode(), self.reply.request_id.encode())
        return data


class Flight:
    """See the module. It is the sink of its call; give `recording` to whoever tells the answer.

    `boarded` is done when it is known whether this process asks, or waits for another one that does (True); `told` when
    all of a stream was written; `landed` when there is an answer for those who want it whole.
    """

    __slots__ = ("_source", "_stopped", "boarded", "committed", "followers", "landed", "recording", "speaker", "told")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.followers: list[Follower] = []
        self.speaker: Follower | None = None
        self.recording = RecordingSink(self)
        self.boarded: asyncio.Future[bool] = loop.create_future()
        self.told: asyncio.Future[None] = loop.create_future()
        self.landed: asyncio.Future[Landed] = loop.create_future()
        self.committed = False
        self._source: Flow | None = None
        self._stopped = False

    @property
    def is_open(self) -> bool:
        """Whether one more can follow it from the beginning."""
        return self.recording.pieces is not None

    @property
    def is_deserted(self) -> bool:
        return not self.followers and not self.told.done()

    def join(self, reply: Reply, call: Call, *, streams: bool) -> Follower:
        follower = Follower(self, reply, call, streams=streams)
        self.followers.append(follower)
        if streams and self.committed:
            follower.write(b"".join(self.recording.pieces or ()))
        return follower

    def leave(self, follower: Follower) -> None:
        follower.detach()
        self.followers.remove(follower)
        self.pace()

    def choose_speaker(self) -> Follower:
        """Whose request goes upstream: the one who has waited longest."""
        self.speaker = self.followers[0]
        return self.speaker

    async def follow(self, follower: Follower, ping_after: float) -> Landed:
        """Wait until there is nothing more to come. Raises the failure, as `Follower.finish` does."""
        end: asyncio.Future[None] | asyncio.Future[Landed] = self.told if follower.streams else self.landed
        while not end.done():
            await asyncio.wait({end}, timeout=ping_after if follower.streams else None)
            if not end.done() and not self._tells:
                follower.beat()
        if not follower.streams:
            landed = self.landed.result()
            if isinstance(landed, GatewayError):
                raise landed
            return landed
        return self.landed.result() if self.landed.done() else None

    @property
    def _tells(self) -> bool:
        """The upstream's stream is passed on; whoever does that sees to pings."""
        return self.speaker is not None and self.speaker.streams

    def board(self, *, waits: bool) -> None:
        if not self.boarded.done():
            self.boarded.set_result(waits)

    def end_told(self) -> None:
        if not self.told.done():
            self.told.set_result(None)

    def land(self, landed: Landed) -> None:
        self.board(waits=False)
        if not self.landed.done():
            self.landed.set_result(landed)
        self.end_told()

    # -- as a sink

    def write(self, data: bytes) -> None:
        self.committed = True
        for follower in tuple(self.followers):
            if follower.streams:
                follower.write(data)
        if not self.is_open:
            self.pace()

    def attach(self, source: Flow | None) -> None:
        self._source = source
        self._stopped = False
        self.pace()

    def abort(self) -> None:
        for follower in tuple(self.followers):
            if follower.sink is not None:
                follower.sink.abort()

    def pace(self) -> None:
        """Slow the upstream down when nobody keeps up; for the slowest, when backlogs can grow without a bound."""
        slow = [follower.paused for follower in self.followers]
        stop = bool(slow) and (all(slow) if self.is_open else any(slow))
        if self._source is None or stop == self._stopped:
            return
        self._stopped = stop
        if stop:
            self._source.pause()
        else:
            self._source.resume()


def with_start_of(reply: Reply, told: bytes) -> bytes:
    """A stream's bytes, with its message_start made this reply's own."""
    start, rest = told[: told.index(b"\n\n")], events.without_start(told)
    message = orjson.loads(start[start.index(b"data: ") + 6 :])["message"]
    return events.message_start({**message, "id": reply.message_id, "model": reply.model}) + rest
