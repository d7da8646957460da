"""Batch queue for workers: claim items under a lease, read them, renew, record results, release items.

A claim has a fence, a random token that its items carry while they are leased. Renewing and releasing need it;
recording does not: the first result wins, since it has been paid for. All calls are idempotent, so they can be
repeated after a lost reply.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, Literal

from redis.exceptions import RedisError

from gateway.batches.chunks import THREAD_BYTES, ChunkIndex, unpack_items
from gateway.batches.ending import conclude
from gateway.batches.lifecycle import BatchRecord
from gateway.batches.scheduler import INSPECT_MS, Scheduler
from gateway.batches.server import BatchServer
from gateway.batches.splitter import Item
from gateway.errors import GatewayError
from gateway.redis import scripts
from gateway.redis.codec import pack
from gateway.redis.keys import DATA_VERSION
from gateway.telemetry.metrics import BATCH_WAIT

# Renewed every 20 s: two renewals may be lost before another worker gets the item and pays for it again.
LEASE_MS: Final = 60_000

# Redis runs one script at a time: no other client is served while a claim runs.
_CLAIM_ITEMS: Final = 200
# Batches looked at in one claim; one without room must not hide the next.
_CLAIM_PICKS: Final = 16
# Delay before a batch is offered again after its room was used up: not in the same round.
_LIMITED_MS: Final = 50
# Maximum delay of a batch without room: another worker may find room sooner.
_WAIT_SECONDS: Final = 2.0
# Of one call that records results: Redis serves no other client while it runs.
_DONE_ITEMS: Final = 64
_DONE_BYTES: Final = 4 * 1024 * 1024
# Records and chunks that the next claims are likely to need. Items of a chunk are claimed in a row.
_KNOWN_BATCHES: Final = 256
_CACHED_CHUNKS: Final = 64
_CACHED_BYTES: Final = 16 * 1024 * 1024

Outcome = Literal["recorded", "duplicate", "late"]
_OUTCOMES: Final[dict[int, Outcome]] = {1: "recorded", 0: "duplicate", -1: "late"}


@dataclass(frozen=True, slots=True)
class Lease:
    """One claimed item. `tries` and `refusals` are as `release` recorded them; `lost` are its lost leases."""

    index: int
    tries: int
    lost: int
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """Items of one batch. `batch` is as first read by this process: its options are valid, its status is stale.

    `alone`: this item was lost twice; run nothing beside it. `suspects`: number of such items that wait for an idle
    worker; let the slots run empty and claim with `idle`. Such a claim may hold no items.
    """

    batch: BatchRecord
    fence: str
    leases: tuple[Lease, ...]
    alone: bool
    suspects: int
    index: ChunkIndex = field(repr=False)

    def by_chunk(self) -> Iterator["Claim"]:
        """The claim in parts, each of which lies in one chunk."""
        for _, leases in groupby(self.leases, key=lambda lease: self.index.find(lease.index)[0]):
            yield replace(self, leases=tuple(leases))


@dataclass(frozen=True, slots=True)
class WorkItem:
    lease: Lease
    item: Item


@dataclass(frozen=True, slots=True)
class Renewal:
    """`lost` indices are not leased to this claim. `stopping`: the batch was canceled or has ended."""

    lost: frozenset[int]
    stopping: bool


@dataclass(frozen=True, slots=True)
class ItemResult:
    """`line` is the whole result line, without its newline; `cost` in micro-dollars."""

    index: int
    succeeded: bool
    line: bytes = field(repr=False)
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """Release an item, to be claimed again after `delay_ms`.

    `tries` are the upstream attempts that count against it, `refusals` those in a row that do not. They replace what
    was recorded; without `tries` both are left.
    """

    index: int
    delay_ms: int = 0
    tries: int | None = None
    cost: int = 0
    refusals: int = 0


# Number of items of a batch that may be called now; if none, seconds until some may.
Room = Callable[[BatchRecord], tuple[int, float]]


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """A claim with a lost reply. Repeating it with its fence gets the same grant, if there was one."""

    batch_id: str
    fence: str
    wanted: int
    idle: bool
    at: float


class BatchQueue:
    """Queue client of one claiming loop; its claims do not overlap. `worker` names it."""

    def __init__(
        self,
        server: BatchServer,
        worker: str,
        *,
        lease_ms: int = LEASE_MS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._scheduler = Scheduler(server)
        self._worker = worker
        self._lease_ms = lease_ms
        self._clock = clock
        self._batches: dict[str, tuple[BatchRecord, ChunkIndex]] = {}
        self._chunks = _ChunkCache()
        self._unanswered: _Unanswered | None = None

    async def claim(self, free_slots: int, *, idle: bool = False, room: Room | None = None) -> list[Claim]:
        """Claim up to `free_slots` items, from several batches if necessary; return an empty list if there are none.

        `idle`: this worker has no items in flight; only then may it claim an item that was lost twice. `room` limits
        the items claimed per batch. Raises if Redis fails before the first claim; otherwise the claims made before the
        failure are returned.
        """
        claims: list[Claim] = []
        try:
            await self._claim_unanswered(claims)
            for _ in range(_CLAIM_PICKS):
                free = free_slots - sum(len(claim.leases) for claim in claims)
                if free <= 0 or any(claim.alone for claim in claims):
                    break
                wanted = min(free, _CLAIM_ITEMS)
                batch_id = await self._scheduler.pick(self._worker, wanted)
                if batch_id is None:
                    break
                await self._claim_from(batch_id, wanted, claims, idle=idle and not claims, room=room)
        except (GatewayError, RedisError):
            if not claims:
                raise
        return claims

    async def claim_alone(self, batch_id: str) -> list[Claim]:
        """Claim an item of this batch that was lost twice, or another one, for a worker without items in flight."""
        claims: list[Claim] = []
        await self._claim_from(batch_id, 1, claims, idle=True)
        return claims

    async def defer(self, batch_id: str, seconds: float) -> None:
        """Withhold the batch for a time."""
        await self._scheduler.park(batch_id, unused=0, after=round(seconds * 1000))

    async def items(self, claim: Claim) -> list[WorkItem]:
        """Read the claim's items, without those of ended batches. Raises BrokenBlob for damaged data."""
        places = [(lease, *claim.index.find(lease.index)) for lease in claim.leases]
        wanted, batch_id = {chunk for _, chunk, _ in places}, claim.batch.id
        chunks = {chunk: items for chunk in wanted if (items := self._chunks.get(batch_id, chunk)) is not None}
        missing = sorted(wanted - chunks.keys())
        if missing:
            [blobs] = await self._server.pipeline([("HMGET", self._server.keys.batch(batch_id).input, *missing)])
            for chunk, blob in zip(missing, blobs, strict=True):
                if blob is not None:
                    chunks[chunk] = self._chunks.put(batch_id, chunk, await _unpack(blob))
        return [WorkItem(lease, chunks[chunk][place]) for lease, chunk, place in places if chunk in chunks]

    async def renew(self, claim: Claim, indices: Iterable[int]) -> Renewal:
        """Extend the leases of those items by a whole lease from now."""
        keys = self._server.keys.batch(claim.batch.id)
        reply = await self._server.run(scripts.RENEW, keys, (claim.fence, self._lease_ms, *indices))
        return Renewal(lost=frozenset(reply[1:]), stopping=reply[0] != b"running")

    async def done(self, batch_id: str, results: Sequence[ItemResult]) -> list[Outcome]:
        """Record results of any claims on the batch. Late and repeated results are discarded."""
        outcomes: list[Outcome] = []
        blobs = await _pack_all([result.line for result in results])
        keys = self._server.keys.batch(batch_id)
        sealed = False
        for group in _groups([len(blob) for blob in blobs]):
            arguments: list[str | bytes | int] = []
            for result, blob in zip(results[group], blobs[group], strict=True):
                arguments += (result.index, "ok" if result.succeeded else "err", blob, result.cost)
            reply = await self._server.run(scripts.DONE, keys, arguments)
            sealed = sealed or reply[0] == 1
            outcomes += [_OUTCOMES[code] for code in reply[1:]]
        if sealed:
            await self._ended(batch_id)
        return outcomes

    async def release(self, claim: Claim, releases: Sequence[Release]) -> int:
        """Return how many items were still leased and are now released. A stopping batch does not retry them."""
        arguments: list[str | int] = [claim.fence]
        for release in releases:
            tries = -1 if release.tries is None else release.tries
            arguments += (release.index, release.delay_ms, tries, release.refusals, release.cost)
        keys = self._server.keys.batch(claim.batch.id)
        sealed, soonest, *released = await self._server.run(scripts.RELEASE, keys, arguments)
        if sealed:
            await self._ended(claim.batch.id)
        elif soonest >= 0:
            await self._scheduler.wake(claim.batch.id, soonest)
        return sum(released)

    # -- claiming

    async def _claim_from(
        self, batch_id: str, wanted: int, claims: list[Claim], *, idle: bool, room: Room | None = None
    ) -> None:
        """Claim from the batch and add the claim to `claims`."""
        known = await self._know(batch_id)
        if known is None:
            await self._scheduler.drop(batch_id)
            return
        allowed, wait = (wanted, 0.0) if room is None else room(known[0])
        if allowed <= 0:
            # Keep its charge; otherwise it would come first in every round while it waits.
            await self._scheduler.park(batch_id, unused=0, after=round(min(wait, _WAIT_SECONDS) * 1000))
            return
        claimed = min(wanted, allowed)
        leases, again = await self._grant(batch_id, secrets.token_hex(8), claimed, claims, idle=idle)
        if again == 0 and claimed < wanted:
            again = _LIMITED_MS
        if again:
            await self._scheduler.park(batch_id, unused=wanted - leases, after=again)

    async def _grant(
        self, batch_id: str, fence: str, wanted: int, claims: list[Claim], *, idle: bool
    ) -> tuple[int, int]:
        """Claim, and add the claim. Return the number of its items, and ms until there may be more (0: now)."""
        self._unanswered = _Unanswered(batch_id, fence, wanted, idle, self._clock())
        arguments = (DATA_VERSION, self._worker, fence, wanted, self._lease_ms, int(idle))
        reply = await self._server.run(scripts.CLAIM, self._server.keys.batch(batch_id), arguments)
        self._unanswered = None
        status = reply[0]
        if status in (b"missing", b"ended"):
            await self._ended(batch_id)
            return 0, 0
        if status == b"stopped":
            await self._settle(batch_id)
            return 0, 0
        _, alone, suspects, again, *figures = reply
        leases = tuple(Lease(*figures[at : at + 4]) for at in range(0, len(figures), 4))
        if leases or suspects:
            record, index = self._batches[batch_id]
            claims.append(Claim(record, fence, leases, alone=alone == 1, suspects=suspects, index=index))
            if Lease(0, 0, 0) in leases:  # asked afterwards: if Redis fails now, the claim is held all the same
                BATCH_WAIT.observe(max(0, await self._server.now() - record.created) / 1000)
        return len(leases), again

    async def _claim_unanswered(self, claims: list[Claim]) -> None:
        """Repeat the claim that lost its reply: its items would wait until their leases end."""
        lost, self._unanswered = self._unanswered, None
        if lost is None or lost.batch_id not in self._batches:
            return
        if (self._clock() - lost.at) * 1000 < self._lease_ms / 2:  # else the leases may expire too soon
            await self._grant(lost.batch_id, lost.fence, lost.wanted, claims, idle=lost.idle)

    async def _settle(self, batch_id: str) -> None:
        """Handle an exhausted batch: end it if it has no items in flight, else stop offering it."""
        keys = self._server.keys.batch(batch_id)
        status, inspection, *_ = await self._server.run(scripts.SETTLE, keys, (DATA_VERSION, INSPECT_MS))
        if status in (b"ended", b"missing"):
            await self._ended(batch_id)
        else:
            await self._scheduler.inspect(batch_id, inspection)
            await self._scheduler.park(batch_id, unused=0, after=inspection)

    async def _ended(self, batch_id: str) -> None:
        self._batches.pop(batch_id, None)
        await conclude(self._server, self._scheduler, batch_id)

    async def _know(self, batch_id: str) -> tuple[BatchRecord, ChunkIndex] | None:
        """Return the batch's options and the positions of its items, which never change."""
        known = self._batches.get(batch_id)
        if known is not None:
            return known
        [record] = await self._server.read([batch_id])
        [index] = await self._server.pipeline([("HGET", self._server.keys.batch(batch_id).ids, "index")])
        if record is None or index is None:
            return None
        if len(self._batches) >= _KNOWN_BATCHES:
            del self._batches[next(iter(self._batches))]
        known = self._batches[batch_id] = (record, ChunkIndex.unpack(index))
        return known


