"""The exchange behind the prompt cache: one stored answer, or one call that all equal requests share.

`ask` either finds the answer (a `Hit`) or joins a flight (`Shared`). In a process, equal requests share a flight, and
its stream as it arrives. Over several front ends, the one that takes the lock in Redis asks the upstream, and the
others wait for the entry that it stores: streams, too, are replayed there when they have ended. So if a
front end dies, no partial answer was shown elsewhere; only whole answers pass through Redis; and a follower costs one
poll every quarter of a second instead of a message per delta.

Redis is optional. While it is unavailable, requests are answered without the cache, and equal requests in one process
still share their call.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final, Self

import structlog

from gateway.cache.client import CacheAway
from gateway.cache.entry import CacheEntry
from gateway.cache.key import fingerprint
from gateway.cache.policy import CachePolicy, Demand, is_storable
from gateway.cache.store import CacheAddress, CacheStore, Lock, to_tag
from gateway.context import Context
from gateway.dialects.base import Origin
from gateway.errors import AnswerCut, GatewayError, InternalError
from gateway.exchange.accounting import admit_free
from gateway.exchange.exchange import Exchange
from gateway.exchange.flight import Flight, Follower, Landed
from gateway.exchange.hit import Hit
from gateway.exchange.key_policy import for_key, may_cache
from gateway.exchange.plan import Plan, note_error, note_gone, shared_notes
from gateway.exchange.sink import Sink
from gateway.ids import message_id
from gateway.messages.prompt import Prompt
from gateway.messages.validation.depth import check_depth
from gateway.process.tasks import background, describe, end
from gateway.telemetry.metrics import count_saved
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.routes.route import Route

log = structlog.get_logger()

# Poll interval while waiting for another front end.
FIRST_LOOK: Final = 0.02
LAST_LOOK: Final = 0.25
BARREN: Final = b"-"


@dataclass(frozen=True, slots=True)
class Errand:
    """Parameters of one flight. `locks`: take the distributed lock. `budget`: seconds left to wait for Redis."""

    place: CacheAddress
    demand: Demand
    locks: bool
    budget: float


@dataclass(slots=True)
class Shared:
    """A request that follows a flight while the context is open."""

    cache: "CachedExchange"
    plan: Plan
    flight: Flight
    follower: Follower
    fingerprint: str
    begun: float
    _reported: bool = False

    @property
    def calls(self) -> bool:
        """Return True if the upstream was called for this request, which then carries the cost."""
        return self._reported or self.flight.speaker is self.follower

    async def answer(self) -> CacheEntry:
        """Return the message. Raises GatewayError, as `Exchange.answer` does."""
        entry = await self._follow()
        if isinstance(entry, CacheEntry):
            return entry
        self._reported = True  # by the exchange
        answered = await self.cache.exchange.answer(self.plan)
        return CacheEntry.of(answered.message, answered.origin, self.cache.store.now(), shared_notes(self.plan))

    async def stream(self, sink: Sink) -> None:
        """Stream into the sink. Raises GatewayError only while the sink is not committed."""
        self.follower.attach(sink)
        landed = await self._follow()
        if not self.follower.finish(landed):
            self.follower.detach()
            self._reported = True
            await self.cache.exchange.stream(self.plan, sink)

    async def _follow(self) -> Landed:
        return await self.flight.follow(self.follower, self.cache.exchange.stream_timeouts.ping_after)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        calls, record = self.calls, self.plan.record
        self.cache.leave(self.flight, self.follower)
        if calls:
            return
        if isinstance(error, GatewayError):
            note_error(record, error)
        elif isinstance(error, asyncio.CancelledError):
            note_gone(record)
        elif (
            error is None and self.flight.landed.done() and isinstance(entry := self.flight.landed.result(), CacheEntry)
        ):
            count_saved(entry.facts.input_tokens, entry.facts.output_tokens)
        record.duration_seconds = self.cache.clock() - self.begun
        self.cache.exchange.report(record)


@dataclass(slots=True)
class CachedExchange:
    """The cache of a front end. Run `store.run` beside it, and close it after the last request."""

    exchange: Exchange
    store: CacheStore
    policy: CachePolicy
    secret: bytes = field(repr=False)
    clock: Callable[[], float] = time.monotonic
    _flights: dict[str, Flight] = field(default_factory=dict)
    _tasks: dict["asyncio.Task[None]", Flight] = field(default_factory=dict)

    def demand(self, header: str | None, context: Context, prompt: Prompt) -> Demand | None:
        """Return the request's cache directives, None if there are none. Raises InvalidRequest for the header."""
        demand = self.policy.demand(header, context, prompt.request, prompt.body_size)
        if demand is not None and not demand.bypasses:
            if not may_cache(self.exchange.admission, context):
                demand = Demand("bypass", reason="key")
            elif self.exchange.table.asks_with_client_key(prompt.request["model"]):
                demand = Demand("bypass", reason="own-key")  # an answer belongs to the owner of the key
        if demand is not None and demand.bypasses:
            self.store.count(context.tenant, "bypass")
        return demand

    async def ask(self, context: Context, prompt: Prompt, demand: Demand) -> Hit | Shared:
        """Return the stored answer, or a flight to enter as a context. Raises as `Exchange.plan` does."""
        begun = self.clock()
        routes = for_key(self.exchange.admission, context, self.exchange.table.resolve(prompt.request["model"]))
        route = routes[0]
        check_depth(prompt.request)
        name = fingerprint(self.secret, context, route, prompt.request)
        fresh, is_away = demand.verb == "refresh", False
        if not fresh:
            try:
                entry = await self._find(name)
            except CacheAway:
                entry, is_away = None, True
            if entry is not None and self._is_recent(entry, demand):
                notes = (*[note.text for note in prompt.notes], *entry.facts.notes)
                hit = Hit(entry, self._age(entry), name, route, message_id(), notes)
                await admit_free(self.exchange.admission, context, route, prompt.request)
                return self._hit(context, prompt, hit, begun)
        plan = self.exchange.plan(context, prompt, UsageRecord(context), routes)
        flight = None if fresh else self._flights.get(name)
        plan.record.cache = "miss" if flight is None or not flight.is_open else "wait"
        if plan.record.cache == "miss":
            shares = not fresh and flight is None
            place = CacheAddress(name, context.tenant, tag_of(route))
            budget = begun + self.store.calls.budget - self.clock()
            flight = self._start(Errand(place, demand, shares and not is_away, budget), shares=shares)
        assert flight is not None
        call = partial(self._call, plan, flight, demand)
        follower = flight.join(plan.reply, call, streams=plan.record.stream)
        shared = await self._boarded(Shared(self, plan, flight, follower, name, begun), context.tenant)
        if plan.record.cache == "wait":
            try:
                await admit_free(self.exchange.admission, context, route, prompt.request)
            except (GatewayError, asyncio.CancelledError):
                self.leave(flight, follower)
                raise
        return shared

    def leave(self, flight: Flight, follower: Follower) -> None:
        """Leave the flight. The last follower to leave aborts an unfinished call and closes it to others."""
        flight.leave(follower)
        if not flight.is_deserted:
            return
        for name in [name for name, of in self._flights.items() if of is flight]:
            del self._flights[name]
        for task in [task for task, of in self._tasks.items() if of is flight]:
            task.cancel()

    async def close(self) -> None:
        """Abort calls without followers."""
        await end(list(self._tasks))
        await self.store.calls.close()

    async def _find(self, name: str) -> CacheEntry | None:
        """Return the stored answer, or one that is being stored unless it was cleared meanwhile. Raises CacheAway."""
        flight = self._flights.get(name)
        if flight is None:
            return await self.store.get(name)
        # An answer that has arrived and is not stored yet: a second call would be a waste.
        landed = flight.landed.result() if flight.landed.done() else None
        if not isinstance(landed, CacheEntry):
            return None
        await asyncio.wait({flight.stored}, timeout=self.store.calls.budget)
        return landed if not flight.stored.done() or flight.stored.result() else None

    def _hit(self, context: Context, prompt: Prompt, hit: Hit, begun: float) -> Hit:
        """Count the hit: an exchange without a call, tokens or cost."""
        facts, route = hit.entry.facts, hit.route
        record = UsageRecord(context, route.requested)
        record.upstream, record.upstream_model = route.upstream.name, route.target.model
        record.served_model = facts.served_model
        record.dialect, record.provider, record.stop_reason = route.dialect, facts.provider, facts.stop_reason
        record.stream, record.cache = bool(prompt.request.get("stream")), "hit"
        record.notes = list(hit.notes)
        record.duration_seconds = self.clock() - begun
        self.store.use(hit.fingerprint)
        self.store.count(context.tenant, "hit")
        count_saved(facts.input_tokens, facts.output_tokens)
        self.exchange.report(record)
        return hit

    def _start(self, errand: Errand, *, shares: bool) -> Flight:
        """Start a flight. Its first follower must join within this turn of the loop."""
        flight = Flight()
        if shares:
            self._flights[errand.place.fingerprint] = flight
        task = asyncio.get_running_loop().create_task(self._fly(flight, errand))
        self._tasks[task] = flight
        task.add_done_callback(self._landed)
        return flight

    async def _boarded(self, shared: Shared, tenant: str) -> Shared:
        """Wait within the Redis budget until the flight's role is known: leader or follower."""
        known = False
        try:
            # `wait` and not `await`: a client that leaves must not cancel the future that others wait for.
            await asyncio.wait({shared.flight.boarded})
            known = True
        finally:
            if not known:
                self.leave(shared.flight, shared.follower)
        if shared.flight.boarded.result():
            shared.plan.record.cache = "wait"
        self.store.count(tenant, "wait" if shared.plan.record.cache == "wait" else "miss")
        return shared

    async def _fly(self, flight: Flight, errand: Errand) -> None:
        lock: Lock | None = None
        barren = True
        try:
            found, lock = await self._wait_for_turn(flight, errand)
            if found is not None:
                barren = False
                flight.board(waits=True)
                flight.land(found)
                return
            begun = self.clock()
            async with nullcontext() if lock is None else background(self._renew(lock)):
                # The lock is renewed during the call, which may last minutes.
                entry, storable = await flight.choose_speaker().call()
                storable = storable and not flight.isolated.done()
                # Requests that come later must not join an answer that would not have been stored for them.
                if not storable:
                    self._forget(flight, errand)
                flight.land(entry)
                if isinstance(entry, CacheEntry) and storable:
                    outcome = await self.store.keep(errand.place, entry, self.clock() - begun)
                    barren = outcome != "kept"
                    self._forget(flight, errand)
                    flight.stored.set_result(outcome != "purged")
        except GatewayError as error:
            flight.land(error)
        except asyncio.CancelledError:
            barren = False  # one of the waiting front ends asks next, instead of all at once
            raise
        finally:
            self._forget(flight, errand)
            if lock is not None:
                await self.store.release(lock, barren=barren)

    def _forget(self, flight: Flight, errand: Errand) -> None:
        """Close the flight to new followers."""
        if self._flights.get(errand.place.fingerprint) is flight:
            del self._flights[errand.place.fingerprint]

    async def _wait_for_turn(self, flight: Flight, errand: Errand) -> tuple[CacheEntry | None, Lock | None]:
        """Return another front end's answer, or the lock if the upstream is to be called here."""
        if not errand.locks:
            return None, None
        try:
            turn = await self._take(errand, errand.budget)
            if turn is not None:
                return turn
            flight.board(waits=True)
            name, limits = errand.place.fingerprint, self.store.limits
            give_up, pause = self.clock() + limits.wait, FIRST_LOOK
            while self.clock() < give_up:
                await asyncio.sleep(pause)
                # Short answers are found soon, long ones cost few looks.
                pause = min(LAST_LOOK, pause * 1.5)
                entry, holder = await self.store.look(name)
                if entry is not None and self._is_recent(entry, errand.demand):
                    return entry, None
                if holder is not None and holder != BARREN:
                    continue
                # The leader has died or gave no answer to share: one of the waiting front ends replaces it.
                turn = await self._take(errand, self.store.calls.budget)
                if turn is not None:
                    return turn
            return None, None
        except CacheAway:
            # Without Redis every front end calls separately; each still shares calls among its clients.
            return None, None

    async def _take(self, errand: Errand, budget: float) -> tuple[CacheEntry | None, Lock | None] | None:
        """Check once for `_wait_for_turn`; None while another front end calls the upstream. Raises CacheAway.

        An answer may have been stored, and its lock released, since the last look-up.
        """
        name, entry = errand.place.fingerprint, None
        lock, taken = await self.store.take(name, budget)
        if taken == "held":
            return None
        # The last call ended without an answer to share: waiting in line again would only add delay.
        if taken == "barren":
            return None, None
        if taken == "answered":
            with suppress(CacheAway):
                entry = await self.store.get(name)
        return entry if entry is not None and self._is_recent(entry, errand.demand) else None, lock

    async def _call(self, plan: Plan, flight: Flight, demand: Demand) -> tuple[Landed, bool]:
        """Call the upstream for the followers. Return the result, and whether it may be stored."""
        flight.board(waits=False)
        plan.isolate = flight.isolate
        record = plan.record
        if not record.stream:
            answered = await self.exchange.answer(plan)
            message, origin = answered.message, answered.origin
        else:
            await self.exchange.stream(plan, flight.recording)
            flight.end_stream()
            if record.error_type is not None:
                return AnswerCut("The upstream's answer broke off."), False
            folded = await flight.recording.read_back()
            if folded is None:
                return None, False
            message, origin = folded, Origin(record.served_model, record.provider)
        entry = CacheEntry.of(message, origin, self.store.now(), shared_notes(plan))
        return entry, is_storable(message, tools=demand.tools)

    async def _renew(self, lock: Lock) -> None:
        while True:
            await asyncio.sleep(self.store.limits.lock / 3)
            try:
                await self.store.hold(lock)
            except CacheAway:
                # The lock may outlive a short outage; if it does not, another front end calls too, which is allowed.
                continue

    def _landed(self, task: "asyncio.Task[None]") -> None:
        """Always resolve the flight, so that followers cannot hang."""
        flight = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("cache_flight_failed", **describe(error))
        flight.land(InternalError("The gateway failed to answer this request."))
        if not flight.stored.done():
            flight.stored.set_result(False)
        flight.end()

    def _is_recent(self, entry: CacheEntry, demand: Demand) -> bool:
        return demand.max_age is None or self._age(entry) <= demand.max_age

    def _age(self, entry: CacheEntry) -> int:
        return max(0, int(self.store.now() - entry.facts.at))


@lru_cache(maxsize=1024)
def tag_of(route: Route) -> str:
    return to_tag(route.target.model)
