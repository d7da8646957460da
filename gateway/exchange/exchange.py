"""One prompt, one answer: convert, call the upstream, convert back; try again where that is safe.

Live handlers and batch workers use the same calls: `plan`, then `answer` for a whole message or `stream` for a stream
into a sink. An attempt may be repeated as long as the client has not been shown any content; after that a failure is
an `error` event. Every exchange fills one usage record and reports it once, whatever happens, cancellation included.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, TypeVar, TypeVarTuple

import orjson

from gateway import ids
from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.dialects.chat.request.convert import Conversion, to_chat_request
from gateway.dialects.chat.request.fallbacks.apply import adapted
from gateway.dialects.chat.request.fallbacks.refusals import to_adaptation
from gateway.dialects.chat.response.convert import Answered, Origin, to_message
from gateway.dialects.chat.response.errors import to_error
from gateway.dialects.chat.response.images import shows_images
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.chat.response.usage import requested_ttl
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError, UpstreamError
from gateway.exchange.calibration import Calibration
from gateway.exchange.heartbeat import Pulse
from gateway.exchange.relay import Pace, Relay
from gateway.exchange.sink import Sink
from gateway.messages import events
from gateway.messages.notes import Note
from gateway.messages.replay import to_events
from gateway.messages.tools.tool_cache import ToolMemory
from gateway.messages.validation.depth import to_json, too_deep
from gateway.schemas.anthropic import MessagesRequest
from gateway.telemetry.logs import log_note
from gateway.telemetry.redaction import Redactor
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.adaptation import Adaptation
from gateway.upstream.client import Answer, Call, Timeouts, UpstreamClient
from gateway.upstream.learned import LearnedAdaptations
from gateway.upstream.retry import RetryPolicy
from gateway.upstream.routing import Route, RoutingTable

# The largest JSON answer: 128k tokens of text are half a megabyte, generated images some tens.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024
# Calls that one request may cost beyond its first because the upstream has refused something in it.
MAX_HEALS = 2

Result = TypeVar("Result")
Into = TypeVarTuple("Into")


@dataclass(slots=True)
class Prompt:
    """A validated request, what validation had to say, and the size of its JSON in bytes (for the token estimate)."""

    request: MessagesRequest = field(repr=False)
    body_size: int
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class Plan:
    """What is to be sent, and what the reply must know. `heal` replaces `conversion` and `body`.

    `own_notes`: so many notes at the start of the record's are validation's. They may differ between requests that the
    prompt cache takes for equal; those of the conversion do not.
    """

    route: Route
    conversion: Conversion
    body: bytes | memoryview = field(repr=False)
    reply: Reply
    record: UsageRecord
    healed: tuple[Adaptation, ...] = ()  # what this request was sent again with
    own_notes: int = 0
    prewarms: bool = False  # max_tokens is 0: the prompt is to be cached upstream, and no answer shown

    def forget_prompt(self) -> None:
        """Nothing will be sent again. A long prompt is larger than all else that a stream holds while it lasts."""
        self.body, self.conversion = b"", NOTHING


NOTHING = Conversion({"model": "", "messages": []})


# What a pre-warming request gets; a chat upstream has generated one token, which nobody asked for.
EMPTY_ANSWER: dict[str, Any] = {"content": [], "stop_reason": "max_tokens", "stop_sequence": None, "stop_details": None}


@dataclass(slots=True)
class Exchange:
    """Everything an exchange needs. `table` is replaced whole when the routing changes."""

    client: UpstreamClient
    table: RoutingTable
    keyring: Keyring
    report: Callable[[UsageRecord], None]
    redactor: Redactor = field(default_factory=Redactor)
    pulse: Pulse = field(default_factory=Pulse)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    pace: Pace = field(default_factory=Pace)
    stream_timeouts: Timeouts = field(init=False)  # without a total: an answer may be as long as it likes
    calibration: Calibration = field(default_factory=Calibration)
    learned: LearnedAdaptations = field(default_factory=LearnedAdaptations)
    tools: ToolMemory = field(default_factory=lambda: ToolMemory(secrets.token_hex(16)))
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.stream_timeouts = replace(self.timeouts, total=None)

    def plan(self, context: Context, prompt: Prompt, record: UsageRecord) -> Plan:
        """Route and convert. Raises InvalidRequest for what this upstream cannot be asked; nothing was sent then."""
        try:
            return self._plan(context, prompt, record)
        except orjson.JSONEncodeError:
            raise too_deep(prompt.request) from None

    def _plan(self, context: Context, prompt: Prompt, record: UsageRecord) -> Plan:
        """Raises JSONEncodeError for what nests too deeply."""
        request = prompt.request
        route = self.table.resolve(request["model"])
        record.model, record.upstream, record.dialect = route.requested, route.upstream.name, route.dialect
        record.upstream_model = route.target.model
        record.stream = bool(request.get("stream"))
        keyring = self.keyring.of_tenant(context.tenant)
        conversion = to_chat_request(request, route.target, keyring, context.session_id)
        conversion = adapted(conversion, self.learned.known(route))
        body = to_json(conversion.body, prompt.body_size)
        note_losses(record, prompt.notes)
        note_losses(record, conversion.notes)
        estimate = self.calibration.estimate(record, request, prompt.body_size)
        if conversion.applied_edits:
            record.size_estimate = record.text_estimate = None  # the upstream counts a shorter prompt
        reply = to_reply(context, prompt, route, conversion, keyring, estimate)
        prewarms = request.get("max_tokens") == 0
        return Plan(route, conversion, body, reply, record, own_notes=len(prompt.notes), prewarms=prewarms)

    def answer(self, plan: Plan) -> Coroutine[Any, Any, Answered]:
        """The whole message. Raises GatewayError when no attempt gave one."""
        return self._reported(plan.record, self._attempt(plan, self._answer_once))

    def stream(self, plan: Plan, sink: Sink) -> Coroutine[Any, Any, None]:
        """Stream into the sink. Raises GatewayError only while the sink is not committed; later failures are events."""
        return self._reported(plan.record, self._stream(plan, sink))

    async def _stream(self, plan: Plan, sink: Sink) -> None:
        try:
            await self._attempt(plan, self._stream_once, sink)
        except GatewayError as error:
            if not sink.committed:
                raise
            note_error(plan.record, error)
            sink.write(events.error_event(error, plan.reply.request_id))

    async def _attempt(
        self, plan: Plan, once: Callable[[Plan, float, *Into], Coroutine[Any, Any, Result]], *into: *Into
    ) -> Result:
        """Call `once` until it succeeds, fails for good, or has shown content to the client.

        The first attempt has the configured times, each further one what is left of the total.
        """
        clock = self.clock
        ends_at = inf if self.timeouts.total is None else clock() + self.timeouts.total
        record = plan.record
        remaining = inf
        while True:
            record.attempts += 1
            try:
                return await once(plan, remaining, *into)
            except GatewayError as error:
                self.redactor.error(error)
                remaining = ends_at - clock()
                if record.first_content_seconds is not None or remaining <= 0:
                    raise
                if heal(plan, error):
                    continue
                delay = self.retry.delay(error, record.attempts, random.random(), remaining)  # noqa: S311 - spreads retries
                if delay is None:
                    raise
            await asyncio.sleep(delay)
            remaining -= delay

    async def _answer_once(self, plan: Plan, remaining: float) -> Answered:
        answer = await self._open(plan, self.timeouts.within(remaining))
        answered = to_message(_parsed(await answer.read(MAX_ANSWER_BYTES)), plan.reply)
        if plan.prewarms:
            answered.message.update(EMPTY_ANSWER)
        self._note_answer(plan.record, answered.origin, answered.message["usage"], answered.message["stop_reason"])
        note_losses(plan.record, answered.notes)
        return answered

    async def _stream_once(self, plan: Plan, remaining: float, sink: Sink) -> None:
        ends_at = self.clock() + remaining
        answer = await self._open(plan, self.stream_timeouts.within(remaining))
        content_type = answer.headers.get("content-type", "")
        if "json" in content_type:
            await self._stream_whole(plan, answer, sink)
            return
        if "html" in content_type:
            answer.abort()
            raise UpstreamError("The upstream answered with a web page instead of a stream.")
        await self._relay(plan, answer, sink, ends_at)

    async def _relay(self, plan: Plan, answer: Answer, sink: Sink, ends_at: float) -> None:
        """`ends_at`: when content must have come, by `clock`."""
        begun = self.clock()
        stream = MessageStream(plan.reply, opened=sink.committed)
        relay = Relay(answer, stream, sink, self.pace.within(ends_at - begun), self.clock, plan.forget_prompt)
        self.pulse.join(relay)
        try:
            await relay.run()
        finally:
            self.pulse.leave(relay)
            if relay.first_content is not None:
                plan.record.first_content_seconds = relay.first_content - begun
            self._note_answer(plan.record, stream.origin, stream.usage, stream.stop.reason if stream.stop else None)
            note_losses(plan.record, stream.notes)

    async def _stream_whole(self, plan: Plan, answer: Answer, sink: Sink) -> None:
        """Some upstreams answer a stream request with plain JSON; errors inside a 200 come this way too."""
        answered = to_message(_parsed(await answer.read(MAX_ANSWER_BYTES)), plan.reply)
        self._note_answer(plan.record, answered.origin, answered.message["usage"], answered.message["stop_reason"])
        told = to_events(answered.message, answered.origin.cost)
        sink.write(events.without_start(told) if sink.committed else told)

    def _note_answer(self, record: UsageRecord, origin: Origin, usage: dict[str, Any], stop_reason: str | None) -> None:
        name = self.redactor.name
        origin.model, origin.provider = name(origin.model), name(origin.provider)
        origin.generation_id = name(origin.generation_id)
        record.served_model, record.provider, record.generation_id = origin.model, origin.provider, origin.generation_id
        record.cost, record.estimated, record.mismatched = origin.cost, origin.estimated, origin.mismatched
        record.stop_reason = stop_reason
        record.input_tokens, record.output_tokens = usage["input_tokens"], usage["output_tokens"]
        record.cache_read_tokens = usage["cache_read_input_tokens"]
        record.cache_write_tokens = usage["cache_creation_input_tokens"]

    async def _open(self, plan: Plan, timeouts: Timeouts) -> Answer:
        """The upstream's answer, its header read and its status good. Raises the error that another status means."""
        upstream = plan.route.upstream
        call = Call("POST", upstream.url + "/chat/completions", upstream.headers, plan.body, timeouts)
        answer = await self.client.open(call)
        if not 200 <= answer.status < 300:
            body = await answer.read(MAX_ERROR_BYTES)
            raise to_error(answer.status, answer.headers, body, plan.reply)
        self.learned.learn(plan.route, plan.healed)
        return answer

    async def _reported(self, record: UsageRecord, work: Coroutine[Any, Any, Result]) -> Result:
        begun = time.monotonic()
        try:
            return await work
        except GatewayError as error:
            note_error(record, error)
            raise
        except asyncio.CancelledError:
            record.status, record.error_type = CLIENT_GONE, "client_gone"
            raise
        finally:
            record.duration_seconds = time.monotonic() - begun
            self.calibration.learn(record)
            self.report(record)


