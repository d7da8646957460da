"""One worker: claim items up to the free slots, have each run, and stop without losing or leaving anything.

A slot is taken from an item's claim until its result is recorded or the item is given back, so what waits for Redis is
bounded by the slots. Items wait in the queue and never in a slot: one that may not go upstream now is given back.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from gateway.batches.chunks import BrokenBlob
from gateway.batches.queue import BatchQueue, Claim, Release, WorkItem
from gateway.errors import GatewayError
from gateway.process.tasks import Repeated, describe, end
from gateway.upstream.routing import RoutingTable
from workers import metrics
from workers.attempt import Attempts
from workers.gates import Gates, Pass, Refusal
from workers.holdings import Held, Holdings

log = structlog.get_logger()

# How often an idle worker asks for work.
IDLE_SECONDS: Final = 0.2
# How often a worker whose items may not be called now looks whether they may.
REFUSED_SECONDS: Final = 1.0
# The longest that an item which was refused stays away: a probe may open its gate long before the gate's time.
REFUSED_DELAY: Final = 10.0
# Data that cannot be read may be readable by another worker, or never: then the batch expires.
BROKEN_DELAY: Final = 600.0
# After the drain time: for breaking calls off and giving their items back.
GIVE_BACK_SECONDS: Final = 3.0


@dataclass(slots=True)
class Worker:
    """`claiming` tells whether claims succeed."""

    queue: BatchQueue
    attempts: Attempts
    gates: Gates
    holdings: Holdings
    table: RoutingTable
    slots: int
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic
    claiming: Repeated = field(init=False)
    _stop: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _freed: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _reach: int = field(init=False)  # items to claim at most: few while most are refused
    _alone: bool = field(init=False, default=False)  # an item that must run alone is in hand
    _awaited: str | None = field(init=False, default=None)  # a batch where such an item waits until nothing is in hand

    def __post_init__(self) -> None:
        self._reach = self.slots
        self.claiming = Repeated("claim", self.claim, sleep=self._pause)

    async def run(self, stop: asyncio.Event, drain_seconds: float) -> None:
        """Work until `stop`; then finish what is in hand within `drain_seconds`, and give the rest back."""
        self._stop = stop
        self._spawn(self.claiming.run_until(stop))
        try:
            await stop.wait()
            log.info("worker_stopping", items=len(self.holdings))
            self._freed.set()
            await self._finish(drain_seconds)
            for held in self.holdings.all():
                held.abort("stopping")
            await self._finish(GIVE_BACK_SECONDS)
        finally:
            await end(self._tasks)

    async def claim(self) -> None:
        """One round: as many items as there is room for, and the wait before the next."""
        self._freed.clear()
        room = self._room()
        if room == 0:
            await self._freed.wait()
            return
        wait = self.gates.upstream_wait(self.table.upstream.name)
        if wait > 0:
            await self._until_freed(min(wait, REFUSED_SECONDS))
            return
        claims = await self._claims(room)
        claimed = sum(len(claim.leases) for claim in claims)  # one that only tells of suspects has none
        metrics.CLAIMS.labels("granted" if claimed else "empty").inc()
        self._awaited = next((claim.batch.id for claim in claims if claim.suspects and not claim.alone), None)
        started = [await self._start(claim) for claim in claims]
        await self._pace(room, claimed, sum(started))

    async def _claims(self, room: int) -> list[Claim]:
        if self._awaited is not None:
            claim = await self.queue.claim_alone(self._awaited)
            return [] if claim is None else [claim]
        return await self.queue.claim(room, idle=not self.holdings)

    # -- room

    def _room(self) -> int:
        if self._awaited is not None:
            return 0 if self.holdings else 1
        return 0 if self._alone else max(0, min(self.slots - len(self.holdings), self._reach))

    async def _pace(self, room: int, claimed: int, started: int) -> None:
        """Claim few while most of what is claimed may not run, or a closed gate would churn through a whole batch."""
        if claimed > started:
            self._reach = max(1, 2 * started)
        else:
            self._reach = min(self.slots, 2 * self._reach)
        if claimed and not started:
            await self._until_freed(REFUSED_SECONDS)
        elif claimed < room:
            await self._pause(IDLE_SECONDS)

    async def _until_freed(self, seconds: float) -> None:
        """Until an item is out of hand, also since this round began, or the worker is told to stop; at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._freed.wait()

    async def _pause(self, seconds: float) -> None:
        """Ends early when the worker is told to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # -- starting

    async def _start(self, claim: Claim) -> int:
        """How many of the claim's items may run; the others are given back."""
        if self._stop.is_set():
            self._return(claim, "stopping")
            return 0
        try:
            items = await self.queue.items(claim)
        except BrokenBlob as error:
            log.error("batch_data_broken", batch=claim.batch.id, problem=str(error))
            self._return(claim, "broken", BROKEN_DELAY)
            return 0
        except (GatewayError, RedisError) as error:
            log.warning("batch_data_not_read", batch=claim.batch.id, error=type(error).__name__)
            self._return(claim, "unread")
            return 0
        refused: list[Release] = []
        for work in items:
            answer = await self._admit(work)
            if isinstance(answer, Refusal):
                delay = min(answer.seconds, REFUSED_DELAY) + self.chance()
                refused.append(Release(work.lease.index, round(delay * 1000)))
            else:
                self._hold(Held(claim, work, answer, self.clock()))
        if refused:
            self._spawn(self.attempts.give_back(claim, refused, "refused"))
        return len(items) - len(refused)

    async def _admit(self, work: WorkItem) -> Pass | Refusal:
        if not work.item.model:
            return Pass()  # it will not get as far as the upstream
        try:
            return await self.gates.admit(self.table.resolve(work.item.model))
        except (GatewayError, RedisError):
            return Refusal(REFUSED_SECONDS)

    def _return(self, claim: Claim, reason: str, delay: float = 0.0) -> None:
        releases = [Release(lease.index, round(delay * 1000)) for lease in claim.leases]
        self._spawn(self.attempts.give_back(claim, releases, reason))

    # -- what is in hand

    def _hold(self, held: Held) -> None:
        self.holdings.add(held)
        self._alone = held.claim.alone
        metrics.IN_HAND.set(len(self.holdings))
        self._spawn(self._run(held))

    async def _run(self, held: Held) -> None:
        try:
            await self.attempts.run(held)
        finally:
            self.holdings.remove(held)
            self._alone = self._alone and not held.claim.alone
            metrics.IN_HAND.set(len(self.holdings))
            self._freed.set()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """An item whose task broke is claimed again once its lease is over; three times, and the item is given up."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("item_task_failed", **describe(error))

    async def _finish(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
