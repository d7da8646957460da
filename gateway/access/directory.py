"""The directory of clients: configured and stored keys, and the limits of every scope, as this process knows them.

Stored keys are held here and brought up to date every second by the epoch of the last change; a key that is not known
yet is looked up once. A key with a limit or a budget is checked against Redis with each request (`admission`), so a
change of it counts from the next request on. In an outage of Redis the held keys are valid for SNAPSHOT_SECONDS; after
that, and for keys that are not held, the answer is 503: an outage never makes a valid key a 401.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.access.key_text import to_key_id
from gateway.access.keys import INVALID, Client, ClientKeys, to_key
from gateway.access.records import DEPLOYMENT, Allowance, KeyRecord
from gateway.access.store import KEY, SCOPE, AccessStore
from gateway.context import Context
from gateway.errors import PermissionDenied, Unauthenticated, Unavailable

# A revoked key is refused everywhere after this time: one small read of Redis a second and process.
REFRESH_SECONDS = 1.0
# Long enough for a failover or an upgrade of Redis; a key revoked meanwhile works no longer than this.
SNAPSHOT_SECONDS = 900.0
# Digests that Redis does not know, so that a wrong key in a loop costs one look a few seconds.
UNKNOWN_SECONDS = 5.0
MAX_UNKNOWN = 10_000
STALE = "The gateway cannot check this key now: its store is away."


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
    _keys: dict[str, KeyRecord] = field(default_factory=dict, repr=False)  # by id
    _by_digest: dict[str, str] = field(default_factory=dict)  # digest -> id
    _allowances: dict[str, Allowance] = field(default_factory=dict)  # by scope
    _versions: dict[str, int] = field(default_factory=dict)
    _unknown: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _epoch: int = 0
    _fresh_at: float = 0.0
    _limited: bool = False  # whether any scope or key has a limit or a budget

    async def authenticate(self, api_key: str | None, authorization: str | None) -> Client:
        """Return the client of these credentials. Raises Unauthenticated, and Unavailable in an outage of Redis."""
        configured = self.configured
        if configured.lets_everybody_in or self.store is None:
            return configured.authenticate(api_key, authorization)
        key = to_key(api_key, authorization)
        client = configured.find(key)
        if client is not None:
            return client
        record = await self._stored(configured.pepper.digest(key).hex()) if to_key_id(key) is not None else None
        if record is None:
            raise Unauthenticated(INVALID, should_retry=False)
        return Client(record.tenant, record.id, record.user)

    def scopes_of(self, context: Context) -> tuple[ScopeRules, ...]:
        """Return every scope of a request, those without limits too; nothing where no limit exists at all."""
        if not self._limited:
            return ()
        record = self._keys.get(context.key_id)
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
                self._allowances.get(name, NONE),
                "this gateway" if name == DEPLOYMENT else name.replace(":", " ", 1),
            )
            for name in names
        ]
        if record is not None:
            name, label = KEY + record.id, f"key {record.name} (tenant {record.tenant})"
            rules.append(ScopeRules(name, name, str(record.version), record.allowance, label))
        return tuple(rules) if any(not rule.allowance.is_empty for rule in rules) else ()

    def check(self, context: Context, *models: str) -> KeyRecord | None:
        """Return the key's record. Raises PermissionDenied for what it may not do, Unauthenticated once it is void."""
        record = self._keys.get(context.key_id)
        if record is None:
            return None
        if record.status != "active" or record.is_expired(self.wall_clock()):
            raise Unauthenticated(INVALID, should_retry=False)
        if context.priority == "batch" and not record.batches:
            raise PermissionDenied(f"Key {record.name} may not create batches.", should_retry=False)
        if models and not record.allows_model(*models):
            raise PermissionDenied(f"Key {record.name} may not use the model {models[0]}.", should_retry=False)
        return record

    async def refresh(self) -> None:
        """Take over what has changed in Redis."""
        if self.store is None:
            return
        changes = await self.store.changes(self._epoch)
        if changes.epoch < self._epoch:  # another server, or one that was emptied
            self._keys.clear()
            self._by_digest.clear()
            self._allowances.clear()
            self._versions.clear()
            self._epoch, self._limited = 0, False
            changes = await self.store.changes(0)
        for name, record in changes.records.items():
            self._versions[name] = changes.versions[name]
            if name.startswith(KEY):
                self._hold(KeyRecord.of_json(record))
            else:
                self._allowances[name.removeprefix(SCOPE)] = Allowance.of_json(record)
        if changes.records:
            self._unknown.clear()
            held = (record.allowance for record in self._keys.values())
            self._limited = any(not one.is_empty for one in (*self._allowances.values(), *held))
        self._epoch, self._fresh_at = changes.epoch, self.clock()

    async def _stored(self, digest: str) -> KeyRecord | None:
        now = self.wall_clock()
        record = self._keys.get(self._by_digest.get(digest, ""))
        if record is None:
            if self._unknown.get(digest, 0.0) > self.clock():
                return None
            await self.refresh()  # raises Unavailable in an outage of Redis
            record = self._keys.get(self._by_digest.get(digest, ""))
            if record is None:
                self._unknown[digest] = self.clock() + UNKNOWN_SECONDS
                if len(self._unknown) > MAX_UNKNOWN:
                    self._unknown.popitem(last=False)
        elif self.clock() - self._fresh_at > SNAPSHOT_SECONDS:
            raise Unavailable(STALE, retry_after=2)
        return record if record is not None and record.is_valid(digest, now) else None

    def _hold(self, record: KeyRecord) -> None:
        before = self._keys.get(record.id)
        for digest in before.digests if before is not None else ():
            self._by_digest.pop(digest, None)
        self._keys[record.id] = record
        self._by_digest.update(dict.fromkeys(record.digests, record.id))


NONE = Allowance()
