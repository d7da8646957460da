"""Results on their way to Redis: grouped by batch, kept during an outage, recorded once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from gateway.batches.queue import ItemResult, Outcome
from gateway.errors import Unavailable
from workers.recorder import GROUP_ITEMS, GROUP_SECONDS, Recorder


@dataclass(slots=True)
class Store:
    """`done` as the queue has it; batches in `away` cannot be written."""

    away: set[str] = field(default_factory=set)
    outcome: Outcome = "recorded"
    calls: list[tuple[str, list[int]]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def done(self, batch_id: str, results: Sequence[ItemResult]) -> list[Outcome]:
        self.calls.append((batch_id, [result.index for result in results]))
        if batch_id in self.away:
            raise Unavailable("The gateway's store cannot be reached")
        return [self.outcome] * len(results)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    def recorder(self) -> Recorder:
        return Recorder(self.done, sleep=self.sleep)


def result(index: int) -> ItemResult:
    return ItemResult(index, succeeded=True, line=b"{}")


async def record(recorder: Recorder, batch_id: str, *indices: int) -> list[asyncio.Task[Outcome]]:
    tasks = [asyncio.create_task(recorder.record(batch_id, result(index))) for index in indices]
    await asyncio.sleep(0)
    return tasks


async def test_results_that_come_together_are_recorded_together() -> None:
    store = Store()
    recorder = store.recorder()
    tasks = await record(recorder, "a", 0, 1) + await record(recorder, "b", 0) + await record(recorder, "a", 2)
    await recorder.step()
    assert store.calls == [("a", [0, 1, 2]), ("b", [0])]
    assert store.waits == [GROUP_SECONDS]
    assert await asyncio.gather(*tasks) == ["recorded"] * 4


async def test_a_full_group_does_not_wait_and_takes_no_more() -> None:
    store = Store()
    recorder = store.recorder()
    await record(recorder, "a", *range(GROUP_ITEMS + 3))
    await recorder.step()
    assert store.waits == []
    assert [len(indices) for _, indices in store.calls] == [GROUP_ITEMS]
    await recorder.step()
    assert store.calls[1] == ("a", [GROUP_ITEMS, GROUP_ITEMS + 1, GROUP_ITEMS + 2])


async def test_recorder_writes_only_when_there_is_a_result() -> None:
    store = Store()
    recorder = store.recorder()
    step = asyncio.create_task(recorder.step())
    await asyncio.sleep(0)
    assert not step.done()
    await record(recorder, "a", 5)
    await step
    assert store.calls == [("a", [5])]


async def test_while_redis_is_away_results_are_kept() -> None:
    store = Store(away={"a"})
    recorder = store.recorder()
    [task] = await record(recorder, "a", 1)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await recorder.step()
    assert not task.done()
    store.away.clear()
    await recorder.step()
    assert await task == "recorded"
    assert len(store.calls) == 4


async def test_a_batch_that_cannot_be_written_does_not_hold_up_the_others() -> None:
    store = Store(away={"a"})
    recorder = store.recorder()
    await record(recorder, "a", *range(GROUP_ITEMS))
    [other] = await record(recorder, "b", 0)
    with pytest.raises(Unavailable):
        await recorder.step()
    with pytest.raises(Unavailable):
        await recorder.step()
    assert await other == "recorded"


async def test_a_result_is_recorded_after_its_waiter_left() -> None:
    store = Store(away={"a"})
    recorder = store.recorder()
    [task] = await record(recorder, "a", 1)
    with pytest.raises(Unavailable):
        await recorder.step()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    with pytest.raises(Unavailable):
        await recorder.step()
    store.away.clear()
    await recorder.step()
    assert store.calls[-1] == ("a", [1])


async def test_a_second_result_is_reported_as_not_recorded() -> None:
    store = Store(outcome="duplicate")
    recorder = store.recorder()
    [task] = await record(recorder, "a", 1)
    await recorder.step()
    assert await task == "duplicate"
