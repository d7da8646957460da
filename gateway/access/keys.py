"""Client keys from the configuration. Only their digests are held; every comparison takes the same time.

A key is looked up by the digest of the client's value, so neither memory nor timing reveals how close a guess was.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import Unauthenticated

INVALID = "invalid x-api-key"
MISSING = "x-api-key header is required"


@dataclass(frozen=True, slots=True)
class Client:
    """Sender of a request: `key_id` is safe to log, the key itself is not stored."""

    tenant: str
    key_id: str


ANONYMOUS = Client("default", "")


class ClientKeys:
    """The keys that are valid; None instead of a list means that every client is let in."""

    def __init__(self, keys: Iterable[tuple[str, str]] | None, pepper: bytes) -> None:
        seasoning = hashlib.blake2b(pepper).digest()  # of the length that a hash's key may have
        self._seasoned = hashlib.blake2b(key=seasoning, digest_size=32)
        self._clients: dict[bytes, Client] | None = None
        if keys is not None:
            self._clients = {self._digest(key): _client(tenant, key, pepper) for tenant, key in keys}

    def authenticate(self, api_key: str | None, authorization: str | None) -> Client:
        """The client behind the credentials; `x-api-key` wins over a bearer token. Raises Unauthenticated."""
        if self._clients is None:
            return ANONYMOUS
        key = api_key or bearer_token(authorization)
        if not key:
            raise Unauthenticated(MISSING, should_retry=False)
        client = self._clients.get(self._digest(key))
        if client is None:
            raise Unauthenticated(INVALID, should_retry=False)
        return client

    def _digest(self, key: str) -> bytes:
        state = self._seasoned.copy()
        state.update(key.encode("utf-8", "surrogateescape"))
        return state.digest()


def bearer_token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _client(tenant: str, key: str, pepper: bytes) -> Client:
    return Client(tenant, hashlib.sha256(pepper + key.encode()).hexdigest()[:8])
