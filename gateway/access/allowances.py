"""Limits and budgets in force, and changes to them by the admin API and the command line.

Stored limits take precedence. Those of gateway.toml apply to a scope without stored ones, and to keys of the file.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from gateway.access.keys import ClientKeys
from gateway.access.records import NO_ALLOWANCE, Allowance, Budget, KeyRecord
from gateway.access.store import FASTER, KEY, UNCONDITIONAL, AccessStore, Actor, Conditions, is_part
from gateway.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed


async def allowance_of(store: AccessStore, configured: ClientKeys, scope: str) -> tuple[Allowance, int]:
    """Return the limits of a scope, and the version of their record, which is 0 if they are not stored."""
    if scope.startswith(KEY):
        record = _in_file(configured, scope) or await store.key(scope.removeprefix(KEY))
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
    """Change the limits of a scope. Return them with their version.

    Raises Conflict if another change was faster, and InvalidRequest for a key of gateway.toml.
    """
    in_file = _in_file(configured, scope)
    if in_file is not None:
        raise InvalidRequest(f"The limits of {in_file.name} are in gateway.toml; change them there.")
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


async def allowances_in_force(store: AccessStore, configured: ClientKeys) -> dict[str, Allowance]:
    """Return the limits of every scope that has some, in Redis or in gateway.toml.

    Limits of identity rules are left out, since they apply to each user separately.
    """
    of_keys = {KEY + one.id: one.allowance for one in configured.records.values() if not one.per_user}
    in_file = {scope: one for scope, one in (*configured.allowances.items(), *of_keys.items()) if not one.is_empty}
    return in_file | await store.allowances()


async def allowances_of(store: AccessStore, configured: ClientKeys, scopes: Iterable[str]) -> list[Allowance]:
    """Return the limits of each scope. A user under an identity rule has those of the rule."""
    known = await allowances_in_force(store, configured)
    records = [(scope, _in_file(configured, scope)) for scope in scopes]
    return [known.get(scope, NO_ALLOWANCE) if record is None else record.allowance for scope, record in records]


async def key_scope(store: AccessStore, configured: ClientKeys, name: str) -> str:
    """Return the scope of a key by its name or id, in Redis or in gateway.toml.

    `rule_NAME:USER` names a user under an identity rule. Raises NotFound.
    """
    try:
        return KEY + (await store.key(name)).id
    except NotFound:
        record_id, _, user = name.partition(":")
        for one in configured.records.values():
            if record_id in (one.id, "" if one.per_user else one.name) and one.per_user == bool(user):
                return KEY + name if user else KEY + one.id
        raise


def _in_file(configured: ClientKeys, scope: str) -> KeyRecord | None:
    return configured.records.get(scope.removeprefix(KEY).partition(":")[0]) if scope.startswith(KEY) else None


async def reset_budget(
    store: AccessStore, scope: str, budget: Budget, actor: Actor, conditions: Conditions = UNCONDITIONAL
) -> int:
    """Reset the spending of a budget in its period to zero, in one step with the audit entry.

    Return the nano-dollars that it had spent. Conditions with a mark make repetitions have no effect. Reservations of
    requests in flight stay, and their cost is added when they end.
    """
    [spent] = await store.spent([(scope, budget)])
    key = store.server.keys.scope(scope)
    fields = [f"{budget.name}:spent"]
    if budget.window:
        [known] = await store.server.pipeline([("HKEYS", key)])
        fields = [name.decode() for name in known if is_part(name, budget)]
    details = {"scope": scope, "budget": budget.name, "spent": spent}
    await store.note(actor, "budget_reset", details, conditions, (key, *fields))
    return spent
