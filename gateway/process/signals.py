"""Stop signals of a process, including the end of its parent, and its event loop."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

if sys.platform != "win32":
    import uvloop

# One Ctrl-C may be signalled twice, by terminal and parent: only a later signal is a second request.
INSIST_SECONDS: Final = 1.0

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# Written by a child to its parent when it accepts connections.
READY: Final = b"+"


@dataclass(slots=True)
class StopRequest:
    """Request to stop, and the time of it. A signal that comes a second after the first ends the process at once."""

    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0

    def signalled(self) -> None:
        now = time.monotonic()
        if self.wanted.is_set() and now - self.since > INSIST_SECONDS:
            os._exit(1)
        self.since = self.since or time.monotonic()
        self.wanted.set()


def stop_on_signals(*, is_child: bool = False) -> StopRequest:
    """Stop on SIGTERM and SIGINT, and a child also when its parent ends. SIGHUP is for `on_hangup`."""
    stop = StopRequest()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.signalled)
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGHUP, _ignore)
    if is_child:
        loop.add_reader(sys.stdin, _parent_is_gone, loop, stop)
    return stop


@contextmanager
def on_hangup(reload: Callable[[], None]) -> Iterator[None]:
    """Call `reload` on SIGHUP while the context is open. Outside of it SIGHUP never ends a process that serves."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, reload)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.add_signal_handler(signal.SIGHUP, _ignore)


def _ignore() -> None:
    """Ignore a SIGHUP in a process without a configuration to reload."""


def report_ready() -> None:
    """Notify the parent, at the other end of standard input, that this child is ready."""
    with suppress(OSError):  # the parent has ended, or started it in another way
        os.write(sys.stdin.fileno(), READY)


def new_event_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop() if sys.platform == "win32" else uvloop.new_event_loop()


def _parent_is_gone(loop: asyncio.AbstractEventLoop, stop: StopRequest) -> None:
    """The parent never writes: what can be read from it is its end, however it came."""
    loop.remove_reader(sys.stdin)
    stop.signalled()
