"""Sign-in to the console: the admin key, or the viewer's, typed once, becomes a cookie that scripts cannot read."""

from typing import Final

import orjson
import structlog
from aiohttp import web

from gateway.errors import InvalidRequest, PermissionDenied, Unauthenticated
from gateway.web.addresses import address_of
from gateway.web.admin.authorization import (
    ADMIN_KEYS,
    CALLER,
    NO_KEY,
    SESSIONS,
    WRONG_ADMIN_KEYS,
    check_page,
    cookie_name,
    identify,
    is_loopback_host,
)
from gateway.web.admin.sessions import SESSION_SECONDS
from gateway.web.body import read_body
from gateway.web.console.sources import data_response

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 4096  # a key as JSON


async def show_session(request: web.Request) -> web.Response:
    """Return the caller's role; null for one that is not signed in, with the reason where sign-in is impossible."""
    keys = request.app[ADMIN_KEYS]
    if not (keys.admin or keys.viewer):
        return data_response({"role": None, "problem": NO_KEY})
    try:
        caller = await identify(request)
    except Unauthenticated:
        return data_response({"role": None, "problem": None})
    return data_response({"role": caller.role, "problem": None})


async def sign_in(request: web.Request) -> web.Response:
    """Open a session for `{"key": …}`."""
    check_page(request)
    keys = request.app[ADMIN_KEYS]
    if not (keys.admin or keys.viewer):
        raise PermissionDenied(NO_KEY)
    key = _key_in(await read_body(request, MAX_BODY_BYTES))
    request.app[WRONG_ADMIN_KEYS].check(address_of(request))
    role = keys.role_of(key)
    if role is None:
        request.app[WRONG_ADMIN_KEYS].add(address_of(request))
        log.warning("sign_in_refused", remote=address_of(request))
        raise Unauthenticated("invalid admin key", should_retry=False)
    token = await request.app[SESSIONS].open(role, key)
    log.info("signed_in", role=role, remote=address_of(request))
    response = data_response({"role": role})
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=SESSION_SECONDS,
        path="/",
        httponly=True,
        secure=not is_loopback_host(request),
        samesite="Strict",
    )
    return response


async def sign_out(request: web.Request) -> web.Response:
    await request.app[SESSIONS].close(request[CALLER].session)
    response = data_response({"role": None})
    response.del_cookie(cookie_name(request), path="/", secure=not is_loopback_host(request), samesite="Strict")
    return response


def _key_in(raw: bytes) -> str:
    """Raises InvalidRequest for a body without a key."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The request body is not valid JSON.") from None
    key = body.get("key") if isinstance(body, dict) else None
    if not isinstance(key, str) or not key:
        raise InvalidRequest("key: a key is required")
    return key
