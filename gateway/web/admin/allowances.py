"""Changes of the limits and budgets of a scope by the admin API: read, change, store, without losing another change."""

from collections.abc import Callable

from aiohttp import web

from gateway.access.records import Allowance
from gateway.access.roster import Roster, to_roster
from gateway.access.store import FASTER, KEY, Conditions
from gateway.errors import Conflict, PreconditionFailed
from gateway.web.admin.requests import actor_of, store_of
from gateway.web.keys import DIRECTORY

NEW = 'For a name that nothing has yet, add "new": true.'


async def roster_of(request: web.Request) -> Roster:
    """Return the tenants and users that exist now."""
    store, directory = store_of(request), request.app[DIRECTORY]
    rules = () if directory.identity is None else directory.identity.section.rules
    return to_roster(await store.keys(), directory.configured, await store.allowances(), rules)


async def check_scope(request: web.Request, scope: str, *, is_new: object = False) -> None:
    """Raises NotFound for the scope of a tenant or a user that does not exist, unless the request says `new`."""
    if is_new is not True:
        (await roster_of(request)).check_scope(scope, NEW)


async def rules_of(request: web.Request, scope: str) -> tuple[Allowance, int]:
    """Return the limits of a scope, and the version of their record: 0 for those of gateway.toml, or none."""
    store = store_of(request)
    if scope.startswith(KEY):
        record = await store.key(scope.removeprefix(KEY))
        return record.allowance, record.version
    stored, version = await store.versioned_allowance(scope)
    return (request.app[DIRECTORY].configured.allowances.get(scope, stored) if stored.is_empty else stored), version


async def change_allowance(
    request: web.Request, scope: str, change: Callable[[Allowance], Allowance], conditions: Conditions
) -> tuple[Allowance, int]:
    """Return the changed limits and their version. Raises Conflict if another change was faster."""
    store, actor = store_of(request), actor_of(request)
    before, version = await rules_of(request, scope)
    allowance = change(before)
    given = conditions.version is not None
    expected = conditions if given else Conditions(version, conditions.mark, conditions.asked)
    try:
        if scope.startswith(KEY):
            changed = await store.update_key(scope.removeprefix(KEY), actor, expected, allowance=allowance)
            return changed.allowance, changed.version
        return allowance, await store.set_allowance(scope, allowance, actor, expected)
    except PreconditionFailed:
        if not given:
            raise Conflict(FASTER) from None
        raise
