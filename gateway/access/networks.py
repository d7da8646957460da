"""Networks of IP addresses, for keys that are restricted to addresses and for lists of proxies. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


def check_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the networks in canonical form. Raises ValueError for text that is neither an address nor a network."""
    try:
        return tuple(str(ip_network(text)) for text in texts)
    except ValueError:
        raise ValueError("expected addresses or networks, such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32") from None


def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Return True if an address is in one of the networks; False for text that is not an address."""
    found = _parsed(address)
    return found is not None and any(found in network for network in _networks(networks))


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """Parse an address. An IPv4-mapped IPv6 address, as a dual-stack socket reports it, becomes an IPv4 address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


@lru_cache(maxsize=1024)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, texts))
