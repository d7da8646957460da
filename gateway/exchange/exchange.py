"""Run one exchange: try candidates and attempts until one succeeds or none is left.

Live handlers and batch workers use the same calls: `plan`, then `answer` for a whole message or `stream` into a sink.
The upstream is streamed either way; for `answer` its events are collected here and folded into a message. An attempt
may be repeated while no client has received content; after that a failure is an `error` event. Every exchange
fills one usage record and always hands it to the observers once, also when cancelled.
"""

import asyncio
import random
import secrets
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any, TypeVar

import orjson

from gateway import ids
from gateway.access.admission import Admission
from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.dialects.base import Answered, Asking, Dialect, Origin, Prepared
from gateway.dialects.choice import note_of_choice
from gateway.dialects.parameter_policy import governed_prompt, refuse_losses
from gateway.errors import GatewayError, InvalidRequest, drop_frames
from gateway.exchange.accounting import admitted, settle
from gateway.exchange.calibration import TokenCalibration
from gateway.exchange.candidates import Candidates
from gateway.exchange.client_keys import account_lines, told_to_owner
from gateway.exchange.exact_overflow import count_overflow
from gateway.exchange.face_sink import is_opened, sink_of
from gateway.exchange.healing import healed
from gateway.exchange.heartbeat import Heartbeat
from gateway.exchange.hedge import Hedges
from gateway.exchange.key_policy import for_key, priority_of
from gateway.exchange.missing import MissingDialects
from gateway.exchange.plan import Plan, note_error, note_gone, note_losses
from gateway.exchange.received import EMPTY_ANSWER, noted, relayed
from gateway.exchange.relay import Relay, StreamTimeouts, is_event_stream
from gateway.exchange.sink import NoClient, Sink
from gateway.exchange.token_count import TokenCounter
from gateway.exchange.tracing import begin_trace, traced
from gateway.exchange.walk import Walk, patience
from gateway.messages import events
from gateway.messages.prompt import Prompt, Received, to_prompt, to_unchecked
from gateway.messages.replay import to_events
from gateway.messages.tools.tool_cache import ToolCache
from gateway.messages.turn_cache import TurnCache
from gateway.messages.validation.depth import too_deep
from gateway.telemetry.counters import closed, opened
from gateway.telemetry.redaction import Redactor
from gateway.telemetry.tracing import Tracer
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.capacity.lanes import LaneDemand
from gateway.upstream.health.live_circuits import LiveCircuits
from gateway.upstream.health.retry import RetryPolicy
from gateway.upstream.http.client import Answer, Call, Timeouts, UpstreamClient
from gateway.upstream.http.forwarding import with_forwarded
from gateway.upstream.routes.route import Route
from gateway.upstream.routes.table import Routing, RoutingTable
from gateway.upstream.vendors.learned import LearnedAdaptations

# Maximum JSON answer: 128k tokens of text are half a megabyte, generated images some tens.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024

NO_CLIENT = NoClient()

Observer = Callable[[UsageRecord], None]
Result = TypeVar("Result")


