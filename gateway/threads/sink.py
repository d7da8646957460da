"""Hold back the end of a stream until the conversation can be continued."""

from gateway.exchange.sink import Flow, Sink
from gateway.messages.events import MESSAGE_STOP


class HeldBackEnd:
    """Pass everything on to `sink` except `message_stop`, which waits for `release`.

    A stream's end is written last and whole, alone or at the end of a write, so checking the ends of writes finds it.
    """

    __slots__ = ("_held", "_sink")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""

    @property
    def committed(self) -> bool:
        return self._sink.committed

    def write(self, data: bytes) -> None:
        if data.endswith(MESSAGE_STOP):
            self._held = MESSAGE_STOP
            data = data[: -len(MESSAGE_STOP)]
        if data:
            self._sink.write(data)

    def attach(self, source: Flow | None) -> None:
        self._sink.attach(source)

    def abort(self) -> None:
        self._sink.abort()

    def release(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._sink.write(held)
