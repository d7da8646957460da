"""GET /api/oauth/usage: the spent share of the caller's budgets, for Claude Code's `/usage`."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.access.directory import Directory
from gateway.access.periods import period_of
from gateway.access.records import DEPLOYMENT, NANO, Budget
from gateway.context import Context
from gateway.web.auth import CONTEXT
from gateway.web.keys import DIRECTORY
from gateway.web.reply import json_response

NO_STORE = (("cache-control", "no-store"),)
PERIODS = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total", "rolling": "rolling"}
CENT = NANO // 100
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
    found = []
    for scope in directory.scopes_of(context):
        for budget in scope.allowance.budgets:
            start, _ = period_of(budget.period, budget.time_zone, directory.wall_clock())
            found.append((scope.name, budget, await directory.store.spent(scope.name, budget, start)))
    return found


def to_limit(scope: str, budget: Budget, spent: int, now: float) -> dict[str, Any]:
    percent = 100 if budget.amount == 0 else min(100, 100 * spent // budget.amount)
    ends = period_of(budget.period, budget.time_zone, now)[1]
    is_shared = scope == DEPLOYMENT or scope.startswith("tenant:")
    return {
        "kind": "spend",
        "group": f"{PERIODS[budget.period]}{'_pool' if is_shared else ''}",
        "percent": percent,
        "resets_at": datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "severity": next((word for share, word in SEVERITIES if percent >= share), "normal"),
        "is_active": percent >= 100,
    }
