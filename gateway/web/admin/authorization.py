"""Authorization on the admin listener: every route has a role, and a route without one is refused.

A caller shows a key in a header, as scripts do, or the cookie of a console session. Browsers send cookies with requests
that other sites make, so a session counts only under a known host name and, for changes, from a page of this origin.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.access.directory import Directory
from gateway.access.identity.identity import looks_like_token
from gateway.access.key_text import to_key_id
from gateway.access.keys import bearer_token
from gateway.access.records import ROLES as ROLE_NAMES
from gateway.errors import InvalidRequest, PermissionDenied, Unauthenticated
from gateway.settings import Settings
from gateway.web.addresses import address_of
from gateway.web.admin.sessions import Sessions
from gateway.web.admin.wrong_keys import WrongAdminKeys
from gateway.web.auth import REQUEST_ID
from gateway.web.browsers import authority_of, host_of, is_local

log = structlog.get_logger()

Role = Literal["open", "viewer", "operator", "lead", "admin"]
# A lead has routes of its own, for one tenant.
RANKS: Final[Mapping[Role, int]] = {"open": 0, "viewer": 1, "operator": 2, "admin": 3}
READING: Final = frozenset({"GET", "HEAD"})

NO_KEY: Final = "This needs an admin key, and the gateway has none: set GATEWAY_ADMIN_KEY."
SIGNED_OUT: Final = "invalid admin key: send one as x-api-key, or sign in on the console"
FOREIGN_HOST: Final = (
    "host: the console is served under this machine's names only. Name the others in GATEWAY_CONSOLE_HOSTS."
)
FOREIGN_PAGE: Final = "origin: changes are accepted from the console's own pages only."


@dataclass(frozen=True, slots=True)
class AdminKeys:
    """`admin` may do everything, `viewer` read everything. An empty key counts as none: it would equal a missing one.

    `hosts`: names under which the console is reached, beside this machine's.
    """

    admin: str = field(default="", repr=False)
    viewer: str = field(default="", repr=False)
    hosts: frozenset[str] = frozenset()

    def role_of(self, key: str) -> Role | None:
        roles: tuple[tuple[Role, str], ...] = (("admin", self.admin), ("viewer", self.viewer))
        given = key.encode("utf-8", "surrogateescape")
        # Both are compared each time, so that the time taken shows nothing.
        found = [role for role, known in roles if hmac.compare_digest(given, known.encode()) and known]
        return found[0] if found else None

    def key_of(self, role: str) -> str:
        return {"admin": self.admin, "viewer": self.viewer}.get(role, "")


def to_admin_keys(settings: Settings) -> AdminKeys:
    admin, viewer = (
        "" if key is None else key.get_secret_value() for key in (settings.admin_key, settings.admin_view_key)
    )
    return AdminKeys(admin, viewer, frozenset(host.lower() for host in settings.console_hosts))


@dataclass(frozen=True, slots=True)
class Caller:
    """Sender of an admin request. `session`: the cookie's value, empty for a key in a header. `kind` and `name`: of a
    made key or a person, for the audit record. `tenant`: of a lead, empty for other roles."""

    role: Role
    session: str = field(default="", repr=False)
    kind: str = "admin_key"
    name: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class OtherCallers:
    """Callers beside the configured keys: keys made with a role, and tokens with a role by `[identity]`."""

    directory: Directory | None = None

    async def find(self, given: str, address: str) -> Caller | None:
        """Return the caller. Raises Unauthenticated or PermissionDenied for a key or token that is refused."""
        if self.directory is None:
            return None
        store, identity = self.directory.store, self.directory.identity
        if identity is not None and looks_like_token(given):
            person = await identity.person_of(given)
            role = person.rule.role
            if not role or (store is not None and (await store.allowance(f"user:{person.user}")).blocked):
                raise PermissionDenied("This token has no role on the admin listener.", should_retry=False)
            return _caller(role, "user", person.user, person.rule.tenant)
        if store is None or to_key_id(given) is None:
            return None
        digest = store.pepper.digest(given).hex()
        record, _ = await store.find("", digest)
        if record is None or record.role not in ROLE_NAMES or not record.is_valid(digest, store.clock()):
            return None
        if not record.allows_address(address):
            raise PermissionDenied(f"Key {record.name} may not be used from this address.", should_retry=False)
        return _caller(record.role, "key", record.id, record.tenant)


def _caller(role: str, kind: str, name: str, tenant: str) -> Caller:
    return Caller(cast(Role, role), kind=kind, name=name, tenant=tenant if role == "lead" else "")


OTHER_CALLERS = web.AppKey("other_callers", OtherCallers)
ADMIN_KEYS = web.AppKey("admin_keys", AdminKeys)
ROLES: web.AppKey[Mapping[tuple[str, str], Role]] = web.AppKey("roles")
LEAD_ROUTES: web.AppKey[frozenset[tuple[str, str]]] = web.AppKey("lead_routes")
SESSIONS = web.AppKey("sessions", Sessions)
WRONG_ADMIN_KEYS = web.AppKey("wrong_admin_keys", WrongAdminKeys)
CALLER = web.RequestKey("caller", Caller)
# A change that a handler has made, for the log: what it was before and after.
CHANGE: web.RequestKey[Mapping[str, Any]] = web.RequestKey("change")


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the caller. Raises Unauthenticated, or PermissionDenied for a role that may not do this.

    An unknown path stays a 404 and a wrong method a 405.
    """
    if request.match_info.http_exception is not None:
        return await handler(request)
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    route = method, "" if resource is None else resource.canonical
    needed = request.app[ROLES].get(route)
    if needed is None:
        raise PermissionDenied("No role is declared for this route.")
    if needed == "open":
        return await handler(request)
    caller = request[CALLER] = await identify(request)
    if caller.role == "lead":
        if route not in request.app[LEAD_ROUTES]:
            raise PermissionDenied("A lead manages the keys of its tenant; this needs another role.")
    elif RANKS[caller.role] < RANKS[needed]:
        missing = "" if request.app[ADMIN_KEYS].admin else f" {NO_KEY}"
        raise PermissionDenied(f"This needs the role {needed}; this key has the role {caller.role}.{missing}")
    response = await handler(request)
    if method not in READING:
        log_action(request, caller)
    return response


