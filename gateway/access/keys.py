"""Client keys of the configuration. Only their digests are kept in memory.

A key is looked up by its digest, so neither memory nor timing reveals how close a guess was.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gateway.access.model_groups import ModelGroups
from gateway.access.records import Allowance, KeyRecord
from gateway.errors import Unauthenticated

# Anthropic's words, which clients match on.
INVALID = "invalid x-api-key"
MISSING = "x-api-key header is required"


@dataclass(frozen=True, slots=True)
class Client:
    """Sender of a request. `key_id` is safe to log. `user`: holder of the key, if known.

    `valid_until`: Unix seconds at which the sent value expires, for the old value of a rotated key.
    """

    tenant: str
    key_id: str
    user: str = ""
    valid_until: int | None = None


ANONYMOUS = Client("default", "")


@dataclass(frozen=True, slots=True)
class FileAccess:
    """Keys and limits of the configuration file.

    `keys`: record, key, and SHA-256 of the key in hex; one of the last two is empty. `allowances`: limits by scope.
    `rules`: records of identity rules. `model_groups`: patterns of models by group name.
    """

    keys: tuple[tuple[KeyRecord, str, str], ...] = field(default=(), repr=False)
    allowances: Mapping[str, Allowance] = field(default_factory=dict)
    rules: tuple[KeyRecord, ...] = ()
    model_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


NO_FILE = FileAccess()


class Pepper:
    """Keyed digests of client keys. Without the secret, a list of digests cannot be tested against guesses."""

    def __init__(self, secret: bytes) -> None:
        pepper_key = hashlib.blake2b(secret).digest()  # a hash's key has a maximum length
        self._hasher = hashlib.blake2b(key=pepper_key, digest_size=32)

    def digest(self, key: str) -> bytes:
        state = self._hasher.copy()
        state.update(key.encode("utf-8", "surrogateescape"))
        return state.digest()


class ClientKeys:
    """The configured keys. `keys`: tenant and key, None to admit every client. `file`: those of gateway.toml."""

    def __init__(self, keys: Iterable[tuple[str, str]] | None, secret: bytes, file: FileAccess = NO_FILE) -> None:
        self.pepper = Pepper(secret)
        self.allowances = file.allowances
        self.model_groups = ModelGroups(file.model_groups)
        self.records: dict[str, KeyRecord] = {record.id: record for record in file.rules}
        self._clients: dict[bytes, Client] | None = None
        self._hashed: dict[str, Client] = {}  # separate, or the SHA-256 of a key would be accepted as a key
        if keys is None:
            return
        self._clients = {self.pepper.digest(key): _client(tenant, key, secret) for tenant, key in keys}
        for record, key, digest in file.keys:
            self.records[record.id] = record
            client = Client(record.tenant, record.id, record.user)
            self._hashed[hashed_name(self.pepper, digest or sha256_of(key))] = client

    @property
    def tenants(self) -> frozenset[str]:
        return frozenset(client.tenant for client in (*self.clients, *self._hashed.values()))

    @cached_property
    def has_limits(self) -> bool:
        several = (*self.allowances.values(), *(record.allowance for record in self.records.values()))
        return any(not one.is_empty for one in several)

    @cached_property
    def restricts_addresses(self) -> bool:
        return any(record.addresses for record in self.records.values())

    @property
    def clients(self) -> tuple[Client, ...]:
        """The clients of the keys in GATEWAY_KEYS, in their order."""
        return tuple((self._clients or {}).values())

    @property
    def file_records(self) -> tuple[KeyRecord, ...]:
        """The keys of gateway.toml, in their order, without identity rules."""
        return tuple(record for record in self.records.values() if not record.per_user)

    @property
    def admits_everyone(self) -> bool:
        return self._clients is None

    def authenticate(self, api_key: str | None, authorization: str | None) -> Client:
        """Return the client of the credentials; `x-api-key` wins over a bearer token. Raises Unauthenticated."""
        if self._clients is None:
            return ANONYMOUS
        client = self.find(to_key(api_key, authorization))
        if client is None:
            raise Unauthenticated(INVALID, should_retry=False)
        return client

    def find(self, key: str) -> Client | None:
        if self._clients is None:
            return None
        client = self._clients.get(self.pepper.digest(key))
        if client is None and self._hashed:
            client = self._hashed.get(hashed_name(self.pepper, sha256_of(key)))
        return client


def sha256_of(key: str) -> str:
    """Return the form in which other gateways, such as LiteLLM, store their keys."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def hashed_name(pepper: Pepper, sha256: str) -> str:
    """Return the name under which a key is found by its SHA-256."""
    return f"sha256:{pepper.digest(sha256).hex()}"


def to_key(api_key: str | None, authorization: str | None) -> str:
    """Return the key that a request carries. Raises Unauthenticated if there is none."""
    key = api_key or bearer_token(authorization)
    if not key:
        raise Unauthenticated(MISSING, should_retry=False)
    return key


def bearer_token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _client(tenant: str, key: str, pepper: bytes) -> Client:
    return Client(tenant, hashlib.sha256(pepper + key.encode()).hexdigest()[:8])
