"""Costs of an exchange before and after it, for admission: from tokens and prices to nano-dollars."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import orjson

from gateway.access.admission import Admission
from gateway.access.prepared import PreparedScopes
from gateway.access.records import NANO, PRESET, KeyRecord
from gateway.access.reservation import NOTHING, Grant, Need, Used
from gateway.context import Context
from gateway.errors import GatewayError, PermissionDenied
from gateway.exchange.list_price import PriceOf, cost_of, tokens_beside
from gateway.exchange.plan import Plan, note_losses
from gateway.exchange.reach import NOTHING_ELSE, Reach, reach_of
from gateway.exchange.worst_case import UNCOUNTED, worst_case
from gateway.messages.notes import Note
from gateway.messages.prompt import Prompt
from gateway.messages.usage import MAX_DOLLARS, MAX_TOKENS
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.models.prices import ASSUMED, Price
from gateway.upstream.models.target import to_slug
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import RoutingTable

# Answers may be shortened down to this many tokens where money is short, unless the key has a floor of its own.
SHRINK_FLOOR = 1024
SHORTENED: Final = "x-gateway-max-tokens"


async def admitted(
    admission: Admission, plan: Plan, table: RoutingTable, prepare: Callable[[Prompt], None]
) -> Grant | None:
    """Reserve what the plan may use at most. Where the budget is short, max_tokens is lowered to what it pays for.

    `prepare` converts a changed prompt for the plan's route, into the plan. Raises as `Admission.admit` does.
    """
    try:
        return await _reserved(admission, plan, table, prepare)
    except GatewayError:
        plan.isolate()
        raise


async def _reserved(
    admission: Admission, plan: Plan, table: RoutingTable, prepare: Callable[[Prompt], None]
) -> Grant | None:
    prompt, context, routes = plan.prompt, plan.context, (plan.route, *plan.fallbacks)
    assert prompt is not None
    limits = admission.limits_of(context)
    key, reach = check_models(admission, context, plan.route, prompt.request, is_limited=limits is not None)
    asked = asked_tokens(prompt.request)
    most = asked if key is None or key.max_tokens is None else min(asked, key.max_tokens)
    if most == asked and limits is None and admission.server is None:
        return None  # there is nothing to reserve, and nothing to report
    plan.unknown_price = ASSUMED if admission.unknown_price == "assume" else None
    worst, need = UNCOUNTED, Need()
    if limits is not None:
        prompts = 2 if plan.route.rule.hedge and context.priority == "live" else 1
        worst = worst_case(prompt, routes, reach, table, unknown=admission.unknown_price, prompts=prompts)
        most = max(most, worst.shortest)
        floor = SHRINK_FLOOR if key is None or key.shrink_floor is None else key.shrink_floor
        need = worst.to_need(plan.reply.input_estimate, most, floor)
    grant = await _granted(admission, context, need, plan.route, reach, limits)
    if grant is not None:
        context.reply_lines = grant.header_lines
    is_limited = grant is not None and bool(grant.counted.names)  # by the groups of its models, too
    bought = most if grant is None or not is_limited else worst.affordable(grant.money, need, most)
    if asked > bought:
        note_losses(plan.record, (Note("changed", "max_tokens", f"lowered to {bought}, which the limits allow"),))
        context.reply_lines += f"{SHORTENED}: {bought}\r\n"
        plan.isolate()
    elif not (is_limited and prompt.has_default_length):  # else the answer might be longer than what was reserved
        return grant
    try:
        note_losses(plan.record, prompt.check(context))
        plan.prompt = prompt.with_max_tokens(bought)
        prepare(plan.prompt)
    except GatewayError:
        if grant is not None:
            admission.settle(grant, NOTHING)
        raise
    return grant


async def admit_free(admission: Admission | None, context: Context, route: Route, request: Mapping[str, Any]) -> None:
    """Admit a request that the cache answers: it counts as one, without tokens or cost. Raises as `admitted` does."""
    if admission is None:
        return
    limits = admission.limits_of(context)
    _, reach = check_models(admission, context, route, request, is_limited=limits is not None)
    grant = await _granted(admission, context, Need(), route, reach, limits)
    if grant is not None:
        context.reply_lines = grant.header_lines
        admission.settle(grant, NOTHING)


async def _granted(
    admission: Admission, context: Context, need: Need, route: Route, reach: Reach, limits: PreparedScopes | None
) -> Grant | None:
    names = (route.requested, route.target.model, *reach.models)
    any_model = reach.is_unknown or PRESET in route.target.model
    return await admission.admit(context, need, *names, any_model=any_model, limits=limits)


def check_models(
    admission: Admission, context: Context, route: Route, request: Mapping[str, Any], *, is_limited: bool
) -> tuple[KeyRecord | None, Reach]:
    """Return the key's record, and what the request reaches. Raises PermissionDenied for models that it may not use."""
    key = admission.directory.check(context, route.requested, route.target.model)
    restricts = key is not None and bool(key.models)
    if not (restricts or is_limited):
        return key, NOTHING_ELSE  # nothing depends on it
    reach = reach_of(request)
    if key is not None and restricts:
        for model in reach.models:
            admission.directory.check(context, model, to_slug(model))
        for preset in reach.presets:
            if not key.allows_model(preset):
                raise PermissionDenied(
                    f"Key {key.name} may not use {preset}: a preset may ask any model, so the key's list of models has"
                    " to name it.",
                    should_retry=False,
                )
        if reach.open_choices:
            raise PermissionDenied(
                f"{reach.open_choices[0]}: key {key.name} may use certain models only, so name the model here.",
                should_retry=False,
            )
    return key, reach


