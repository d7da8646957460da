"""/api/spend_limit_increase_requests: clients ask for a higher budget. Administrators answer on the admin listener."""

from aiohttp import web

from gateway.access.increases import MAX_REASON, IncreaseRequest, IncreaseRequests
from gateway.access.records import Budget
from gateway.access.store import KEY, Actor
from gateway.errors import InvalidRequest
from gateway.json_values import to_string
from gateway.web.admin.increase_requests import to_increase_requests
from gateway.web.admin.key_fields import PERIODS, check_names
from gateway.web.admin.requests import read_object, store_of
from gateway.web.admin.spend_limits import to_amount
from gateway.web.api.own_usage import own_budgets
from gateway.web.app_keys import DIRECTORY
from gateway.web.auth import CONTEXT, REQUEST_ID
from gateway.web.reply import NO_STORE, json_response

NO_BUDGET = "You have no budget of your own that can be raised here, only those of gateway.toml or shared ones."


async def ask_for_increase(request: web.Request) -> web.Response:
    """Store a request. All fields are optional: `period` (else that of the budget with the least left), `amount` in
    cents as text, and `reason`.
    """
    context, directory, body = request[CONTEXT], request.app[DIRECTORY], await read_object(request)
    store = store_of(request)
    check_names(body, ("period", "amount", "reason"))
    reason, word = body.get("reason") or "", body.get("period")
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        raise InvalidRequest(f"reason: must be text of at most {MAX_REASON} characters")
    if word is not None and to_string(word) not in PERIODS:
        raise InvalidRequest(f"period: must be one of {', '.join(PERIODS)}")
    amount = to_amount(body.get("amount"))
    scope, budget = await _own_budget(request, None if word is None else PERIODS[word])
    wanted = IncreaseRequest("", scope, budget.period, budget.time_zone, amount, reason)
    kind = ("user", context.user) if context.user else ("key", context.key_id)
    asked = await IncreaseRequests(store).ask(wanted, Actor(*kind, request[REQUEST_ID]))
    [made] = await to_increase_requests(store, [(asked, directory.allowance_of(scope))])
    return json_response(made, headers=NO_STORE)


async def list_own_increase_requests(request: web.Request) -> web.Response:
    """The caller's own, newest first."""
    context, directory, store = request[CONTEXT], request.app[DIRECTORY], store_of(request)
    own = {f"user:{context.user}", KEY + context.key_id}
    asked = [one for one in reversed(await IncreaseRequests(store).all()) if one.scope in own]
    data = await to_increase_requests(store, [(one, directory.allowance_of(one.scope)) for one in asked])
    return json_response({"data": data}, headers=NO_STORE)


async def _own_budget(request: web.Request, period: str | None) -> tuple[str, Budget]:
    """Return the budget that is the caller's alone and has the least left. Raises InvalidRequest without one."""
    context, directory = request[CONTEXT], request.app[DIRECTORY]
    await directory.refresh_in_time()
    own = {f"user:{context.user}"} if context.user else set()
    if context.key_id not in directory.configured.records:
        own.add(KEY + context.key_id)
    found = [
        (budget.amount - spent, scope, budget)
        for scope, budget, spent in await own_budgets(directory, context)
        if scope in own and budget.period in ((period,) if period else ("day", "week", "month", "total"))
    ]
    if not found:
        raise InvalidRequest(NO_BUDGET)
    _, scope, budget = min(found, key=lambda one: one[0])
    return scope, budget
