"""One item of a batch: parse, check, plan, ask the upstream, and make the line that becomes its result.

The steps are those of a live JSON request, without its HTTP. Only here does a failure become an item's result.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
import structlog

from gateway import ids
from gateway.batches.lifecycle import BatchRecord
from gateway.batches.queue import WorkItem
from gateway.batches.splitter import Item
from gateway.context import Context
from gateway.errors import GatewayError, InternalError, drop_frames, to_envelope
from gateway.exchange.exchange import Exchange
from gateway.exchange.key_policy import for_key
from gateway.exchange.plan import Plan
from gateway.messages.prompt import Prompt, Received, parse_body
from gateway.messages.validation.live_only import refuse_live_only
from gateway.process.tasks import describe
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.health.causes import cause_of
from gateway.upstream.health.circuits import names_of
from gateway.upstream.health.trouble import Trouble, trouble_of
from gateway.upstream.routes.route import Route

log = structlog.get_logger()

SERVICE_TIER: Final = "batch"
# Bytes. A larger item takes up to half a second to check and convert. A worker that begins many prepares each in a turn
# of the loop: all in one turn would take longer than the leases, which are renewed in between.
LARGE_ITEM: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Succeeded:
    """`cost` in micro-dollars."""

    line: bytes = field(repr=False)
    cost: int
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """`line` is the result if there is no retry. `sent`: the upstream was called. `cost` in micro-dollars. `route`: the
    candidate that was called last, None if it is not known. `trouble` and `cause` classify the error.
    """

    error: GatewayError
    trouble: Trouble
    cause: str
    line: bytes = field(repr=False)
    sent: bool
    cost: int
    route: Route | None = None


async def execute(
    exchange: Exchange,
    batch: BatchRecord,
    work: WorkItem,
    accepted: Callable[[Route], None],
    first: Route | None = None,
    *,
    turns: asyncio.Lock,
) -> Succeeded | Failed:
    """Run one attempt at the item; `accepted` is called with the candidate that begins to answer.

    `first`: the candidate with circuits that admit the call. `turns`: large items wait for it to be prepared.
    """
    item, context = work.item, to_context(batch, work)
    record, plan = UsageRecord(context), None
    try:
        if exchange.admission is not None:
            await exchange.admission.directory.ensure_cached(context.key_id)
        if len(item.params) <= LARGE_ITEM:
            plan = to_plan(item, context, exchange, record, first)
        else:
            async with turns:
                await asyncio.sleep(0)
                plan = to_plan(item, context, exchange, record, first)
        message = await ask(exchange, plan, accepted)
        return Succeeded(to_line(item, {"type": "succeeded", "message": message}), to_micros(record.cost), plan.route)
    except GatewayError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - the boundary: any failure becomes the item's result
        item_fields = {"batch": batch.id, "item": context.item, "custom_id": context.custom_id}
        log.error("item_failed", request_id=context.request_id, **item_fields, **describe(error))
        failure = InternalError("The gateway failed to process this request.")
    drop_frames(failure)
    failed = to_failed(item, context.request_id, failure, sent=record.attempts > 0, cost=to_micros(record.cost))
    return failed if plan is None else replace(failed, route=plan.route)


def to_plan(item: Item, context: Context, exchange: Exchange, record: UsageRecord, first: Route | None) -> Plan:
    """Parse, check, route and convert. Raises GatewayError."""
    prompt = read_item(item, context, exchange)
    return exchange.plan(context, prompt, record, _beginning_with(first, exchange, context, prompt))


def _beginning_with(first: Route | None, exchange: Exchange, context: Context, prompt: Prompt) -> tuple[Route, ...]:
    """Return the candidates in an order that passes over those before `first`, none for the usual order."""
    if first is None:
        return ()
    routes = for_key(exchange.admission, context, exchange.table.resolve(prompt.request["model"]))
    same = [route for route in routes if names_of(route, ()) == names_of(first, ())]
    if not same or same[0] is routes[0]:
        return ()
    return (replace(same[0], group=-1, share=None), *(route for route in routes if route is not same[0]))


def to_context(batch: BatchRecord, work: WorkItem) -> Context:
    """Return the context of the batch's creation, with a separate request id for the item."""
    carried = batch.context
    return Context(
        request_id=ids.request_id(),
        tenant=batch.tenant,
        key_id=carried.get("key_id", ""),
        user=carried.get("user", ""),
        priority="batch",
        api_version=batch.api_version,
        betas=frozenset(batch.betas),
        trace_parent=carried.get("trace_parent"),
        session_id=carried.get("session_id"),
        agent_id=carried.get("agent_id"),
        parent_agent_id=carried.get("parent_agent_id"),
        batch=batch.id,
        item=work.lease.index,
        custom_id=work.item.custom_id,
    )


def read_item(item: Item, context: Context, exchange: Exchange) -> Prompt:
    """Parse and check params. Raises InvalidRequest with the wording of a live request."""
    params: Any = parse_body(item.params, exchange.tools)
    refuse_live_only(params)
    return exchange.read_prompt(params, len(item.params), context, Received(item.params))


async def ask(exchange: Exchange, plan: Plan, accepted: Callable[[Route], None]) -> dict[str, Any]:
    """Return the upstream's message. Raises GatewayError."""
    answered = await exchange.answer(plan, lambda: accepted(plan.route))
    answered.message["usage"]["service_tier"] = SERVICE_TIER
    return answered.message


def to_failed(item: Item, request_id: str, error: GatewayError, *, sent: bool, cost: int = 0) -> Failed:
    result = {"type": "errored", "error": to_envelope(error, request_id)}
    return Failed(error, trouble_of(error), cause_of(error).name, to_line(item, result), sent, cost)


def to_line(item: Item, result: dict[str, Any]) -> bytes:
    return orjson.dumps({"custom_id": item.custom_id, "result": result})


def to_micros(dollars: float | None) -> int:
    return round((dollars or 0.0) * 1_000_000)
