"""Hedging: a second candidate for a live request with late first content, on routes with `hedge = true`.

Both calls run until one of them has content. It answers; the other one is cancelled, and the price of its prompt is
added to the request's cost. Each contender has a copy of the plan and of its usage record, and the request's plan takes
over those of the winner. A stream is hedged after its reply has been committed: then the second candidate continues it
as it would after a failure.
"""

import asyncio
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Coroutine
from copy import copy
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Final, Generic, TypeVar

from gateway.errors import GatewayError
from gateway.exchange.plan import Plan
from gateway.exchange.sink import Flow, Sink
from gateway.process.tasks import end
from gateway.telemetry.usage import Attempted, UsageRecord
from gateway.upstream.capacity.lanes import LaneDemand
from gateway.upstream.health.live_circuits import LiveCircuits
from gateway.upstream.routes.pins import name_of_candidate
from gateway.upstream.routes.route import Route

# First content is late beyond this quantile of the candidate's own times in these seconds. With fewer of them it is
# not known.
QUANTILE: Final = 0.98
WINDOW_SECONDS: Final = 600.0
MIN_TIMES: Final = 50
MAX_TIMES: Final = 1000
# Names of models are client input.
MAX_CANDIDATES: Final = 256
# Of a route's calls; each pays for its prompt twice at vendors that do not stop on cancel. At 2 %, a p99 of 6.6 s was
# 5.7 s (simulated).
SHARE: Final = 0.02
# A longer prompt is mostly cached where its session stays, and costs more elsewhere than the time is worth.
MAX_TOKENS: Final = 20_000
# Between two looks whether the reply of a stream has been committed.
LOOK_SECONDS: Final = 0.1

Result = TypeVar("Result")
Once = Callable[[Plan, float], Coroutine[None, None, Result]]
PLAN_FIELDS: Final = ("prompt", "route", "prepared", "call", "is_noted", "begun", "span_id")


def always() -> bool:
    return True


@dataclass(slots=True)
class FirstContents:
    """Seconds to the first content of one candidate's last calls."""

    _times: deque[tuple[float, float]] = field(default_factory=deque)
    _sorted: list[float] = field(default_factory=list)

    def add(self, now: float, seconds: float) -> None:
        self._times.append((now, seconds))
        insort(self._sorted, seconds)
        while len(self._times) > MAX_TIMES:
            self._forget_oldest()

    def late_after(self, now: float) -> float | None:
        while self._times and self._times[0][0] < now - WINDOW_SECONDS:
            self._forget_oldest()
        if len(self._sorted) < MIN_TIMES:
            return None
        return self._sorted[int(QUANTILE * (len(self._sorted) - 1))]

    def _forget_oldest(self) -> None:
        _, seconds = self._times.popleft()
        self._sorted.remove(seconds)


