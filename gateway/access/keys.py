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
    """Sender of a request: `key_id` is safe to log, the key itself is not stored. `user`: whose key it is, if known."""

    tenant: str
    key_id: str
    user: str = ""


ANONYMOUS = Client("default", "")


class Pepper:
    """Makes the digests under which keys are known. They are keyed: a list of them cannot be tried against guesses."""

    def __init__(self, secret: bytes) -> None:
        pepper_key = hashlib.blake2b(secret).digest()  # of the length that a hash's key may have
        self._hasher = hashlib.blake2b(key=pepper_key, digest_size=32)

    def digest(self, key: str) -> bytes:
        state = self._hasher.copy()
        state.update(key.encode("utf-8", "surrogateescape"))
        return state.digest()


class ClientKeys:
    """The configured keys; None instead of a list means that every client is let in."""

    def __init__(self, keys: Iterable[tuple[str, str]] | None, secret: bytes) -> None:
        self.pepper = Pepper(secret)
        self._clients: dict[bytes, Client] | None = None
        if keys is not None:
            self._clients = {self.pepper.digest(key): _client(tenant, key, secret) for tenant, key in keys}

    @property
    def clients(self) -> tuple[Client, ...]:
        return tuple((self._clients or {}).values())

    @property
    def lets_everybody_in(self) -> bool:
        return self._clients is None

    def authenticate(self, api_key: str | None, authorization: str | None) -> Client:
        """The client behind the credentials; `x-api-key` wins over a bearer token. Raises Unauthenticated."""
        if self._clients is None:
            return ANONYMOUS
        client = self.find(to_key(api_key, authorization))
        if client is None:
            raise Unauthenticated(INVALID, should_retry=False)
        return client

    def find(self, key: str) -> Client | None:
        return None if self._clients is None else self._clients.get(self.pepper.digest(key))


def to_key(api_key: str | None, authorization: str | None) -> str:
    """Raises Unauthenticated if there is none."""
    key = api_key or bearer_token(authorization)
    if not key:
        raise Unauthenticated(MISSING, should_retry=False)
    return key


def bearer_token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _client(tenant: str, key: str, pepper: bytes) -> Client:
    return Client(tenant, hashlib.sha256(pepper + key.encode()).hexdigest()[:8])
