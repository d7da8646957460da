"""Costs of an exchange before and after it, for admission: from tokens and prices to nano-dollars."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import orjson

from gateway.access.admission import Admission
from gateway.access.records import NANO
from gateway.access.reservation import NOTHING, Grant, Need, Used
from gateway.context import Context
from gateway.errors import GatewayError
from gateway.exchange.plan import Plan, note_losses
from gateway.messages.notes import Note
from gateway.messages.prompt import Prompt
from gateway.messages.usage import MAX_DOLLARS, MAX_TOKENS
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.models.prices import ASSUMED, Price
from gateway.upstream.routes.route import Route, Upstream

# Answers may be shortened down to this many tokens where money is short, unless the key has a floor of its own.
SHRINK_FLOOR = 1024
# An estimate of the prompt is off by a third at most in nearly all cases; a reservation has to hold.
INPUT_MARGIN = 1.5
# Fields that name models to fall back to.
NAMING_FALLBACKS = frozenset({"fallbacks", "models", "openrouter"})


async def admitted(admission: Admission, plan: Plan, prepare: Callable[[Prompt], None]) -> Grant | None:
    """Reserve what the plan may use at most. Where the budget is short, max_tokens is lowered to what it pays for.

    `prepare` converts a changed prompt for the plan's route, into the plan. Raises as `Admission.admit` does.
    """
    try:
        return await _reserved(admission, plan, prepare)
    except GatewayError:
        plan.isolate()
        raise


async def _reserved(admission: Admission, plan: Plan, prepare: Callable[[Prompt], None]) -> Grant | None:
    prompt, context, target = plan.prompt, plan.context, plan.route.target
    assert prompt is not None
    key = admission.directory.check(context, plan.route.requested, target.model)
    fallbacks = fallbacks_of(prompt.request)
    for model in fallbacks:
        admission.directory.check(context, model)
    asked = asked_tokens(prompt.request)
    most = asked if key is None or key.max_tokens is None else min(asked, key.max_tokens)
    if most == asked and admission.is_free(context):
        return None
    known = dearest((plan.route, *plan.fallbacks))
    plan.price = ASSUMED if known is None and admission.unknown_price == "assume" else known
    unpriced = target.model if known is None else ""
    floor = SHRINK_FLOOR if key is None or key.shrink_floor is None else key.shrink_floor
    prompts = 2 if plan.route.rule.hedge and context.priority == "live" else 1
    price = times(plan.price, answers_of(prompt))
    need = to_need(plan.reply.input_estimate, most, price, floor=floor, unpriced=unpriced, prompts=prompts)
    grant = await admission.admit(context, need, plan.route.requested, target.model, *fallbacks)
    if grant is not None:
        context.reply_headers = grant.headers
    is_limited = grant is not None and bool(grant.scopes)
    bought = most if grant is None or not is_limited else affordable(grant.money, need, price, most)
    if asked > bought:
        note_losses(plan.record, (Note("changed", "max_tokens", f"lowered to {bought}, which the limits allow"),))
        context.reply_headers += (("x-gateway-max-tokens", str(bought)),)
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


async def admit_free(admission: Admission | None, context: Context, route: Route) -> None:
    """Admit a request that the cache answers: it counts as one, without tokens or cost. Raises as `admitted` does."""
    if admission is None:
        return
    admission.directory.check(context, route.requested, route.target.model)
    grant = await admission.admit(context, Need(), route.requested, route.target.model)
    if grant is not None:
        context.reply_headers = grant.headers
        admission.settle(grant, NOTHING)


def settle(admission: Admission, grant: Grant, plan: Plan) -> None:
    """Settle a finished exchange; where OpenRouter will know its cost later only, have that asked for."""
    record, upstream = plan.record, plan.route.upstream
    used = to_used(record, plan.route.target.price or plan.price)
    admission.settle(grant, used)
    if record.estimated and record.cost is None and record.generation_id and upstream.flavor == "openrouter":
        admission.ledger.correct_later(to_late(grant, used, upstream))


def asked_tokens(request: Mapping[str, Any]) -> int:
    """The request's max_tokens; 0 without one, or with one that is no number: an upstream may have to refuse that."""
    asked = request.get("max_tokens")
    return asked if type(asked) is int else 0


def answers_of(prompt: Prompt) -> int:
    """How many answers are asked for: a request of chat completions that is passed on may want several."""
    several = prompt.request.get("n") if prompt.original is not None else None
    return several if type(several) is int and several > 1 else 1


def fallbacks_of(request: Mapping[str, Any]) -> list[str]:
    """Return the models that a request names for its upstream to fall back to, as Anthropic or OpenRouter call them."""
    if NAMING_FALLBACKS.isdisjoint(request):
        return []
    fallbacks, of_openrouter = request.get("fallbacks"), request.get("openrouter")
    named = [one.get("model") for one in fallbacks if isinstance(one, dict)] if isinstance(fallbacks, list) else []
    for models in (request.get("models"), of_openrouter.get("models") if isinstance(of_openrouter, dict) else None):
        named += models if isinstance(models, list) else ()
    return [model for model in named if isinstance(model, str)]


def times(price: Price | None, answers: int) -> Price | None:
    """The price where each token of an answer's length is paid this many times."""
    return price if price is None or answers == 1 else replace(price, output=price.output * answers)


def dearest(routes: Iterable[Route]) -> Price | None:
    """The price of the dearest target that a request may reach, part by part; None where one is not known."""
    prices = [route.target.price for route in routes]
    known = [price for price in prices if price is not None]
    if not known or len(known) < len(prices):
        return None
    return Price(
        max(price.input for price in known),
        max(price.output for price in known),
        max(price.cache_read for price in known),
        max(price.cache_write for price in known),
        max(price.request for price in known),
    )


def to_need(
    input_tokens: int, most: int, price: Price | None, *, floor: int, unpriced: str = "", prompts: int = 1
) -> Need:
    """The reservation for a prompt of this size and an answer of at most `most` tokens.

    `floor`: tokens below which the answer is not shortened, 0 to shorten none.
    `unpriced`: the model, if its price is not known. `prompts`: how often the prompt may be paid for.
    """
    if price is None:
        return Need(input=input_tokens, unpriced=unpriced)
    fixed = prompts * price.cost(0, 0, cache_write=ceil(input_tokens * INPUT_MARGIN))
    shortest = min(most, floor) if floor else most
    want, least = fixed + most * price.output, fixed + shortest * price.output
    return Need(ceil(want * NANO), ceil(least * NANO), input_tokens, unpriced)


def affordable(money: int, need: Need, price: Price | None, most: int) -> int:
    """The longest answer that the granted money buys."""
    if price is None or price.output == 0 or money >= need.want:
        return most
    return max(1, min(most, most - ceil((need.want - money) / (price.output * NANO))))


def to_used(record: UsageRecord, price: Price | None) -> Used:
    """Convert an exchange's record to its use. The upstream's own cost takes precedence over the price list."""
    source = "upstream"
    cost = record.cost
    if cost is None:
        source = "none" if price is None else "price"
        if price is not None and record.output_tokens + record.input_tokens > 0:
            cost = price.cost(
                record.input_tokens, record.output_tokens, record.cache_read_tokens, record.cache_write_tokens
            )
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
    return Used(nano, read_anew + cache_write, output, {name: value for name, value in entry.items() if value}, sums)


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
            "budgets": grant.budgets,
            "entry": {name: used.entry[name] for name in kept if name in used.entry},
            "tries": 0,
        }
    )
