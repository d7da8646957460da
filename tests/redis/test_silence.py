"""A call ends after some time of silence; answers to other calls, and a busy process, are no silence."""

import asyncio
import time
from contextlib import suppress

import pytest

from gateway.errors import StoreAway
from gateway.redis.silence import AWAY_SECONDS, SilenceLimit


async def unanswered(limit: SilenceLimit) -> None:
    async with limit.call():
        await asyncio.Event().wait()


async def test_after_a_call_without_an_answer_none_is_made_for_a_while() -> None:
    now = 1000.0
    limit = SilenceLimit(0.02, lambda: now)
    for _ in range(2):
        with pytest.raises(StoreAway):
            await unanswered(limit)
        assert limit.is_away
        with pytest.raises(StoreAway):
            async with limit.call():
                pytest.fail("a call was made")
        now += AWAY_SECONDS
        assert not limit.is_away
    async with limit.call():
        pass
    assert not limit.is_away


async def test_a_call_waits_on_while_others_are_answered() -> None:
    limit = SilenceLimit(0.1)
    waiting = asyncio.create_task(unanswered(limit))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    begun = answered_at = loop.time()
    while loop.time() - begun < 0.3:
        async with limit.call():
            await asyncio.sleep(0.01)
        answered_at = loop.time()
    assert not waiting.done()
    with pytest.raises(StoreAway):
        await waiting
    assert loop.time() - answered_at >= 0.09


async def test_an_answer_that_came_while_the_process_was_busy_counts() -> None:
    """It takes several turns of the loop to read it, and the time was over before the first one."""

    async def answer() -> str:
        for _ in range(10):
            await asyncio.sleep(0)
        return "answered"

    limit = SilenceLimit(0.02)
    async with limit.call():
        answering = asyncio.create_task(answer())
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - a busy process
        assert await answering == "answered"


async def test_time_in_which_the_process_was_busy_does_not_count() -> None:
    limit = SilenceLimit(0.05)
    async with limit.call():
        for _ in range(5):  # requests that take their turns, before the answer can be read
            time.sleep(0.06)  # noqa: ASYNC251 - a busy process
            await asyncio.sleep(0.001)


async def test_a_caller_that_leaves_is_cancelled() -> None:
    task = asyncio.create_task(unanswered(SilenceLimit(10)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_call_that_swallows_the_cancellation_once_ends_all_the_same() -> None:
    async def send() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    limit, task = SilenceLimit(0.02), asyncio.current_task()
    assert task is not None
    with pytest.raises(StoreAway):
        async with asyncio.timeout(20), limit.call():
            await send()
    assert task.cancelling() == 0
