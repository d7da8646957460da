"""A call waits for a bounded time; after one without an answer others fail at once, until a trial succeeds."""

import asyncio
import time

import pytest

from gateway.errors import Overloaded, StoreAway
from gateway.redis.answer_limit import TOLERANCE, AnswerLimit
from gateway.redis.connections import queue_client
from gateway.redis.server import SLOWEST_LINK, RedisServer
from tests.redis.servers import open_server
from tests.support.clock import Clock


async def silent(limit: AnswerLimit) -> None:
    with pytest.raises(StoreAway) as raised:
        async with limit.call():
            await asyncio.Event().wait()
    assert (raised.value.reason, raised.value.retry_after) == ("no answer in time", 2)


async def skipped(limit: AnswerLimit) -> bool:
    try:
        async with limit.call():
            return False
    except StoreAway:
        return True


async def test_after_a_call_without_an_answer_others_fail_at_once_for_a_while() -> None:
    clock = Clock()
    limit = AnswerLimit(0.01, clock)
    await silent(limit)
    assert await skipped(limit)
    clock.now += TOLERANCE.open_seconds
    await silent(limit)
    assert await skipped(limit)
    clock.now += TOLERANCE.open_seconds
    assert [await skipped(limit), await skipped(limit)] == [False, False]


@pytest.mark.parametrize("error", [StoreAway("refused"), Overloaded("full")])
async def test_a_refusal_is_an_answer(error: Exception) -> None:
    limit = AnswerLimit(0.01, Clock())
    for _ in range(3):
        with pytest.raises(type(error)):
            async with limit.call():
                raise error
    assert not await skipped(limit)


async def test_a_call_that_waited_for_a_busy_process_is_no_silence() -> None:
    """Another one was answered meanwhile."""
    clock = Clock()
    limit = AnswerLimit(0.05, clock)

    async def answered() -> None:
        clock.now += 1
        assert not await skipped(limit)

    await asyncio.gather(silent(limit), answered())
    assert not await skipped(limit)


async def test_time_in_which_the_process_could_not_read_the_answer_does_not_count() -> None:
    """Else a process that was paused for 2 s would refuse the calls of the next 2 s too."""
    limit = AnswerLimit(0.05)
    async with limit.call():
        for _ in range(3):
            time.sleep(0.06)  # noqa: ASYNC251 - a busy process
            await asyncio.sleep(0.001)
    assert not await skipped(limit)


async def test_a_trial_whose_caller_leaves_is_followed_by_another_one() -> None:
    clock = Clock()
    limit = AnswerLimit(0.01, clock)
    await silent(limit)
    clock.now += TOLERANCE.open_seconds

    async def leaves() -> None:
        async with limit.call():
            await asyncio.Event().wait()

    task = asyncio.create_task(leaves())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await skipped(limit)
    clock.now += TOLERANCE.open_seconds
    assert not await skipped(limit)


async def test_every_call_to_a_frozen_server_is_bounded_and_none_is_without_a_limit() -> None:
    async with open_server() as running, queue_client(running.url) as client:
        server = RedisServer(client, limit=AnswerLimit(0.2))
        await server.probe()
        await running.freeze()
        begun = time.monotonic()
        for call in (server.probe(), server.now(), server.facts(), server.pipeline([("GET", "a")])):
            with pytest.raises(StoreAway):
                await call
        assert time.monotonic() - begun < 1.0, "one of them has waited"
        patient = asyncio.create_task(server.unlimited.now())
        await asyncio.sleep(0.3)
        await running.thaw()
        assert await patient > 0


async def test_long_values_get_the_time_that_a_slow_link_needs() -> None:
    async with open_server() as running, queue_client(running.url) as client:
        await RedisServer(client).probe()
        server = RedisServer(client, limit=AnswerLimit(0.05))
        await running.freeze()
        asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(running.thaw()))
        await server.pipeline([("SET", "gw:long", bytes(SLOWEST_LINK // 2))])
