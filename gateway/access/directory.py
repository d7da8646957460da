"""The directory of clients: configured and stored keys, and the limits of every scope, as this process knows them.

Stored keys are held here and brought up to date every second by the epoch of the last change; a key that is not known
yet is looked up once. A key with a limit or a budget is checked against Redis with each request (`admission`), so a
change of it counts from the next request on. In an outage of Redis the held keys are valid for SNAPSHOT_SECONDS; after
that, and for keys that are not held, the answer is 503: an outage never makes a valid key a 401.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.access.identity.identity import Identity, looks_like_token
from gateway.access.key_text import to_key_id
from gateway.access.keys import INVALID, Client, ClientKeys, hashed_name, sha256_of, to_key
from gateway.access.records import DEPLOYMENT, Allowance, KeyRecord
from gateway.access.store import KEY, SCOPE, AccessStore, Changes
from gateway.context import Context
from gateway.errors import Overloaded, PermissionDenied, StoreAway, Unauthenticated, Unavailable
from gateway.redis.silence import SilenceLimit

# A revoked key is refused everywhere after this time: one small read of Redis a second and process.
REFRESH_SECONDS = 1.0
# Long enough for a failover or an upgrade of Redis; a key revoked meanwhile stops working after this.
SNAPSHOT_SECONDS = 900.0
# Digests that Redis does not know, so that a wrong key in a loop costs one look a few seconds.
UNKNOWN_SECONDS = 5.0
MAX_UNKNOWN = 10_000
# Clients whose limits are kept at hand, 1 kB each.
MAX_CLIENTS = 10_000
STALE = "The gateway cannot check this key now: its store is unavailable."


@dataclass(frozen=True, slots=True)
class ScopeRules:
    """Limits and budgets of one scope. `record` and `version`: where they come from. `label`: for people."""

    name: str
    record: str
    version: str
    allowance: Allowance
    label: str


@dataclass(slots=True)
class Directory:
    """`store` is None without Redis: only configured keys exist then."""

    configured: ClientKeys
    store: AccessStore | None = None
    wall_clock: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    identity: Identity | None = None
    silence: SilenceLimit = field(default_factory=SilenceLimit)
    _keys: dict[str, KeyRecord] = field(default_factory=dict, repr=False)  # by id
    _by_digest: dict[str, str] = field(default_factory=dict)  # digest -> id
    _allowances: dict[str, Allowance] = field(default_factory=dict)  # by scope
    _versions: dict[str, int] = field(default_factory=dict)
    _unknown: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _scopes: dict[tuple[str, str, str], tuple[ScopeRules, ...]] = field(default_factory=dict)  # by client
    _scopes_of: ClientKeys | None = None  # the configuration that they were found with
    _epoch: int = 0
    _fresh_at: float = 0.0
    _limited: set[str] = field(default_factory=set)  # ids of keys with a limit or a budget of their own
    _restricted: set[str] = field(default_factory=set)  # ids of keys that may be used from some addresses only

    async def authenticate(self, api_key: str | None, authorization: str | None) -> Client:
        """Return the client of these credentials. Raises Unauthenticated, and Unavailable in an outage of Redis."""
        configured = self.configured
        if self.identity is not None and not configured.lets_everybody_in:
            token = to_key(api_key, authorization)
            if looks_like_token(token):
                return self._usable((await self.identity.person_of(token)).client)
        if configured.lets_everybody_in or self.store is None:
            return self._usable(configured.authenticate(api_key, authorization))
        key = to_key(api_key, authorization)
        client = configured.find(key)
        if client is not None:
            return self._usable(client)
        if to_key_id(key) is not None:
            digest = configured.pepper.digest(key).hex()
            record = await self._stored(digest)
        else:  # a key that another gateway has made; no look at Redis, or any text would cost one
            digest = hashed_name(configured.pepper, sha256_of(key))
            record = self._held(digest)
        if record is None:
            raise Unauthenticated(INVALID, should_retry=False)
        return self._usable(Client(record.tenant, record.id, record.user, record.digests[digest]))

    def _usable(self, client: Client) -> Client:
        """Raises Unauthenticated for a key before or after its time, one of the admin API, and a blocked user's."""
        record = self._keys.get(client.key_id) or self.configured.records.get(client.key_id)
        is_over = record is not None and not record.is_usable(self.wall_clock())
        is_for_models = record is None or record.per_user or not record.role
        if is_over or not is_for_models or (client.user and self.allowance_of(f"user:{client.user}").blocked):
            raise Unauthenticated(INVALID, should_retry=False)
        return client

    def scopes_of(self, context: Context) -> tuple[ScopeRules, ...]:
        """Return every scope of a request, those without limits too; nothing where no limit exists at all.

        It is the same object for all requests of a client until something changes.
        """
        if not self._limited and not self._allowances and not self.configured.has_limits:
            return ()
        if self._scopes_of is not self.configured or len(self._scopes) >= MAX_CLIENTS:
            self._scopes.clear()
            self._scopes_of = self.configured
        client = (context.tenant, context.user, context.key_id)
        known = self._scopes.get(client)
        if known is None:
            known = self._scopes[client] = self._find_scopes(context)
        return known

    def _find_scopes(self, context: Context) -> tuple[ScopeRules, ...]:
        record = self.record_of(context)
        names = [DEPLOYMENT, f"tenant:{context.tenant}"]
        if context.user:
            names.append(f"user:{context.user}")
        if record is None:
            names.append(f"key:{context.key_id}")
        rules = [
            ScopeRules(
                name,
                SCOPE + name,
                str(self._versions.get(SCOPE + name, 0)),
                self.allowance_of(name),
                "this gateway" if name == DEPLOYMENT else name.replace(":", " ", 1),
            )
            for name in names
        ]
        if record is not None:
            name, label = KEY + record.id, f"key {record.name} (tenant {record.tenant})"
            if record.per_user:
                name, label = f"{name}:{context.user}", f"user {context.user} (tenant {record.tenant})"
            version = str(record.version) if record.id in self._keys else "0"
            rules.append(ScopeRules(name, name, version, record.allowance, label))
        return tuple(rules) if any(not rule.allowance.is_empty for rule in rules) else ()

    def check(self, context: Context, *models: str) -> KeyRecord | None:
        """Return the key's record. Raises PermissionDenied for what it may not do, Unauthenticated once it is void."""
        record = self.record_of(context)
        if record is None:
            return None
        is_blocked = bool(context.user) and self.allowance_of(f"user:{context.user}").blocked
        if is_blocked or not record.is_usable(self.wall_clock()):
            raise Unauthenticated(INVALID, should_retry=False)
        if context.priority == "batch":
            self.check_batches(context)
        if models and not record.allows_model(*models):
            raise PermissionDenied(f"Key {record.name} may not use the model {models[0]}.", should_retry=False)
        return record

    @property
    def restricts_addresses(self) -> bool:
        return bool(self._restricted) or self.configured.restricts_addresses

    def check_address(self, key_id: str, address: str) -> None:
        """Raises PermissionDenied for a key that may not be used from this address."""
        record = self._keys.get(key_id) or self.configured.records.get(key_id)
        if record is not None and not record.allows_address(address):
            raise PermissionDenied(f"Key {record.name} may not be used from this address.", should_retry=False)

    def check_batches(self, context: Context) -> None:
        """Raises PermissionDenied for a key that may not use batches."""
        record = self.record_of(context)
        if record is not None and not record.batches:
            raise PermissionDenied(f"Key {record.name} may not create batches.", should_retry=False)

    def allowance_of(self, scope: str) -> Allowance:
        """Return the limits of a scope by its name."""
        if scope.startswith(KEY):
            name = scope.removeprefix(KEY).partition(":")[0]
            record = self._keys.get(name) or self.configured.records.get(name)
            return NONE if record is None else record.allowance
        return self._allowances.get(scope) or self.configured.allowances.get(scope, NONE)

    def record_of(self, context: Context) -> KeyRecord | None:
        """Return the record of the request's key; None for one of GATEWAY_KEYS, which has none."""
        return self._keys.get(context.key_id) or self.configured.records.get(context.key_id)

    def has_several_tenants(self) -> bool:
        """Return whether a tenant has to leave room for others. Without keys all clients are one tenant."""
        if self.configured.lets_everybody_in:
            return False
        made = {record.tenant for record in self._keys.values() if record.status == "active"}
        return len(made | self.configured.tenants) > 1

    async def refresh(self) -> None:
        """Take over what has changed in Redis."""
        if self.store is None:
            return
        changes = await self.store.changes(self._epoch)
        if changes.epoch < self._epoch:  # another server, or one that was emptied
            for held in (self._keys, self._by_digest, self._allowances, self._versions, self._scopes):
                held.clear()
            for ids in (self._limited, self._restricted):
                ids.clear()
            self._epoch = 0
            changes = await self.store.changes(0)
        self._take(changes)
        while changes.reached is not None:
            self._epoch = changes.reached
            changes = await self.store.changes(changes.reached)
            self._take(changes)
        self._epoch, self._fresh_at = changes.epoch, self.clock()

    def _take(self, changes: Changes) -> None:
        for name, record in changes.records.items():
            if name.startswith(KEY):
                self._hold(KeyRecord.of_json(record))
            elif name.startswith(SCOPE):
                self._versions[name] = changes.versions[name]
                self._set_allowance(name.removeprefix(SCOPE), Allowance.of_json(record))
        if changes.records:
            self._unknown.clear()
            self._scopes.clear()

    async def refresh_in_time(self) -> None:
        """Do so for a request that waits. Raises StoreAway in an outage of Redis."""
        async with self.silence.call():
            await self.refresh()

    async def _stored(self, digest: str) -> KeyRecord | None:
        record = self._keys.get(self._by_digest.get(digest, ""))
        if record is None:
            if self._unknown.get(digest, 0.0) > self.clock():
                return None
            await self.refresh_in_time()
            record = self._keys.get(self._by_digest.get(digest, ""))
            if record is None:
                self._unknown[digest] = self.clock() + UNKNOWN_SECONDS
                if len(self._unknown) > MAX_UNKNOWN:
                    self._unknown.popitem(last=False)
        elif not record.is_valid(digest, self.wall_clock()):  # unless it has been enabled just now
            with suppress(StoreAway, Overloaded):
                await self.refresh_in_time()
        return self._held(digest)

    def _held(self, digest: str) -> KeyRecord | None:
        """Return the record of a key that this process knows. Raises Unavailable in a long outage of Redis."""
        record = self._keys.get(self._by_digest.get(digest, ""))
        if record is None:
            return None
        if self.clock() - self._fresh_at > SNAPSHOT_SECONDS:
            raise Unavailable(STALE, retry_after=2)
        return record if record.is_valid(digest, self.wall_clock()) else None

    def _set_allowance(self, scope: str, allowance: Allowance) -> None:
        """Without stored limits, those of the configuration are in force."""
        if allowance.is_empty:
            self._allowances.pop(scope, None)
        else:
            self._allowances[scope] = allowance

    def _hold(self, record: KeyRecord) -> None:
        before = self._keys.get(record.id)
        for digest in before.digests if before is not None else ():
            self._by_digest.pop(digest, None)
        self._keys[record.id] = record
        self._by_digest.update(dict.fromkeys(record.digests, record.id))
        for ids, is_one in ((self._limited, not record.allowance.is_empty), (self._restricted, bool(record.addresses))):
            (ids.add if is_one else ids.discard)(record.id)


NONE = Allowance()
