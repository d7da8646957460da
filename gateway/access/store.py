"""Keys, limits and budgets in Redis. Every change is one step with its audit entry, and gets a number (the epoch).

Raises StoreAway or Overloaded when Redis cannot answer, NotFound for what does not exist, Conflict for a change that
another one has overtaken.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import orjson

from gateway.access.audit import START, chain, verify
from gateway.access.key_text import new_key, to_hint, to_key_id
from gateway.access.keys import Pepper
from gateway.access.records import Allowance, Budget, KeyRecord
from gateway.errors import Conflict, NotFound
from gateway.redis import scripts
from gateway.redis.server import RedisServer

KEY: Final = "key:"
SCOPE: Final = "scope:"
# Changes of one record at the same moment; each attempt reads the audit's head again.
MAX_ATTEMPTS: Final = 50
# How long both values of a rotated key are valid unless asked for otherwise, and at most.
GRACE_SECONDS: Final = 86_400
MAX_GRACE_SECONDS: Final = 30 * 86_400
AUDIT_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change: `type` is `cli` or `admin_key`, `id` what is known of them."""

    type: str
    id: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """Records changed since an epoch: a name is `key:<id>` or `scope:<name>`; versions as in Redis."""

    epoch: int
    records: Mapping[str, dict[str, Any]] = field(repr=False)
    versions: Mapping[str, int]


