"""Statistics and purges of the cache, for one tenant or for all.

A purge first blocks storing answers to earlier requests, then deletes: an answer in flight at that moment is delivered,
but not stored.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from gateway.cache.client import CacheAway
from gateway.cache.store import SHARDS, CacheStore
from gateway.errors import Unavailable
from gateway.redis import scripts
from gateway.redis.scripts import Argument, LuaScript

AWAY: Final = "The prompt cache cannot be reached now. Please try again"
# One call stays short, since the cache answers live requests in between.
STEP: Final = 200
SCAN: Final = 500
# An operator waits longer than a request, which has 50 ms for the cache.
CALL_SECONDS: Final = 1.0
# Longer than the maximum time of an upstream's answer.
PURGED_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Entries of one tenant, of one model (its tag), or with one fingerprint; None matches all."""

    tenant: str | None = None
    model: str | None = None
    fingerprint: str | None = None

    def holds(self, fingerprint: str, owner: str, model: str) -> bool:
        return (
            (self.tenant is None or owner == quote(self.tenant, safe=""))
            and (self.model is None or model == self.model)
            and (self.fingerprint is None or fingerprint == self.fingerprint)
        )

    @property
    def note(self) -> str:
        """Return the field that `cache_keep` looks up: never narrower than the scope."""
        if self.fingerprint is not None:
            return f"k:{self.fingerprint}"
        parts = []
        if self.tenant is not None:
            parts.append(f"t:{quote(self.tenant, safe='')}")
        if self.model is not None:
            parts.append(f"m:{self.model}")
        return " ".join(parts) or "*"


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of one tenant or all. Each look-up is a hit or a miss; `waits` are misses served by another request."""

    hits: int = 0
    misses: int = 0
    waits: int = 0
    bypasses: int = 0
    entries: int = 0
    bytes: int = 0
    pushed_out: int = 0
    expired: int = 0

    @property
    def lookups(self) -> int:
        return self.hits + self.misses


@dataclass(frozen=True, slots=True)
class CacheUpkeep:
    store: CacheStore

    async def stats(self, tenant: str) -> Stats:
        """Raises Unavailable."""
        with _away():
            await self.store.flush()
            counts = await self._fields(self.store.keys.cache_counts(tenant), ("hit", "miss", "wait", "bypass"))
            name = quote(tenant, safe="")
            fields = (f"e:{name}", f"b:{name}", f"out:{name}", f"old:{name}")
            totals = [await self._fields(self.store.keys.cache_shard(digit).totals, fields) for digit in SHARDS]
        hits, misses, waits, bypasses = counts
        return Stats(hits, misses + waits, waits, bypasses, *(sum(column) for column in zip(*totals, strict=True)))

    async def totals(self) -> tuple[int, int]:
        """Return the number of entries of all tenants, and their bytes. Raises Unavailable."""
        with _away():
            shards = [self.store.keys.cache_shard(digit) for digit in SHARDS]
            entries = [
                await self.store.calls.run(partial(self._redis.hlen, shard.records), CALL_SECONDS) for shard in shards
            ]
            sizes = [(await self._fields(shard.totals, ("bytes",)))[0] for shard in shards]
        return sum(entries), sum(sizes)

    async def purge(self, scope: EntryFilter) -> int:
        """Delete the entries in the scope and return their number. Raises Unavailable."""
        digits = SHARDS if scope.fingerprint is None else scope.fingerprint[:1]
        with _away():
            for digit in digits:
                key = self.store.keys.cache_shard(digit).purged
                await self._run(scripts.CACHE_PURGE, (key,), (scope.note, PURGED_MS))
            return sum([await self._purge(digit, scope) for digit in digits])

    async def cleanup(self, tenant: str) -> int:
        """Remove expired entries from the index. This also happens on insert. Raises Unavailable."""
        with _away():
            return sum([await self._clean(digit, EntryFilter(tenant=tenant)) for digit in SHARDS])

    async def _purge(self, digit: str, scope: EntryFilter) -> int:
        found = 0
        async for fingerprints in self._in(digit, scope):
            names = [self.store.keys.cache_entry(fingerprint) for fingerprint in fingerprints]
            await self.store.calls.run(partial(self._redis.unlink, *names), CALL_SECONDS)
            found += await self._forget(digit, "", fingerprints)
        return found

    async def _clean(self, digit: str, scope: EntryFilter) -> int:
        found = 0
        async for fingerprints in self._in(digit, scope):
            pipeline = self._redis.pipeline(transaction=False)
            for fingerprint in fingerprints:
                pipeline.exists(self.store.keys.cache_entry(fingerprint))
            there = await self.store.calls.run(pipeline.execute, CALL_SECONDS)
            gone = [one for one, is_there in zip(fingerprints, there, strict=True) if not is_there]
            found += await self._forget(digit, "old", gone)
        return found

    async def _in(self, digit: str, scope: EntryFilter) -> AsyncIterator[list[str]]:
        """Yield the shard's fingerprints in the scope, at most STEP at a time."""
        key, cursor = self.store.keys.cache_shard(digit).records, 0
        while True:
            scan = partial(self._redis.hscan, key, cursor, count=SCAN)
            cursor, records = await self.store.calls.run(scan, CALL_SECONDS)
            found = [name.decode() for name, record in records.items() if _is_in(scope, name, record)]
            for at in range(0, len(found), STEP):
                yield found[at : at + STEP]
            if cursor == 0:
                return

    async def _forget(self, digit: str, fate: str, fingerprints: Sequence[str]) -> int:
        if not fingerprints:
            return 0
        keys = self.store.keys.cache_shard(digit)[:3]
        return int(await self._run(scripts.CACHE_FORGET, keys, (fate, *fingerprints)))

    async def _fields(self, key: str, fields: Sequence[str]) -> list[int]:
        values = await self.store.calls.run(partial(self._redis.hmget, key, list(fields)), CALL_SECONDS)
        return [int(value or 0) for value in values]

    async def _run(self, script: LuaScript, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        return await self.store.calls.run(partial(script.run, self._redis, keys, arguments), CALL_SECONDS)

    @property
    def _redis(self) -> Any:
        """Run a command, untyped: redis-py declares one result type for its sync and its async client."""
        return self.store.calls.redis


@contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except CacheAway as error:
        raise Unavailable(AWAY, retry_after=2) from error


def _is_in(scope: EntryFilter, name: bytes, record: bytes) -> bool:
    _, _, owner, model = record.decode().split(" ")
    return scope.holds(name.decode(), owner, model)