def settle(admission: Admission, grant: Grant, plan: Plan, table: RoutingTable) -> None:
    """Settle a finished exchange; where OpenRouter will know its cost later only, have that asked for."""
    record, upstream = plan.record, plan.route.upstream
    used = to_used(record, plan.route.target.price or plan.unknown_price, partial(table.price_of, upstream=upstream))
    admission.settle(grant, used)
    if record.estimated and record.cost is None and record.generation_id and upstream.flavor == "openrouter":
        admission.ledger.correct_later(to_late(grant, used, upstream))


def asked_tokens(request: Mapping[str, Any]) -> int:
    """The request's max_tokens; 0 without one, or with one that is no number: an upstream may have to refuse that."""
    asked = request.get("max_tokens")
    return asked if type(asked) is int else 0


def to_used(record: UsageRecord, price: Price | None, price_of: PriceOf) -> Used:
    """Convert an exchange's record to its use. The upstream's own cost takes precedence over the price list."""
    source = "upstream"
    cost = record.cost
    if cost is None:
        source = "none" if price is None else "price"
        if price is not None and record.usage is not None and record.output_tokens + record.input_tokens > 0:
            cost = cost_of(record.usage, price, price_of, is_native=record.dialect == "messages")
    nano = round(min((cost or 0.0) + record.hedge_cost, MAX_DOLLARS) * NANO)
    tokens = (record.input_tokens, record.cache_read_tokens, record.cache_write_tokens, record.output_tokens)
    read_anew, cache_read, cache_write, output = [min(count, MAX_TOKENS) for count in tokens]
    context = record.context
    model, provider = record.served_model or record.upstream_model, record.provider or record.upstream
    entry = {
        "id": context.request_id,
        "tenant": context.tenant,
        "user": context.user,
        "key": context.key_id,
        "session": context.session_id,
        "agent": context.agent_id,
        "parent": context.parent_agent_id,
        "batch": context.batch,
        "model": record.model,
        "served": model,
        "upstream": record.upstream,
        "provider": provider,
        "generation": record.generation_id,
        "status": record.status,
        "input": read_anew,
        "cache_read": cache_read,
        "cache_write": cache_write,
        "output": output,
        "cost": nano,
        "source": source,
        "seconds": round(record.duration_seconds, 3),
    }
    names = (context.tenant, context.user, context.key_id, model, provider)
    sums = "|".join([name.replace("|", "/") for name in names])
    read_beside, written_beside = tokens_beside(record.usage)
    read, written = read_anew + cache_write + read_beside, output + written_beside
    return Used(nano, read, written, {name: value for name, value in entry.items() if value}, sums)


def to_late(grant: Grant, used: Used, upstream: Upstream) -> bytes:
    """Return what a later correction needs to know, as it is stored."""
    kept = ("id", "tenant", "user", "key", "session", "agent", "parent", "batch", "model", "served", "provider")
    return orjson.dumps(
        {
            "generation": used.entry["generation"],
            "upstream": upstream.name,
            "lane": upstream.lane,
            "cost": used.cost,
            "output": used.output,
            "sums": used.sums,
            "budgets": grant.counted.budgets,
            "entry": {name: used.entry[name] for name in kept if name in used.entry},
            "tries": 0,
        }
    )
