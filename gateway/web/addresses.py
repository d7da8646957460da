"""Address of the client behind a request. `x-forwarded-for` counts only as far as trusted proxies have written it."""

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final, TypeVar

from aiohttp import web

from gateway.access.networks import is_within

TRUSTED_PROXIES: web.AppKey[tuple[str, ...]] = web.AppKey("trusted_proxies")
# A provider gives each customer at least this much of IPv6.
IPV6_NETWORK: Final = 64
# Networks that a limit knows at once.
MAX_ADDRESSES: Final = 10_000

Value = TypeVar("Value")


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


def keep(by_network: dict[str, Value], network: str, value: Value, is_over: Callable[[Value], bool]) -> None:
    """Set the value of a network as the latest one. The oldest give way where they are over, or too many."""
    by_network.pop(network, None)
    by_network[network] = value
    oldest = next(iter(by_network))
    while len(by_network) > MAX_ADDRESSES or is_over(by_network[oldest]):
        del by_network[oldest]
        oldest = next(iter(by_network))
