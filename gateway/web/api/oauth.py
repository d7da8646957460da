"""Sign-in and exchange of tokens (OAuth 2.0), as the SDKs and Claude Code ask for them.

`POST /v1/oauth/token` exchanges the token of a workload (RFC 7523, JSON). `POST /oauth/device_authorization`,
`/oauth/token` and `/oauth/revoke` are the device flow (RFC 8628, forms). Errors have OAuth's form.
"""

import hashlib
import html
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson
from aiohttp import web

from gateway.access.configured import sign_in_of
from gateway.access.identity.fetching import ProviderAway
from gateway.access.identity.sign_in import DEVICE_GRANT, REFRESH_GRANT, Refused, SignIn
from gateway.errors import NotFound, PermissionDenied, Unauthenticated
from gateway.web.addresses import address_of
from gateway.web.app_keys import DIRECTORY, SETTINGS
from gateway.web.auth import CONTEXT
from gateway.web.body import read_body
from gateway.web.browsers import authority_of
from gateway.web.reply import NO_STORE, json_response

JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_BODY_BYTES: Final = 64 * 1024  # of which a token has at most 16 KiB
NEVER_CACHED: Final = (*NO_STORE, ("pragma", "no-cache"))  # as RFC 6749 asks of replies with tokens
BINDING: Final = "dragoman-sign-in"
CALLBACK: Final = "/oauth/callback"
PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px system-ui;max-width:26em;margin:4em auto;padding:0 1em}}input,button{{font:inherit;padding:.4em}}
</style><h1>Sign in</h1>{content}</html>"""
FORM: Final = """<p>Enter the code that your terminal shows. Continue only if you began this sign-in yourself.</p>
<form method="post" action="{path}"><input name="user_code" value="{code}" autocomplete="off" required>
<button>Continue</button> <button formaction="{path}/deny">Deny</button></form>"""


async def exchange_token(request: web.Request) -> web.Response:
    """POST /v1/oauth/token: a workload's token for one of ours, under the rule `federation_rule_id`."""
    identity = request.app[DIRECTORY].identity
    if identity is None:
        raise NotFound("Workload identity is not configured here: gateway.toml has no [identity].")
    body = await _fields(request)
    if body.get("grant_type") != JWT_GRANT:
        return _oauth_error("unsupported_grant_type", 400, f"grant_type must be {JWT_GRANT}")
    assertion, rule = body.get("assertion"), body.get("federation_rule_id", "")
    if not isinstance(assertion, str) or not isinstance(rule, str):
        return _oauth_error("invalid_request", 400, "assertion and federation_rule_id must be text")
    try:
        person = identity.match(await identity.check(assertion), rule)
    except (Unauthenticated, PermissionDenied) as error:
        return _oauth_error("invalid_grant", 401, error.message)
    token, seconds = identity.exchange(person)
    reply = {"access_token": token, "token_type": "Bearer", "expires_in": seconds}
    return json_response(reply, headers=NEVER_CACHED)


async def show_server(request: web.Request) -> web.Response:
    """GET /.well-known/oauth-authorization-server (RFC 8414)."""
    _sign_in(request)
    base = base_url(request)
    return json_response(
        {
            "issuer": base,
            "device_authorization_endpoint": f"{base}/oauth/device_authorization",
            "token_endpoint": f"{base}/oauth/token",
            "revocation_endpoint": f"{base}/oauth/revoke",
            "grant_types_supported": [DEVICE_GRANT, REFRESH_GRANT],
        },
        headers=NEVER_CACHED,
    )


async def start_sign_in(request: web.Request) -> web.Response:
    sign_in = _sign_in(request)
    try:
        started = await sign_in.start(address_of(request))
    except Refused as error:
        return _refusal(error)
    page = f"{base_url(request)}/device"
    uris = {"verification_uri": page, "verification_uri_complete": f"{page}?user_code={started['user_code']}"}
    return json_response({**started, **uris}, headers=NEVER_CACHED)


async def show_device_page(request: web.Request) -> web.Response:
    """GET /device: the page on which a person confirms a code. It sends no form without a click."""
    _sign_in(request)
    code = html.escape(request.query.get("user_code", "")[:20], quote=True)
    return await _page(request, FORM.format(path=request.app[SETTINGS].path_prefix + "/device", code=code))


async def confirm_device(request: web.Request) -> web.Response:
    """POST /device: on to the provider, with a cookie that binds the answer to this browser."""
    sign_in, fields = _sign_in(request), await _form_of_own_page(request)
    callback = base_url(request) + CALLBACK
    try:
        code = str(fields.get("user_code", ""))
        url, binding = await sign_in.to_provider(code, address_of(request), callback)
    except Refused as error:
        return await _page(request, f"<p>{html.escape(error.description)}</p>", error.status)
    except ProviderAway:
        return await _page(request, "<p>The identity provider does not answer now. Try again soon.</p>", 503)
    reply = web.Response(status=303, headers={"location": url, **dict(NEVER_CACHED)})
    is_secure = callback.startswith("https:")
    reply.set_cookie(BINDING, binding, max_age=600, httponly=True, secure=is_secure, samesite="Lax", path="/")
    return reply


