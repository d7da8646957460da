"""Parts of a request that handlers of the admin API read: its object, its caller, its conditions, the store of keys."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.access.store import AccessStore, Actor, Conditions
from gateway.errors import InvalidRequest, Unavailable
from gateway.json_values import to_whole
from gateway.web.addresses import address_of
from gateway.web.admin.authorization import CALLER
from gateway.web.app_keys import DIRECTORY
from gateway.web.auth import REQUEST_ID
from gateway.web.body import read_body

# Bodies of the admin API are a few hundred bytes.
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_IDEMPOTENCY_KEY: Final = 255
# Redis counts versions up to it.
MAX_VERSION: Final = 2**63 - 1
NO_REDIS: Final = "Keys are stored in Redis, and none is configured: set GATEWAY_REDIS_URL."


def store_of(request: web.Request) -> AccessStore:
    store = request.app[DIRECTORY].store
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
    store = request.app[DIRECTORY].store
    if store is not None:
        await store.note(actor_of(request), action, details)


def conditions_of(request: web.Request, body: Mapping[str, Any]) -> Conditions:
    """Read `if-match` and `idempotency-key`; the latter counts for one caller. Raises InvalidRequest."""
    version, key = to_version(request.headers.get("if-match")), idempotency_key_of(request)
    if key is None:
        return Conditions(version)
    caller = request[CALLER]
    mark = store_of(request).server.keys.access_outcome(_digest([caller.kind, caller.name, key]))
    return Conditions(version, mark, _digest([request.method, request.path, body]))


def idempotency_key_of(request: web.Request) -> str | None:
    """Return the header's value, None without one. Raises InvalidRequest for an empty or a long one."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(f"idempotency-key: must have 1 to {MAX_IDEMPOTENCY_KEY} characters")
    return key


def to_version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    tag = if_match.strip().removeprefix("W/").strip('"')
    version = to_whole(tag, MAX_VERSION, least=0)
    if version is None:
        raise InvalidRequest("if-match: must be the ETag of an earlier reply")
    return version


def etag_of(version: int) -> tuple[str, str]:
    return ("etag", f'"{version}"')


def _digest(value: Any) -> str:
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
