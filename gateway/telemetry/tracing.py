"""Spans of exchanges, built from finished usage records, so that only exported exchanges cost anything.

A request gets its ids at the start, since the upstream receives the gateway's span as its parent. The export is decided
at the end: sampled traces, every failure, and the slowest percent. Names and attributes are Anthropic's, as its API and
SDKs write them (beta, 2026-10), so that one dashboard fits both; others have the prefix `dragoman.`.

This module does not import OpenTelemetry. No span contains a prompt, an answer, or the value of a header.
"""

import secrets
import time
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gateway.context import Context, Trace
from gateway.telemetry.usage import CLIENT_GONE, UsageRecord

Kind = Literal["server", "client", "consumer"]
Status = Literal["unset", "ok", "error"]
Attributes = dict[str, str | int | float | bool | Sequence[str]]

CREATE_MESSAGE: Final = "anthropic.messages.create"
BATCH_ITEM: Final = "dragoman.batch.item"
NANO: Final = 1_000_000_000
# The slowest percent is of the latest this many exchanges; none is slow before there are enough to compare with.
WINDOW: Final = 1000
ENOUGH: Final = 200
SLOW_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class SpanData:
    """A finished span. Ids are hexadecimal, times are in nanoseconds since 1970."""

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    started: int
    ended: int
    status: Status
    attributes: Attributes
    links: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(slots=True)
class Durations:
    """The latest durations, both in order of arrival and sorted."""

    _latest: list[float] = field(default_factory=list)
    _sorted: list[float] = field(default_factory=list)
    _place: int = 0

    def is_slow(self, seconds: float) -> bool:
        """Add a duration, and return True if it is among the slowest percent."""
        known = self._sorted
        slow = len(known) >= ENOUGH and seconds > known[int(len(known) * (1 - SLOW_SHARE))]
        if len(self._latest) < WINDOW:
            self._latest.append(seconds)
        else:
            known.remove(self._latest[self._place])
            self._latest[self._place] = seconds
            self._place = (self._place + 1) % WINDOW
        insort(known, seconds)
        return slow


@dataclass(slots=True)
class Tracer:
    """Tracer of a process. `ratio`: share of exported traces that were not started by a client. `upstream`: upstreams
    that get a `traceparent`."""

    export: Callable[[SpanData], None]
    ratio: float = 0.05
    upstream: Literal["auto", "on", "off"] = "auto"
    server: Attributes = field(default_factory=dict)
    wall: Callable[[], int] = time.time_ns
    chance: Callable[[], float] = lambda: secrets.randbelow(1 << 30) / (1 << 30)
    _durations: Durations = field(default_factory=Durations)

    def begin(self, context: Context, request: Mapping[str, Any] | None = None) -> None:
        """Place the context in a trace, once, and note the parameters of the request."""
        if context.trace is None:
            trace_id, parent_id, is_sampled = read_parent(context.trace_parent)
            if context.batch is not None or not trace_id:
                # An item has its own trace: one of 100,000 items opens in no viewer. It links to the creation.
                trace_id, parent_id, is_sampled = secrets.token_hex(16), "", self.chance() < self.ratio
            context.trace = Trace(trace_id, secrets.token_hex(8), parent_id, is_sampled)
        if request is not None:
            context.trace.attributes = to_request_attributes(request)

    def propagates_to(self, vendor: str) -> bool:
        """Return True if an upstream gets a `traceparent`. OpenRouter does not use it, and gets it only on request."""
        return self.upstream == "on" or (self.upstream == "auto" and vendor != "openrouter")

    def observe(self, record: UsageRecord) -> None:
        """Export the spans of a finished exchange, if it is selected."""
        context = record.context
        is_slow = self._durations.is_slow(record.duration_seconds)
        if context.trace is None:
            self.begin(context)
        trace = context.trace
        assert trace is not None
        has_failed = record.error_type is not None and record.status != CLIENT_GONE
        if not (trace.is_sampled or has_failed or is_slow):
            return
        ended = self.wall()
        started = ended - round(record.duration_seconds * NANO)
        for span in self._calls_of(record, trace, started, ended):
            self.export(span)
        is_item = context.batch is not None
        linked = read_parent(context.trace_parent) if is_item else ("", "", False)
        self.export(
            SpanData(
                name=BATCH_ITEM if is_item else CREATE_MESSAGE,
                kind="consumer" if is_item else "server",
                trace_id=trace.trace_id,
                span_id=trace.span_id,
                parent_id=trace.parent_id,
                started=started,
                ended=ended,
                status=status_of(record.status, record.error_type),
                attributes={**({} if is_item else self.server), **attributes_of(record, trace)},
                links=((linked[0], linked[1]),) if linked[0] else (),
            )
        )

    def observe_request(self, context: Context, name: str, status: int, seconds: float, found: Attributes) -> None:
        """Export the span of a request without an exchange: a token count, or the creation of a batch."""
        self.begin(context)
        trace = context.trace
        assert trace is not None
        if not (trace.is_sampled or status >= 400 or self._durations.is_slow(seconds)):
            return
        ended = self.wall()
        attributes = {**self.server, **trace.attributes, **found, **of_context(context)}
        attributes["http.response.status_code"] = status
        self.export(
            SpanData(
                name=name,
                kind="server",
                trace_id=trace.trace_id,
                span_id=trace.span_id,
                parent_id=trace.parent_id,
                started=ended - round(seconds * NANO),
                ended=ended,
                status="error" if status >= 400 else "ok",
                attributes=attributes,
            )
        )

    def _calls_of(self, record: UsageRecord, trace: Trace, started: int, ended: int) -> list[SpanData]:
        """Return a span for each call. The last answered call lasts until the end of the answer."""
        spans = []
        for number, call in enumerate(record.attempted):
            if not call.span_id:
                continue
            begun = started + round((call.begun - record.begun) * NANO)
            is_ok = call.kind == "ok"
            attributes: Attributes = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": call.model or record.upstream_model,
                "dragoman.upstream": call.upstream,
                "dragoman.outcome": call.outcome,
            }
            if call.outcome.isdecimal():
                attributes["http.response.status_code"] = int(call.outcome)
            if number:
                attributes["http.request.resend_count"] = number
            if not is_ok:
                attributes["error.type"] = call.kind
            spans.append(
                SpanData(
                    name=f"chat {call.model or record.upstream_model}",
                    kind="client",
                    trace_id=trace.trace_id,
                    span_id=call.span_id,
                    parent_id=trace.span_id,
                    started=begun,
                    ended=ended if is_ok else begun + round(call.seconds * NANO),
                    status="ok" if is_ok else "error",
                    attributes=attributes,
                )
            )
        return spans


