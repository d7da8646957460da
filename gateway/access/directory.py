"""Directory of clients: one process's view of configured and stored keys, and of the limits of every scope.

A stored key is read at its first use and cached until others displace it; limits of tenants, users and the deployment
are all cached. The cache is updated every second from the changes since its epoch. A key with a limit or a budget is
checked against Redis with each request (`admission`), so a change takes effect with the next request. In an outage of
Redis, cached keys are valid for SNAPSHOT_SECONDS. After that, and for other keys, the answer is 503: an outage never
turns a valid key into a 401.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from gateway.access.changes import Changes
from gateway.access.identity.identity import Identity, looks_like_token
from gateway.access.key_text import is_key_id, to_key_id
from gateway.access.keys import ANONYMOUS, INVALID, Client, ClientKeys, to_key
from gateway.access.model_groups import GroupWarnings, group_scope, split_scope
from gateway.access.records import DEPLOYMENT, Allowance, KeyRecord
from gateway.access.store import KEY, SCOPE, AccessStore
from gateway.context import Context
from gateway.errors import PermissionDenied, Unauthenticated, Unavailable
from gateway.redis.silence import SilenceLimit

# A revoked key is refused everywhere after this time. Costs one small read of Redis per second and process.
REFRESH_SECONDS = 1.0
# Long enough for a failover or an upgrade of Redis; a key revoked meanwhile stops working after this.
SNAPSHOT_SECONDS = 900.0
# Cached keys, about 1 kB each; the least recently used one is removed.
MAX_KEYS = 50_000
# Concurrent look-ups. When a front end starts, many keys are used for the first time.
LOOK_UPS = 8
# Digests that Redis does not have are remembered, so that a wrong key in a loop costs one look-up per UNKNOWN_SECONDS.
UNKNOWN_SECONDS = 5.0
MAX_UNKNOWN = 10_000
NEVER_READ = float("inf")
STALE = "The gateway cannot check this key now: its store is unavailable."


@dataclass(frozen=True, slots=True)
class ScopeRules:
    """Limits and budgets of one scope. `record` and `version`: the stored record that they come from.

    `label`: name of the scope in messages. `group`: the model group that they apply to, empty for all models.
    """

    name: str
    record: str
    version: str
    allowance: Allowance
    label: str
    group: str = ""


@dataclass(slots=True)
class Directory:
    """`store` is None without Redis: only configured keys exist then."""

    configured: ClientKeys
    store: AccessStore | None = None
    wall_clock: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    identity: Identity | None = None
    silence: SilenceLimit = field(default_factory=SilenceLimit)
    _keys: OrderedDict[str, KeyRecord] = field(default_factory=OrderedDict, repr=False)  # by id
    _by_digest: dict[str, str] = field(default_factory=dict)  # digest -> id
    _allowances: dict[str, Allowance] = field(default_factory=dict)  # by scope
    _versions: dict[str, int] = field(default_factory=dict)
    _unknown: OrderedDict[str, float] = field(default_factory=OrderedDict)
    changes: int = 0  # grows when limits or cached keys may have changed
    _tenants: set[str] = field(default_factory=set)  # of keys that were read
    _tenants_epoch: int = -1  # at which all keys were looked at
    _epoch: int = 0
    _is_filled: bool = False
    # Earliest epoch at which a key was read since the last refresh. The refresh may have skipped a change of that key.
    _read_at: float = NEVER_READ
    _fresh_at: float = 0.0
    _looking_up: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOK_UPS), repr=False)
    _limited: set[str] = field(default_factory=set)  # ids of keys with a limit or a budget
    _restricted: set[str] = field(default_factory=set)  # ids of keys restricted to addresses
    _warnings: GroupWarnings = field(default_factory=GroupWarnings, repr=False)

    def configure(self, configured: ClientKeys, identity: Identity | None) -> None:
        """Apply another configuration."""
        self.configured, self.identity = configured, identity
        self._warnings = GroupWarnings()
        of_keys = {KEY + one.id: one.allowance for one in self._keys.values()}
        for scope, allowance in (*self._allowances.items(), *of_keys.items()):
            self._warnings.warn(scope, allowance, configured.model_groups)

    def find_cached(self, api_key: str | None, authorization: str | None) -> Client | None:
        """Return the client of a configured or cached key; None for all others.

        Raises Unauthenticated without a key, and Unavailable in a long outage of Redis.
        """
        configured = self.configured
        if configured.admits_everyone:
            return ANONYMOUS
        key = to_key(api_key, authorization)
        client = configured.find(key)
        if client is None and self._keys:
            digest = configured.pepper.digest(key).hex()
            record = self._find(digest)
            client = None if record is None else Client(record.tenant, record.id, record.user, record.digests[digest])
        return client if client is not None and self._is_usable(client) else None

    async def authenticate(
        self, api_key: str | None, authorization: str | None, *, may_look_up: Callable[[], bool] = lambda: True
    ) -> Client:
        """Return the client of these credentials. Raises Unauthenticated, and Unavailable in an outage of Redis.

        `may_look_up` is called before a look-up in Redis; if it returns False, only cached keys are accepted. All wrong
        keys in the form of stored ones take the same number of round trips, so that time does not reveal which exist.
        """
        client = self.find_cached(api_key, authorization)
        if client is None:
            key = to_key(api_key, authorization)
            if self.identity is not None and looks_like_token(key):
                client = (await self.identity.person_of(key)).client
            elif self.store is not None and to_key_id(key) is not None:
                await self._look_up(digest=self.configured.pepper.digest(key).hex(), may=may_look_up)
                client = self.find_cached(api_key, authorization)
        if client is None or not self._is_usable(client):
            raise Unauthenticated(INVALID, should_retry=False)
        return client

    def _is_usable(self, client: Client) -> bool:
        """Return False for a key outside its period of validity, an admin key, and a key of a blocked user."""
        record = self._keys.get(client.key_id) or self.configured.records.get(client.key_id)
        if record is not None and (not record.is_usable(self.wall_clock()) or (record.role and not record.per_user)):
            return False
        return not (client.user and self._allowance_of(f"user:{client.user}").blocked)

    @property
    def has_limits(self) -> bool:
        """Return True if there is a limit for any client."""
        return bool(self._limited or self._allowances) or self.configured.has_limits

    def scopes_of(self, context: Context) -> tuple[ScopeRules, ...]:
        """Return every scope of a client, including those without limits, then those of model groups with limits.

        Empty if no limit applies at all.
        """
        if not self.has_limits:
            return ()
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
                self._allowance_of(name),
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
        if all(rule.allowance.is_empty for rule in rules):
            return ()
        return (*rules, *(one for rule in rules for one in _of_groups(rule)))

    def check(self, context: Context, *models: str) -> KeyRecord | None:
        """Return the key's record. Raises PermissionDenied if it may not use the model or batches, and Unauthenticated
        if it is not valid any more."""
        record = self.record_of(context)
        if record is None:
            return None
        is_blocked = bool(context.user) and self._allowance_of(f"user:{context.user}").blocked
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
        """Return the limits of a scope, or of one with a model group, by its name."""
        scope, group = split_scope(scope)
        return self._allowance_of(scope).of_group(group)

    def _allowance_of(self, scope: str) -> Allowance:
        """Return the limits of a scope without a model group. Tenants of GATEWAY_KEYS may have a slash in their names,
        so the scope is not split here."""
        if scope.startswith(KEY):
            name = scope.removeprefix(KEY).partition(":")[0]
            record = self._keys.get(name) or self.configured.records.get(name)
            return NONE if record is None else record.allowance
        return self._allowances.get(scope) or self.configured.allowances.get(scope, NONE)

    def record_of(self, context: Context) -> KeyRecord | None:
        """Return the record of the request's key; None for one of GATEWAY_KEYS, which has none.

        Raises Unavailable for a stored key that is not cached, since its restrictions are not known. Call
        `ensure_cached` first.
        """
        record = self._keys.get(context.key_id) or self.configured.records.get(context.key_id)
        if record is None and self.store is not None and is_key_id(context.key_id):
            raise Unavailable(STALE, retry_after=2)
        return record

    async def ensure_cached(self, key_id: str) -> None:
        """Cache the record of a stored key. Raises StoreAway, and Unauthenticated if there is no such key."""
        if not self.is_cached(key_id) and await self._look_up(key_id) is None:
            raise Unauthenticated(INVALID, should_retry=False)

    def is_cached(self, key_id: str) -> bool:
        """Return True if a key is cached, or is a configured one, which needs no cache."""
        return key_id in self._keys or self.store is None or not is_key_id(key_id)

    async def has_several_tenants(self) -> bool:
        """Return True if there are keys of several tenants. Without keys, all clients are one tenant.

        Scans the stored keys only while a single tenant is known and a key has changed since. Raises StoreAway.
        """
        if self.configured.admits_everyone:
            return False
        tenants = self._tenants | self.configured.tenants
        if len(tenants) < 2 and self.store is not None and self._tenants_epoch != self._epoch:
            epoch = self._epoch
            while len(tenants) < 2 and (other := await self.store.other_tenant(tenants)) is not None:
                self._tenants.add(other)
                tenants |= {other}
            self._tenants_epoch = epoch
        return len(tenants) > 1

    async def refresh(self) -> None:
        """Read the changes since the last refresh. Raises StoreAway or Overloaded."""
        if self.store is None:
            return
        read_at, self._read_at = self._read_at, NEVER_READ
        changes = None
        try:
            changes = await self.store.changes(int(min(self._epoch, read_at)), self._is_cached_record)
        finally:
            if changes is None:
                self._read_at = min(self._read_at, read_at)
        if changes.epoch < self._epoch:  # another server, or one that was emptied
            # Read before the cache is cleared: if this fails, the cached records stay in force.
            changes = await self.store.changes(0, self._is_cached_record)
            for cached in (self._keys, self._by_digest, self._allowances, self._versions):
                cached.clear()
            self.changes += 1
            self._tenants_epoch = -1
            for names in (self._limited, self._restricted, self._tenants):
                names.clear()
        self._take(changes)
        while changes.reached is not None:
            self._epoch = changes.reached
            changes = await self.store.changes(changes.reached, self._is_cached_record)
            self._take(changes)
        self._epoch, self._fresh_at, self._is_filled = changes.epoch, self.clock(), True

    def _is_cached_record(self, name: str) -> bool:
        return not name.startswith(KEY) or name.removeprefix(KEY) in self._keys

    def _take(self, changes: Changes) -> None:
        for name, record in changes.records.items():
            if name.startswith(KEY):
                self._cache(KeyRecord.of_json(record))
            elif name.startswith(SCOPE):
                self._versions[name] = changes.versions[name]
                scope, allowance = name.removeprefix(SCOPE), Allowance.of_json(record)
                if allowance.is_empty:  # then those of the configuration are in force
                    self._allowances.pop(scope, None)
                else:
                    self._allowances[scope] = allowance
                    self._warnings.warn(scope, allowance, self.configured.model_groups)
        if changes.records or changes.others:
            self._unknown.clear()
        if changes.records:
            self.changes += 1

    async def refresh_in_time(self) -> None:
        """Refresh within the time that a request may wait. Raises StoreAway in an outage of Redis."""
        async with self._looking_up, self.silence.call():
            await self.refresh()

    async def _look_up(
        self, key_id: str = "", digest: str = "", may: Callable[[], bool] = lambda: True
    ) -> KeyRecord | None:
        """Read a key's record and cache it, unless another request has done so. Raises StoreAway in an outage."""
        assert self.store is not None
        async with self._looking_up:
            record = self._keys.get(key_id) or self._accepted(digest)
            is_unknown = self._unknown.get(digest, 0.0) > self.clock()
            if record is not None or is_unknown or not may():
                return record
            async with self.silence.call():
                if not self._is_filled:
                    await self.refresh()
                record, epoch = await self.store.find(key_id, digest)
                if epoch > self._epoch:  # limits that were set before the key was made
                    await self.refresh()
        if record is not None and (not digest or digest in record.digests):  # else an old value that has expired
            self._cache(record)
            self._read_at = min(self._read_at, epoch)
        if digest and self._accepted(digest) is None:
            self._unknown[digest] = self.clock() + UNKNOWN_SECONDS
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        return record

    def _accepted(self, digest: str) -> KeyRecord | None:
        """Return the cached record with this digest, if it is accepted now."""
        record = self._keys.get(self._by_digest.get(digest, ""))
        if record is None or not record.is_valid(digest, self.wall_clock()):
            return None
        return record if self._is_usable(Client(record.tenant, record.id, record.user)) else None

    def _find(self, digest: str) -> KeyRecord | None:
        """Return the cached record with this digest. Raises Unavailable in a long outage of Redis."""
        record = self._keys.get(self._by_digest.get(digest, ""))
        if record is None:
            return None
        if self.clock() - self._fresh_at > SNAPSHOT_SECONDS:
            raise Unavailable(STALE, retry_after=2)
        self._keys.move_to_end(record.id)
        return record if record.is_valid(digest, self.wall_clock()) else None

    def _cache(self, record: KeyRecord) -> None:
        self._drop(record.id)
        if len(self._keys) >= MAX_KEYS:
            self._drop(next(iter(self._keys)))
        self._keys[record.id] = record
        self._by_digest.update(dict.fromkeys(record.digests, record.id))
        if record.status == "active":
            self._tenants.add(record.tenant)
        for ids, is_one in ((self._limited, not record.allowance.is_empty), (self._restricted, bool(record.addresses))):
            (ids.add if is_one else ids.discard)(record.id)
        self._warnings.warn(KEY + record.id, record.allowance, self.configured.model_groups)

    def _drop(self, key_id: str) -> None:
        record = self._keys.pop(key_id, None)
        if record is None:
            return
        self.changes += 1
        self._limited.discard(key_id)
        self._restricted.discard(key_id)
        for digest in record.digests:
            self._by_digest.pop(digest, None)


def _of_groups(rules: ScopeRules) -> Iterator[ScopeRules]:
    for group, allowance in rules.allowance.model_groups.items():
        label = f"{rules.label} for the model group {group}"
        yield replace(rules, name=group_scope(rules.name, group), allowance=allowance, label=label, group=group)


NONE = Allowance()
