"""Limits and budgets in force, and their changes by the admin API and the command line."""

from collections.abc import Callable
from dataclasses import replace

from gateway.access.keys import ClientKeys
from gateway.access.periods import period_of
from gateway.access.records import Allowance, Budget
from gateway.access.store import FASTER, KEY, UNCONDITIONAL, AccessStore, Actor, Conditions, is_part
from gateway.errors import Conflict, PreconditionFailed


async def allowance_of(store: AccessStore, configured: ClientKeys, scope: str) -> tuple[Allowance, int]:
    """Return the limits of a scope, and the version of their record: 0 for those of gateway.toml, or none."""
    if scope.startswith(KEY):
        record = await store.key(scope.removeprefix(KEY))
        return record.allowance, record.version
    stored, version = await store.versioned_allowance(scope)
    return (configured.allowances.get(scope, stored) if stored.is_empty else stored), version


async def change_allowance(
    store: AccessStore,
    configured: ClientKeys,
    scope: str,
    change: Callable[[Allowance], Allowance],
    actor: Actor,
    conditions: Conditions = UNCONDITIONAL,
) -> tuple[Allowance, int]:
    """Return the changed limits and their version. Raises Conflict if another change was faster."""
    before, version = await allowance_of(store, configured, scope)
    allowance, is_given = change(before), conditions.version is not None
    expected = conditions if is_given else replace(conditions, version=version)
    try:
        if scope.startswith(KEY):
            changed = await store.update_key(scope.removeprefix(KEY), actor, expected, allowance=allowance)
            return changed.allowance, changed.version
        return allowance, await store.set_allowance(scope, allowance, actor, expected)
    except PreconditionFailed:
        if not is_given:
            raise Conflict(FASTER) from None
        raise


async def reset_budget(store: AccessStore, scope: str, budget: Budget, actor: Actor) -> int:
    """Set what a budget has spent in its period to nothing. Return the nano-dollars it had spent.

    Reservations of requests in flight stay; what they cost counts when they end. The audit entry is written before.
    """
    start, _ = period_of(budget.period, budget.time_zone, store.clock())
    spent = await store.spent(scope, budget, start)
    await store.note(actor, "budget_reset", {"scope": scope, "budget": budget.name, "spent": spent})
    key = store.server.keys.scope(scope)
    names: list[bytes | str] = [f"{budget.name}:spent"]
    if budget.window:
        [known] = await store.server.pipeline([("HKEYS", key)])
        names = [name for name in known if is_part(name, budget)]
    if names:
        await store.server.pipeline([("HDEL", key, *names)])
    return spent