@dataclass(slots=True)
class Hedges:
    """Late calls and the second candidates for them. `next_candidate` prepares one for a plan, if there is one;
    `demand_of` tells what its call needs."""

    circuits: LiveCircuits
    next_candidate: Callable[[Plan], bool]
    demand_of: Callable[[Plan], LaneDemand | None]
    clock: Callable[[], float] = time.monotonic
    _times: dict[str, FirstContents] = field(default_factory=dict)
    _left: dict[str, float] = field(default_factory=dict)  # by the route's pattern

    def call_of(
        self, plan: Plan, once: Once[Result], is_ready: Callable[[], bool] = always
    ) -> Callable[[float], Coroutine[None, None, Result]]:
        """Return the call that `once` makes by this plan within some seconds, hedged where the route asks for it.

        `is_ready`: a second candidate could continue the reply.
        """
        return partial(self._run, plan, once, is_ready) if plan.route.rule.hedge else partial(once, plan)

    async def _run(self, plan: Plan, once: Once[Result], is_ready: Callable[[], bool], remaining: float) -> Result:
        delay = self.delay(plan)
        try:
            if delay is None:
                return await once(plan, remaining)
            return await Race(self, plan, once, is_ready).run(delay, remaining)
        finally:
            first = plan.record.first_content_seconds
            if first is not None:
                self.note(plan.route, max(0.0, plan.record.begun + first - plan.begun))

    def delay(self, plan: Plan) -> float | None:
        """Return the seconds after which the request is hedged, None for never."""
        pattern = plan.route.rule.pattern
        self._left[pattern] = min(1.0, self._left.get(pattern, 0.0) + SHARE)
        if plan.context.priority == "batch" or plan.prewarms or plan.reply.input_estimate > MAX_TOKENS:
            return None
        times = self._times.get(name_of_candidate(plan.route))
        if times is None or not plan.fallbacks or plan.record.attempts != 1:
            return None
        return times.late_after(self.clock())

    def take(self, route: Route) -> bool:
        """Take one of the route's hedges. Return False if none is left."""
        pattern = route.rule.pattern
        if self._left.get(pattern, 0.0) < 1.0 - SHARE / 2:  # sums of fractions fall short of a whole
            return False
        self._left[pattern] -= 1.0
        return True

    def note(self, route: Route, seconds: float) -> None:
        """Note the seconds to the first content of a call, or those for which a cancelled one had none."""
        name = name_of_candidate(route)
        if name not in self._times and len(self._times) >= MAX_CANDIDATES:
            self._times.clear()
        self._times.setdefault(name, FirstContents()).add(self.clock(), seconds)


@dataclass(slots=True, eq=False)
class Contender(Generic[Result]):
    """One of the calls of a race; the `contest` of its plan."""

    race: "Race[Result]"
    plan: Plan
    task: "asyncio.Task[Result] | None" = None

    def claim(self) -> bool:
        """Take the first content, or a whole answer, as the end of the race. Return False if it was lost before."""
        return self.race.claim(self)

    def gated(self, sink: Sink) -> Sink:
        return GatedSink(self, sink)


class GatedSink:
    """The client's sink for one contender: a loser cannot write, and only the winner's source is slowed down."""

    __slots__ = ("_contender", "_sink", "_source")

    def __init__(self, contender: Contender[Result], sink: Sink) -> None:
        self._contender, self._sink = contender, sink
        self._source: Flow | None = None  # to be attached, since the other one may have taken its place

    @property
    def committed(self) -> bool:
        return self._sink.committed

    def write(self, data: bytes) -> None:
        winner = self._contender.race.winner
        if winner is self._contender and self._source is not None:
            self._sink.attach(self._source)
            self._source = None
        if winner is None or winner is self._contender:
            self._sink.write(data)

    def attach(self, source: Flow | None) -> None:
        winner = self._contender.race.winner
        if winner is None:
            self._source = source
        if winner is None or winner is self._contender:
            self._sink.attach(source)

    def abort(self) -> None:
        self._sink.abort()


