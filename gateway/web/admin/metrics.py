"""The admin listener: what operators and Prometheus see. Loopback by default.

Reading metrics needs no key. What changes something, or tells about tenants, needs the admin key, and is refused to
everybody where none is configured: whoever can reach the port, a page in a browser included, is not an operator yet.
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
    if not expected:  # an empty key would equal the one that nobody sends
        raise PermissionDenied("This needs an admin key, and the gateway has none: set GATEWAY_ADMIN_KEY.")
    given = request.headers.get("x-api-key") or bearer_token(request.headers.get("authorization"))
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise Unauthenticated("invalid admin key", should_retry=False)
