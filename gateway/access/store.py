"""Keys, limits and budgets in Redis. Each change is atomic with its audit entry, and gets a number (the epoch).

Every method raises StoreAway or Overloaded if Redis cannot answer. Look-ups by name raise NotFound. Changes raise
Conflict if another change was faster.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import orjson

from gateway.access.audit import chain, verify
from gateway.access.changes import Change, Changes
from gateway.access.key_text import new_key, to_hint, to_key_id
from gateway.access.keys import Pepper
from gateway.access.periods import period_of
from gateway.access.records import Allowance, Budget, KeyRecord
from gateway.access.roster import named_key
from gateway.access.sealing import seal, unseal
from gateway.errors import Conflict, InvalidRequest, PreconditionFailed
from gateway.redis import scripts
from gateway.redis.keys import IDEMPOTENCY_SECONDS
from gateway.redis.server import RedisServer

KEY: Final = "key:"
SCOPE: Final = "scope:"
# Attempts of a change while others are made at the same time: each needs the latest head of the audit record.
MAX_ATTEMPTS: Final = 50
# Time for which the old value of a rotated key stays valid: default and maximum.
GRACE_SECONDS: Final = 86_400
MAX_GRACE_SECONDS: Final = 30 * 86_400
AUDIT_PAGE: Final = 1000
# Records per read: parsing these blocks the event loop for some milliseconds.
CHANGES_PAGE: Final = 200
# After a day, a repeated request is a new one.
OUTCOME_MS: Final = IDEMPOTENCY_SECONDS * 1000
OUTCOME: Final = b"outcome"
FASTER: Final = "Another change was faster; read it and try again."
CHANGED: Final = "if-match: the record has changed since; read it and try again."


@dataclass(frozen=True, slots=True)
class Actor:
    """Author of a change. `type`: `cli` or `admin_key`. `id`: user name or id of the key."""

    type: str
    id: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of a change. `version`: required version of the record, None for any.

    `mark`: Redis key of the outcome of an idempotent change, kept for a day. `asked`: digest of the request, which a
    repetition must match.
    """

    version: int | None = None
    mark: str = ""
    asked: str = ""


UNCONDITIONAL: Final = Conditions()


