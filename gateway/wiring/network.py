"""Build the client of upstreams, and the guard of listeners' connections, from settings."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from gateway.process.descriptors import descriptor_limit
from gateway.process.http_guard import Guard
from gateway.settings import Settings
from gateway.upstream.http.client import UpstreamClient
from gateway.upstream.http.http_client import Transport
from gateway.upstream.http.proxy_client import AiohttpClient


def build_client(settings: Settings, connections: int) -> UpstreamClient:
    """Build the fast client, or one that supports proxies if the environment names an HTTP proxy for the upstream."""
    urls = [one.base(name) for name, one in settings.upstreams.items()] or [settings.base_url]
    # A proxy for one upstream decides for all: one client keeps the pool, the bounds and the metrics in one place.
    addresses = [urlsplit(url) for url in urls]
    proxied = any(one.scheme in getproxies() and not proxy_bypass(one.hostname or "") for one in addresses)
    make = AiohttpClient if proxied else Transport
    return make(max_connections=connections)


def to_guard(settings: Settings) -> Guard:
    """Return the connection limits of every listener."""
    per_address = settings.connections_per_address
    return Guard(
        stalled_seconds=settings.stalled_client_timeout,
        # Half of the descriptors: one address can then never take all of them from the others.
        per_address=descriptor_limit() // 2 if per_address is None else per_address,
    )