@dataclass(slots=True, eq=False)
class Race(Generic[Result]):
    """One hedged call: `plan` becomes that of the winner."""

    hedges: Hedges
    plan: Plan
    once: Once[Result]
    is_ready: Callable[[], bool]
    winner: Contender[Result] | None = None
    contenders: list[Contender[Result]] = field(default_factory=list)
    _decided: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, delay: float, remaining: float) -> Result:
        """Return the winner's result, or raise the failure of the last contender."""
        first = self._add(copied(self.plan))
        first.task = asyncio.create_task(self.once(first.plan, remaining))
        try:
            await self._wait(delay)
            while not (self._is_over() or self.is_ready()):
                await self._wait(LOOK_SECONDS)
            if not self._is_over():
                self._add_second(remaining)
            return await self._result()
        finally:
            await end([one.task for one in self.contenders if one.task is not None])  # type: ignore[misc]
            # Break the cycles between race, contenders and plans: a long prompt would wait in them for the collector.
            for one in self.contenders:
                one.plan.contest = one.task = None
            self.contenders.clear()
            self.winner = None

    def claim(self, contender: Contender[Result]) -> bool:
        if self.winner is None:
            self.winner = contender
            for other in self.contenders:
                if other is not contender:
                    self._give_up(other, contender)
            self._adopt(contender)
            self._decided.set()
        return self.winner is contender

    def _add(self, plan: Plan) -> Contender[Result]:
        contender = Contender(self, plan)
        plan.contest = contender
        self.contenders.append(contender)
        return contender

    def _add_second(self, remaining: float) -> None:
        circuits, candidate = self.hedges.circuits, self.plan.fallbacks[0]
        if circuits.wait(candidate) > 0 or not circuits.allows_retry(candidate):
            return
        if circuits.is_full(candidate) or circuits.is_full(self.plan.route):
            return
        plan = copied(self.plan)
        if not self.hedges.take(self.plan.route) or not self.hedges.next_candidate(plan):
            return
        plan.is_noted = False
        second = self._add(plan)
        for one in self.contenders:
            one.plan.record.attempts += 1
        self.plan.hedges += 1
        second.task = asyncio.create_task(self._call(plan, remaining))

    async def _call(self, plan: Plan, remaining: float) -> Result:
        plan.begun = self.hedges.clock()
        circuits, demand = self.hedges.circuits, self.hedges.demand_of(plan)
        with circuits.call(plan.route, alone=False, is_retry=True, demand=demand) as plan.call:
            await plan.call.take_turn()
            return await self.once(plan, remaining)

    async def _wait(self, seconds: float) -> None:
        """Wait until the race is over, for at most so long."""
        first = self.contenders[0].task
        assert first is not None
        decided = asyncio.ensure_future(self._decided.wait())
        try:
            await asyncio.wait((first, decided), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            decided.cancel()

    def _is_over(self) -> bool:
        first = self.contenders[0].task
        return self.winner is not None or first is None or first.done()

    async def _result(self) -> Result:
        running = {one.task: one for one in self.contenders if one.task is not None}
        while True:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                contender = running.pop(task)
                if self.winner is not None and contender is not self.winner:
                    continue
                error = task.exception()
                if error is None:
                    self.claim(contender)
                elif running and self.winner is None and isinstance(error, GatewayError):
                    plan = contender.plan
                    plan.note_failure(error, self.hedges.clock() - plan.begun)
                    self.hedges.circuits.failed(plan.call, error)
                    self._show(contender, plan.record.attempted[-1])
                    continue
                self._adopt(contender)
                return task.result()

    def _give_up(self, loser: Contender[Result], winner: Contender[Result]) -> None:
        if loser.task is not None and loser.task.done():
            return  # it failed before
        plan, seconds = loser.plan, self.hedges.clock() - loser.plan.begun
        self.hedges.note(plan.route, seconds)
        price = plan.route.target.price
        tokens = plan.reply.input_estimate
        winner.plan.record.hedge_cost += 0.0 if price is None else price.request + price.tokens_cost(tokens, 0)
        plan.record.input_tokens = tokens  # for the limits of its upstream
        self._show(loser, plan.attempted("hedged", seconds, "hedged"))
        plan.call.abandon()
        if loser.task is not None:
            loser.task.cancel()

    def _show(self, contender: Contender[Result], attempted: Attempted) -> None:
        """Show the call of one contender in the records of the others, before theirs."""
        for other in self.contenders:
            if other is not contender:
                other.plan.record.attempted.insert(len(self.plan.record.attempted), attempted)

    def _adopt(self, contender: Contender[Result]) -> None:
        for name in PLAN_FIELDS:
            setattr(self.plan, name, getattr(contender.plan, name))
        for each in fields(UsageRecord):
            setattr(self.plan.record, each.name, getattr(contender.plan.record, each.name))


def copied(plan: Plan) -> Plan:
    """Return a copy with a separate record. The list of candidates is shared."""
    record = plan.record
    own = copy(plan)
    own.record = replace(record, attempted=list(record.attempted), notes=list(record.notes))
    return own
