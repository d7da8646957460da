"""Protection of a gateway without keys on the loopback from pages that the user's browser has open.

Any page may send a simple POST to 127.0.0.1, and a name of the page's own may be made to mean 127.0.0.1 (DNS
rebinding), which lets it read the replies too. So a request without a key must name this machine in its `Host`, and
its `Origin`, if it has one, must be a page of this machine or a listed one. Clients other than browsers send no Origin.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.errors import PermissionDenied
from gateway.web.app_keys import OPEN
from gateway.web.cors import ANY

# How containers reach the loopback of their host (documentation of Docker Desktop and Podman, 2026-11).
CONTAINER_HOSTS: Final = frozenset({"host.docker.internal", "host.containers.internal"})

FOREIGN_HOST: Final = (
    "host: this gateway takes requests without a key, and only under this machine's names. Use its address, set "
    "GATEWAY_PUBLIC_URL, or give clients keys."
)
FOREIGN_PAGE: Final = (
    "origin: this gateway takes requests without a key, and none from pages of other sites. List the origin in "
    "GATEWAY_CORS_ORIGINS, or give clients keys."
)


def refuse_foreign_pages(app: web.Application, origins: Iterable[str], public_url: str) -> None:
    """`origins` are allowed beside those of this machine, as is the host of `public_url`."""
    allowed = frozenset(origins)
    hosts = CONTAINER_HOSTS | {host_of(public_url)}

    def is_foreign_host(value: str | None) -> bool:
        host = host_of(f"//{value}")
        return value is not None and not is_local(host) and host not in hosts

    def is_foreign_page(origin: str | None) -> bool:
        if origin is None or ANY in allowed or origin.lower() in allowed:
            return False
        host = host_of(origin)
        return not is_local(host) or is_on_the_internet(host)

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in request.app[OPEN] and request.match_info.http_exception is None:
            if is_foreign_host(request.headers.get("host")):
                raise PermissionDenied(FOREIGN_HOST)
            if is_foreign_page(request.headers.get("origin")):
                raise PermissionDenied(FOREIGN_PAGE)
        return await handler(request)

    app.middlewares.append(refuse)


def is_local(host: str) -> bool:
    """Return True for what no page's owner can make mean another machine: an address, or a name without a dot."""
    name = host.removesuffix(".")
    if name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        # A name without a dot cannot be registered by others: it is of this machine or its network.
        return name != "" and "." not in name
    return True


def is_on_the_internet(host: str) -> bool:
    """Return True for an address that is reachable from everywhere: any site may serve its pages under its own."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Return the host name in lower case, empty for none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def authority_of(url: str) -> str:
    """Return host and port as a URL has them, empty for none."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