# What a log line and a metric say when the client left before its answer was complete (nginx's convention).
CLIENT_GONE = 499


def to_reply(
    context: Context, prompt: Prompt, route: Route, conversion: Conversion, keyring: Keyring, input_estimate: int
) -> Reply:
    request: Any = prompt.request
    thinking = request.get("thinking") or {}
    return Reply(
        ids.message_id(),
        context.request_id,
        route.requested,
        route.target.model,
        keyring,
        input_estimate,
        conversion.tool_names,
        conversion.toolsets,
        show_thinking=thinking.get("display") != "omitted",
        shows_images=shows_images(conversion.body),
        is_seeded="seed" in conversion.body,
        cache_ttl=requested_ttl(request),
        **to_stops(conversion),
        think_tags=not route.target.openrouter,
        context_length=route.target.context_length,
        max_tokens=conversion.body.get(route.target.max_tokens_field),
        applied_edits=conversion.applied_edits if request.get("context_management") else None,
    )


def to_stops(conversion: Conversion) -> dict[str, Any]:
    """Of a reply: the stop sequences to match here, and those that went upstream."""
    stop = conversion.body.get("stop") or ()
    sent = (stop,) if isinstance(stop, str) else tuple(stop)
    return {"stop_sequences": conversion.stop_sequences, "sent_stop_sequences": sent}


def heal(plan: Plan, error: GatewayError) -> bool:
    """Change what the upstream has refused and the request can do without; True when another attempt is worth it."""
    if len(plan.healed) == MAX_HEALS:
        return False
    adaptation = to_adaptation(error, plan.conversion, plan.route.target)
    if adaptation is None:
        return False
    notes = len(plan.conversion.notes)
    plan.conversion = adapted(plan.conversion, [adaptation])
    plan.body = orjson.dumps(plan.conversion.body)
    plan.reply = replace(plan.reply, **to_stops(plan.conversion))
    plan.healed = (*plan.healed, adaptation)
    note_losses(plan.record, plan.conversion.notes[notes:])
    return True


def note_losses(record: UsageRecord, notes: Iterable[Note]) -> None:
    """For header, log line and metric, all without reasons: those are in log lines of their own."""
    for note in notes:
        record.notes.append(note.text)
        log_note(record.context, note)


def note_error(record: UsageRecord, error: GatewayError) -> None:
    record.status, record.error_type = error.status, error.type


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamError("The upstream answered with something that is not JSON.") from None