@dataclass(slots=True)
class Exchange:
    """Everything an exchange needs. `observers` get each finished exchange's record; they must not block or raise."""

    client: UpstreamClient
    routing: Routing
    keyring: Keyring
    dialects: Mapping[str, Dialect]
    observers: tuple[Observer, ...] = ()
    redactor: Redactor = field(default_factory=Redactor)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    stream_timeouts: StreamTimeouts = field(default_factory=StreamTimeouts)
    calibration: TokenCalibration = field(default_factory=TokenCalibration)
    learned: LearnedAdaptations = field(default_factory=LearnedAdaptations)
    missing: MissingDialects = field(default_factory=MissingDialects)
    tools: ToolCache = field(default_factory=lambda: ToolCache(secrets.token_hex(16)))
    turns: TurnCache = field(default_factory=lambda: TurnCache(secrets.token_hex(16)))
    circuits: LiveCircuits = field(default_factory=LiveCircuits)
    clock: Callable[[], float] = time.monotonic
    admission: Admission | None = None
    tracer: Tracer | None = None
    counter: TokenCounter = field(init=False)
    candidates: Candidates = field(init=False)
    hedges: Hedges = field(init=False)
    _unbounded: Timeouts = field(init=False)  # for streams: without a total, an answer has no time limit
    _unattended: StreamTimeouts = field(init=False)  # for collected streams: no client waits for an early 200 or a ping

    def __post_init__(self) -> None:
        self.candidates = Candidates(self.routing, self.circuits)
        self.hedges = Hedges(self.circuits, self._next_candidate, self._demand_of, self.clock)
        self.counter = TokenCounter(self.client, self.dialects, self.clock)
        self._unbounded = self.timeouts._replace(total=None)
        self._unattended = replace(self.stream_timeouts, commit_after=inf, ping_after=inf)

    @property
    def table(self) -> RoutingTable:
        """Return the table in force; one that is asked twice may have been replaced in between."""
        return self.routing.table

    def read_prompt(self, parsed: object, size: int, context: Context, received: Received | None = None) -> Prompt:
        """Validate a parsed body, unless it goes to an upstream that validates it in its own words.

        Raises InvalidRequest naming the first field that is wrong.
        """
        model = parsed.get("model") if isinstance(parsed, dict) else None
        dialects = [route.dialect for route in self.table.resolve(model)] if isinstance(model, str) else ()
        if "messages" not in dialects:
            return to_prompt(parsed, size, context)
        unchecked = to_unchecked(parsed, size, received)
        if unchecked is not None:
            route = self.missing.choose(self.table.resolve(unchecked.request["model"])[0], unchecked.request)
            if route.dialect == "messages":
                unchecked.remember()
                return unchecked
        return to_prompt(parsed, size, context, received)

    def plan(self, context: Context, prompt: Prompt, record: UsageRecord, candidates: tuple[Route, ...] = ()) -> Plan:
        """Route and convert. Raises InvalidRequest, before any call, if the first candidate cannot serve the prompt.

        `candidates`: routes in the order of preference, if the caller has resolved the model already.
        """
        routes = candidates or for_key(self.admission, context, self.table.resolve(prompt.request["model"]))
        choice = self.candidates.choose(context, prompt, routes)
        route, *fallbacks = choice.routes
        route = self._chosen(context, prompt, record, route)
        record.model = route.requested
        record.stream = bool(prompt.request.get("stream"))
        prewarms = prompt.request.get("max_tokens") == 0
        note_losses(record, prompt.notes)
        own_notes = len(record.notes)
        note_losses(record, note_of_choice(route, prompt.request))
        prepared = self._prepare(context, prompt, record, route, ids.message_id())
        # Without `*`, which makes the call take half as long again.
        return Plan(
            context, prompt, record, route, prepared, fallbacks, own_notes, prewarms, not fallbacks,
            choice.home, choice.session, choice.caches_long,
        )  # fmt: skip

    def _chosen(self, context: Context, prompt: Prompt, record: UsageRecord, route: Route) -> Route:
        """Return the route in the dialect for the prompt, which is read as a Messages request where that decides."""
        if prompt.original is not None and route.dialect != "chat":
            note_losses(record, prompt.check(context))
        return self.missing.choose(route, prompt.request)

    def _prepare(
        self, context: Context, prompt: Prompt, record: UsageRecord, route: Route, message_id: str
    ) -> Prepared:
        dialect, asking = self.dialects[route.dialect], self.asking(context, route, message_id)
        if not dialect.takes_unchecked(prompt, route, asking):
            note_losses(record, prompt.check(context))
        if route.policy is not None:
            prompt, notes = governed_prompt(prompt, route.policy, route)
            note_losses(record, notes)
        prepared = dialect.prepare(prompt, route, asking)
        note_losses(record, prepared.notes)
        if route.policy is not None and route.policy.refuses_losses:
            refuse_losses(prepared.notes)
        record.upstream, record.dialect = route.upstream.name, route.dialect
        record.upstream_model = route.target.model
        if not prompt.is_checked:
            return prepared
        try:
            prepared.reply.input_estimate = self.calibration.estimate(record, prompt.request, prompt.body_size)
        except orjson.JSONEncodeError:  # keys that no upstream gets may nest too deeply to be read
            raise too_deep(prompt.request) from None
        if prepared.edits_prompt:
            record.size_estimate = record.text_estimate = None
        return prepared

    def asking(self, context: Context, route: Route, message_id: str = "") -> Asking:
        return Asking(
            message_id,
            context.request_id,
            context.tenant,
            context.session_id,
            self.learned.known(route),
            context.api_version,
            context.betas,
        )

    def answer(self, plan: Plan, begun: Callable[[], None] | None = None) -> Coroutine[Any, Any, Answered]:
        """Return the whole message. Raises GatewayError if every attempt failed. `begun` is called at first content."""
        return self._observed(plan, self._collect(plan, begun))

    def stream(self, plan: Plan, sink: Sink) -> Coroutine[Any, Any, None]:
        """Stream into the sink. Raises GatewayError only while the sink is not committed; later failures are events."""
        return self._observed(plan, self._stream(plan, sink))

    async def _collect(self, plan: Plan, begun: Callable[[], None] | None) -> Answered:
        answered = await self._attempt(plan, self.hedges.call_of(plan, partial(self._collect_once, begun=begun)))
        if plan.prewarms and plan.route.dialect != "messages":
            answered.message.update(EMPTY_ANSWER)
        return answered

    async def _stream(self, plan: Plan, sink: Sink) -> None:
        try:
            once = partial(self._stream_once, sink=sink)
            await self._attempt(plan, self.hedges.call_of(plan, once, lambda: sink.committed))
        except GatewayError as error:
            if not sink.committed:
                raise
            note_error(plan.record, error)
            sink.write(events.error_event(error, plan.reply.request_id))
            drop_frames(error)

    async def _attempt(self, plan: Plan, once: Callable[[float], Coroutine[Any, Any, Result]]) -> Result:
        """Call `once` with the seconds left until it succeeds, fails on every candidate, or has shown content."""
        ends_at = inf if self.timeouts.total is None else self.clock() + self.timeouts.total
        walk, remaining = Walk(self.retry), inf
        while True:
            begun = plan.begun = self.clock()
            try:
                demand, is_alone = self._demand_of(plan), plan.is_alone
                plan.call = self.circuits.call(plan.route, alone=is_alone, is_retry=walk.is_retry, demand=demand)
                with plan.call as call:
                    await call.take_turn()
                    walk.begin()
                    plan.record.attempts += 1
                    result = await once(remaining)
                if plan.session is not None:
                    self.candidates.note_answered(plan)
                return result
            except GatewayError as error:
                self.redactor.error(error)
                if error.is_estimate:
                    await count_overflow(error, plan, self.counter, self.asking(plan.context, plan.route))
                plan.note_failure(error, self.clock() - begun)
                remaining = ends_at - self.clock()
                if plan.is_released or remaining <= 0:
                    self.circuits.failed(plan.call, error)
                    raise
                if self._heal(plan, error):
                    walk.heal(error)
                    continue
                self.circuits.failed(plan.call, error)
                walk.note_failure(error)
                plan.fallbacks = self.candidates.left_after(plan, error, self.admission)
                if walk.may_move(plan, error) and self._next_candidate(plan):
                    walk.move()
                    continue
                delay = walk.delay(error, random.random(), remaining)  # noqa: S311 - spreads retries
                if delay is None or not self.circuits.allows_retry(plan.route):
                    raise walk.final() from None
            await asyncio.sleep(delay)
            remaining -= delay
            plan.record.waited_seconds += delay

    def _demand_of(self, plan: Plan) -> LaneDemand | None:
        """Return the needs of the plan's next call; None for an upstream without limits."""
        return None if plan.route.upstream.limits is None else plan.to_demand(priority_of(self.admission, plan.context))

    def _heal(self, plan: Plan, error: GatewayError) -> bool:
        """Change the prepared request to avoid the refusal. Return True if it should be sent again."""
        if plan.prompt is not None and self.missing.learn(plan.route, error):
            self._take(plan, replace(plan.route, dialect="chat"), plan.prompt)
            return True
        prepared = healed(self.dialects[plan.route.dialect], plan, error)
        if prepared is None:
            return False
        plan.prepared = prepared
        note_losses(plan.record, prepared.notes)
        return True

    def _next_candidate(self, plan: Plan) -> bool:
        """Prepare the next candidate that can serve the prompt. Return False if there is none."""
        while plan.fallbacks and plan.prompt is not None:
            try:
                route = self._chosen(plan.context, plan.prompt, plan.record, plan.fallbacks.pop(0))
                self._take(plan, route, plan.prompt)
            except InvalidRequest:  # of this candidate's own limits; the failure before it is more to the point
                continue
            return True
        return False

    def _take(self, plan: Plan, route: Route, prompt: Prompt) -> None:
        """Prepare a prompt for a route. One that cannot serve it leaves the plan as it was."""
        plan.prepared = self._prepare(plan.context, prompt, plan.record, route, plan.reply.message_id)
        plan.route = route

    async def _collect_once(self, plan: Plan, remaining: float, begun: Callable[[], None] | None) -> Answered:
        converter = self.dialects[plan.route.dialect].collect(plan.prepared)
        times, content_within = patience(plan, self.circuits, self.timeouts)
        waits = self._unattended.within(remaining)
        relay = Relay(converter, NO_CLIENT, waits, self.clock, begun or plan.claim, content_within)
        answered = await self._converse(plan, relay, times.within(remaining))
        if isinstance(answered, Origin):
            return Answered(converter.message(), answered)
        if begun is not None:
            begun()
        return answered

    async def _stream_once(self, plan: Plan, remaining: float, sink: Sink) -> None:
        converter = self.dialects[plan.route.dialect].stream(plan.prepared, opened=is_opened(sink))
        times, content_within = patience(plan, self.circuits, self._unbounded)
        waits = self.stream_timeouts.within(remaining)
        taker = sink_of(sink, is_original=plan.prepared.is_original)
        relay = Relay(converter, plan.gated(taker), waits, self.clock, plan.release, content_within)
        answered = await self._converse(plan, relay, times.within(remaining))
        if isinstance(answered, Answered) and plan.claim():
            replayed = to_events(answered.message, answered.origin.cost)
            sink.write(events.without_start(replayed) if is_opened(sink) else replayed)

    async def _converse(self, plan: Plan, relay: Relay, timeouts: Timeouts) -> Answered | Origin:
        """Send, and pass the answer through the relay. Returns the message instead if it came as one JSON answer.

        The relay is registered before the header has come, so that a client is kept while the upstream queues.
        """
        started_at = self.clock()
        self.heartbeat.register(relay)
        try:
            answer = await self._open(plan, timeouts)
            if not is_event_stream(answer):
                # Some upstreams send JSON to a stream request, or an error inside a 200.
                body = (await answer.read(MAX_ANSWER_BYTES)).removeprefix(BOM_UTF8)
                return noted(self.redactor, plan, self.dialects[plan.route.dialect].answer(body, plan.prepared))
            return await relayed(self.redactor, plan, relay, answer)
        except GatewayError as error:
            if error.substitute is None:
                raise
            return noted(self.redactor, plan, error.substitute)
        finally:
            self.heartbeat.unregister(relay)
            plan.record.waited_seconds += self.clock() - started_at

    async def _open(self, plan: Plan, timeouts: Timeouts) -> Answer:
        """Send, and return the answer once its header has come with a 2xx. Raises the error of any other status."""
        upstream, prepared = plan.route.upstream, plan.prepared
        headers = upstream.headers if prepared.headers is None else prepared.headers
        if upstream.forward_headers and plan.context.forwarded:
            headers = with_forwarded(headers, plan.context.forwarded, upstream.forward_headers)
        headers = traced(self.tracer, plan, headers)
        call = Call("POST", upstream.url + prepared.path, headers, prepared.body, timeouts)
        begun = self.clock()
        answer = await self.client.open(call)
        plan.call.note_header()
        if not 200 <= answer.status < 300:
            body = (await answer.read(MAX_ERROR_BYTES)).removeprefix(BOM_UTF8)
            error = self.dialects[plan.route.dialect].error(answer.status, answer.headers, body, prepared)
            raise told_to_owner(error, plan.context) if upstream.takes_client_key else error
        if upstream.takes_client_key:
            plan.context.reply_lines += account_lines(answer)
        if prepared.healed:
            self.learned.learn(plan.route, prepared.healed)
        if plan.route.dialect == "messages":
            plan.record.upstream_request_id = self.redactor.identifier(answer.headers.get("request-id"))
        plan.note_header(self.clock() - begun)
        return answer

    async def _observed(self, plan: Plan, work: Coroutine[Any, Any, Result]) -> Result:
        record = plan.record
        record.begun = plan.context.arrived or self.clock()
        grant = None
        opened(record)
        begin_trace(self.tracer, plan)
        try:
            if self.admission is not None:
                prepare = partial(self._take, plan, plan.route)
                grant = await admitted(self.admission, plan, self.table, prepare)
            return await work
        except GatewayError as error:
            note_error(record, error)
            raise
        except asyncio.CancelledError:
            note_gone(record)
            raise
        finally:
            work.close()
            record.duration_seconds = self.clock() - record.begun
            closed(record)
            self.calibration.learn(record)
            if self.admission is not None and grant is not None:
                settle(self.admission, grant, plan, self.table)
            self.report(record)

    def report(self, record: UsageRecord) -> None:
        for observe in self.observers:
            observe(record)
