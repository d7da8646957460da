"""Anthropic's Admin API as far as keys, limits and spending go, on the admin listener, with the admin key.

Creating and rotating keys are extensions: Anthropic's API has neither.
"""

from dataclasses import replace

import orjson
from aiohttp import web

from gateway.access.records import DEPLOYMENT, KeyRecord
from gateway.access.roster import DEFAULT_TENANT
from gateway.access.store import GRACE_SECONDS, MAX_GRACE_SECONDS
from gateway.errors import InvalidRequest
from gateway.web.admin.allowances import check_scope, model_groups_of, rules_of
from gateway.web.admin.key_fields import (
    LIMIT_FIELDS,
    check_names,
    checked,
    status_of,
    to_allowance,
    to_api_key,
    to_fields,
    to_name,
)
from gateway.web.admin.leads import check_fields, key_of, lead_of, visible_keys, workspace_for
from gateway.web.admin.pages import MAX_PAGE, page_by_id
from gateway.web.admin.requests import actor_of, conditions_of, etag_of, read_object, store_of
from gateway.web.reply import NO_STORE, json_response

STATUSES = ("active", "inactive", "archived")


async def show_organization(request: web.Request) -> web.Response:
    store_of(request)
    return json_response({"id": "org_dragoman", "type": "organization", "name": "Dragoman"}, headers=NO_STORE)


async def list_keys(request: web.Request) -> web.Response:
    """Newest first, by pages of `limit` with `after_id` or `before_id`; `status` and `workspace_id` filter."""
    store, query = store_of(request), request.query
    records = visible_keys(request, reversed(await store.keys()))
    if "status" in query:
        records = [record for record in records if status_of(record) == query["status"]]
    if "workspace_id" in query:
        records = [record for record in records if record.tenant == query["workspace_id"]]
    return page_by_id(request, [to_api_key(record) for record in records])


async def create_key(request: web.Request) -> web.Response:
    """`name`, and optionally `workspace_id`, `user`, `limits`, `budget`, `models`, `max_tokens`, `expires_at`."""
    store, body = store_of(request), await read_object(request)
    fields = to_fields(body, model_groups_of(request), "name", "workspace_id")
    await check_fields(request, store, fields)
    tenant = workspace_for(request, to_name(body, "workspace_id", lead_of(request) or DEFAULT_TENANT))
    record = replace(KeyRecord("", to_name(body, "name"), tenant), **fields)
    made, key = await store.create_key(record, actor_of(request), conditions_of(request, body))
    return json_response({**to_api_key(made), "key": key}, headers=(*NO_STORE, etag_of(made.version)))


async def show_key(request: web.Request) -> web.Response:
    record = await key_of(request, store_of(request), request.match_info["key_id"])
    return json_response(to_api_key(record), headers=(*NO_STORE, etag_of(record.version)))


async def update_key(request: web.Request) -> web.Response:
    store, body = store_of(request), await read_object(request)
    fields = to_fields(body, model_groups_of(request), "name", "status")
    if "name" in body:
        fields["name"] = to_name(body, "name")
    if "status" in body:
        if body["status"] not in STATUSES:
            raise InvalidRequest(f"status: must be one of {', '.join(STATUSES)}")
        fields["status"] = body["status"]
    if not fields:
        raise InvalidRequest("there is nothing to change: give name, status, limits, budget, models or expires_at")
    await check_fields(request, store, fields)
    record, conditions = await key_of(request, store, request.match_info["key_id"]), conditions_of(request, body)
    changed = await store.update_key(record.id, actor_of(request), conditions, **fields)
    return json_response(to_api_key(changed), headers=(*NO_STORE, etag_of(changed.version)))


async def rotate_key(request: web.Request) -> web.Response:
    store, body = store_of(request), await read_object(request)
    grace = body.get("grace_seconds", GRACE_SECONDS)
    if not isinstance(grace, int) or isinstance(grace, bool) or not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidRequest(f"grace_seconds: must be 0 to {MAX_GRACE_SECONDS}")
    record, conditions = await key_of(request, store, request.match_info["key_id"]), conditions_of(request, body)
    made, key = await store.rotate_key(record.id, grace, actor_of(request), conditions)
    return json_response({**to_api_key(made), "key": key}, headers=(*NO_STORE, etag_of(made.version)))


async def show_limits(request: web.Request) -> web.Response:
    scope = to_scope(request.query.get("scope", "deployment"))
    allowance, version = await rules_of(request, scope)
    return json_response({"type": "limits", **allowance.to_json()}, headers=(*NO_STORE, etag_of(version)))


async def set_limits(request: web.Request) -> web.Response:
    """Replace limits and budget of `scope`: deployment, tenant:NAME or user:NAME, which exists or is `new`."""
    store, body = store_of(request), await read_object(request)
    check_names(body, ("scope", *LIMIT_FIELDS, "new"))
    allowance = to_allowance(body, model_groups_of(request))
    scope, conditions = to_scope(str(body.get("scope", ""))), conditions_of(request, body)
    await check_scope(request, scope, is_new=body.get("new"))
    version = await store.set_allowance(scope, allowance, actor_of(request), conditions)
    answer = {"type": "limits", "scope": body["scope"], **allowance.to_json()}
    return json_response(answer, headers=(*NO_STORE, etag_of(version)))


async def show_audit(request: web.Request) -> web.Response:
    entries = await store_of(request).audit()
    return json_response({"data": [orjson.loads(entry) for entry in entries[-MAX_PAGE:]]}, headers=NO_STORE)


def to_scope(text: str) -> str:
    if text == "deployment":
        return DEPLOYMENT
    kind, _, name = text.partition(":")
    if kind not in ("tenant", "user"):
        raise InvalidRequest("scope: must be deployment, tenant:NAME or user:NAME")
    return f"{kind}:{checked(name, 'scope')}"
