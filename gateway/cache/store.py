"""Entries, locks and counts in Redis. No call delays a request beyond its budget or fails it: a late or failed call
raises CacheAway, and the request continues without the cache.

Data that is not needed for an answer (which entries were used, hit counts) is collected and written once a second.
"""

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Final, Literal
from urllib.parse import quote

import structlog

from gateway.cache.client import CacheAway, CacheClient
from gateway.cache.entry import CacheEntry, MixedUp, from_blob, to_blob
from gateway.process.tasks import Repeated
from gateway.redis import scripts
from gateway.redis.keys import Keys
from gateway.telemetry.metrics import CACHE_ERRORS, CACHE_STORES, count_cached

log = structlog.get_logger()

Outcome = Literal["hit", "miss", "wait", "bypass"]
Taken = Literal["taken", "answered", "held", "barren"]  # see cache_lock.lua

# By the first digit of the fingerprint: no hash grows so large that deleting from it blocks Redis.
SHARDS: Final = "0123456789abcdef"
# Overhead of an entry besides its blob: its key, its fields in the index and the usage set (measured on Valkey 9.1: 350
# to 380 bytes each of 8,000 to 24,000 entries; fewer while an index is small enough to be packed).
OVERHEAD_BYTES: Final = 400
# Spread of the lifetime, so that entries made together do not expire together.
TTL_JITTER: Final = 0.1
# Maximum of an entry's JSON: larger ones never compress to an allowed entry.
MAX_RAW_BYTES: Final = 16 * 1024 * 1024
# Packing more than this takes over a millisecond, and runs in a thread.
INLINE_BYTES: Final = 512 * 1024

# Number of concurrent calls in a burst of requests; opening a connection takes five round trips.
WARM_CONNECTIONS: Final = 8
# Storing an answer, which has been paid for and which no request waits for, may wait for a connection in a burst.
KEEP_SECONDS: Final = 5.0
# Budget of other calls that no request waits for.
IDLE_SECONDS: Final = 1.0
FLUSH_SECONDS: Final = 1.0
COUNTS_SECONDS: Final = 30 * 86_400
# Lifetime of the mark of a call without a shareable answer: a little longer than the waiters' poll interval.
BARREN_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """`ttl`: seconds an entry lives, a tenth more or less. `lock`: seconds after which a silent leader counts as dead;
    `wait`: seconds that a request waits for a leader elsewhere. Bytes are those of the compressed entries."""

    ttl: float = 3600.0
    entry_bytes: int = 1024 * 1024
    total_bytes: int = 256 * 1024 * 1024
    lock: float = 5.0
    wait: float = 60.0

    @property
    def shard_bytes(self) -> int:
        return self.total_bytes // len(SHARDS)


@dataclass(frozen=True, slots=True)
class CacheAddress:
    """Place of an answer in the cache."""

    fingerprint: str
    tenant: str
    model: str  # a tag, see `to_tag`


@dataclass(frozen=True, slots=True)
class Lock:
    fingerprint: str
    nonce: str


