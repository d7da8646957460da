"""What ends a process, and what does not."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.process.signals import StopRequest, stop_on_signals


@pytest.fixture(autouse=True)
def _keep_handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_second_signal_at_the_same_moment_does_not_insist() -> None:
    stop = StopRequest()
    stop.signalled()
    stop.signalled()
    assert stop.wanted.is_set()


def test_a_hangup_never_insists() -> None:
    stop = StopRequest(since=1.0)
    stop.wanted.set()
    stop.hung_up()
    assert stop.since == 1.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_each_stop_signal_asks_to_stop(number: signal.Signals) -> None:
    stop = stop_on_signals()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        await stop.wanted.wait()


async def test_nohup_keeps_its_meaning() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_on_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
