"""Circuits of live calls: whether a candidate may be called now, and what the results of calls mean for it.

One circuit for each upstream and one for each model at it, by the names and in the shared state of `circuits`, which
batches use: what a worker finds out, live requests avoid, and the other way round. A process judges by its own calls at
once, and a background task exchanges the news. Only a request that asks to be the probe of an open circuit waits for
Redis, for at most PROBE_BUDGET.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from types import TracebackType
from typing import Any, Final

import structlog

from gateway.errors import CircuitOpen, GatewayError, NotFound, UpstreamFull
from gateway.redis import scripts
from gateway.redis.patience import within
from gateway.redis.server import Command, RedisServer
from gateway.telemetry import metrics
from gateway.upstream.capacity.lane import LaneCall
from gateway.upstream.capacity.lanes import LaneDemand, Lanes
from gateway.upstream.health.causes import cause_of
from gateway.upstream.health.circuit import State
from gateway.upstream.health.circuits import PEER_FIELDS, names_of, to_peer_state
from gateway.upstream.health.failure import Effect, FailureRow, failure_of
from gateway.upstream.health.live_health import PROBE_SECONDS, Calm, HealthTicket, LiveHealth
from gateway.upstream.health.trouble import ACCOUNT_DELAY, MAX_RETRY_AFTER
from gateway.upstream.routes.route import Route, RouteRule, Upstream

log = structlog.get_logger()

# Seconds between two reads of the shared state, while a circuit is not closed and while all are.
SHARE_SECONDS: Final = 0.25
CALM_SECONDS: Final = 1.0
# The wait for Redis' decision about a probe; without an answer this process decides.
PROBE_BUDGET: Final = 0.05
# Names of models are client input: beyond this many circuits, those that are closed and unused are forgotten.
MAX_LIVE_CIRCUITS: Final = 1024
# A 429 or 503 without a time to wait pauses this process only: replicas that pause for one another leave much of the
# upstream's rate unused (484 instead of 600 calls a minute with four, simulated).
SHORT_PAUSE: Final = 1.0
# A model that an upstream does not have, or not now.
MODEL_DELAY: Final = 60.0
STALL: Final = "stall"


@dataclass(slots=True, eq=False)
class LiveCall:
    """One call to one candidate, as a context. A failure is reported apart, once it is known that nothing heals it.

    Within it comes `take_turn` first.
    """

    circuits: "LiveCircuits"
    route: Route
    alone: bool
    is_retry: bool = False
    demand: LaneDemand | None = None  # of an upstream that has limits
    place: LaneCall | None = None
    # The health of the upstream and of the model there, each with the call's ticket, while the call runs.
    entered: tuple[tuple[LiveHealth, HealthTicket], ...] = ()
    is_abandoned: bool = False
    is_probe: bool = False  # it decides about an open circuit, of which another process may have a probe

    def __enter__(self) -> "LiveCall":
        self.circuits.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_abandoned:
            return
        if error is None:
            self.succeeded()
        self.circuits.end(self)

    async def take_turn(self) -> None:
        """Wait for a place at an upstream that has limits, and for the decision on a probe.

        Raises CircuitOpen or UpstreamFull.
        """
        if self.is_probe or self.demand is not None:
            await self.circuits.take_turn(self)

    def abandon(self) -> None:
        """End the call before its context does, without a result."""
        self.circuits.end(self)
        self.is_abandoned = True

    def note_header(self) -> None:
        """Note the answer's header."""
        for health, ticket in self.entered:
            health.note_header(ticket)

    def succeeded(self) -> None:
        """Note the first content, or a whole answer."""
        self.circuits.succeeded(self)