def read_parent(header: str | None) -> tuple[str, str, bool]:
    """Return trace id, span id and sampled flag of a `traceparent`; empty ids if it is not valid."""
    parts = (header or "").split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or parts[0] == "ff" or (parts[0] == "00" and len(parts) != 4):
        return "", "", False
    trace_id, span_id, flags = parts[1:4]
    if (len(trace_id), len(span_id), len(flags)) != (32, 16, 2) or not (trace_id.strip("0") and span_id.strip("0")):
        return "", "", False
    if any(character not in "0123456789abcdef" for character in trace_id + span_id + flags):
        return "", "", False
    return trace_id, span_id, bool(int(flags, 16) & 1)


def status_of(status: int, error_type: str | None) -> Status:
    """Return the span's status. A client that left is neither a failure nor a success."""
    if status == CLIENT_GONE:
        return "unset"
    return "ok" if error_type is None else "error"


def to_request_attributes(request: Mapping[str, Any]) -> Attributes:
    """Return the attributes of a request's parameters, without content."""
    found: Attributes = {}
    thinking, effort = request.get("thinking"), (request.get("output_config") or {})
    values: dict[str, Any] = {
        "gen_ai.request.max_tokens": request.get("max_tokens"),
        "gen_ai.request.stream": request.get("stream"),
        "gen_ai.request.reasoning.level": effort.get("effort") if isinstance(effort, dict) else None,
        "anthropic.thinking.type": thinking.get("type") if isinstance(thinking, dict) else None,
        "anthropic.thinking.budget_tokens": thinking.get("budget_tokens") if isinstance(thinking, dict) else None,
    }
    for name, value in values.items():
        if isinstance(value, str | int | bool):
            found[name] = value
    return found


def of_context(context: Context) -> Attributes:
    values: dict[str, Any] = {
        "anthropic.request.id": context.request_id,
        "anthropic.beta": sorted(context.betas),
        "gen_ai.conversation.id": context.session_id,
        "dragoman.tenant": context.tenant,
        "dragoman.key": context.key_id,
        "dragoman.batch.id": context.batch,
        "dragoman.batch.custom_id": context.custom_id,
    }
    return {name: value for name, value in values.items() if value}


def attributes_of(record: UsageRecord, trace: Trace) -> Attributes:
    """Return the attributes of an exchange. `gen_ai.usage.input_tokens` includes tokens that caches read and wrote."""
    cached = record.cache_read_tokens + record.cache_write_tokens
    values: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": record.model,
        "gen_ai.response.id": record.message_id,
        "gen_ai.response.model": record.served_model or record.upstream_model or record.model,
        "gen_ai.response.time_to_first_chunk": record.first_content_seconds,
        "gen_ai.usage.input_tokens": record.input_tokens + cached,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cache_read_tokens,
        "gen_ai.usage.cache_write.input_tokens": record.cache_write_tokens,
        "anthropic.message.stop_reason": record.stop_reason,
        "error.type": record.error_type if record.status != CLIENT_GONE else None,
        "http.response.status_code": record.status,
        "dragoman.upstream": record.upstream,
        "dragoman.provider": record.provider,
        "dragoman.attempts": record.attempts,
        "dragoman.cost_usd": record.cost,
        "dragoman.cause": record.cause,
        "dragoman.cache": record.cache,
        "dragoman.notes": record.notes[:20],
    }
    return {
        **trace.attributes,
        **{name: value for name, value in values.items() if value is not None and value != "" and value != []},
        **of_context(record.context),
    }
