"""A stream that is part of a thread reaches its client as it arrives, except for its end."""

from gateway.exchange.sink import Flow
from gateway.messages.events import MESSAGE_STOP, PING
from gateway.threads.sink import HeldBackEnd


class Written:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.source: Flow | None = None
        self.aborted = False

    @property
    def committed(self) -> bool:
        return bool(self.pieces)

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def attach(self, source: Flow | None) -> None:
        self.source = source

    def abort(self) -> None:
        self.aborted = True


class Source:
    def pause(self) -> None: ...

    def resume(self) -> None: ...


def test_the_end_waits_for_its_release_whether_it_comes_alone_or_with_what_precedes_it() -> None:
    for writes in ([PING, MESSAGE_STOP], [PING + MESSAGE_STOP]):
        sink = Written()
        end = HeldBackEnd(sink)
        for data in writes:
            end.write(data)
        assert sink.pieces == [PING]
        end.release()
        end.release()
        assert sink.pieces == [PING, MESSAGE_STOP]


def test_a_stream_without_an_end_gets_none() -> None:
    sink = Written()
    end = HeldBackEnd(sink)
    assert not end.committed
    end.write(PING)
    end.release()
    assert sink.pieces == [PING]
    assert end.committed


def test_all_else_is_passed_on() -> None:
    sink, source = Written(), Source()
    end = HeldBackEnd(sink)
    end.attach(source)
    end.abort()
    assert sink.source is source
    assert sink.aborted
