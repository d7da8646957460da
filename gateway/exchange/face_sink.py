"""Streams in the API that the client speaks, where that is not Messages."""

from typing import Protocol

from gateway.errors import UpstreamError
from gateway.exchange.sink import Flow, Sink

# Raised by a converter for events or a message of another form than Messages has. An upstream that speaks Messages may
# send them, since its answers pass unparsed.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
CANNOT_BE_READ = "The upstream's answer cannot be read as one of Messages."


class StreamFace(Protocol):
    """Bytes of a Messages stream in, bytes for the client out."""

    def feed(self, data: bytes) -> bytes: ...

    def keep_alive(self) -> bytes: ...


class FaceSink:
    """A sink that converts a Messages stream for `sink`. A member of the heartbeat while it is open.

    `keep_alive_after`: seconds of silence, None to leave it to the stream. `is_opened`: a Messages stream has begun.
    """

    __slots__ = ("_converter", "_keep_alive_after", "_quiet_since", "is_opened", "sink")

    def __init__(self, sink: Sink, converter: StreamFace, keep_alive_after: float | None) -> None:
        self.sink = sink
        self.is_opened = False
        self._converter = converter
        self._keep_alive_after = keep_alive_after
        self._quiet_since: float | None = None  # on the heartbeat's clock; None: written to since its last beat

    @property
    def committed(self) -> bool:
        return self.sink.committed

    def write(self, data: bytes) -> None:
        self.is_opened = True
        try:
            converted = self._converter.feed(data)
        except UNREADABLE:
            raise UpstreamError(CANNOT_BE_READ) from None
        if converted:
            self._quiet_since = None
            self.sink.write(converted)

    def attach(self, source: Flow | None) -> None:
        self.sink.attach(source)

    def abort(self) -> None:
        self.sink.abort()

    def tick(self, now: float) -> None:
        if self._keep_alive_after is None or not self.committed:
            return
        if self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= self._keep_alive_after:
            self.write_keep_alive()

    def write_keep_alive(self) -> None:
        self._quiet_since = None
        self.sink.write(self._converter.keep_alive())


def sink_of(sink: Sink, *, is_original: bool) -> Sink:
    """Return the sink for an answer; `is_original`: it comes in the API that the client speaks."""
    return sink.sink if is_original and isinstance(sink, FaceSink) else sink


def is_opened(sink: Sink) -> bool:
    """Return True once the client has received the beginning of a message."""
    return sink.is_opened if isinstance(sink, FaceSink) else sink.committed
