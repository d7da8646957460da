"""Authentication as a middleware: every request but a probe gets a context, or is refused, before its handler runs.

A handler reads `request[CONTEXT]`. One that forgets is still closed: what is open is listed here.
"""

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.access.keys import INVALID, Client
from gateway.context import Context
from gateway.errors import InvalidRequest, Unauthenticated
from gateway.json_values import to_time
from gateway.upstream.routes.table import RoutingTable
from gateway.web.addresses import address_of
from gateway.web.app_keys import DIRECTORY, EXCHANGE, OPEN
from gateway.web.reply import MORE_LINES, MessageReply
from gateway.web.wrong_keys import WRONG_CLIENT_KEYS

DEFAULT_VERSION = "2023-06-01"
VERSIONS = frozenset({DEFAULT_VERSION, "2026-10-21"})
# Clients send a handful; all of them are part of the cache key and of forwarded headers.
MAX_BETAS = 100
NO_BETAS: frozenset[str] = frozenset()
# Ids of other parties are logged, never used as keys: short, and without anything that could break a line.
FOREIGN_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,256}")

# This gateway's key, for clients with an upstream's key in their other headers.
GATEWAY_KEY = "x-gateway-key"
CREDENTIALS = ("authorization", "x-api-key", "api-key")

# Of a conversation: anybody's, Claude Code's, Codex' (0.171.0), opencode's (1.18.33).
SESSION_HEADERS = ("x-session-id", "x-claude-code-session-id", "session-id", "x-session-affinity")

# Answered without a key: load balancers and Claude Code's connectivity check send none.
PROBES = ("/", "/api/hello", "/livez", "/readyz")
# Of a sign-in, which is how a client gets its credentials.
SIGN_IN_PATHS = (
    "/.well-known/oauth-authorization-server",
    "/.well-known/opencode",
    "/device",
    "/device/deny",
    "/oauth/callback",
    "/oauth/device_authorization",
    "/oauth/revoke",
    "/oauth/token",
    "/v1/oauth/token",
)
OPEN_PATHS = frozenset({*PROBES, *SIGN_IN_PATHS})

KEY_EXPIRES_HEADER: Final = "x-gateway-key-expires"

KEY_EXPIRES = web.RequestKey("key_expires", str)
REQUEST_ID = web.RequestKey("request_id", str)
CONTEXT = web.RequestKey("context", Context)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the context. Raises Unauthenticated for missing or wrong keys, PermissionDenied for a key elsewhere.

    An unknown path stays a 404 and a wrong method a 405, with or without a key.
    """
    app = request.app
    if request.path not in app[OPEN] and request.match_info.http_exception is None:
        headers = request.headers
        own = headers.get(GATEWAY_KEY)
        key = own or headers.get("x-api-key") or headers.get("api-key")
        directory = app[DIRECTORY]
        authorization = None if own else headers.get("authorization")
        client = directory.find_cached(key, authorization) or await look_up(request, key, authorization)
        if directory.restricts_addresses:
            directory.check_address(client.key_id, address_of(request))
        request[CONTEXT] = to_context(request, client, app[EXCHANGE].table)
        if client.valid_until is not None:
            return await answer_old_value(request, handler, client.valid_until)
    return await handler(request)


async def look_up(request: web.Request, key: str | None, authorization: str | None) -> Client:
    """Return the client of a key that is not at hand. After too many wrong ones, its address has none looked up."""
    wrong = request.app[WRONG_CLIENT_KEYS]

    def may_look_up() -> bool:
        return not wrong or not wrong.is_over(address_of(request))

    try:
        return await request.app[DIRECTORY].authenticate(key, authorization, may_look_up=may_look_up)
    except Unauthenticated as error:
        if error.message == INVALID:  # a missing key is no guess
            wrong.note(address_of(request))
        raise


async def answer_old_value(request: web.Request, handler: Handler, valid_until: int) -> web.StreamResponse:
    """Name the end of a rotated key's old value on the reply."""
    ends = to_time(valid_until)
    request[KEY_EXPIRES] = ends
    request[MORE_LINES] = f"{KEY_EXPIRES_HEADER}: {ends}\r\n{request.get(MORE_LINES, '')}"
    response = await handler(request)
    if isinstance(response, MessageReply):
        response.add_lines(f"{KEY_EXPIRES_HEADER}: {ends}\r\n")
    return response


async def show_key_expiry(request: web.Request, response: web.StreamResponse) -> None:
    """Signal of replies that aiohttp prepares, errors among them."""
    if KEY_EXPIRES in request:
        response.headers[KEY_EXPIRES_HEADER] = request[KEY_EXPIRES]


def to_context(request: web.Request, client: Client, table: RoutingTable) -> Context:
    """Raises InvalidRequest for an API version that does not exist."""
    headers = request.headers
    version = headers.get("anthropic-version", DEFAULT_VERSION)
    if version not in VERSIONS:
        raise InvalidRequest(
            f"anthropic-version: {version[:40]!r} is not a valid version; use one of {sorted(VERSIONS)}."
        )
    names = table.forward_headers
    # Without the header for this gateway's key, those for keys hold that one: it is never passed on.
    has_own = table.takes_client_keys and (GATEWAY_KEY in headers or not client.key_id)
    return Context(
        credentials=tuple((name, headers[name]) for name in CREDENTIALS if name in headers) if has_own else (),
        forwarded=tuple((name, headers[name]) for name in names if name in headers) if names else (),
        request_id=request[REQUEST_ID],
        tenant=client.tenant,
        key_id=client.key_id,
        user=client.user,
        api_version=version,
        betas=parse_betas(headers.getall("anthropic-beta", ())),
        trace_parent=_foreign_id(headers.get("traceparent")),
        session_id=_session_of(headers),
        agent_id=_foreign_id(headers.get("x-claude-code-agent-id")),
        parent_agent_id=_foreign_id(headers.get("x-claude-code-parent-agent-id")),
    )


def parse_betas(values: list[str] | tuple[str, ...]) -> frozenset[str]:
    """A repeated header and a comma list are the same; unknown betas are accepted: clients send new ones first."""
    if not values:
        return NO_BETAS
    names = [name.strip() for value in values for name in value.split(",")]
    return frozenset([name for name in names if name][:MAX_BETAS])


def _session_of(headers: Mapping[str, str]) -> str | None:
    for name in SESSION_HEADERS:
        if name in headers:
            return _foreign_id(headers[name])
    return None


def _foreign_id(value: str | None) -> str | None:
    return value if value is not None and FOREIGN_ID.fullmatch(value) else None
