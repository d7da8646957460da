"""Forms of Redis URLs, and checks for mistakes that would otherwise show as a wrong host or a traceback.

A password that is not percent-encoded changes the rest of the address: after a `#` or `?` the rest would be a fragment
or a query, and the gateway would connect to localhost. No message repeats the URL.
"""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

EMBEDDED: Final = "embedded"
# Ours: redis-py has a class for Cluster and no scheme. `redis+cluster://host:port` names any node; the others are found
# through it.
CLUSTER_SUFFIX: Final = "+cluster"
SCHEMES: Final = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")

# Others would change what the gateway relies on: time-outs, the protocol, the form of replies.
OPTIONS: Final = frozenset({"client_name", "db", "health_check_interval", "password", "socket_keepalive", "username"})
TLS_OPTIONS: Final = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
    }
)
ENCODE: Final = "percent-encode the password: @ : / ? # [ ] % as %40 %3A %2F %3F %23 %5B %5D %25"


def check_url(url: str) -> str:
    """Return the URL. Raises ValueError, without repeating any part of it, if it cannot lead to a server."""
    if url == EMBEDDED:
        return url
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in SCHEMES:
        raise ValueError(
            "expected 'embedded', or an address that starts with redis://, rediss://, redis+cluster://, "
            "rediss+cluster:// or unix://"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"its host and port cannot be read; {ENCODE}") from None
    if parts.fragment or (scheme != "unix" and (not parts.hostname or port == 0)):
        raise ValueError(f"its host and port cannot be read; {ENCODE}")
    if scheme == "unix" and not parts.path.strip("/"):
        raise ValueError("expected the path of a socket, as in unix:///run/redis.sock")
    if scheme != "unix" and not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path):
        raise ValueError(f"behind host and port, expected the number of a database; {ENCODE}")
    if scheme.endswith(CLUSTER_SUFFIX) and parts.path.strip("/0"):
        raise ValueError("a Cluster has no database but 0")
    names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    allowed = OPTIONS | TLS_OPTIONS if scheme.startswith("rediss") else OPTIONS
    if not names <= allowed:
        raise ValueError(f"expected no options but {', '.join(sorted(allowed))}; {ENCODE}")
    try:
        ConnectionPool.from_url(url.replace(CLUSTER_SUFFIX, "", 1)).make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RedisError):
        raise ValueError(f"the value of an option cannot be used: {', '.join(sorted(names))}") from None
    return url