@dataclass(slots=True)
class AccessStore:
    server: RedisServer
    pepper: Pepper = field(repr=False)
    secret: bytes = field(repr=False)
    clock: Callable[[], float] = time.time

    async def create_key(
        self, record: KeyRecord, actor: Actor, conditions: Conditions = UNCONDITIONAL
    ) -> tuple[KeyRecord, str]:
        """Store a new key with these properties. Return its record and the key, which is not stored."""
        key = new_key()
        digest, key_id = self.pepper.digest(key).hex(), to_key_id(key)
        assert key_id is not None
        made = replace(
            record, id=key_id, hint=to_hint(key), digests={digest: None}, created_at=int(self.clock()), version=1
        )
        change = Change(KEY + key_id, "key_created", describe_key(made), made.to_json(), 0, (digest,), key)
        outcome = await self._write(change, actor, conditions, partial(self._check_name, made))
        return KeyRecord.of_json(outcome["record"]), outcome["key"]

    async def rotate_key(
        self, key_id: str, grace: int, actor: Actor, conditions: Conditions = UNCONDITIONAL
    ) -> tuple[KeyRecord, str]:
        """Give a key a new value. Old ones stay valid for `grace` seconds. Limits and counts are kept."""
        record, key = await self.key(key_id), new_key()
        digest, now = self.pepper.digest(key).hex(), int(self.clock())
        kept = {old: min(until or now + grace, now + grace) for old, until in record.digests.items()}
        digests = {old: until for old, until in kept.items() if until > now} | {digest: None}
        made = replace(record, digests=digests, hint=to_hint(key), version=record.version + 1)
        details = {"grace_seconds": grace}
        change = Change(KEY + record.id, "key_rotated", details, made.to_json(), record.version, (digest,), key)
        outcome = await self._write(change, actor, conditions)
        return KeyRecord.of_json(outcome["record"]), outcome["key"]

    async def update_key(
        self, key_id: str, actor: Actor, conditions: Conditions = UNCONDITIONAL, **fields: Any
    ) -> KeyRecord:
        record = await self.key(key_id)
        changed = replace(record, **fields, version=record.version + 1)
        details = {"before": describe_key(record), "after": describe_key(changed)}
        change = Change(KEY + record.id, "key_updated", details, changed.to_json(), record.version)
        outcome = await self._write(change, actor, conditions, partial(self._check_name, changed))
        return KeyRecord.of_json(outcome["record"])

    async def key(self, key_id: str) -> KeyRecord:
        """Return a key by id, name or `TENANT/NAME`. Raises NotFound, and InvalidRequest for an ambiguous name."""
        [raw] = await self.server.pipeline([("HGET", self.server.keys.access.records, KEY + key_id)])
        return KeyRecord.of_json(orjson.loads(raw)) if raw is not None else named_key(await self.keys(), key_id)

    async def keys(self) -> list[KeyRecord]:
        """Return every key, oldest first."""
        [found] = await self.server.pipeline([("HGETALL", self.server.keys.access.records)])
        records = [KeyRecord.of_json(orjson.loads(raw)) for name, raw in found.items() if name.startswith(KEY.encode())]
        return sorted(records, key=lambda record: (record.created_at, record.id))

    async def set_allowance(
        self, scope: str, allowance: Allowance, actor: Actor, conditions: Conditions = UNCONDITIONAL
    ) -> int:
        """Replace the limits and budgets of a scope; a blocked user stays blocked. Return the new version."""
        known, version = await self.versioned_allowance(scope)
        changed = replace(allowance, blocked=known.blocked).to_json()
        change = Change(SCOPE + scope, "limits_set", {"after": changed}, changed, version)
        return int((await self._write(change, actor, conditions))["version"])

    async def block_user(self, user: str, blocked: bool, actor: Actor) -> None:
        """Block or unblock every credential of a user."""
        known, version = await self.versioned_allowance(f"user:{user}")
        action = "user_blocked" if blocked else "user_unblocked"
        changed = replace(known, blocked=blocked).to_json()
        await self._write(Change(f"{SCOPE}user:{user}", action, {}, changed, version), actor)

    async def allowance(self, scope: str) -> Allowance:
        return (await self.versioned_allowance(scope))[0]

    async def versioned_allowance(self, scope: str) -> tuple[Allowance, int]:
        """Return the limits of a scope with the version of their record, which is 0 if there is none."""
        names, name = self.server.keys.access, SCOPE + scope
        raw, version = await self.server.pipeline([("HGET", names.records, name), ("HGET", names.versions, name)])
        return Allowance() if raw is None else Allowance.of_json(orjson.loads(raw)), int(version or 0)

    async def allowances(self) -> dict[str, Allowance]:
        """Return the limits of every scope that has some, including keys."""
        [found] = await self.server.pipeline([("HGETALL", self.server.keys.access.records)])
        allowances: dict[str, Allowance] = {}
        for raw_name, raw in found.items():
            name, record = _text(raw_name), orjson.loads(raw)
            if name.startswith(KEY):
                allowances[name] = KeyRecord.of_json(record).allowance
            elif name.startswith(SCOPE):
                allowances[name.removeprefix(SCOPE)] = Allowance.of_json(record)
        return {name: one for name, one in allowances.items() if not one.is_empty}

    async def others(self, prefix: str) -> list[dict[str, Any]]:
        """Return the other records with this prefix, which are neither keys nor limits."""
        [found] = await self.server.pipeline([("HGETALL", self.server.keys.access.records)])
        return [orjson.loads(raw) for name, raw in found.items() if name.startswith(prefix.encode())]

    async def other(self, name: str) -> tuple[dict[str, Any] | None, int]:
        """Return a record that is neither a key nor limits, with its version; None and 0 if there is none."""
        names = self.server.keys.access
        raw, version = await self.server.pipeline([("HGET", names.records, name), ("HGET", names.versions, name)])
        return None if raw is None else orjson.loads(raw), int(version or 0)

    async def put_other(
        self, name: str, record: dict[str, Any], version: int, entry: tuple[str, Mapping[str, Any]], actor: Actor
    ) -> None:
        """Replace version `version` of such a record. `entry`: action and details for the audit record."""
        await self._write(Change(name, *entry, record, version), actor)

    async def spent(self, budgets: Sequence[tuple[str, Budget]], now: float | None = None) -> list[int]:
        """Return the nano-dollars that each budget, given with its scope, has spent in its period. One round trip.

        `now`: Unix seconds of another period, for which rolling budgets have only what is still stored.
        """
        now, scopes = self.clock() if now is None else now, list(dict.fromkeys(scope for scope, _ in budgets))
        if not scopes:
            return []
        found = await self.server.pipeline([("HGETALL", self.server.keys.scope(scope)) for scope in scopes])
        fields = dict(zip(scopes, found, strict=True))
        return [spent_in(fields[scope], budget, now) for scope, budget in budgets]

    async def find(self, key_id: str, digest: str = "") -> tuple[KeyRecord | None, int]:
        """Return a key's record by its id or else by a digest, and the epoch from which to follow its changes."""
        names = self.server.keys.access
        epoch, name = await self.server.pipeline([("GET", names.epoch), ("HGET", names.digests, digest)])
        name = KEY + key_id if key_id else name or ""  # the second read is made for unknown digests too: same duration
        [raw] = await self.server.pipeline([("HGET", names.records, name)])
        return None if raw is None else KeyRecord.of_json(orjson.loads(raw)), int(epoch or 0)

    async def other_tenant(self, known: Set[str]) -> str | None:
        """Return a tenant with an active key that is not in `known`; None if there is none."""
        cursor = "0"
        while True:
            [(cursor, found)] = await self.server.pipeline(
                [("HSCAN", self.server.keys.access.records, cursor, "MATCH", f"{KEY}*", "COUNT", CHANGES_PAGE)]
            )
            for raw in found.values():
                record = KeyRecord.of_json(orjson.loads(raw))
                if record.tenant not in known and record.status == "active":
                    return record.tenant
            if int(cursor) == 0:
                return None

    async def changes(self, since: int, wanted: Callable[[str], bool] = bool) -> Changes:
        """Return a page of the records that changed after the epoch `since`, oldest first, without unwanted ones."""
        names = self.server.keys.access
        epoch, changed = await self.server.pipeline(
            [
                ("GET", names.epoch),
                ("ZRANGEBYSCORE", names.changes, f"({since}", "+inf", "WITHSCORES", "LIMIT", 0, CHANGES_PAGE),
            ]
        )
        scores = {_text(name): int(score) for name, score in zip(changed[::2], changed[1::2], strict=True)}
        reached = max(scores.values()) if len(scores) == CHANGES_PAGE else None
        asked = [name for name in scores if wanted(name)]
        records, versions = [], []
        if asked:
            records, versions = await self.server.pipeline(
                [("HMGET", names.records, *asked), ("HMGET", names.versions, *asked)]
            )
        return Changes(
            int(epoch or 0),
            {name: orjson.loads(raw) for name, raw in zip(asked, records, strict=True) if raw is not None},
            {name: int(one or 0) for name, one in zip(asked, versions, strict=True)},
            reached,
            len(scores) - len(asked),
        )

    async def note(
        self,
        actor: Actor,
        action: str,
        details: dict[str, Any],
        conditions: Conditions = UNCONDITIONAL,
        removed: Sequence[str] = (),
    ) -> None:
        """Add an audit entry, and delete fields of a hash in the same step. `removed`: the hash, then the fields."""
        await self._write(Change("", action, details, removed=removed), actor, conditions)

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
        """Return the first fault of the audit record, None if it is intact, and its head."""
        [head] = await self.server.pipeline([("GET", self.server.keys.access.head)])
        text = _text(head or b"")
        return verify(await self.audit(), text, self.secret, anchor), text

    async def _check_name(self, record: KeyRecord) -> None:
        """Raises Conflict if another key of the tenant has the name."""
        for known in await self.keys():
            is_same = (known.tenant, known.name) == (record.tenant, record.name) and known.id != record.id
            if is_same and "archived" not in (known.status, record.status):
                raise Conflict(f"There is a key named {record.name!r} already in the tenant {record.tenant!r}.")

    async def _write(
        self,
        change: Change,
        actor: Actor,
        conditions: Conditions = UNCONDITIONAL,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> dict[str, Any]:
        """Write a change. Return its outcome, or that of the request that this one repeats.

        `check` raises if the change must not be made; it sees every earlier change.
        """
        known, head = await self._known(conditions)
        if known is not None:
            return known
        if conditions.version not in (None, change.version):
            raise PreconditionFailed(CHANGED)
        try:
            return await self._store(change, actor, conditions, check, head)
        except Conflict:  # perhaps with the first of these repeated requests, which has been carried out meanwhile
            known, _ = await self._known(conditions)
            if known is None:
                raise
            return known

    async def _store(
        self,
        change: Change,
        actor: Actor,
        conditions: Conditions,
        check: Callable[[], Awaitable[None]] | None,
        head: str,
    ) -> dict[str, Any]:
        """Write the record and the audit entry. `head`: head of the audit record, which may be outdated."""
        names, mark = self.server.keys.access, conditions.mark
        version = (change.version or 0) + 1
        outcome = {"asked": conditions.asked, "record": change.record, "key": change.key, "version": version}
        keys = (*names[:7], *([mark] if mark else []), *change.removed[:1])
        kept = seal(self.secret, orjson.dumps(outcome), OUTCOME) if mark else b""
        raw = b"" if change.record is None else orjson.dumps(change.record)
        wanted = "" if change.version is None else str(change.version)
        for _ in range(MAX_ATTEMPTS):
            if check is not None:
                await check()
            chained = chain(head, self._to_entry(change, actor), self.secret)
            entry = (head, chained.head, chained.entry, change.name, raw, wanted)
            arguments: list[str | bytes | int] = [*entry, kept, OUTCOME_MS, *change.digests, *change.removed[1:]]
            reply, value = await self.server.run(scripts.ACCESS_WRITE, keys, arguments)
            if reply == b"stored":
                return outcome
            if reply == b"repeated":
                return self._to_outcome(value, conditions)
            if reply == b"conflict":
                raise Conflict(FASTER) if conditions.version is None else PreconditionFailed(CHANGED)
            head = _text(value)
        raise Conflict("Too many changes at the same time; try again.")

    async def _known(self, conditions: Conditions) -> tuple[dict[str, Any] | None, str]:
        """Return the outcome of an earlier request with the same mark, and the head of the audit record."""
        commands = [("GET", self.server.keys.access.head), *([("GET", conditions.mark)] if conditions.mark else [])]
        head, *kept = await self.server.pipeline(commands)
        is_known = bool(kept) and kept[0] is not None
        return self._to_outcome(kept[0], conditions) if is_known else None, _text(head or b"")

    def _to_outcome(self, kept: bytes, conditions: Conditions) -> dict[str, Any]:
        """Open a stored outcome. Raises InvalidRequest if it is of another request, or cannot be read."""
        try:
            outcome: dict[str, Any] = orjson.loads(unseal(self.secret, kept, OUTCOME))
        except ValueError:
            outcome = {}
        if outcome.get("asked") != conditions.asked:
            raise InvalidRequest("idempotency-key: already used for another request")
        return outcome

    def _to_entry(self, change: Change, actor: Actor) -> dict[str, Any]:
        return {
            "at": int(self.clock()),
            "actor": {"type": actor.type, "id": actor.id},
            "action": change.action,
            "target": change.name,
            "details": change.details,
            "request_id": actor.request_id,
        }


def spent_in(fields: Mapping[bytes, bytes], budget: Budget, now: float) -> int:
    """Return the nano-dollars that a budget has spent in its period, from the fields of its scope."""
    if budget.window:
        parts = [value.split() for name, value in fields.items() if is_part(name, budget)]
        oldest = int(now * 60 / budget.window) - 60
        return sum(int(spent) for part, spent in parts if int(part) >= oldest)
    start, _ = period_of(budget.period, budget.time_zone, now)
    known = {_text(name): _text(value) for name, value in fields.items()}
    return int(known.get(f"{budget.name}:spent", 0)) if known.get(f"{budget.name}:start") == str(start) else 0


def is_part(name: bytes | str, budget: Budget) -> bool:
    """Return True for the field of one part of a rolling budget's window (`_budget.lua`)."""
    return re.fullmatch(re.escape(budget.name) + r":\d+", _text(name)) is not None


def describe_key(record: KeyRecord) -> dict[str, Any]:
    """Return the fields of a key that may be shown: all except its digests."""
    shown = record.to_json()
    del shown["digests"]
    return shown


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
