"""Changes of the limits and budgets of a scope by the admin API: read, change, store, without losing another change."""

from collections.abc import Callable, Mapping

from aiohttp import web

from gateway.access.allowances import allowance_of, allowances_in_force, change_allowance
from gateway.access.records import Allowance
from gateway.access.roster import Roster, to_roster
from gateway.access.store import Conditions
from gateway.web.admin.leads import visible_scopes
from gateway.web.admin.requests import actor_of, store_of
from gateway.web.app_keys import DIRECTORY

NEW = 'For a name that nothing has yet, add "new": true.'


async def roster_of(request: web.Request) -> Roster:
    """Return the tenants and users that exist now."""
    store, directory = store_of(request), request.app[DIRECTORY]
    rules = () if directory.identity is None else directory.identity.section.rules
    return to_roster(await store.keys(), directory.configured, await store.allowances(), rules)


def model_groups_of(request: web.Request) -> Mapping[str, tuple[str, ...]]:
    """Return the patterns of each model group of gateway.toml."""
    return request.app[DIRECTORY].configured.model_groups.patterns


async def in_force(request: web.Request) -> Mapping[str, Allowance]:
    """Return the limits of every scope that has some and that the caller may see."""
    store = store_of(request)
    return await visible_scopes(request, store, await allowances_in_force(store, request.app[DIRECTORY].configured))


async def check_scope(request: web.Request, scope: str, *, is_new: object = False) -> None:
    """Raises NotFound for the scope of a tenant or a user that does not exist, unless the request says `new`."""
    if is_new is not True:
        (await roster_of(request)).check_scope(scope, NEW)


async def rules_of(request: web.Request, scope: str) -> tuple[Allowance, int]:
    """Return the limits of a scope, and the version of their record: 0 for those of gateway.toml, or none."""
    return await allowance_of(store_of(request), request.app[DIRECTORY].configured, scope)


async def change_rules(
    request: web.Request, scope: str, change: Callable[[Allowance], Allowance], conditions: Conditions
) -> tuple[Allowance, int]:
    """Return the changed limits and their version. Raises Conflict if another change was faster."""
    configured = request.app[DIRECTORY].configured
    return await change_allowance(store_of(request), configured, scope, change, actor_of(request), conditions)