@dataclass(slots=True)
class AccessStore:
    server: RedisServer
    pepper: Pepper = field(repr=False)
    secret: bytes = field(repr=False)
    clock: Callable[[], float] = time.time

    async def create_key(self, record: KeyRecord, actor: Actor) -> tuple[KeyRecord, str]:
        """Store a new key of these properties. Return its record, and the key itself, which is not stored."""
        key = new_key()
        digest, key_id = self.pepper.digest(key).hex(), to_key_id(key)
        assert key_id is not None
        made = replace(
            record, id=key_id, hint=to_hint(key), digests={digest: None}, created_at=int(self.clock()), version=1
        )
        name, shown, check = KEY + key_id, describe_key(made), partial(self._check_name, made)
        await self._write(name, made.to_json(), actor, "key_created", shown, digests=(digest,), check=check)
        return made, key

    async def rotate_key(self, key_id: str, grace: int, actor: Actor) -> tuple[KeyRecord, str]:
        """Give a key a new value. The old ones are valid for `grace` seconds more; limits and counts go on."""
        record, key = await self.key(key_id), new_key()
        digest, now = self.pepper.digest(key).hex(), int(self.clock())
        kept = {old: min(until or now + grace, now + grace) for old, until in record.digests.items()}
        digests = {old: until for old, until in kept.items() if until > now} | {digest: None}
        made = replace(record, digests=digests, hint=to_hint(key), version=record.version + 1)
        details = {"grace_seconds": grace}
        await self._write(KEY + record.id, made.to_json(), actor, "key_rotated", details, record.version, (digest,))
        return made, key

    async def update_key(self, key_id: str, actor: Actor, **fields: Any) -> KeyRecord:
        record = await self.key(key_id)
        changed = replace(record, **fields, version=record.version + 1)
        details = {"before": describe_key(record), "after": describe_key(changed)}
        name, check = KEY + record.id, partial(self._check_name, changed)
        await self._write(name, changed.to_json(), actor, "key_updated", details, record.version, check=check)
        return changed

    async def key(self, key_id: str) -> KeyRecord:
        """Return a key by its id or by its name. Raises NotFound."""
        [raw] = await self.server.pipeline([("HGET", self.server.keys.access.records, KEY + key_id)])
        if raw is not None:
            return KeyRecord.of_json(orjson.loads(raw))
        named = [record for record in await self.keys() if record.name == key_id]
        if not named:
            raise NotFound(f"There is no key {key_id!r}.")
        return min(named, key=lambda record: record.status == "archived")

    async def keys(self) -> list[KeyRecord]:
        """Return every key, in the order of their creation."""
        [found] = await self.server.pipeline([("HGETALL", self.server.keys.access.records)])
        records = [KeyRecord.of_json(orjson.loads(raw)) for name, raw in found.items() if name.startswith(KEY.encode())]
        return sorted(records, key=lambda record: (record.created_at, record.id))

    async def set_allowance(self, scope: str, allowance: Allowance, actor: Actor) -> None:
        """Replace the limits and budgets of a scope. A blocked user stays so."""
        known, version = await self._allowance(scope)
        changed = replace(allowance, blocked=known.blocked).to_json()
        await self._write(SCOPE + scope, changed, actor, "limits_set", {"after": changed}, version)

    async def block_user(self, user: str, blocked: bool, actor: Actor) -> None:
        """Refuse, or accept again, every credential of a person."""
        known, version = await self._allowance(f"user:{user}")
        action = "user_blocked" if blocked else "user_unblocked"
        changed = replace(known, blocked=blocked).to_json()
        await self._write(f"{SCOPE}user:{user}", changed, actor, action, {}, version)

    async def allowance(self, scope: str) -> Allowance:
        return (await self._allowance(scope))[0]

    async def allowances(self) -> dict[str, Allowance]:
        """Return the limits of every scope that has some, keys too."""
        [found] = await self.server.pipeline([("HGETALL", self.server.keys.access.records)])
        allowances: dict[str, Allowance] = {}
        for raw_name, raw in found.items():
            name, record = _text(raw_name), orjson.loads(raw)
            if name.startswith(KEY):
                allowances[name] = KeyRecord.of_json(record).allowance
            else:
                allowances[name.removeprefix(SCOPE)] = Allowance.of_json(record)
        return {name: one for name, one in allowances.items() if not one.is_empty}

    async def spent(self, scope: str, budget: Budget, start: int) -> int:
        """Return the nano-dollars that a budget has spent in its period; those of a rolling one are all it has kept."""
        [fields] = await self.server.pipeline([("HGETALL", self.server.keys.scope(scope))])
        known = {_text(name): _text(value) for name, value in fields.items()}
        if budget.window:
            parts = [value for name, value in known.items() if re.fullmatch(re.escape(budget.name) + r":\d+", name)]
            oldest = int(self.clock() * 60 / budget.window) - 60
            return sum(int(part.split()[1]) for part in parts if int(part.split()[0]) >= oldest)
        return int(known.get(f"{budget.name}:spent", 0)) if known.get(f"{budget.name}:start") == str(start) else 0

    async def find_digest(self, digest: str) -> KeyRecord | None:
        [name] = await self.server.pipeline([("HGET", self.server.keys.access.digests, digest)])
        if name is None:
            return None
        [raw] = await self.server.pipeline([("HGET", self.server.keys.access.records, name)])
        return None if raw is None else KeyRecord.of_json(orjson.loads(raw))

    async def changes(self, since: int) -> Changes:
        """Return what has changed after the epoch `since`."""
        names = self.server.keys.access
        epoch, changed = await self.server.pipeline(
            [("GET", names.epoch), ("ZRANGEBYSCORE", names.changes, f"({since}", "+inf")]
        )
        fields = [_text(name) for name in changed]
        if not fields:
            return Changes(int(epoch or 0), {}, {})
        records, versions = await self.server.pipeline(
            [("HMGET", names.records, *fields), ("HMGET", names.versions, *fields)]
        )
        found = {name: orjson.loads(raw) for name, raw in zip(fields, records, strict=True) if raw is not None}
        return Changes(
            int(epoch or 0), found, {name: int(one or 0) for name, one in zip(fields, versions, strict=True)}
        )

    async def note(self, actor: Actor, action: str, details: dict[str, Any]) -> None:
        """Add an audit entry that changes nothing."""
        await self._write("", None, actor, action, details)

    async def audit(self) -> list[bytes]:
        """Return every audit entry, oldest first."""
        entries: list[bytes] = []
        last = "-"
        while True:
            [page] = await self.server.pipeline(
                [("XRANGE", self.server.keys.access.audit, last, "+", "COUNT", AUDIT_PAGE)]
            )
            entries += [fields[b"e"] for _, fields in page]
            if len(page) < AUDIT_PAGE:
                return entries
            last = "(" + _text(page[-1][0])

    async def verify_audit(self, anchor: str = "") -> tuple[str | None, str]:
        """Return the first fault of the audit record, None if it is sound; and its head."""
        [head] = await self.server.pipeline([("GET", self.server.keys.access.head)])
        text = _text(head or b"")
        return verify(await self.audit(), text, self.secret, anchor), text

    async def _allowance(self, scope: str) -> tuple[Allowance, int]:
        """Return it with the version of its record."""
        names, name = self.server.keys.access, SCOPE + scope
        raw, version = await self.server.pipeline([("HGET", names.records, name), ("HGET", names.versions, name)])
        return Allowance() if raw is None else Allowance.of_json(orjson.loads(raw)), int(version or 0)

    async def _check_name(self, record: KeyRecord) -> None:
        """Raises Conflict if another key has the name."""
        for known in await self.keys():
            if known.name == record.name and known.id != record.id and "archived" not in (known.status, record.status):
                raise Conflict(f"There is a key named {record.name!r} already.")

    async def _write(
        self,
        name: str,
        record: dict[str, Any] | None,
        actor: Actor,
        action: str,
        details: dict[str, Any],
        version: int | None = None,
        digests: Sequence[str] = (),
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`check` raises if the change must not be made; it sees every earlier one."""
        names = self.server.keys.access
        entry = {
            "at": int(self.clock()),
            "actor": {"type": actor.type, "id": actor.id},
            "action": action,
            "target": name,
            "details": details,
            "request_id": actor.request_id,
        }
        [head] = await self.server.pipeline([("GET", names.head)])
        head = _text(head or b"")
        raw = b"" if record is None else orjson.dumps(record)
        for _ in range(MAX_ATTEMPTS):
            if check is not None:
                await check()
            chained = chain(head or START, entry, self.secret)
            wanted = "" if version is None else str(version)
            arguments: list[str | bytes | int] = [head, chained.head, chained.entry, name, raw, wanted, *digests]
            outcome, value = await self.server.run(scripts.ACCESS_WRITE, names[:7], arguments)
            if outcome == b"stored":
                return
            if outcome == b"conflict":
                raise Conflict("Another change was faster; read it and try again.")
            head = _text(value)
        raise Conflict("Too many changes at the same time; try again.")


def describe_key(record: KeyRecord) -> dict[str, Any]:
    """Return what may be shown of a key: everything but its digests."""
    shown = record.to_json()
    del shown["digests"]
    return shown


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
