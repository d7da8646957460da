"""Address of the client behind a request. `x-forwarded-for` counts only as far as trusted proxies have written it."""

from aiohttp import web

from gateway.access.networks import is_within

TRUSTED_PROXIES: web.AppKey[tuple[str, ...]] = web.AppKey("trusted_proxies")


def address_of(request: web.Request) -> str:
    """Return the address that the first trusted proxy has seen, else the peer's; empty on a Unix socket."""
    trusted, address = request.app.get(TRUSTED_PROXIES, ()), request.remote or ""
    if not trusted:
        return address
    seen = [one.strip() for line in request.headers.getall("x-forwarded-for", ()) for one in line.split(",")]
    while seen and is_within(address, trusted):
        address = seen.pop()
    return address
