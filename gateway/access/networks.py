"""Networks of IP addresses, as keys are restricted to and proxies are listed by. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


def check_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the networks in their usual form. Raises ValueError for text that is neither an address nor a network."""
    try:
        return tuple(str(ip_network(text)) for text in texts)
    except ValueError:
        raise ValueError("expected addresses or networks, such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32") from None


def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Return whether an address is in one of the networks; text that is no address is in none."""
    found = _parsed(address)
    return found is not None and any(found in network for network in _networks(networks))


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """Return an IPv4 address as such, also from a socket for both."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


@lru_cache(maxsize=1024)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, texts))
