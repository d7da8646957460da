"""Workspaces, users and roles of Anthropic's Admin API, as they follow from keys, limits and rules: they are read only.

A workspace is a tenant. A user is a name that a key or a limit has.
"""

from typing import Any, Final

from aiohttp import web

from gateway.access.records import ROLES
from gateway.access.roster import DEFAULT_TENANT, Roster, not_found
from gateway.json_values import to_time
from gateway.web.admin.allowances import roster_of
from gateway.web.admin.leads import visible_tenants
from gateway.web.admin.pages import found, page_by_cursor, page_by_id, values_of

# Of every workspace: tenants have none.
COLOUR: Final = "#6C5BB9"
MEMBER_ROLE: Final = "workspace_developer"


async def list_workspaces(request: web.Request) -> web.Response:
    """List tenants by name; the default one with `include_default=true`. `ids` filters."""
    ids, with_default = values_of(request, "ids"), request.query.get("include_default") == "true"
    roster = await roster_of(request)
    names = [one for one in visible_tenants(request, roster.tenants) if with_default or one != DEFAULT_TENANT]
    return page_by_id(request, [to_workspace(one, roster) for one in sorted(names) if not ids or one in ids])


async def show_workspace(request: web.Request) -> web.Response:
    roster, wanted = await roster_of(request), request.match_info["workspace_id"]
    return found([to_workspace(one, roster) for one in visible_tenants(request, roster.tenants)], wanted, "workspace")


async def list_members(request: web.Request) -> web.Response:
    """The users with a key of a tenant."""
    roster, tenant = await roster_of(request), await workspace_of(request)
    members = [{**to_member(one, tenant), "id": one} for one in roster.members_of(tenant)]
    return page_by_id(request, members)


async def show_member(request: web.Request) -> web.Response:
    roster, tenant = await roster_of(request), await workspace_of(request)
    members = [{**to_member(one, tenant), "id": one} for one in roster.members_of(tenant)]
    return found(members, request.match_info["user_id"], "member of this workspace")


async def list_users(request: web.Request) -> web.Response:
    """List users by name; `email` and `roles` filter."""
    roster, email, roles = await roster_of(request), request.query.get("email"), values_of(request, "roles")
    users = [to_user(one, roster) for one in sorted(roster.users)]
    users = [one for one in users if email in (None, one["email"]) and (not roles or one["role"] in roles)]
    return page_by_id(request, users)


async def show_user(request: web.Request) -> web.Response:
    roster = await roster_of(request)
    return found([to_user(one, roster) for one in roster.users], request.match_info["user_id"], "user")


async def list_roles(request: web.Request) -> web.Response:
    """The roles of the admin listener."""
    return page_by_cursor(request, ROLE_OBJECTS)


async def show_role(request: web.Request) -> web.Response:
    return found(ROLE_OBJECTS, request.match_info["role_id"], "role")


async def workspace_of(request: web.Request) -> str:
    """Return the tenant in the path. Raises NotFound."""
    name, roster = request.match_info["workspace_id"], await roster_of(request)
    tenants = visible_tenants(request, roster.tenants)
    if name not in tenants:
        raise not_found("workspace", name, tenants)
    return name


def to_workspace(tenant: str, roster: Roster) -> dict[str, Any]:
    return {
        "type": "workspace",
        "id": tenant,
        "name": tenant,
        "created_at": to_time(roster.tenants[tenant]),
        "archived_at": None,
        "compartment_id": "",
        "data_residency": None,
        "display_color": COLOUR,
        "external_key_id": None,
        "tags": {},
    }


def to_member(user: str, tenant: str) -> dict[str, Any]:
    return {"type": "workspace_member", "user_id": user, "workspace_id": tenant, "workspace_role": MEMBER_ROLE}


def to_user(user: str, roster: Roster) -> dict[str, Any]:
    return {
        "type": "user",
        "id": user,
        "name": user,
        "email": user if "@" in user else "",
        "role": "admin" if user in roster.admins else "developer",
        "added_at": to_time(roster.since(user)),
        "gateway": {"workspace_ids": sorted(roster.users[user])},
    }


ROLE_OBJECTS: Final = tuple(
    {
        "type": "rbac_role",
        "id": role,
        "display_name": role.capitalize(),
        "source": {"type": "built_in"},
        "created_at": to_time(0),
        "updated_at": to_time(0),
    }
    for role in ROLES
)
