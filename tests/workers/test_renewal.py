"""Leases: renewed while items run, and released before another worker may have them. The clock is the test's."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from gateway.batches.chunks import ChunkIndex
from gateway.batches.queue import Claim, Lease, Renewal, WorkItem
from gateway.errors import Unavailable
from gateway.redis.server import RedisServer
from gateway.upstream.health.circuits import Circuits, Permit
from tests.workers.conftest import item
from tests.workers.test_execute import BATCH
from workers.in_flight import InFlightItem, InFlightItems
from workers.renewal import FENCE_AFTER, LeaseKeeper

LEASE = 60.0
NO_PERMIT = Permit(Circuits(RedisServer(Redis()), slots=8))


@dataclass(slots=True)
class Queue:
    now: float = 1000.0
    away: bool = False
    hangs: bool = False
    lost: set[int] = field(default_factory=set)
    renewed: list[tuple[str, list[int]]] = field(default_factory=list)
    gave_up: list[tuple[str, int]] = field(default_factory=list)

    async def renew(self, claim: Claim, indices: Iterable[int]) -> Renewal:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise Unavailable("The gateway's store cannot be reached")
        asked = list(indices)
        self.renewed.append((claim.fence, asked))
        return Renewal(frozenset(self.lost.intersection(asked)), stopping=False)

    def keeper(self, in_flight: InFlightItems, lease: float = LEASE) -> LeaseKeeper:
        return LeaseKeeper(
            self.renew, in_flight, lease, lambda reason, items: self.gave_up.append((reason, items)), lambda: self.now
        )


@dataclass(slots=True)
class Bench:
    in_flight: InFlightItems
    held: dict[int, InFlightItem]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def running(self) -> set[int]:
        return {index for index, one in self.held.items() if one.call is not None}


async def hold(*fences: str) -> Bench:
    """Two items of each claim, their calls under way."""
    bench = Bench(InFlightItems(), {})
    for number, fence in enumerate(fences):
        claim = Claim(BATCH, fence, (), alone=False, suspects=0, index=ChunkIndex.of([0]))
        for index in (2 * number, 2 * number + 1):
            held = InFlightItem(claim, WorkItem(Lease(index, 0, 0), item(index)), NO_PERMIT, AsyncExitStack(), 0.0)
            bench.in_flight.add(held)
            bench.held[index] = held
            bench.tasks.append(asyncio.create_task(call(held)))
    await asyncio.sleep(0)
    return bench


async def call(held: InFlightItem) -> None:
    try:
        async with asyncio.timeout(None) as held.call:
            await asyncio.Event().wait()
    except TimeoutError:
        held.call = None


async def settle(bench: Bench) -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def end(bench: Bench) -> None:
    for task in bench.tasks:
        task.cancel()
    await asyncio.gather(*bench.tasks, return_exceptions=True)


async def test_every_claim_is_renewed_with_what_is_in_hand_of_it() -> None:
    bench, queue = await hold("f1", "f2"), Queue()
    bench.in_flight.remove(bench.held[1])
    await queue.keeper(bench.in_flight).step()
    assert queue.renewed == [("f1", [0]), ("f2", [2, 3])]
    await end(bench)


async def test_an_item_that_somebody_else_has_now_is_given_up() -> None:
    bench, queue = await hold("f1"), Queue(lost={1})
    await queue.keeper(bench.in_flight).step()
    await settle(bench)
    assert bench.running == {0}
    assert queue.gave_up == [("lost", 1)]
    await end(bench)


async def test_a_result_that_is_there_is_not_given_up_with_its_lease() -> None:
    bench, queue = await hold("f1"), Queue(lost={0, 1})
    bench.held[0].call = None  # its call has ended; it waits to be recorded
    await queue.keeper(bench.in_flight).step()
    assert queue.gave_up == [("lost", 1)]
    await end(bench)


async def test_two_thirds_of_a_lease_without_redis_and_all_calls_are_broken_off() -> None:
    bench, queue = await hold("f1", "f2"), Queue()
    keeper = queue.keeper(bench.in_flight)
    await keeper.step()
    queue.away = True
    for later in (1.0, 20.0, LEASE * FENCE_AFTER - 0.1):
        queue.now = 1000.0 + later
        with pytest.raises(Unavailable):
            await keeper.step()
        await settle(bench)
        assert len(bench.running) == 4
    queue.now = 1000.0 + LEASE * FENCE_AFTER
    with pytest.raises(Unavailable):
        await keeper.step()
    await settle(bench)
    assert bench.running == set()
    assert queue.gave_up == [("fenced", 4)]
    await end(bench)


async def test_a_short_absence_of_redis_costs_nothing() -> None:
    bench, queue = await hold("f1"), Queue()
    keeper = queue.keeper(bench.in_flight)
    await keeper.step()
    for _ in range(5):
        queue.away, queue.now = True, queue.now + 20
        with pytest.raises(Unavailable):
            await keeper.step()
        queue.away, queue.now = False, queue.now + 1
        await keeper.step()
    assert len(bench.running) == 2
    await end(bench)


async def test_a_redis_that_hangs_is_as_good_as_away() -> None:
    bench, queue = await hold("f1"), Queue(hangs=True)
    keeper = queue.keeper(bench.in_flight, lease=0.06)
    with pytest.raises(TimeoutError):
        await keeper.step()
    await end(bench)


async def test_a_worker_that_slept_through_a_lease_breaks_its_calls_off_before_it_does_anything() -> None:
    bench, queue = await hold("f1"), Queue()
    keeper = queue.keeper(bench.in_flight)
    await keeper.step()
    queue.now += LEASE + 1
    await keeper.step()
    await settle(bench)
    assert bench.running == set()
    assert queue.gave_up == [("slept", 2)]
    await end(bench)


async def test_an_item_given_up_before_its_call_began_never_calls() -> None:
    bench, queue = await hold("f1"), Queue(lost={1})
    bench.held[1].call = None
    await queue.keeper(bench.in_flight).step()
    assert bench.held[1].aborted == "lost"
    await end(bench)
