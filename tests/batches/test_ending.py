"""A batch's life in the log: created, canceled, expired, ended and deleted leave one line each, found by its id."""

import asyncio
from typing import Any

from structlog.testing import capture_logs

from gateway.batches.lifecycle import BatchRecord, Lifetimes
from gateway.batches.server import StoragePolicy
from tests.batches.conftest import Bench, finish


def life_of(batch: BatchRecord, captured: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(line["event"], line) for line in captured if line.get("batch") == batch.id]


async def test_a_batch_that_is_done_logs_its_creation_its_end_and_its_deletion(bench: Bench) -> None:
    with capture_logs() as captured:
        batch = await bench.create(3, context={"request_id": "req_1", "key_id": "key_1"})
        await bench.drain()
        await bench.sweeper.rebuild()
        assert await bench.sweeper.settle(batch.id)
        await bench.store.delete("acme", batch.id)
    life = life_of(batch, captured)
    assert [event for event, _ in life] == ["batch_created", "batch_ended", "batch_deleted"]
    for _, line in life:
        assert (line["request_id"], line["key"], line["tenant"], line["requests"]) == ("req_1", "key_1", "acme", 3)
    ended = life[1][1]
    assert (ended["succeeded"], ended["errored"], ended["reason"]) == (3, 0, "done")
    assert ended["seconds"] >= 0


async def test_a_canceled_batch_logs_its_cancellation_once_and_its_end_once(bench: Bench) -> None:
    with capture_logs() as captured:
        batch, queue = await bench.create(4), bench.queue()
        [claim] = await queue.claim(2)
        await bench.store.cancel("acme", batch.id)
        await bench.store.cancel("acme", batch.id)
        await finish(queue, claim)
        await bench.store.cancel("acme", batch.id)
        await bench.sweeper.sweep()
    life = life_of(batch, captured)
    assert [event for event, _ in life] == ["batch_created", "batch_canceled", "batch_ended"]
    assert {name: life[2][1][name] for name in ("succeeded", "canceled", "reason")} == {
        "succeeded": 2,
        "canceled": 2,
        "reason": "canceled",
    }


async def test_an_expired_batch_logs_how_many_requests_expired(bench: Bench) -> None:
    bench.policy = StoragePolicy(Lifetimes(expiry=1))
    with capture_logs() as captured:
        batch = await bench.create(2)
        async with asyncio.timeout(20):
            while not await bench.sweeper.settle(batch.id):
                pass
    life = life_of(batch, captured)
    assert [event for event, _ in life] == ["batch_created", "batch_expired", "batch_ended"]
    assert (life[1][1]["expired"], life[2][1]["reason"]) == (2, "expired")


async def test_a_creation_that_repeats_an_idempotency_key_logs_no_second_batch(bench: Bench) -> None:
    with capture_logs() as captured:
        one = await bench.create(1, idempotency_key="once")
        assert (await bench.create(1, idempotency_key="once")).id == one.id
    assert [event for event, _ in life_of(one, captured)] == ["batch_created"]


async def test_of_many_processes_that_notice_an_end_one_logs_it(bench: Bench) -> None:
    with capture_logs() as captured:
        batch = await bench.create(1)
        queues = [bench.queue() for _ in range(3)]
        [claim] = await queues[0].claim(1)
        await finish(queues[0], claim)
        for queue in queues:
            assert await queue.claim(1) == []
            await bench.sweeper.settle(batch.id)
    assert [event for event, _ in life_of(batch, captured)] == ["batch_created", "batch_ended"]
