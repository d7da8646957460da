"""Headers of clients that an upstream gets, by the names that the operator lists for it."""

import re
from typing import Final

Headers = tuple[tuple[str, str], ...]

# The upstream client sets them.
OWN_HEADERS: Final = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})
# They are the gateway's own, belong to one connection, or are a credential of the client's for this gateway.
NEVER_FORWARDED: Final = frozenset(
    {
        *OWN_HEADERS,
        *("api-key", "authorization", "content-type", "cookie", "expect", "keep-alive", "proxy-authorization"),
        *("te", "trailer", "upgrade", "x-api-key"),
    }
)

# Values that a header can hold: Latin-1 without control characters. Others are a client's fault, and left out.
SENDABLE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def with_forwarded(headers: Headers, forwarded: Headers, names: tuple[str, ...]) -> Headers:
    """Return the headers with those of the client's that are listed; one of the gateway's own stays as it is."""
    own = {name.lower() for name, _ in headers}
    chosen = [
        (name, value)
        for name, value in forwarded
        if name in names and name not in own and SENDABLE.fullmatch(value) is not None
    ]
    return (*headers, *chosen)
