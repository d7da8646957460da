"""One upstream call shared by all requests in this process that wait for its answer.

A flight is independent of its followers: any of them may leave, even the one that sent its request upstream, without
affecting the others; the call is aborted when the last one leaves. Streams are followed as they arrive: a late follower
first gets the events so far. A slow client does not delay the others; it has a separate backlog, and the upstream is
slowed down when no follower keeps up, or when the answer has become too long to be held.

Every follower has a separate message id, which is put into the first event. All followers share a failure of the
upstream. What the limits of one client's key cause is its alone: the flight is *isolated*, and the others leave it.
"""

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable

import orjson

from gateway.cache.entry import CacheEntry
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError
from gateway.exchange.recording import RecordingSink
from gateway.exchange.sink import Flow, Sink
from gateway.messages import events

# Result of a flight. None: an answer that was not held, so only the followers at the time got it.
Landed = CacheEntry | GatewayError | None

# Calls the upstream for a follower; returns the result, and whether it may be stored.
Call = Callable[[], Awaitable[tuple[Landed, bool]]]

_ERROR = b"event: error\n"


class Follower:
    """One pending reply. With a sink, set before it follows, it is a stream; without one it gets the whole answer."""

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
        """Send a ping while the stream is silent."""
        if self.sink is not None and not self.begun and not self.paused:
            self.sink.write(events.PING if self.sink.committed else MessageStream(self.reply).open())

    def finish(self, landed: Landed) -> bool:
        """Write the rest. Return False if the answer is not available here. Raises the flight's failure, unless the
        client has received something."""
        if self.sink is None or self.begun:
            self._write_backlog()
            return self.begun
        if isinstance(landed, CacheEntry):
            data = landed.to_events(self.reply.message_id, self.reply.model)
            self.sink.write(events.without_start(data) if self.sink.committed else data)
        elif landed is not None:
            if not self.sink.committed:
                raise landed
            self.sink.write(events.error_event(landed, self.reply.request_id))
        return landed is not None

    def _open(self, sink: Sink) -> None:
        """Replace message_start in the first bytes by this reply's."""
        data = b"".join(self._backlog)
        self._backlog = []
        if sink.committed:
            # This client has its message_start already, from a ping before the first content.
            data = events.without_start(data)
        elif self is not self._flight.speaker:
            data = with_start_of(self.reply, data)
        if data:
            self._backlog.append(data)
        if not self.paused:
            self._write_backlog()

    def _write_backlog(self) -> None:
        if self.sink is not None and self._backlog:
            self.sink.write(b"".join(self._backlog))
            self._backlog = []

    def _own(self, data: bytes) -> bytes:
        speaker = self._flight.speaker
        if speaker is not None and data.startswith(_ERROR):
            # An error event has the id of the request; each client gets the id of its request.
            return data.replace(speaker.reply.request_id.encode(), self.reply.request_id.encode())
        return data


class Flight:
    """One flight; it is the sink of its call. Pass `recording` to the writer of the answer.

    `boarded` is done when it is known whether this process calls the upstream or waits for another one (True);
    `streamed` when a whole stream was written; `landed` when there is an answer for followers of the whole message;
    `stored` when the answer was offered to the store, which refuses one that was cleared meanwhile (False).
    """

    __slots__ = (
        "_is_over",
        "_source",
        "_stopped",
        "boarded",
        "committed",
        "followers",
        "isolated",
        "landed",
        "recording",
        "speaker",
        "stored",
        "streamed",
    )

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.followers: list[Follower] = []
        self.speaker: Follower | None = None
        self.recording = RecordingSink(self)
        self.boarded: asyncio.Future[bool] = loop.create_future()
        self.streamed: asyncio.Future[None] = loop.create_future()
        self.landed: asyncio.Future[Landed] = loop.create_future()
        self.isolated: asyncio.Future[None] = loop.create_future()
        self.stored: asyncio.Future[bool] = loop.create_future()
        self.committed = False
        self._source: Flow | None = None
        self._stopped = False
        self._is_over = False

    @property
    def is_open(self) -> bool:
        """Return True if another follower can follow it from the beginning."""
        return self.recording.pieces is not None and not self.isolated.done()

    @property
    def is_deserted(self) -> bool:
        return not self.followers and not self.streamed.done()

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
        self._release()

    def choose_speaker(self) -> Follower:
        """Return the follower that sends its request upstream: the one that has waited longest."""
        # Its headers, session and priority go upstream; any follower would do.
        self.speaker = self.followers[0]
        return self.speaker

    async def follow(self, follower: Follower, ping_after: float) -> Landed:
        """Wait until the flight has ended. Raises the failure, as `Follower.finish` does."""
        end: asyncio.Future[None] | asyncio.Future[Landed] = self.streamed if follower.streams else self.landed
        while not end.done() and not self._leaves_out(follower):
            awaited = {end} if self.isolated.done() else {end, self.isolated}
            pause = ping_after if follower.streams else None
            done, _ = await asyncio.wait(awaited, timeout=pause, return_when=FIRST_COMPLETED)
            if not done and not self._passes_on:
                follower.beat()
        if self._leaves_out(follower):
            return None
        if not follower.streams:
            landed = self.landed.result()
            if isinstance(landed, GatewayError):
                raise landed
            return landed
        return self.landed.result() if self.landed.done() else None

    def isolate(self) -> None:
        """Keep the answer for the speaker alone; the others ask by themselves."""
        if not self.isolated.done():
            self.isolated.set_result(None)

    def _leaves_out(self, follower: Follower) -> bool:
        return self.isolated.done() and follower is not self.speaker

    @property
    def _passes_on(self) -> bool:
        """Return True if the upstream's stream is passed on; its relay then sends the pings."""
        return self.speaker is not None and self.speaker.streams

    def board(self, *, waits: bool) -> None:
        if not self.boarded.done():
            self.boarded.set_result(waits)

    def end_stream(self) -> None:
        if not self.streamed.done():
            self.streamed.set_result(None)

    def land(self, landed: Landed) -> None:
        self.board(waits=False)
        if not self.landed.done():
            self.landed.set_result(landed)
        self.end_stream()

    def end(self) -> None:
        """Note that the call is over and its answer stored."""
        self._is_over = True
        self._release()

    def _release(self) -> None:
        """Drop what refers to this flight after the last use. Only a full garbage collection, which is rare on purpose,
        would free the prompt and the answer otherwise."""
        if self._is_over and not self.followers:
            self.speaker = None
            self.recording.close()

    # -- as a sink

    def write(self, data: bytes) -> None:
        self.committed = True
        # A copy: a write may fail, and the follower then leaves.
        for follower in tuple(self.followers):
            if follower.streams and not self._leaves_out(follower):
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
        """Slow the upstream down when no follower keeps up; for the slowest, when backlogs could grow without bound."""
        slow = [follower.paused for follower in self.followers]
        stop = bool(slow) and (all(slow) if self.is_open else any(slow))
        if self._source is None or stop == self._stopped:
            return
        self._stopped = stop
        if stop:
            self._source.pause()
        else:
            self._source.resume()


def with_start_of(reply: Reply, data: bytes) -> bytes:
    """Return a stream's bytes with this reply's message_start."""
    start, rest = data[: data.index(b"\n\n")], events.without_start(data)
    message = orjson.loads(start[start.index(b"data: ") + 6 :])["message"]
    return events.message_start({**message, "id": reply.message_id, "model": reply.model}) + rest
