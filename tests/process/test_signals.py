"""Signals and faults that end a process, and others that do not."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.process.signals import StopRequest, on_hangup, stop_on_signals


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_each_stop_signal_asks_to_stop(number: signal.Signals) -> None:
    stop = stop_on_signals()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        await stop.wanted.wait()


async def test_hangup_reloads_and_never_stops() -> None:
    stop, reloaded = stop_on_signals(), asyncio.Event()
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0)
    with on_hangup(reloaded.set):
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(5):
            await reloaded.wait()
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0)
    assert not stop.wanted.is_set()