@dataclass(slots=True)
class LiveCircuits:
    """`server` None: the state covers the calls of this process only. `tells_alone`: failures of a model's only
    candidate are shared too; a worker's circuits of batches share them by a stricter rule.
    """

    server: RedisServer | None = None
    clock: Callable[[], float] = time.monotonic
    tells_alone: bool = True
    lanes: Lanes = field(default_factory=Lanes)
    _health: dict[str, LiveHealth] = field(default_factory=dict)
    _pairs: dict[tuple[str, str], tuple[LiveHealth, LiveHealth]] = field(default_factory=dict)
    _news: dict[str, tuple[str, float]] = field(default_factory=dict)  # by circuit: verb of the script, seconds
    _read_at: float = -inf
    _calm: Calm = field(default_factory=Calm)
    _looked_at: float = -inf
    _models: dict[str, RouteRule] = field(default_factory=dict)  # whose candidates all have circuits, by its name

    def call(self, route: Route, *, alone: bool, is_retry: bool = False, demand: LaneDemand | None = None) -> LiveCall:
        """Return a call to enter. Entering it raises CircuitOpen.

        `alone`: the route is the model's only one.
        """
        return LiveCall(self, route, alone, is_retry, demand)

    def wait(self, route: Route) -> float:
        """Return the seconds until this candidate may be called."""
        pair = self.pair_of(route)
        if self.are_calm():
            return 0.0
        now = self.clock()
        seconds = max(pair[0].wait(now), pair[1].wait(now))
        if seconds > 0:
            self._report_stalls(route, pair)
        return seconds

    def are_free(self, routes: Sequence[Route]) -> bool:
        """Return True if all candidates of a model may be called. Their state is shared from then on."""
        name, rule = routes[0].requested, routes[0].rule
        if self._models.get(name) is not rule:
            for route in routes:
                self.pair_of(route)
            if len(self._models) >= MAX_LIVE_CIRCUITS:
                self._models.clear()
            self._models[name] = rule
        return self.are_calm() and not self.lanes.are_used

    def are_calm(self) -> bool:
        """Return True while all circuits are closed. A stall is found by the next call to the candidate."""
        if not self._calm.holds and self.clock() - self._looked_at >= SHARE_SECONDS:
            now = self._looked_at = self.clock()  # a pause ends when it is looked at
            self._calm.holds = all(
                not health.wait(now) and health.state is State.CLOSED for health in self._health.values()
            )
        return self._calm.holds

    def in_flight(self, upstream: Upstream) -> int:
        """Return the number of calls of this process to the upstream."""
        health = self._health.get(upstream.circuit)
        return 0 if health is None else health.in_flight

    def is_full(self, route: Route) -> bool:
        """Return True if the calls of this process reach a limit of the upstream."""
        return route.upstream.limits is not None and self.lanes.is_full(route.upstream)

    def allows_retry(self, route: Route) -> bool:
        return self.pair_of(route)[0].allows_retry(self.clock())

    def pair_of(self, route: Route) -> tuple[LiveHealth, LiveHealth]:
        """Return the health of the route's upstream, and of the model there."""
        name = route.upstream.circuit, route.target.model
        pair = self._pairs.get(name)
        if pair is None:
            if len(self._pairs) >= MAX_LIVE_CIRCUITS:
                kept = {name for name, health in self._health.items() if not health.is_idle or name in self._news}
                self._health = {name: health for name, health in self._health.items() if name in kept}
                self._models.clear()
                healths = {id(health) for health in self._health.values()}
                self._pairs = {
                    name: pair
                    for name, pair in self._pairs.items()
                    if id(pair[0]) in healths and id(pair[1]) in healths
                }
            upstream, model = names_of(route, ())
            pair = self._pairs[name] = self._get(upstream), self._get(model)
        return pair

    def begin(self, call: LiveCall) -> None:
        """Raises CircuitOpen, or NotFound where the upstream did not have the model a moment ago."""
        now, pair = self.clock(), self.pair_of(call.route)
        upstream, model = pair
        wait = max(upstream.wait(now, alone=call.alone), model.wait(now, alone=call.alone))
        if wait > 0:
            self._report_stalls(call.route, pair)
            if model.missing and upstream.wait(now, alone=call.alone) <= 0:
                raise NotFound(model.missing)
            raise CircuitOpen("The upstream fails at present and is not called.", retry_after=wait)
        first, second = upstream.enter(now, retry=call.is_retry), model.enter(now, retry=call.is_retry)
        call.entered = (upstream, first), (model, second)
        call.is_probe = self.server is not None and not call.alone and (first.probe or second.probe)

    async def take_turn(self, call: LiveCall) -> None:
        """Wait for the decision on a probe, and for a place at an upstream that has limits. Raises as `LiveCall`."""
        try:
            if call.is_probe:
                await self._may_probe(call)
            if call.demand is not None and call.route.upstream.limits is not None:
                call.place = await self.lanes.enter(call.route.upstream, call.route.upstream.limits, call.demand)
        except (CircuitOpen, UpstreamFull, asyncio.CancelledError):
            self.end(call)
            call.entered = ()
            raise

    def end(self, call: LiveCall) -> None:
        """End a call that has begun."""
        for health, ticket in call.entered:
            health.leave(ticket)
        if call.place is not None and call.demand is not None:
            self.lanes.leave(call.place, call.demand.used())

    async def _may_probe(self, call: LiveCall) -> None:
        """Raises CircuitOpen if another process has the turn."""
        for name, (health, ticket) in zip(names_of(call.route, ()), call.entered, strict=True):
            wait = await self._ask_to_probe(name, health) if ticket.probe else 0.0
            if wait:
                health.until = self.clock() + wait
                raise CircuitOpen("Another process probes the upstream.", retry_after=wait)

    def succeeded(self, call: LiveCall) -> None:
        now = self.clock()
        for index, (health, ticket) in enumerate(call.entered):
            if health.note_success(ticket, now):
                name = names_of(call.route, ())[index]
                log.info("circuit_closed", circuit=name)
                self._news[name] = "close", 0.0

    def failed(self, call: LiveCall, error: GatewayError) -> None:
        """Note what a failed call means. A call that was not made means nothing."""
        if not call.entered:
            return
        row = failure_of(error)
        if row.effect is Effect.NONE:
            if error.said is not None:  # it refused this request, so it works
                self.succeeded(call)
            return
        index = 0 if row.whole_upstream else 1
        name, (health, ticket) = names_of(call.route, ())[index], call.entered[index]
        opens = self._apply(row, health, ticket, error.retry_after)
        if call.alone and not self.tells_alone:
            return
        if opens:
            told: dict[str, str | int] = {"cause": cause_of(error).name}
            if error.said is not None:
                told["upstream_status"] = error.said.status
            if isinstance(error, NotFound):
                health.missing = error.message
            self._note_opened(name, health, row.name, call.route.upstream.name, **told)
        elif row.effect in (Effect.PAUSE, Effect.BUSY) and error.retry_after and health.state is State.PAUSED:
            self._news[name] = "pause", min(error.retry_after, MAX_RETRY_AFTER)

    def gates(self, upstreams: Iterable[Upstream]) -> Iterator[tuple[str, str, bool]]:
        """Yield upstream, model, and whether calls to it are made, of all that have been called."""
        now, names = self.clock(), {upstream.circuit: upstream.name for upstream in upstreams}
        for (circuit, model), pair in self._pairs.items():
            if circuit in names:
                yield names[circuit], model, all(health.wait(now) <= 0 for health in pair)

    def states(self) -> list[dict[str, Any]]:
        """Return the circuits that are not closed, with the seconds until they admit a call."""
        now = self.clock()
        return [
            {
                "circuit": name,
                "state": health.state.value,
                "stalled": health.stalled,
                "seconds": round(max(0.0, health.until - now), 1),
            }
            for name, health in self._health.items()
            if health.wait(now) > 0 or health.state is State.OPEN
        ]

    async def share(self) -> None:
        """Publish the news of this process, and read those of the others. Raises Unavailable."""
        if self.server is None:
            return
        while self._news:
            name, (verb, seconds) = news = next(iter(self._news.items()))
            arguments = (verb,) if verb == "close" else (verb, round(seconds * 1000))
            stamp = await self.server.run(scripts.CIRCUIT, (self.server.keys.circuit(name),), arguments)
            if verb != "close" and name in self._health:
                self._health[name].stamp = max(self._health[name].stamp, int(stamp))
            if self._news.get(name) == news[1]:
                del self._news[name]
        is_calm = all(health.state is State.CLOSED for health in self._health.values())
        if self._health and (not is_calm or self.clock() - self._read_at >= CALM_SECONDS):
            await self._read(self.server, tuple(self._health))

    async def _read(self, server: RedisServer, names: Iterable[str]) -> None:
        names = list(names)
        commands: list[Command] = [("TIME",)]
        commands += [("HMGET", server.keys.circuit(name), *PEER_FIELDS) for name in names]
        (seconds, microseconds), *replies = await server.pipeline(commands)
        server_now = int(seconds) * 1000 + int(microseconds) // 1000
        self._read_at = now = self.clock()
        for name, fields in zip(names, replies, strict=True):
            health, peers = self._health.get(name), to_peer_state(fields, server_now)
            if health is None or name in self._news:
                continue
            if peers is not None:
                health.learn(peers.left, peers.stamp, now, is_open=peers.is_open)
            elif health.stamp:
                health.stamp = 0
                if health.state is State.OPEN:
                    health.close()

    async def _ask_to_probe(self, name: str, health: LiveHealth) -> float:
        """Return the seconds to wait, 0 if the call may go: as the probe, or because a peer has closed the circuit."""
        assert self.server is not None
        arguments = ("probe", secrets.token_hex(8), round(PROBE_SECONDS * 1000))
        try:
            async with within(PROBE_BUDGET):
                wait, granted = await self.server.run(scripts.CIRCUIT, (self.server.keys.circuit(name),), arguments)
        except (TimeoutError, GatewayError):
            # Without Redis each process probes by itself: one call each, instead of one for all.
            return 0.0
        if not wait and not granted and health.stamp:
            health.close()
        return float(wait) / 1000

    def _apply(self, row: FailureRow, health: LiveHealth, ticket: HealthTicket, asked: float | None) -> bool:
        """Return True if the circuit has opened."""
        now, wait = self.clock(), min(asked or SHORT_PAUSE, MAX_RETRY_AFTER)
        match row.effect:
            case Effect.ACCOUNT | Effect.MODEL:
                health.open(now, seconds=ACCOUNT_DELAY if row.effect is Effect.ACCOUNT else MODEL_DELAY)
                return True
            case Effect.PAUSE:
                health.pause(now, wait)
                return False
            case _:
                opens = health.note_failure(ticket, now)
                if row.effect is Effect.BUSY:
                    health.pause(now, wait)
                return opens

    def _report_stalls(self, route: Route, pair: tuple[LiveHealth, LiveHealth]) -> None:
        """Log and share a stall, which is found when a call is to begin, and not when one ends."""
        for name, health in zip(names_of(route, ()), pair, strict=True):
            if health.is_unreported:
                health.is_unreported = False
                self._note_opened(name, health, STALL, route.upstream.name)

    def _note_opened(self, name: str, health: LiveHealth, trouble: str, upstream: str, **told: str | int) -> None:
        seconds = health.until - self.clock()
        level = log.error if trouble == "account" else log.warning
        level("circuit_opened", circuit=name, trouble=trouble, **told, seconds=round(seconds, 1))
        metrics.CIRCUIT_OPENINGS.labels(upstream, trouble).inc()
        # A server with its own queue is silent to the many calls of a batch, and not to a live one.
        # Another process would not know that the model is missing, and answer 529: its own first call finds out.
        if not health.missing and (trouble != STALL or self.tells_alone):
            self._news[name] = "open", seconds

    def _get(self, name: str) -> LiveHealth:
        health = self._health.get(name)
        if health is None:
            health = self._health[name] = LiveHealth(self._calm)
        return health
