"""One worker: claim items up to the free slots, run each, and stop without losing anything.

An item takes a slot from its claim until its result is recorded or it is released, so the slots
bound the results that wait for Redis. Items wait in the queue, never in a slot: one that may not go upstream now is
released.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from gateway.batches.lifecycle import BatchRecord
from gateway.batches.queue import BatchQueue, Claim, Release, WorkItem
from gateway.errors import GatewayError, InvalidRequest, NotFound
from gateway.process.tasks import Repeated, describe, end
from gateway.redis.codec import BrokenBlob
from gateway.telemetry.monitors import RedisMonitor
from gateway.upstream.capacity.loads import Loads
from gateway.upstream.health.circuit import CROWDED
from gateway.upstream.health.circuits import Circuits, Permit, Rejected
from gateway.upstream.routes.route import Route
from gateway.upstream.routes.table import Routing
from workers import metrics
from workers.attempt import Attempts
from workers.in_flight import InFlightItem, InFlightItems, weight_of

log = structlog.get_logger()

# The default of GATEWAY_WORKER_BYTES: the largest request.
MOST_BYTES: Final = 32 * 1024 * 1024
# Batches of many small values that are remembered.
MOST_HEAVY: Final = 1000
# Interval between an idle worker's claims.
IDLE_SECONDS: Final = 0.2
# Interval after a circuit had room for some calls only: the first of them may have ended.
LIMITED_SECONDS: Final = 0.05
# Interval between checks while circuits reject all items.
REJECTED_SECONDS: Final = 1.0
# Maximum delay of a rejected item: a probe may close its circuit long before the circuit's timeout.
REJECTED_DELAY: Final = 10.0
# Delay before items are offered again that do not fit beside those in flight.
FULL_SECONDS: Final = 0.5
# Delay before a batch is offered again after none of its items could start.
DEFER_SECONDS: Final = 0.25
# Delay of an item that this worker failed to read or start: other items come first.
UNSTARTED_DELAY: Final = 2.0
# Data that cannot be read may be readable by another worker, or never: then the batch expires.
BROKEN_DELAY: Final = 600.0
# Time after the drain time for aborting calls and releasing their items.
RELEASE_SECONDS: Final = 3.0


@dataclass(slots=True)
class Worker:
    """`claiming` shows whether claims succeed, `monitor` whether Redis takes writes."""

    queue: BatchQueue
    attempts: Attempts
    circuits: Circuits
    in_flight: InFlightItems
    routing: Routing
    monitor: RedisMonitor
    loads: Loads
    slots: int
    most_bytes: int = MOST_BYTES  # of params in flight at once, by their weight; a larger item runs alone
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic
    claiming: Repeated = field(init=False)
    _stop: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _freed: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _alone: bool = field(init=False, default=False)  # an item that must run alone is in flight
    _awaited: str | None = field(init=False, default=None)  # a batch where such an item waits for an idle worker
    _heaviness: dict[str, float] = field(init=False, default_factory=dict)  # weight of a byte, by batch; the last seen
    _promised: int = field(init=False, default=0)  # bytes of params that may be claimed in this round
    _calls: Counter[str] = field(init=False, default_factory=Counter)  # that may begin in this round, by upstream
    _is_limited: bool = field(init=False, default=False)  # circuits had room for a part of the claimable items

    def __post_init__(self) -> None:
        self.claiming = Repeated("claim", self.claim, sleep=self._pause)

    async def run(self, stop: asyncio.Event, drain_seconds: float) -> None:
        """Work until `stop`; then finish what is in flight within `drain_seconds`, and release the rest."""
        self._stop = stop
        self._spawn(self.claiming.run_until(stop))
        try:
            await stop.wait()
            log.info("worker_stopping", items=len(self.in_flight))
            self._freed.set()
            await self._finish(drain_seconds)
            for item in self.in_flight.all():
                item.abort("stopping")
            await self._finish(RELEASE_SECONDS)
        finally:
            await end(self._tasks)

    async def claim(self) -> None:
        """Run one round: claim as many items as there is room for, and wait before the next."""
        self._freed.clear()
        room = self._room()
        if room == 0:
            await self._freed.wait()
            return
        wait = min(self.circuits.upstream_wait(upstream.circuit) for upstream in self.routing.table.upstreams)
        if wait > 0:
            with suppress(TimeoutError):
                # A freed slot ends the wait early: the circuit may have closed with it.
                async with asyncio.timeout(min(wait, REJECTED_SECONDS)):
                    await self._freed.wait()
            return
        self._is_limited, self._promised = False, 0
        self._calls.clear()
        claims = await self._claims(room)
        claimed = sum(len(claim.leases) for claim in claims)  # one that only reports suspects has none
        metrics.CLAIMS.labels("granted" if claimed else "empty").inc()
        self._awaited = next((claim.batch.id for claim in claims if claim.suspects and not claim.alone), None)
        await self._start_all(claims)
        if claimed < room:
            await self._pause(LIMITED_SECONDS if self._is_limited else IDLE_SECONDS)

    async def _claims(self, room: int) -> list[Claim]:
        if self._awaited is not None:
            return await self.queue.claim_alone(self._awaited)
        return await self.queue.claim(room, idle=not self.in_flight, room=self._room_for)

    # -- room

    def _room(self) -> int:
        if self._awaited is not None:
            return 0 if self.in_flight else 1
        return 0 if self._alone else max(0, self.slots - len(self.in_flight))

    def _room_for(self, batch: BatchRecord) -> tuple[int, float]:
        """Return how many items of a batch may run now, by circuits and bytes; if none, seconds until some may."""
        room, wait = self.slots, 0.0
        if batch.names_all_models:
            candidates = [routes for model in batch.models if (routes := self._routes(model))]
            if len(candidates) == len(batch.models):
                first = [self.circuits.callable_first(routes, batch.tenant, batch.id)[0] for routes in candidates]
                room, wait = self.circuits.room(first, batch.tenant, batch.id)
                room, wait = self._within_limits(candidates, room, wait)
        each = max(1, int(batch.params_bytes / batch.total * self._heaviness.get(batch.id, 1.0)))
        fitting = max(0, self.most_bytes - self.in_flight.weight - self._promised) // each
        if fitting == 0 and not self.in_flight and not self._promised:
            fitting = 1  # larger than the budget: it runs alone
        if fitting == 0 < room:
            return 0, FULL_SECONDS
        room = min(room, fitting)
        self._promised += min(room, self._room()) * each
        self._is_limited = self._is_limited or (room < self._room() and wait <= CROWDED)
        return room, wait

    def _within_limits(self, candidates: list[tuple[Route, ...]], room: int, wait: float) -> tuple[int, float]:
        """Return the room that limits and live requests leave at the upstreams; all of it if one has no bound."""
        lanes = self.attempts.exchange.circuits.lanes
        upstreams = {route.upstream.circuit: route.upstream for routes in candidates for route in routes}
        rooms: dict[str, int] = {}
        for name, upstream in upstreams.items():
            bounds = lanes.room_for_batch(upstream), self.loads.room_for_batch(upstream)
            told = [bound for bound in bounds if bound is not None]
            if not told:
                return room, wait
            rooms[name] = max(0, min(told) - self._calls[name])
        left = min(room, sum(rooms.values()))
        for name, each in rooms.items():
            self._calls[name] += min(each, left)
        return left, wait if left == room else wait or FULL_SECONDS

    async def _pause(self, seconds: float) -> None:
        """Sleep; return early when the worker stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # -- starting

    async def _start_all(self, claims: list[Claim]) -> None:
        """Start the items that may run now, and always release all others."""
        left = list(claims)
        try:
            while left:
                claim = left.pop(0)
                started = await self._start(claim)
                if claim.leases and not started:
                    await self.queue.defer(claim.batch.id, DEFER_SECONDS)
        finally:
            for claim in left:
                releases = [Release(lease.index) for lease in claim.leases]
                self._release(claim, releases, "unstarted")

    async def _start(self, claim: Claim) -> int:
        """Start the items of one claim that may run now, and release the others. Return how many were started."""
        delays = {lease.index: UNSTARTED_DELAY for lease in claim.leases}  # of those to release
        reason = "unstarted"
        try:
            if self._stop.is_set():
                reason, delays = "stopping", dict.fromkeys(delays, 0.0)
                return 0
            for part in claim.by_chunk():  # a chunk at a time: a large item has its own chunk
                if self.in_flight.weight >= self.most_bytes:
                    break
                await self._start_part(part, delays)
            reason = "rejected"
        except BrokenBlob as error:
            log.error("batch_data_broken", batch=claim.batch.id, problem=str(error))
            reason, delays = "broken", dict.fromkeys(delays, BROKEN_DELAY)
        except (GatewayError, RedisError) as error:
            log.warning("batch_data_not_read", batch=claim.batch.id, error=type(error).__name__)
            reason = "unread"
        finally:
            self._release(claim, [Release(index, round(1000 * delay)) for index, delay in delays.items()], reason)
        return len(claim.leases) - len(delays)

    async def _start_part(self, claim: Claim, delays: dict[int, float]) -> None:
        """Start what may run of one chunk, and take it out of `delays`."""
        items = await self.queue.items(claim)
        first = int(self.chance() * len(items))  # of an open circuit, any item may be the one that probes
        for work in items[first:] + items[:first]:
            try:
                item = await self._admit(claim, work)
                self.in_flight.add(item)
                self._alone = item.claim.alone
                metrics.IN_FLIGHT.set(len(self.in_flight))
                self._spawn(self._attempt(item))
            except Rejected as answer:
                seconds = min(answer.seconds, REJECTED_DELAY)
                delays[work.lease.index] = seconds + self.chance() * min(seconds, 1.0)
            else:
                del delays[work.lease.index]

    async def _admit(self, claim: Claim, work: WorkItem) -> InFlightItem:
        """Raises Rejected. An item without a model that is routed uses no circuit: it fails before any call."""
        weight = weight_of(work.item.params)
        self._note_heaviness(claim.batch.id, weight / max(1, len(work.item.params)))
        if self.in_flight and self.in_flight.weight + weight > self.most_bytes:
            raise Rejected(FULL_SECONDS)
        permit, scope, rejection = Permit(self.circuits), AsyncExitStack(), None
        source = claim.batch.tenant, claim.batch.id
        for route in self.circuits.callable_first(self._routes(work.item.model), *source):
            try:
                permit = await scope.enter_async_context(self.circuits.permit(route, *source))
                break
            except Rejected as answer:
                rejection = rejection or answer
            except (GatewayError, RedisError):
                raise Rejected(REJECTED_SECONDS) from None
        else:
            if rejection is not None:
                raise rejection
        return InFlightItem(claim, work, permit, scope, self.clock(), weight)

    def _note_heaviness(self, batch: str, heaviness: float) -> None:
        """Remember by how much the items of a batch outweigh their bytes, so that no more are claimed than may run."""
        if heaviness > 1:
            if len(self._heaviness) >= MOST_HEAVY:
                self._heaviness.clear()
            self._heaviness[batch] = heaviness
        else:
            self._heaviness.pop(batch, None)

    def _routes(self, model: str) -> tuple[Route, ...]:
        try:
            return self.routing.resolve(model) if model else ()
        except (InvalidRequest, NotFound):  # the item ends with this error when it is executed
            return ()

    def _release(self, claim: Claim, releases: list[Release], reason: str) -> None:
        if releases:
            self._spawn(self.attempts.release(claim, releases, reason))

    # -- in flight

    async def _attempt(self, item: InFlightItem) -> None:
        try:
            await self.attempts.run(item)
        finally:
            self.in_flight.remove(item)
            self._alone = self._alone and not item.claim.alone
            metrics.IN_FLIGHT.set(len(self.in_flight))
            self._freed.set()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Note the end of an item's task. If it failed, the item is claimed again once its lease has expired."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("item_task_failed", **describe(error))

    async def _finish(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
