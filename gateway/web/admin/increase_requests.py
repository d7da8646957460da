"""`spend_limit_increase_requests` of Anthropic's Admin API: clients ask for a higher budget, administrators answer."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.access.allowances import allowances_of
from gateway.access.increases import IncreaseRequest, IncreaseRequests, no_such_request
from gateway.access.records import Allowance
from gateway.access.store import AccessStore
from gateway.errors import InvalidRequest
from gateway.json_values import to_time
from gateway.web.admin.allowances import rules_of
from gateway.web.admin.key_fields import PERIODS, check_names
from gateway.web.admin.leads import answerable
from gateway.web.admin.pages import cut_by_cursor, values_of
from gateway.web.admin.requests import actor_of, conditions_of, read_object, store_of
from gateway.web.admin.spend_limits import CENT, PERIOD_WORDS, to_actor, to_amount, to_limit, to_summaries
from gateway.web.app_keys import DIRECTORY
from gateway.web.reply import NO_STORE, json_response


async def list_increase_requests(request: web.Request) -> web.Response:
    """List requests by pages; `status` and `actor_ids` filter."""
    wanted, actors, store = values_of(request, "status"), values_of(request, "actor_ids"), store_of(request)
    asked = [
        one
        for one in await IncreaseRequests(store).all()
        if (not wanted or one.status in wanted) and (not actors or one.scope.partition(":")[2] in actors)
    ]
    may = await answerable(request, store)
    asked = [one for one in asked if may(one.scope)]
    page = cut_by_cursor(request, [{"id": one.id, "of": one} for one in asked])
    listed: list[IncreaseRequest] = [row["of"] for row in page.data]
    allowances = await allowances_of(store, request.app[DIRECTORY].configured, [one.scope for one in listed])
    return page.response(await to_increase_requests(store, list(zip(listed, allowances, strict=True))))


async def show_increase_request(request: web.Request) -> web.Response:
    asked = await _found(request)
    return json_response(await shown(request, asked), headers=NO_STORE)


async def approve_increase_request(request: web.Request) -> web.Response:
    """Set the budget that was asked for to `amount`, in cents as text; `period` overrides the request's."""
    requests, body = IncreaseRequests(store_of(request)), await read_object(request)
    check_names(body, ("amount", "period", "suppress_notification"))
    asked = await _found(request)
    amount, word = to_amount(body.get("amount")), str(body.get("period") or PERIOD_WORDS[asked.period])
    if amount is None or word not in PERIODS or word == "rolling":
        raise InvalidRequest("amount: must be whole cents as text; period: daily, weekly, monthly or total")
    configured, conditions = request.app[DIRECTORY].configured, conditions_of(request, body)
    asked, budget = await requests.approve(
        configured, asked.id, amount, actor_of(request), period=PERIODS[word], conditions=conditions
    )
    answer = {**await shown(request, asked), "spend_limit": to_limit(asked.scope, budget)}
    return json_response(answer, headers=NO_STORE)


async def deny_increase_request(request: web.Request) -> web.Response:
    body = await read_object(request)
    check_names(body, ("suppress_notification",))
    asked = await _found(request)
    done = await IncreaseRequests(store_of(request)).resolve(asked.id, "denied", actor_of(request))
    return json_response(await shown(request, done), headers=NO_STORE)


async def _found(request: web.Request) -> IncreaseRequest:
    """Raises NotFound, also for one that the caller may not see."""
    store, wanted = store_of(request), request.match_info["request_id"]
    asked, _ = await IncreaseRequests(store).find(wanted)
    if not (await answerable(request, store))(asked.scope):
        raise no_such_request(wanted)
    return asked


async def shown(request: web.Request, asked: IncreaseRequest) -> dict[str, Any]:
    allowance, _ = await rules_of(request, asked.scope)
    [found] = await to_increase_requests(store_of(request), [(asked, allowance)])
    return found


async def to_increase_requests(
    store: AccessStore, several: Sequence[tuple[IncreaseRequest, Allowance]]
) -> list[dict[str, Any]]:
    """Return Anthropic's objects. Each request has the limits of its scope, for the budget as it is now."""
    budgets = [next((b for b in allowance.budgets if b.period == asked.period), None) for asked, allowance in several]
    rows = [(asked, budget) for (asked, _), budget in zip(several, budgets, strict=True)]
    summaries = iter(await to_summaries(store, [(asked.scope, budget) for asked, budget in rows if budget is not None]))
    return [to_increase_request(asked, None if budget is None else next(summaries)) for asked, budget in rows]


def to_increase_request(asked: IncreaseRequest, summary: dict[str, Any] | None) -> dict[str, Any]:
    by = asked.resolved_by
    return {
        "type": "spend_limit_increase_request",
        "id": asked.id,
        "actor": to_actor(asked.scope),
        "period": PERIOD_WORDS[asked.period],
        "status": asked.status,
        "spend_summary": summary,
        "created_at": to_time(asked.created_at),
        "resolved_at": None if asked.resolved_at is None else to_time(asked.resolved_at),
        "resolved_by": None if by is None else to_actor(f"{'user' if by[0] == 'user' else 'key'}:{by[1]}"),
        "gateway": {
            "amount": None if asked.amount is None else f"{asked.amount // CENT}",
            "reason": asked.reason or None,
        },
    }
