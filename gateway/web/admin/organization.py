"""Anthropic's Admin API as far as keys, limits and spending go, on the admin listener, with the admin key.

Creating and rotating keys are extensions: Anthropic's API has neither.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from gateway.access.records import DEPLOYMENT, KeyRecord
from gateway.access.store import GRACE_SECONDS, MAX_GRACE_SECONDS, AccessStore, Actor, Conditions
from gateway.errors import InvalidRequest, Unavailable
from gateway.web.addresses import address_of
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
MAX_IDEMPOTENCY_KEY = 255
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
    made, key = await store.create_key(record, actor_of(request), conditions_of(request, body))
    return json_response({**to_api_key(made), "key": key}, headers=(*NO_STORE, etag_of(made.version)))


async def show_key(request: web.Request) -> web.Response:
    record = await store_of(request).key(request.match_info["key_id"])
    return json_response(to_api_key(record), headers=(*NO_STORE, etag_of(record.version)))


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
    conditions = conditions_of(request, body)
    changed = await store.update_key(request.match_info["key_id"], actor_of(request), conditions, **fields)
    return json_response(to_api_key(changed), headers=(*NO_STORE, etag_of(changed.version)))


async def rotate_key(request: web.Request) -> web.Response:
    store, body = store_of(request), await read_object(request)
    grace = body.get("grace_seconds", GRACE_SECONDS)
    if not isinstance(grace, int) or isinstance(grace, bool) or not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidRequest(f"grace_seconds: must be 0 to {MAX_GRACE_SECONDS}")
    conditions = conditions_of(request, body)
    made, key = await store.rotate_key(request.match_info["key_id"], grace, actor_of(request), conditions)
    return json_response({**to_api_key(made), "key": key}, headers=(*NO_STORE, etag_of(made.version)))


async def show_limits(request: web.Request) -> web.Response:
    scope = to_scope(request.query.get("scope", "deployment"))
    allowance, version = await store_of(request).versioned_allowance(scope)
    return json_response({"type": "limits", **allowance.to_json()}, headers=(*NO_STORE, etag_of(version)))


async def set_limits(request: web.Request) -> web.Response:
    """Replace limits and budget of `scope`: deployment, tenant:NAME or user:NAME."""
    store, body = store_of(request), await read_object(request)
    check_names(body, ("scope", "limits", "budget"))
    allowance = to_allowance(body)
    scope, conditions = to_scope(str(body.get("scope", ""))), conditions_of(request, body)
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
    return Actor(caller.kind, caller.name or address_of(request), request[REQUEST_ID])


async def record_action(request: web.Request, action: str, details: dict[str, Any]) -> None:
    """Add an audit entry of an action on something that has no record of its own, before it is done.

    Raises StoreAway or Overloaded: what cannot be recorded is not done.
    """
    store = request.app[ACCESS_STORE]
    if store is not None:
        await store.note(actor_of(request), action, details)


def conditions_of(request: web.Request, body: Mapping[str, Any]) -> Conditions:
    """Read `if-match` and `idempotency-key`; the latter counts for one caller. Raises InvalidRequest."""
    version, key = to_version(request.headers.get("if-match")), request.headers.get("idempotency-key")
    if key is None:
        return Conditions(version)
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(f"idempotency-key: must have 1 to {MAX_IDEMPOTENCY_KEY} characters")
    caller = request[CALLER]
    mark = store_of(request).server.keys.access_outcome(_digest([caller.kind, caller.name, key]))
    return Conditions(version, mark, _digest([request.method, request.path, body]))


def to_version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    tag = if_match.strip().removeprefix("W/").strip('"')
    if not tag.isdecimal():
        raise InvalidRequest("if-match: must be the ETag of an earlier reply")
    return int(tag)


def etag_of(version: int) -> tuple[str, str]:
    return ("etag", f'"{version}"')


def _digest(value: Any) -> str:
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
