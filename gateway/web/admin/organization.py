"""Anthropic's Admin API as far as keys, limits and spending go, on the admin listener, with the admin key.

Creating and rotating keys are extensions: Anthropic's API has neither.
"""

from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from gateway.access.records import DEPLOYMENT, KeyRecord
from gateway.access.store import GRACE_SECONDS, MAX_GRACE_SECONDS, AccessStore, Actor
from gateway.errors import InvalidRequest, Unavailable
from gateway.web.admin.authorization import CALLER
from gateway.web.admin.key_fields import check_names, checked, status_of, to_allowance, to_api_key, to_fields, to_name
from gateway.web.auth import REQUEST_ID
from gateway.web.body import read_body
from gateway.web.keys import ACCESS_STORE
from gateway.web.reply import json_response

# Bodies of the admin API are a few hundred bytes; Anthropic's pages have at most 1,000 entries.
MAX_BODY_BYTES = 1024 * 1024
MAX_PAGE = 1000
NO_REDIS = "Keys are stored in Redis, and none is configured: set GATEWAY_REDIS_URL."
NO_STORE = (("cache-control", "no-store"),)
STATUSES = ("active", "inactive", "archived")


async def show_organization(request: web.Request) -> web.Response:
    store_of(request)
    return json_response({"id": "org_dragoman", "type": "organization", "name": "Dragoman"}, headers=NO_STORE)


async def list_keys(request: web.Request) -> web.Response:
    """Newest first, by pages of `limit` with `after_id` or `before_id`; `status` and `workspace_id` filter."""
    store, query = store_of(request), request.query
    records = list(reversed(await store.keys()))
    if "status" in query:
        records = [record for record in records if status_of(record) == query["status"]]
    if "workspace_id" in query:
        records = [record for record in records if record.tenant == query["workspace_id"]]
    text = query.get("limit", "20")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE:
        raise InvalidRequest(f"limit: must be 1 to {MAX_PAGE}")
    limit = int(text)
    ids = [record.id for record in records]
    for name in ("after_id", "before_id"):
        if name in query and query[name] not in ids:
            raise InvalidRequest(f"{name}: there is no such key in this list")
    if "after_id" in query:
        records = records[ids.index(query["after_id"]) + 1 :]
    elif "before_id" in query:
        before = records[: ids.index(query["before_id"])]
        records = before[-limit:]
    page = [to_api_key(record) for record in records[:limit]]
    return json_response(
        {
            "data": page,
            "has_more": len(records) > limit,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        },
        headers=NO_STORE,
    )


async def create_key(request: web.Request) -> web.Response:
    """`name`, and optionally `workspace_id`, `user`, `limits`, `budget`, `models`, `max_tokens`, `expires_at`."""
    store, body = store_of(request), await read_object(request)
    fields = to_fields(body, "name", "workspace_id")
    record = replace(KeyRecord("", to_name(body, "name"), to_name(body, "workspace_id", "default")), **fields)
    made, key = await store.create_key(record, actor_of(request))
    return json_response({**to_api_key(made), "key": key}, headers=NO_STORE)


async def show_key(request: web.Request) -> web.Response:
    return json_response(to_api_key(await store_of(request).key(request.match_info["key_id"])), headers=NO_STORE)


async def update_key(request: web.Request) -> web.Response:
    store, body = store_of(request), await read_object(request)
    fields = to_fields(body, "name", "status")
    if "name" in body:
        fields["name"] = to_name(body, "name")
    if "status" in body:
        if body["status"] not in STATUSES:
            raise InvalidRequest(f"status: must be one of {', '.join(STATUSES)}")
        fields["status"] = body["status"]
    if not fields:
        raise InvalidRequest("there is nothing to change: give name, status, limits, budget, models or expires_at")
    changed = await store.update_key(request.match_info["key_id"], actor_of(request), **fields)
    return json_response(to_api_key(changed), headers=NO_STORE)


async def rotate_key(request: web.Request) -> web.Response:
    store, body = store_of(request), await read_object(request)
    grace = body.get("grace_seconds", GRACE_SECONDS)
    if not isinstance(grace, int) or isinstance(grace, bool) or not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidRequest(f"grace_seconds: must be 0 to {MAX_GRACE_SECONDS}")
    made, key = await store.rotate_key(request.match_info["key_id"], grace, actor_of(request))
    return json_response({**to_api_key(made), "key": key}, headers=NO_STORE)


async def show_limits(request: web.Request) -> web.Response:
    scope = to_scope(request.query.get("scope", "deployment"))
    return json_response({"type": "limits", **(await store_of(request).allowance(scope)).to_json()}, headers=NO_STORE)


async def set_limits(request: web.Request) -> web.Response:
    """Replace limits and budget of `scope`: deployment, tenant:NAME or user:NAME."""
    store, body = store_of(request), await read_object(request)
    check_names(body, ("scope", "limits", "budget"))
    allowance = to_allowance(body)
    await store.set_allowance(to_scope(str(body.get("scope", ""))), allowance, actor_of(request))
    return json_response({"type": "limits", "scope": body["scope"], **allowance.to_json()}, headers=NO_STORE)


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


def store_of(request: web.Request) -> AccessStore:
    store = request.app[ACCESS_STORE]
    if store is None:
        raise Unavailable(NO_REDIS, should_retry=False)
    return store


async def read_object(request: web.Request) -> dict[str, Any]:
    raw = await read_body(request, MAX_BODY_BYTES)
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        raise InvalidRequest("The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return body


def actor_of(request: web.Request) -> Actor:
    caller = request[CALLER]
    return Actor(caller.kind, caller.name or request.remote or "", request[REQUEST_ID])