def log_action(request: web.Request, caller: Caller) -> None:
    """Log a change that has been made: who, what, and what it was before and after where the handler says so."""
    log.info(
        "admin_action",
        role=caller.role,
        by="console" if caller.session else "key",
        remote=address_of(request),
        request_id=request[REQUEST_ID],
        action=f"{request.method} {request.match_info.route.resource.canonical}",  # type: ignore[union-attr]
        target=next(iter(request.match_info.values()), ""),
        **request.get(CHANGE, {}),
    )


async def identify(request: web.Request) -> Caller:
    """Return the caller. Raises PermissionDenied where no key is configured or a session is misused, RateLimited for an
    address that has sent too many wrong keys, else Unauthenticated."""
    keys = request.app[ADMIN_KEYS]
    given = request.headers.get("x-api-key") or bearer_token(request.headers.get("authorization"))
    if given:
        return await _caller_with(request, given)
    if not (keys.admin or keys.viewer):
        raise PermissionDenied(NO_KEY)
    if "cookie" not in request.headers:
        raise Unauthenticated(SIGNED_OUT, should_retry=False)
    check_page(request)
    token = request.cookies.get(cookie_name(request), "")
    role = await request.app[SESSIONS].role_of(token, keys.key_of) if token else None
    if role is None:
        raise Unauthenticated(SIGNED_OUT, should_retry=False)
    return Caller("admin" if role == "admin" else "viewer", token)


async def _caller_with(request: web.Request, given: str) -> Caller:
    keys, wrong, address = request.app[ADMIN_KEYS], request.app[WRONG_ADMIN_KEYS], address_of(request)
    wrong.check(address)
    by_key = keys.role_of(given)
    if by_key is not None:
        return Caller(by_key)
    try:
        found = await request.app[OTHER_CALLERS].find(given, address)
    except Unauthenticated:
        wrong.add(address)
        raise
    if found is not None:
        return found
    wrong.add(address)
    if not (keys.admin or keys.viewer):
        raise PermissionDenied(NO_KEY)
    raise Unauthenticated("invalid admin key", should_retry=False)


def check_page(request: web.Request) -> None:
    """Raises PermissionDenied for a request that a page of another site may have caused, InvalidRequest for a form."""
    host = host_of(f"//{request.headers.get('host', '')}")
    if not is_local(host) and host not in request.app[ADMIN_KEYS].hosts:
        raise PermissionDenied(FOREIGN_HOST)
    if request.method in READING:
        return
    origin = request.headers.get("origin")
    is_own_origin = origin is None or authority_of(origin) == request.headers["host"]
    if request.headers.get("sec-fetch-site") != "same-origin" or not is_own_origin:
        raise PermissionDenied(FOREIGN_PAGE)
    if request.content_type != "application/json":
        raise InvalidRequest("content-type: must be application/json")


def cookie_name(request: web.Request) -> str:
    """Browsers accept `__Host-` cookies over TLS only, which a loopback address does not need."""
    return "dragoman-session" if is_loopback_host(request) else "__Host-dragoman-session"


def is_loopback_host(request: web.Request) -> bool:
    host = host_of(f"//{request.headers.get('host', '')}")
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")
