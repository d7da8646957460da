"""`spend_limits` of Anthropic's Admin API: budgets by scope and period. Amounts are whole cents as text.

Beyond Anthropic's scopes there is `api_key`, and beyond its periods `total`.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from gateway.access.allowances import reset_budget
from gateway.access.model_groups import group_scope, split_scope
from gateway.access.records import DEPLOYMENT, MAX_NANO, NANO, Allowance, Budget
from gateway.access.reports import cents
from gateway.access.roster import check_group
from gateway.access.store import KEY, AccessStore, Conditions
from gateway.errors import InvalidRequest, NotFound
from gateway.json_values import to_time
from gateway.web.admin.allowances import change_rules, check_scope, in_force, rules_of
from gateway.web.admin.key_fields import PERIODS, checked
from gateway.web.admin.leads import check_scope_of_lead, key_of
from gateway.web.admin.pages import cut_by_cursor, page_by_cursor, values_of
from gateway.web.admin.requests import actor_of, conditions_of, etag_of, read_object, store_of
from gateway.web.app_keys import DIRECTORY
from gateway.web.reply import NO_STORE, json_response

AMOUNT: Final = re.compile(r"[0-9]{1,18}")
PERIOD_WORDS: Final = {period: word for word, period in PERIODS.items()}
CENT: Final = NANO // 100


async def list_spend_limits(request: web.Request) -> web.Response:
    """List budgets by pages; `scope_type` and `workspace_id` filter."""
    types, workspace = values_of(request, "scope_type"), request.query.get("workspace_id")
    limits = [to_limit(scope, budget) for scope, budget in budgets_of(await in_force(request))]
    if types:
        limits = [one for one in limits if one["scope"]["type"] in types]
    if workspace is not None:
        limits = [one for one in limits if one["scope"].get("workspace_id") == workspace]
    return page_by_cursor(request, limits)


async def set_spend_limit(request: web.Request) -> web.Response:
    """Set the budget of a scope and period, in place of the one it had; `amount` null removes it."""
    store, body = store_of(request), await read_object(request)
    scope = await scope_of(request, store, body.get("scope"))
    check_scope_of_lead(request, scope)
    period = PERIODS.get(str(body.get("period", "monthly")))
    if period is None or period == "rolling":
        raise InvalidRequest("period: must be daily, weekly, monthly or total")
    amount, gateway = to_amount(body.get("amount")), body.get("gateway") or {}
    try:
        zone, group = str(gateway.get("time_zone", "UTC")), str(gateway.get("model_group") or "")
        budget = Budget.checked(amount or 0, period, zone)
    except (ValueError, AttributeError) as error:
        raise InvalidRequest(f"gateway: {error}") from None
    if amount is not None:
        await check_scope(request, scope, is_new=gateway.get("new"))
        check_group(request.app[DIRECTORY].configured, group)
    scope = group_scope(scope, group)
    version = await replace_budget(request, scope, budget, conditions_of(request, body), removed=amount is None)
    answer = to_limit(scope, budget) | ({"amount": None} if amount is None else {})
    return json_response(answer, headers=(*NO_STORE, etag_of(version)))


async def show_spend_limit(request: web.Request) -> web.Response:
    scope, budget = await _found(request)
    _, version = await rules_of(request, split_scope(scope)[0])
    return json_response(to_limit(scope, budget), headers=(*NO_STORE, etag_of(version)))


async def reset_spend_limit(request: web.Request) -> web.Response:
    """Set what has been spent of the budget in its period to nothing; once for an idempotency key."""
    scope, budget = await _found(request)
    check_scope_of_lead(request, scope)
    conditions = replace(conditions_of(request, {}), version=None)  # the record of the budget stays as it is
    await reset_budget(store_of(request), scope, budget, actor_of(request), conditions)
    [summary] = await to_summaries(store_of(request), [(scope, budget)])
    return json_response(summary, headers=NO_STORE)


async def delete_spend_limit(request: web.Request) -> web.Response:
    scope, budget = await _found(request)
    check_scope_of_lead(request, scope)
    await replace_budget(request, scope, budget, conditions_of(request, {}), removed=True)
    return json_response({"id": _id_of(scope, budget), "type": "spend_limit_deleted"}, headers=NO_STORE)


def to_amount(cents_text: object) -> int | None:
    """Return nano-dollars; None for null, which is no limit. Raises InvalidRequest."""
    if cents_text is None:
        return None
    if not (isinstance(cents_text, str) and AMOUNT.fullmatch(cents_text)):
        raise InvalidRequest('amount: must be whole cents as text, such as "50000" for $500, or null')
    if int(cents_text) * CENT > MAX_NANO:
        raise InvalidRequest(f"amount: must be at most {MAX_NANO // CENT}")
    return int(cents_text) * CENT


async def list_effective_spend_limits(request: web.Request) -> web.Response:
    """Return the budgets of each user, key, workspace and the organization, with the amounts spent; by pages.

    `period` and `user_ids` filter.
    """
    store, periods, users = store_of(request), values_of(request, "period"), values_of(request, "user_ids")
    wanted = [
        (scope, budget)
        for scope, budget in budgets_of(await in_force(request))
        if (not periods or PERIOD_WORDS[budget.period] in periods)
        and (not users or split_scope(scope)[0].removeprefix("user:") in users)
    ]
    rows = [{"id": _id_of(scope, budget), "of": (scope, budget)} for scope, budget in wanted]
    page = cut_by_cursor(request, rows)
    summaries = await to_summaries(store, [row["of"] for row in page.data])
    return page.response(summaries)


async def to_summaries(store: AccessStore, budgets: Sequence[tuple[str, Budget]]) -> list[dict[str, Any]]:
    """Return the budgets, each with the amount spent in its period."""
    spent = await store.spent(budgets)
    return [_to_summary(scope, budget, one) for (scope, budget), one in zip(budgets, spent, strict=True)]


def _to_summary(scope: str, budget: Budget, spent: int) -> dict[str, Any]:
    limit = to_limit(scope, budget)
    return {
        "actor": to_actor(scope),
        "scope": limit["scope"],
        "source": limit["scope"],
        "amount": limit["amount"],
        "currency": "USD",
        "period": limit["period"],
        "period_to_date_spend": cents(spent),
        "spend_limit_id": limit["id"],
    }


def to_actor(scope: str) -> dict[str, Any] | None:
    """Return the user or the key that a scope is of; None for one that several share."""
    kind, _, name = split_scope(scope)[0].partition(":")
    if kind == "user":
        email = name if "@" in name else None
        return {"type": "user_actor", "user_id": name, "name": name, "email_address": email, "deleted": False}
    return {"type": "scoped_api_key_actor", "scoped_api_key_id": name} if kind == "key" else None


def budgets_of(allowances: Mapping[str, Allowance]) -> Iterator[tuple[str, Budget]]:
    for scope, one in sorted(allowances.items()):
        yield from ((scope, budget) for budget in one.budgets)
        for group, of_group in sorted(one.model_groups.items()):
            yield from ((group_scope(scope, group), budget) for budget in of_group.budgets)


async def _found(request: web.Request) -> tuple[str, Budget]:
    wanted = request.match_info["limit_id"]
    for scope, budget in budgets_of(await in_force(request)):
        if _id_of(scope, budget) == wanted:
            return scope, budget
    raise NotFound(f"There is no spend limit {wanted[:80]!r}.")


async def replace_budget(
    request: web.Request, scope: str, budget: Budget, conditions: Conditions, *, removed: bool = False
) -> int:
    """Return the new version of the scope's limits. The scope's budget of the same period is replaced or removed."""

    scope, group = split_scope(scope)

    def change(before: Allowance) -> Allowance:
        known = before.of_group(group)
        return before.with_group(group, known.without_budget(budget.period) if removed else known.with_budget(budget))

    return (await change_rules(request, scope, change, conditions))[1]


async def scope_of(request: web.Request, store: AccessStore, value: object) -> str:
    """Raises InvalidRequest for a scope that is none, NotFound for a key that does not exist."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in ("organization", "workspace", "user", "api_key"):
        raise InvalidRequest("scope: must be an object with type organization, workspace, user or api_key")
    if kind == "organization":
        return DEPLOYMENT
    name = checked(str(value.get(f"{kind}_id", "")), f"scope.{kind}_id")
    if kind == "api_key":
        return KEY + (await key_of(request, store, name)).id
    return f"{'tenant' if kind == 'workspace' else 'user'}:{name}"


def to_limit(scope: str, budget: Budget) -> dict[str, Any]:
    of_all, group = split_scope(scope)
    kind, _, name = of_all.partition(":")
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
        "gateway": {
            "time_zone": budget.time_zone,
            "window_seconds": budget.window,
            **({"model_group": group} if group else {}),
        },
    }


def _id_of(scope: str, budget: Budget) -> str:
    return "spl_" + base64.urlsafe_b64encode(f"{scope}|{budget.name}".encode()).rstrip(b"=").decode()
