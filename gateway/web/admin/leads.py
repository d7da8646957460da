"""Bounds of the role lead: the client keys of one tenant, with their limits, budgets and use.

For a lead, another tenant's things do not exist: the answer is that for an unknown name. Keys with a role do not exist
either, so that a lead cannot take over one, or change its own. The tenant's limits apply beside those of its keys.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from gateway.access.model_groups import split_scope
from gateway.access.records import Allowance, KeyRecord
from gateway.access.roster import not_found, to_roster
from gateway.access.store import KEY, AccessStore
from gateway.errors import PermissionDenied
from gateway.web.admin.authorization import CALLER
from gateway.web.app_keys import DIRECTORY


def lead_of(request: web.Request) -> str:
    """Return the tenant of a lead; an empty text for a caller of another role."""
    return request[CALLER].tenant


def visible_keys(request: web.Request, records: Iterable[KeyRecord]) -> list[KeyRecord]:
    tenant = lead_of(request)
    return [one for one in records if not tenant or (one.tenant == tenant and not one.role)]


async def key_of(request: web.Request, store: AccessStore, name: str) -> KeyRecord:
    """Return a key by its id or name. Raises NotFound."""
    if not lead_of(request):
        return await store.key(name)
    records = visible_keys(request, await store.keys())
    for one in sorted(records, key=lambda record: (record.id != name, record.status == "archived")):
        if name in (one.id, one.name):
            return one
    raise not_found("key", name, [one.name for one in records])


async def visible_scopes(
    request: web.Request, store: AccessStore, allowances: Mapping[str, Allowance]
) -> Mapping[str, Allowance]:
    """Return the limits that the caller may see: a lead those of its tenant, and of the keys of it."""
    tenant = lead_of(request)
    if not tenant:
        return allowances
    records = (*await store.keys(), *request.app[DIRECTORY].configured.records.values())
    scopes = {f"tenant:{tenant}", *(KEY + one.id for one in visible_keys(request, records) if not one.per_user)}
    return {scope: one for scope, one in allowances.items() if scope in scopes}


async def answerable(request: web.Request, store: AccessStore) -> Callable[[str], bool]:
    """Return a test for the scopes whose requests for higher budgets the caller may see and answer."""
    if not lead_of(request):
        return bool
    return {KEY + one.id for one in visible_keys(request, await store.keys())}.__contains__


def check_scope_of_lead(request: web.Request, scope: str) -> None:
    """Raises PermissionDenied for a lead that changes another scope than a key, which was found by `key_of`."""
    if lead_of(request) and not split_scope(scope)[0].startswith(KEY):
        raise PermissionDenied("A lead changes the limits of keys alone.")


def visible_tenants(request: web.Request, tenants: Iterable[str]) -> list[str]:
    tenant = lead_of(request)
    return [one for one in tenants if not tenant or one == tenant]


def workspace_for(request: web.Request, wanted: str) -> str:
    """Return the tenant of a new key. Raises NotFound for a lead that names another one."""
    tenant = lead_of(request)
    if tenant and wanted != tenant:
        raise not_found("workspace", wanted, [tenant])
    return wanted


async def check_fields(request: web.Request, store: AccessStore, fields: Mapping[str, Any]) -> None:
    """Raises for fields that reach beyond a lead's tenant: a user of others, and a priority above other tenants'."""
    tenant = lead_of(request)
    if not tenant:
        return
    if fields.get("priority") == "high":
        raise PermissionDenied("priority: a lead may set low or normal.")
    if fields.get("user"):
        roster = to_roster(await store.keys(), request.app[DIRECTORY].configured, (), ())
        members = roster.members_of(tenant)
        if fields["user"] not in members:
            raise not_found("member of this workspace", fields["user"], members)
