"""Anthropic's Admin API as far as keys, limits and spending go, on the admin listener, with the admin key.

Creating and rotating keys are extensions: Anthropic's API has neither.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from gateway.access.records import DEPLOYMENT, Allowance, Budget, KeyRecord, RateLimits, check_name, to_nano
from gateway.access.store import GRACE_SECONDS, MAX_GRACE_SECONDS, AccessStore, Actor
from gateway.errors import InvalidRequest, Unavailable
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
RATES = {
    "requests_per_minute": "requests",
    "input_tokens_per_minute": "input_tokens",
    "output_tokens_per_minute": "output_tokens",
    "concurrency": "concurrency",
}
PERIODS = {"daily": "day", "weekly": "week", "monthly": "month", "total": "total"}


async def show_organization(request: web.Request) -> web.Response:
    _store(request)
    return json_response({"id": "org_dragoman", "type": "organization", "name": "Dragoman"}, headers=NO_STORE)


async def list_keys(request: web.Request) -> web.Response:
    """Newest first, by pages of `limit` with `after_id` or `before_id`; `status` and `workspace_id` filter."""
    store, query = _store(request), request.query
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
    store, body = _store(request), await _body(request)
    fields = to_fields(body)
    record = replace(KeyRecord("", _name(body, "name"), _name(body, "workspace_id", "default")), **fields)
    made, key = await store.create_key(record, _actor(request))
    return json_response({**to_api_key(made), "key": key}, headers=NO_STORE)


async def show_key(request: web.Request) -> web.Response:
    return json_response(to_api_key(await _store(request).key(request.match_info["key_id"])), headers=NO_STORE)


async def update_key(request: web.Request) -> web.Response:
    store, body = _store(request), await _body(request)
    fields = to_fields(body)
    if "name" in body:
        fields["name"] = _name(body, "name")
    if "status" in body:
        if body["status"] not in STATUSES:
            raise InvalidRequest(f"status: must be one of {', '.join(STATUSES)}")
        fields["status"] = body["status"]
    if not fields:
        raise InvalidRequest("there is nothing to change: give name, status, limits, budget, models or expires_at")
    changed = await store.update_key(request.match_info["key_id"], _actor(request), **fields)
    return json_response(to_api_key(changed), headers=NO_STORE)


async def rotate_key(request: web.Request) -> web.Response:
    store, body = _store(request), await _body(request)
    grace = body.get("grace_seconds", GRACE_SECONDS)
    if not isinstance(grace, int) or isinstance(grace, bool) or not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidRequest(f"grace_seconds: must be 0 to {MAX_GRACE_SECONDS}")
    made, key = await store.rotate_key(request.match_info["key_id"], grace, _actor(request))
    return json_response({**to_api_key(made), "key": key}, headers=NO_STORE)


async def show_limits(request: web.Request) -> web.Response:
    scope = to_scope(request.query.get("scope", "deployment"))
    return json_response({"type": "limits", **(await _store(request).allowance(scope)).to_json()}, headers=NO_STORE)


async def set_limits(request: web.Request) -> web.Response:
    """Replace limits and budget of `scope`: deployment, tenant:NAME or user:NAME."""
    store, body = _store(request), await _body(request)
    allowance = to_allowance(body)
    await store.set_allowance(to_scope(str(body.get("scope", ""))), allowance, _actor(request))
    return json_response({"type": "limits", "scope": body["scope"], **allowance.to_json()}, headers=NO_STORE)


async def show_audit(request: web.Request) -> web.Response:
    entries = await _store(request).audit()
    return json_response({"data": [orjson.loads(entry) for entry in entries[-MAX_PAGE:]]}, headers=NO_STORE)


def to_api_key(record: KeyRecord) -> dict[str, Any]:
    """Anthropic's `api_key` object; what it has no field for is in `gateway`."""
    return {
        "type": "api_key",
        "id": record.id,
        "name": record.name,
        "status": status_of(record),
        "workspace_id": record.tenant,
        "scope": {"type": "workspace", "workspace_id": record.tenant},
        "created_at": to_time(record.created_at),
        "created_by": {"id": "gateway", "type": "user"},
        "expires_at": None if record.expires_at is None else to_time(record.expires_at),
        "partial_key_hint": record.hint,
        "gateway": {
            "user": record.user or None,
            "models": list(record.models),
            "max_tokens": record.max_tokens,
            **record.allowance.to_json(),
        },
    }


def status_of(record: KeyRecord) -> str:
    expired = record.status == "active" and record.is_expired(datetime.now(UTC).timestamp())
    return "expired" if expired else record.status


def to_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a KeyRecord from a body. Raises InvalidRequest naming the wrong one."""
    fields: dict[str, Any] = {}
    if "user" in body:
        fields["user"] = _name(body, "user")
    if "models" in body:
        models = body["models"]
        if not isinstance(models, list) or not all(isinstance(one, str) and one for one in models):
            raise InvalidRequest("models: must be a list of patterns")
        fields["models"] = tuple(models)
    if "max_tokens" in body:
        fields["max_tokens"] = _count(body, "max_tokens")
    if "expires_at" in body:
        fields["expires_at"] = _moment(body["expires_at"])
    if "limits" in body or "budget" in body:
        fields["allowance"] = to_allowance(body)
    return fields


def to_allowance(body: Mapping[str, Any]) -> Allowance:
    """From `limits` {requests_per_minute, …} and `budget` {amount_usd, period, time_zone}. Raises InvalidRequest."""
    limits = body.get("limits") or {}
    if not isinstance(limits, dict) or not limits.keys() <= RATES.keys():
        raise InvalidRequest(f"limits: must be an object with some of {', '.join(RATES)}")
    rates = RateLimits(**{RATES[name]: _count(limits, name, "limits.") for name in limits})
    budget = body.get("budget")
    if budget is None:
        return Allowance(rates)
    if not isinstance(budget, dict) or "amount_usd" not in budget:
        raise InvalidRequest("budget: must be an object with amount_usd, and optionally period and time_zone")
    period = str(budget.get("period", "monthly"))
    try:
        amount = to_nano(budget["amount_usd"])
        return Allowance(rates, (Budget.checked(amount, PERIODS.get(period, period), budget.get("time_zone", "UTC")),))
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"budget: {error}") from None


def to_scope(text: str) -> str:
    if text == "deployment":
        return DEPLOYMENT
    kind, _, name = text.partition(":")
    if kind not in ("tenant", "user"):
        raise InvalidRequest("scope: must be deployment, tenant:NAME or user:NAME")
    return f"{kind}:{_checked(name, 'scope')}"


def _store(request: web.Request) -> AccessStore:
    store = request.app[ACCESS_STORE]
    if store is None:
        raise Unavailable(
            "Keys are stored in Redis, and none is configured: set GATEWAY_REDIS_URL.", should_retry=False
        )
    return store


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await read_body(request, MAX_BODY_BYTES)
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        raise InvalidRequest("The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return body


def _actor(request: web.Request) -> Actor:
    return Actor("admin_key", request.remote or "", request[REQUEST_ID])


def _name(body: Mapping[str, Any], name: str, otherwise: str | None = None) -> str:
    value = body.get(name, otherwise)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: a name is required")
    return _checked(value, name)


def _checked(text: str, what: str) -> str:
    try:
        return check_name(text, what)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def _count(body: Mapping[str, Any], name: str, path: str = "") -> int | None:
    value = body[name]
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidRequest(f"{path}{name}: must be a positive whole number")
    return value


def _moment(value: object) -> int | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise InvalidRequest("expires_at: must be a time such as 2027-01-31T00:00:00Z") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
