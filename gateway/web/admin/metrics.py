"""The admin listener, for operators and Prometheus. Loopback by default.

Reading metrics needs no key. Requests that change something, or show tenants, need the admin key, and are
always refused where none is configured: reaching the port, as a page in a browser can, makes no operator.
"""

import hmac

from aiohttp import web

from gateway.access.keys import bearer_token
from gateway.errors import PermissionDenied, Unauthenticated
from gateway.telemetry.metrics import CONTENT_TYPE
from gateway.web.keys import ADMIN_KEY, METRICS


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[METRICS](), headers={"content-type": CONTENT_TYPE})


def require_admin(request: web.Request) -> None:
    """Raises PermissionDenied where there is no admin key, Unauthenticated for a wrong one."""
    expected = request.app[ADMIN_KEY]
    if not expected:  # an empty key would equal a missing one
        raise PermissionDenied("This needs an admin key, and the gateway has none: set GATEWAY_ADMIN_KEY.")
    given = request.headers.get("x-api-key") or bearer_token(request.headers.get("authorization"))
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise Unauthenticated("invalid admin key", should_retry=False)