class _ChunkCache:
    """Chunks read lately: claims go through a batch in order, and a chunk serves several. Chunks never change."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[str, int], tuple[list[Item], int]] = {}
        self._bytes = 0

    def get(self, batch_id: str, chunk: int) -> list[Item] | None:
        entry = self._chunks.get((batch_id, chunk))
        return None if entry is None else entry[0]

    def put(self, batch_id: str, chunk: int, items: list[Item]) -> list[Item]:
        size = sum(len(item.params) for item in items)
        if (batch_id, chunk) in self._chunks or size > _CACHED_BYTES:
            return items
        self._chunks[batch_id, chunk] = (items, size)
        self._bytes += size
        while self._bytes > _CACHED_BYTES or len(self._chunks) > _CACHED_CHUNKS:
            self._bytes -= self._chunks.pop(next(iter(self._chunks)))[1]
        return items


async def _pack_all(lines: list[bytes]) -> list[bytes]:
    def pack_lines() -> list[bytes]:
        return [pack(line) for line in lines]

    if sum(map(len, lines)) > THREAD_BYTES:
        return await asyncio.to_thread(pack_lines)
    return pack_lines()


async def _unpack(blob: bytes) -> list[Item]:
    if len(blob) > THREAD_BYTES:
        return await asyncio.to_thread(unpack_items, blob)
    return unpack_items(blob)


def _groups(sizes: Sequence[int]) -> list[slice]:
    """Return runs of at most _DONE_ITEMS and, unless one item alone exceeds it, _DONE_BYTES."""
    groups: list[slice] = []
    start = total = 0
    for position, size in enumerate(sizes):
        if position > start and (position - start >= _DONE_ITEMS or total + size > _DONE_BYTES):
            groups.append(slice(start, position))
            start, total = position, 0
        total += size
    if start < len(sizes):
        groups.append(slice(start, len(sizes)))
    return groups
