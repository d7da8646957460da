"""A socket without a network and a loop with a clock that is set by hand, for tests of connections and answers."""

import asyncio
from collections.abc import Callable

from gateway.upstream.http.answer import SocketAnswer
from gateway.upstream.http.client import Timeouts
from gateway.upstream.http.connection import UpstreamConnection
from gateway.upstream.http.http1 import AnswerParser


class ManualTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualLoop:
    """The part of a loop that connections use. `set_timers` counts their timers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.set_timers = 0
        self._timers: list[ManualTimer] = []

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def call_soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        return asyncio.get_running_loop().call_soon(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> ManualTimer:
        self.set_timers += 1
        timer = ManualTimer(when, callback)
        self._timers.append(timer)
        return timer

    def pending(self) -> list[ManualTimer]:
        return [timer for timer in self._timers if not timer.cancelled]

    def advance(self, seconds: float) -> None:
        """Let time pass, and run the timers in order."""
        end = self.now + seconds
        while due := [timer for timer in self.pending() if timer.when <= end]:
            first = min(due, key=lambda timer: timer.when)
            self._timers.remove(first)
            self.now = max(self.now, first.when)
            first.callback()
        self.now = end


class FakeTransport(asyncio.Transport):
    """The loop's side of a socket: notes what is written, and whether it is read from or closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.unsent = 0
        self.reading = True
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class NoKeeper:
    """A pool's part, which records its calls."""

    def __init__(self) -> None:
        self.released = 0
        self.forgotten = 0
        self.posts = False  # whether requests lie there until they are flushed

    def post(self, connection: UpstreamConnection) -> None:
        if not self.posts:
            connection.flush()

    def release(self, connection: UpstreamConnection) -> None:
        self.released += 1

    def forget(self, connection: UpstreamConnection) -> None:
        self.forgotten += 1


class Line:
    """A connection on a fake socket, and the calls that are made on it."""

    def __init__(self, max_idle: float = 30.0) -> None:
        self.loop = ManualLoop()
        self.socket = FakeTransport()
        self.keeper = NoKeeper()
        self.connection = UpstreamConnection(self.loop, self.keeper, max_idle)  # type: ignore[arg-type]
        self.connection.connection_made(self.socket)

    def call(
        self,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        method: str = "POST",
        body: bytes = b"{}",
        ends_at: float = float("inf"),
    ) -> SocketAnswer:
        answer = SocketAnswer(self.connection, AnswerParser(method), timeouts, ends_at)
        self.connection.send(b"HEAD ", body, answer)
        return answer
