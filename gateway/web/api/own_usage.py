"""GET /api/oauth/usage: the spent share of the caller's budgets, for Claude Code's `/usage`."""

from typing import Any

from aiohttp import web

from gateway.access.directory import Directory
from gateway.access.periods import period_of
from gateway.access.records import DEPLOYMENT, Budget
from gateway.context import Context
from gateway.json_values import to_time
from gateway.web.admin.spend_limits import CENT
from gateway.web.app_keys import DIRECTORY
from gateway.web.auth import CONTEXT
from gateway.web.reply import NO_STORE, json_response

PERIODS = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total", "rolling": "rolling"}
# Shares from which Claude Code colours a limit.
SEVERITIES = ((95, "critical"), (75, "warning"))


async def show_own_usage(request: web.Request) -> web.Response:
    limits, monthly = [], None
    for scope, budget, spent in await own_budgets(request.app[DIRECTORY], request[CONTEXT]):
        limits.append(to_limit(scope, budget, spent, request.app[DIRECTORY].wall_clock()))
        if budget.period == "month" and (monthly is None or budget.amount - spent < monthly[0] - monthly[1]):
            monthly = budget.amount, spent
    amount, used = monthly or (None, 0)
    extra = {
        "is_enabled": bool(limits),
        "monthly_limit": None if amount is None else amount // CENT,
        "used_credits": used / CENT,
        "utilization": 0 if not amount else min(100, 100 * used // amount),
        "currency": "USD",
    }
    return json_response({"extra_usage": extra, "limits": limits}, headers=NO_STORE)


async def own_budgets(directory: Directory, context: Context) -> list[tuple[str, Budget, int]]:
    """Return the budgets that apply to the caller, with the nano-dollars that are spent of each."""
    if directory.store is None:
        return []
    budgets = [(scope.name, budget) for scope in directory.scopes_of(context) for budget in scope.allowance.budgets]
    spent = await directory.store.spent(budgets, directory.wall_clock())
    return [(scope, budget, one) for (scope, budget), one in zip(budgets, spent, strict=True)]


def to_limit(scope: str, budget: Budget, spent: int, now: float) -> dict[str, Any]:
    percent = 100 if budget.amount == 0 else min(100, 100 * spent // budget.amount)
    ends = period_of(budget.period, budget.time_zone, now)[1]
    is_shared = scope == DEPLOYMENT or scope.startswith("tenant:")
    return {
        "kind": "spend",
        "group": f"{PERIODS[budget.period]}{'_pool' if is_shared else ''}",
        "percent": percent,
        "resets_at": to_time(ends),
        "severity": next((word for share, word in SEVERITIES if percent >= share), "normal"),
        "is_active": percent >= 100,
    }