@dataclass(slots=True)
class CacheStore:
    calls: CacheClient
    limits: CacheLimits = field(default_factory=CacheLimits)
    keys: Keys = field(default_factory=Keys)
    now: Callable[[], float] = time.time
    _used: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    _counts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    async def warm(self) -> None:
        """Open the first connections ahead of requests. An unavailable Redis is logged and ignored."""
        try:
            await self.calls.run(self._touch, IDLE_SECONDS)  # one call: several would count as several failures
            await asyncio.gather(*(self.calls.run(self._touch, IDLE_SECONDS) for _ in range(WARM_CONNECTIONS)))
        except CacheAway as error:
            log.warning("cache_redis_away", reason=str(error), hint="requests are answered without the cache")

    async def get(self, fingerprint: str) -> CacheEntry | None:
        """Return the entry. Raises CacheAway."""
        blob = await self.calls.read(self.keys.cache_entry(fingerprint))
        return None if blob is None else self._read(fingerprint, blob)

    async def look(self, fingerprint: str) -> tuple[CacheEntry | None, bytes | None]:
        """Return the entry, and the holder of its lock. Raises CacheAway."""
        blob, holder = await asyncio.gather(
            self.calls.read(self.keys.cache_entry(fingerprint)), self.calls.read(self.keys.cache_lock(fingerprint))
        )
        return None if blob is None else self._read(fingerprint, blob), holder

    async def keep(self, place: CacheAddress, entry: CacheEntry, seconds: float) -> str:
        """Store an answer with an upstream call that began `seconds` ago. Never raises for Redis.

        Return the outcome: kept, purged (cleared since it was asked for), too_large or failed.
        """
        outcome = await self._keep(place, entry, seconds)
        CACHE_STORES.labels(outcome).inc()
        return outcome

    async def take(self, fingerprint: str, budget: float) -> tuple[Lock, Taken]:
        """Try to take the lock for calling the upstream. Raises CacheAway."""
        lock = Lock(fingerprint, os.urandom(8).hex())
        taken: bytes = await self.calls.run(lambda: self._lock(lock, "take", self.limits.lock * 1000), budget)
        return lock, taken.decode()  # type: ignore[return-value]  # one of the script's words

    async def hold(self, lock: Lock) -> bool:
        """Extend the lock. Return False if another process holds it now. Raises CacheAway."""
        return bool(await self.calls.run(lambda: self._lock(lock, "hold", self.limits.lock * 1000)))

    async def release(self, lock: Lock, *, barren: bool) -> None:
        """Release the lock. Barren: the call has no shareable answer. If Redis fails, the lock expires."""
        with suppress(CacheAway):  # no request waits for this
            await self.calls.run(lambda: self._lock(lock, "end" if barren else "free", BARREN_MS), IDLE_SECONDS)

    def use(self, fingerprint: str) -> None:
        """Mark an entry as used, so that it is evicted later than others."""
        self._used[fingerprint[0]][fingerprint] = self.now() * 1000

    def count(self, tenant: str, outcome: Outcome) -> None:
        count_cached(outcome)
        self._counts[tenant][outcome] += 1

    async def run(self) -> None:
        """Write the collected data every second."""
        await Repeated("cache counts", self.flush, every=FLUSH_SECONDS).run()

    async def flush(self) -> None:
        """Write the collected data; keep it if Redis fails."""
        used, self._used = self._used, defaultdict(dict)
        counts, self._counts = self._counts, defaultdict(Counter)
        if not used and not counts:
            return
        try:
            await self.calls.run(lambda: self._write(used, counts), IDLE_SECONDS)
        except CacheAway:
            for tenant, counted in counts.items():
                self._counts[tenant].update(counted)

    async def _touch(self) -> None:
        await self.calls.redis.exists(self.keys.secret)

    async def _write(self, used: dict[str, dict[str, float]], counts: dict[str, Counter[str]]) -> None:
        pipeline = self.calls.redis.pipeline(transaction=False)
        for digit, at in used.items():
            pipeline.zadd(self.keys.cache_shard(digit).used, at, xx=True)
        for tenant, counted in counts.items():
            key = self.keys.cache_counts(tenant)
            for outcome, number in counted.items():
                pipeline.hincrby(key, outcome, number)
            pipeline.expire(key, COUNTS_SECONDS)
        await pipeline.execute()

    async def _keep(self, place: CacheAddress, entry: CacheEntry, seconds: float) -> str:
        if len(entry.rest) > MAX_RAW_BYTES:
            return "too_large"
        pack = to_blob if len(entry.rest) <= INLINE_BYTES else _to_blob_in_thread
        packed = pack(place.fingerprint, entry)
        blob = packed if isinstance(packed, bytes) else await packed
        size = len(blob) + OVERHEAD_BYTES
        if len(blob) > self.limits.entry_bytes or size > self.limits.shard_bytes:
            return "too_large"
        try:
            outcome: str = await self.calls.run(lambda: self._add(place, blob, size, seconds), KEEP_SECONDS)
        except CacheAway:
            # The answer has been delivered; only its copy is lost.
            return "failed"
        return outcome

    async def _add(self, place: CacheAddress, blob: bytes, size: int, seconds: float) -> str:
        live = round(self.limits.ttl * 1000 * random.uniform(1 - TTL_JITTER, 1 + TTL_JITTER))  # noqa: S311 - a spread
        names = (self.keys.cache_entry(place.fingerprint), *self.keys.cache_shard(place.fingerprint[0]))
        arguments = (blob, max(1, live), size, self.limits.shard_bytes, quote(place.tenant, safe=""), place.model)
        outcome, *gone = await scripts.CACHE_KEEP.run(
            self.calls.redis, names, (place.fingerprint, *arguments, round(seconds * 1000))
        )
        if gone:
            await self.calls.redis.unlink(*(self.keys.cache_entry(name.decode()) for name in gone))
        result: str = outcome.decode()
        return result

    async def _lock(self, lock: Lock, verb: str, ms: float) -> bytes:
        names = (self.keys.cache_lock(lock.fingerprint), self.keys.cache_entry(lock.fingerprint))
        reply: bytes = await scripts.CACHE_LOCK.run(self.calls.redis, names, (verb, lock.nonce, round(ms)))
        return reply

    def _read(self, fingerprint: str, blob: bytes) -> CacheEntry | None:
        try:
            return from_blob(fingerprint, blob)
        except MixedUp:
            CACHE_ERRORS.labels("mixed_up").inc()
            log.error("cache_entry_mixed_up", fingerprint=fingerprint)
            return None


async def _to_blob_in_thread(fingerprint: str, entry: CacheEntry) -> bytes:
    return await asyncio.to_thread(to_blob, fingerprint, entry)


def to_tag(model: str) -> str:
    """Return the index's tag for an entry's upstream model: short, without special characters."""
    return blake2s(model.encode(), digest_size=6).hexdigest()
