"""Hold back the end of a stream until the conversation can be continued."""

from gateway.exchange.sink import Flow, Sink

# Its line cannot occur within data, where line ends are escaped.
NAMED_STOP = b"event: message_stop\n"


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
        end = data.rfind(NAMED_STOP)  # an upstream's own may be spaced otherwise
        if end >= 0:
            data, self._held = data[:end], data[end:]
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
