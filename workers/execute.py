"""One item of a batch: parse, check, plan, ask the upstream, and make the line that becomes its result.

The way is that of a live request, without its HTTP. The upstream is streamed whatever the item says, and the stream
folded into a message: an answer may take longer than any proxy keeps a silent connection, and silence then means
trouble. Here, and nowhere else, a failure becomes an item's result.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog

from gateway import ids
from gateway.batches.lifecycle import BatchRecord
from gateway.batches.queue import WorkItem
from gateway.batches.splitter import Item
from gateway.context import Context
from gateway.errors import GatewayError, InternalError, InvalidRequest, UpstreamError, to_envelope
from gateway.exchange.exchange import Exchange, Prompt
from gateway.exchange.sink import Flow
from gateway.messages.fold import fold_stream
from gateway.messages.tools.tool_cache import ToolMemory
from gateway.messages.validation import check_messages_request
from gateway.process.tasks import describe
from gateway.telemetry.usage import UsageRecord

log = structlog.get_logger()

# Of events: a delta of four bytes makes an event of 130, and the longest answer has 128k tokens.
MAX_EVENTS: Final = 64 * 1024 * 1024
# Folding more than this takes over 20 ms, and is left to a thread.
THREAD_EVENTS: Final = 512 * 1024

SERVICE_TIER: Final = "batch"


@dataclass(frozen=True, slots=True)
class Succeeded:
    """`cost` in micro-dollars."""

    line: bytes = field(repr=False)
    cost: int


@dataclass(frozen=True, slots=True)
class Failed:
    """`line` is the result if nobody tries again. `sent`: the upstream has been asked. `cost` in micro-dollars."""

    error: GatewayError
    line: bytes = field(repr=False)
    sent: bool
    cost: int


@dataclass(slots=True)
class EventCollector:
    """The sink of a stream that nobody reads along: never committed, so that every failure is raised."""

    begun: Callable[[], None]
    pieces: list[bytes] = field(default_factory=list, repr=False)
    size: int = 0
    committed: bool = False

    def write(self, data: bytes) -> None:
        if not self.pieces:
            self.begun()
        self.size += len(data)
        if self.size > MAX_EVENTS:
            raise UpstreamError("The upstream's answer is longer than a batch can hold.", should_retry=False)
        self.pieces.append(data)

    def attach(self, source: Flow | None) -> None:
        """Nothing here is ever slow."""

    def abort(self) -> None:
        """There is no client to cut off."""

    async def message(self) -> dict[str, Any]:
        told = b"".join(self.pieces)
        return fold_stream(told) if self.size <= THREAD_EVENTS else await asyncio.to_thread(fold_stream, told)


async def execute(
    exchange: Exchange, batch: BatchRecord, work: WorkItem, accepted: Callable[[], None]
) -> Succeeded | Failed:
    """Run one attempt at the item; `accepted` is called when the upstream begins to answer."""
    item, context = work.item, to_context(batch, work.lease.index)
    record = UsageRecord(context)
    try:
        prompt = to_prompt(item, batch, exchange.tools)
        message = await ask(exchange, context, prompt, record, accepted)
        return Succeeded(to_line(item, {"type": "succeeded", "message": message}), to_micros(record.cost))
    except GatewayError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - the boundary: whatever an item meets becomes its result
        log.error("item_failed", batch=batch.id, item=context.item, **describe(error))
        failure = InternalError("The gateway failed to process this request.")
    return to_failed(item, context.request_id, failure, sent=record.attempts > 0, cost=to_micros(record.cost))


def to_context(batch: BatchRecord, index: int) -> Context:
    """What the batch was created with, and a request id of the item's own."""
    carried = batch.context
    return Context(
        request_id=ids.request_id(),
        tenant=batch.tenant,
        key_id=carried.get("key_id", ""),
        priority="batch",
        api_version=batch.api_version,
        betas=frozenset(batch.betas),
        trace_parent=carried.get("trace_parent"),
        session_id=carried.get("session_id"),
        agent_id=carried.get("agent_id"),
        parent_agent_id=carried.get("parent_agent_id"),
        batch=batch.id,
        item=index,
    )


def to_prompt(item: Item, batch: BatchRecord, tools: ToolMemory) -> Prompt:
    """Raises InvalidRequest, in the words a live request gets, for params that cannot be served."""
    params: Any = tools.parse(item.params)
    refuse_live_only(params)
    request, notes = check_messages_request(params, version=batch.api_version, betas=frozenset(batch.betas))
    request["stream"] = True
    return Prompt(request, len(item.params), tuple(notes))


def refuse_live_only(params: Mapping[str, Any]) -> None:
    """What a Messages request may ask for and an item of a batch may not (Anthropic docs, batches, 2026-10)."""
    if params.get("stream"):
        raise InvalidRequest("stream: Streaming is not supported in message batches.")
    if params.get("speed") is not None:
        raise InvalidRequest("speed: Speed is not supported in message batches.")
    if params.get("max_tokens") == 0:
        raise InvalidRequest("max_tokens: Input should be greater than or equal to 1 in message batches.")


async def ask(
    exchange: Exchange, context: Context, prompt: Prompt, record: UsageRecord, accepted: Callable[[], None]
) -> dict[str, Any]:
    """The upstream's message. Raises GatewayError."""
    plan = exchange.plan(context, prompt, record)
    sink = EventCollector(accepted)
    await exchange.stream(plan, sink)
    message = await sink.message()
    message["usage"]["service_tier"] = SERVICE_TIER
    return message


def to_failed(item: Item, request_id: str, error: GatewayError, *, sent: bool, cost: int = 0) -> Failed:
    result = {"type": "errored", "error": to_envelope(error, request_id)}
    return Failed(error, to_line(item, result), sent, cost)


def to_line(item: Item, result: dict[str, Any]) -> bytes:
    return orjson.dumps({"custom_id": item.custom_id, "result": result})


def to_micros(dollars: float | None) -> int:
    return round((dollars or 0.0) * 1_000_000)
