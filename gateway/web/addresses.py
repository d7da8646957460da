"""Address of the client behind a request. `x-forwarded-for` counts only as far as trusted proxies have written it."""

from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final

from aiohttp import web

from gateway.access.networks import is_within

TRUSTED_PROXIES: web.AppKey[tuple[str, ...]] = web.AppKey("trusted_proxies")
# A provider gives each customer at least this much of IPv6.
IPV6_NETWORK: Final = 64


def address_of(request: web.Request) -> str:
    """Return the address that the first trusted proxy has seen, else the peer's; empty on a Unix socket."""
    trusted, address = request.app.get(TRUSTED_PROXIES, ()), request.remote or ""
    if not trusted:
        return address
    seen = [one.strip() for line in request.headers.getall("x-forwarded-for", ()) for one in line.split(",")]
    while seen and is_within(address, trusted):
        address = seen.pop()
    return address


def network_of(address: str | None) -> str:
    """Return the address, of IPv6 its network, as text; empty for none, as on a Unix socket."""
    try:
        known = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(known, IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ip_network((known, IPV6_NETWORK), strict=False))
