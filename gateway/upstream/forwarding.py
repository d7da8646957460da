"""Headers of clients that an upstream gets, by the names that the operator lists for it."""

from typing import Final

Headers = tuple[tuple[str, str], ...]

# They are the gateway's own, belong to one connection, or are a credential of the client's for this gateway.
NEVER_FORWARDED: Final = frozenset(
    {
        *("accept-encoding", "api-key", "authorization", "connection", "content-length", "content-type", "cookie"),
        *("expect", "host", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"),
        "x-api-key",
    }
)


def with_forwarded(headers: Headers, forwarded: Headers, names: tuple[str, ...]) -> Headers:
    """Return the headers with those of the client's that are listed; one of the gateway's own stays as it is."""
    own = {name.lower() for name, _ in headers}
    return (*headers, *((name, value) for name, value in forwarded if name in names and name not in own))
