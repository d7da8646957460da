"""`spend_limits` of Anthropic's Admin API: budgets by scope and period. Amounts are whole cents as text.

Beyond Anthropic's scopes there is `api_key`, and beyond its periods `total`.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from gateway.access.periods import period_of
from gateway.access.records import DEPLOYMENT, NANO, Allowance, Budget
from gateway.access.reports import cents
from gateway.access.store import FASTER, KEY, AccessStore, Conditions
from gateway.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed
from gateway.web.admin.key_fields import PERIODS, checked, to_time
from gateway.web.admin.organization import NO_STORE, actor_of, conditions_of, etag_of, read_object, store_of
from gateway.web.reply import json_response

AMOUNT: Final = re.compile(r"[0-9]{1,18}")
PERIOD_WORDS: Final = {period: word for word, period in PERIODS.items()}
CENT: Final = NANO // 100


async def list_spend_limits(request: web.Request) -> web.Response:
    store = store_of(request)
    allowances = await store.allowances()
    data = [_to_limit(scope, budget) for scope, budget in _budgets(allowances)]
    return json_response({"data": data, "has_more": False, "next_page": None}, headers=NO_STORE)


async def set_spend_limit(request: web.Request) -> web.Response:
    """Set the budget of a scope and period, in place of the one it had; `amount` null removes it."""
    store, body = store_of(request), await read_object(request)
    scope = await _scope_of(store, body.get("scope"))
    period = PERIODS.get(str(body.get("period", "monthly")))
    if period is None or period == "rolling":
        raise InvalidRequest("period: must be daily, weekly, monthly or total")
    amount, gateway = body.get("amount"), body.get("gateway") or {}
    if amount is not None and not (isinstance(amount, str) and AMOUNT.fullmatch(amount)):
        raise InvalidRequest('amount: must be whole cents as text, such as "50000" for $500, or null')
    try:
        zone = str(gateway.get("time_zone", "UTC"))
        budget = Budget.checked(int(amount or 0) * CENT, period, zone)
    except (ValueError, AttributeError) as error:
        raise InvalidRequest(f"gateway: {error}") from None
    version = await _replace(request, scope, budget, conditions_of(request, body), removed=amount is None)
    answer = {**_to_limit(scope, budget), "amount": amount}
    return json_response(answer, headers=(*NO_STORE, etag_of(version)))


async def show_spend_limit(request: web.Request) -> web.Response:
    scope, budget = await _found(request)
    _, version = await _rules_of(store_of(request), scope)
    return json_response(_to_limit(scope, budget), headers=(*NO_STORE, etag_of(version)))


async def delete_spend_limit(request: web.Request) -> web.Response:
    scope, budget = await _found(request)
    await _replace(request, scope, budget, conditions_of(request, {}), removed=True)
    return json_response({"id": _id_of(scope, budget), "type": "spend_limit_deleted"}, headers=NO_STORE)


async def list_effective_spend_limits(request: web.Request) -> web.Response:
    """Return the budgets of each user, key, workspace and the organization, with the amounts spent."""
    store = store_of(request)
    rows = []
    for scope, budget in _budgets(await store.allowances()):
        spent = await store.spent(scope, budget, period_of(budget.period, budget.time_zone, store.clock())[0])
        limit = _to_limit(scope, budget)
        kind, _, name = scope.partition(":")
        actor: dict[str, Any] = {"type": "user_actor", "user_id": name, "deleted": False}
        if kind == "key":
            actor = {"type": "scoped_api_key_actor", "scoped_api_key_id": name}
        rows.append(
            {
                "actor": actor if kind in ("user", "key") else None,
                "scope": limit["scope"],
                "source": limit["scope"],
                "amount": limit["amount"],
                "currency": "USD",
                "period": limit["period"],
                "period_to_date_spend": cents(spent),
                "spend_limit_id": limit["id"],
            }
        )
    return json_response({"data": rows, "has_more": False, "next_page": None}, headers=NO_STORE)


def _budgets(allowances: Mapping[str, Allowance]) -> Iterator[tuple[str, Budget]]:
    return ((scope, budget) for scope, one in sorted(allowances.items()) for budget in one.budgets)


async def _found(request: web.Request) -> tuple[str, Budget]:
    wanted = request.match_info["limit_id"]
    for scope, budget in _budgets(await store_of(request).allowances()):
        if _id_of(scope, budget) == wanted:
            return scope, budget
    raise NotFound(f"There is no spend limit {wanted[:80]!r}.")


async def _replace(request: web.Request, scope: str, budget: Budget, conditions: Conditions, *, removed: bool) -> int:
    """Return the new version of the scope's limits. Another change since they were read is a conflict, never lost."""
    store, actor = store_of(request), actor_of(request)
    before, version = await _rules_of(store, scope)
    others = tuple(one for one in before.budgets if one.period != budget.period)
    allowance = replace(before, budgets=others if removed else (*others, budget))
    expected = replace(conditions, version=version) if conditions.version is None else conditions
    try:
        if scope.startswith(KEY):
            return (await store.update_key(scope.removeprefix(KEY), actor, expected, allowance=allowance)).version
        return await store.set_allowance(scope, allowance, actor, expected)
    except PreconditionFailed:
        if conditions.version is None:
            raise Conflict(FASTER) from None
        raise


async def _rules_of(store: AccessStore, scope: str) -> tuple[Allowance, int]:
    """Return the limits of a scope and the version of their record."""
    if scope.startswith(KEY):
        record = await store.key(scope.removeprefix(KEY))
        return record.allowance, record.version
    return await store.versioned_allowance(scope)


async def _scope_of(store: AccessStore, value: object) -> str:
    """Raises InvalidRequest for a scope that is none, NotFound for a key that does not exist."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in ("organization", "workspace", "user", "api_key"):
        raise InvalidRequest("scope: must be an object with type organization, workspace, user or api_key")
    if kind == "organization":
        return DEPLOYMENT
    name = checked(str(value.get(f"{kind}_id", "")), f"scope.{kind}_id")
    if kind == "api_key":
        return KEY + (await store.key(name)).id
    return f"{'tenant' if kind == 'workspace' else 'user'}:{name}"


def _to_limit(scope: str, budget: Budget) -> dict[str, Any]:
    kind, _, name = scope.partition(":")
    shown: dict[str, Any] = {
        "tenant": {"type": "workspace", "workspace_id": name},
        "user": {"type": "user", "user_id": name},
        "key": {"type": "api_key", "api_key_id": name},
    }.get(kind, {"type": "organization"})
    return {
        "type": "spend_limit",
        "id": _id_of(scope, budget),
        "scope": shown,
        "amount": f"{budget.amount // CENT}",
        "currency": "USD",
        "period": PERIOD_WORDS[budget.period],
        "is_enabled": True,
        "created_at": to_time(0),
        "updated_at": to_time(0),
        "gateway": {"time_zone": budget.time_zone, "window_seconds": budget.window},
    }


def _id_of(scope: str, budget: Budget) -> str:
    return "spl_" + base64.urlsafe_b64encode(f"{scope}|{budget.name}".encode()).rstrip(b"=").decode()