async def deny_device(request: web.Request) -> web.Response:
    sign_in, fields = _sign_in(request), await _form_of_own_page(request)
    try:
        await sign_in.deny(str(fields.get("user_code", "")), address_of(request))
    except Refused as error:
        return await _page(request, f"<p>{html.escape(error.description)}</p>", error.status)
    return await _page(request, "<p>The sign-in was refused. You can close this page.</p>")


async def finish_sign_in(request: web.Request) -> web.Response:
    """GET /oauth/callback: the provider's answer."""
    sign_in, query = _sign_in(request), request.query
    binding = request.cookies.get(BINDING, "")
    try:
        callback = base_url(request) + CALLBACK
        await sign_in.finish(query.get("state", ""), query.get("code", ""), binding, callback)
    except Refused as error:
        return await _page(request, f"<p>{html.escape(error.description)}</p>", error.status)
    except (Unauthenticated, PermissionDenied) as error:
        return await _page(request, f"<p>{html.escape(error.message)}</p>", 403)
    except ProviderAway:
        return await _page(request, "<p>The identity provider does not answer now. Try again soon.</p>", 503)
    return await _page(request, "<p>You are signed in. You can close this page.</p>")


async def issue_token(request: web.Request) -> web.Response:
    """POST /oauth/token: polls of a device, and refreshes."""
    sign_in, fields = _sign_in(request), await _fields(request)
    try:
        match fields.get("grant_type"):
            case grant if grant == DEVICE_GRANT:
                tokens = await sign_in.poll(str(fields.get("device_code", "")))
            case grant if grant == REFRESH_GRANT:
                tokens = await sign_in.refresh(str(fields.get("refresh_token", "")))
            case _:
                return _oauth_error("unsupported_grant_type", 400, f"use {DEVICE_GRANT} or {REFRESH_GRANT}")
    except Refused as error:
        return _refusal(error)
    return json_response(tokens, headers=NEVER_CACHED)


async def revoke_token(request: web.Request) -> web.Response:
    """POST /oauth/revoke. Always 200 (RFC 7009): an unknown token is as good as a revoked one."""
    sign_in, fields = _sign_in(request), await _fields(request)
    await sign_in.revoke(str(fields.get("token", "")))
    return json_response({}, headers=NEVER_CACHED)


async def show_managed_settings(request: web.Request) -> web.Response:
    """GET /managed/settings: Claude Code's settings for the caller's rule; 404 where there is no policy."""
    identity, context = request.app[DIRECTORY].identity, request[CONTEXT]
    rule = None if identity is None else identity.rule(context.key_id.removeprefix("rule_"))
    settings = rule.managed_settings if rule is not None and rule.managed_settings is not None else None
    if settings is None and identity is not None:
        settings = identity.section.managed_settings
    if settings is None:
        raise NotFound("There are no managed settings for this client.")
    checksum = f"sha256:{hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
    etag = f'"{checksum}"'
    if request.headers.get("if-none-match") == etag:
        return web.Response(status=304, headers={"etag": etag})
    body = {"uuid": context.key_id or "default", "checksum": checksum, "settings": settings}
    return json_response(body, headers=(("etag", etag), *NEVER_CACHED))


def base_url(request: web.Request) -> str:
    """The gateway's own address: as configured, or on loopback that of the listener, never a header's."""
    settings = request.app[SETTINGS]
    if settings.public_url is not None:
        return str(settings.public_url).rstrip("/")
    name = request.get_extra_info("sockname")
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{host}:{name[1]}"


def _sign_in(request: web.Request) -> SignIn:
    sign_in = sign_in_of(request.app[DIRECTORY])
    if sign_in is None:
        raise NotFound("Sign-in is not configured here: gateway.toml has no [identity.sign_in], or there is no Redis.")
    return sign_in


async def _fields(request: web.Request) -> Mapping[str, Any]:
    """The fields of a JSON object or a form. Anything else has none."""
    raw = await read_body(request, MAX_BODY_BYTES)
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(raw.decode("utf-8", "replace"), max_num_fields=50))
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


async def _form_of_own_page(request: web.Request) -> Mapping[str, Any]:
    """Raises PermissionDenied for a form that another site's page has sent."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = authority_of(base_url(request))
    if (site is not None and site not in ("same-origin", "none")) or (
        origin is not None and authority_of(origin) != own
    ):
        raise PermissionDenied("This form was sent by another site.")
    return await _fields(request)


async def _page(request: web.Request, content: str, status: int = 200) -> web.Response:
    """A page that no other site can frame. Its form may lead on to the provider, which browsers check too."""
    sign_in = _sign_in(request)
    provider = urlsplit(sign_in.section.issuer)
    try:
        endpoint = str((await sign_in.identity.issuers[sign_in.section.issuer].discovered())["authorization_endpoint"])
        provider = urlsplit(endpoint)
    except (ProviderAway, KeyError):
        pass
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
        f"form-action 'self' {provider.scheme}://{provider.netloc}"
    )
    headers = {"content-security-policy": policy, "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
    text = PAGE.format(content=content)
    return web.Response(text=text, status=status, content_type="text/html", headers={**headers, **dict(NEVER_CACHED)})


def _refusal(error: Refused) -> web.Response:
    return _oauth_error(error.error, error.status, error.description)


def _oauth_error(error: str, status: int, description: str = "") -> web.Response:
    body = {"error": error, **({"error_description": description} if description else {})}
    return json_response(body, status=status, headers=(*NEVER_CACHED, ("x-should-retry", "false")))
