"""Stage a batch while its body arrives: chunks under its own keys, invisible, expiring within the hour if uncommitted.

The order of committing is index → commit → schedule. Each step is safe to repeat, and a crash between two steps leaves
only recoverable state: before the commit, entries that lists skip; after it, a batch that the sweeper schedules.
"""

import asyncio
import hashlib
from typing import Final

import orjson
import structlog

from gateway.batches.chunks import CHUNK_BYTES, CHUNK_ITEMS, THREAD_BYTES, ChunkIndex, pack_ids, pack_items
from gateway.batches.ending import to_log_fields
from gateway.batches.lifecycle import MAX_MODELS, BatchOptions, BatchRecord, to_fields
from gateway.batches.scheduler import INSPECT_MS, Scheduler
from gateway.batches.server import BatchServer, Command
from gateway.batches.splitter import Item
from gateway.errors import Conflict, Unavailable
from gateway.redis import scripts
from gateway.redis.keys import DATA_VERSION, IDEMPOTENCY_SECONDS, RESERVATION_SECONDS, STAGING_SECONDS
from gateway.telemetry.metrics import BATCH_EVENTS

log = structlog.get_logger()

# Bytes per round trip: at 2 KB an item, some 500 items.
_WRITE_BYTES: Final = 256 * 1024
_WRITE_CHUNKS: Final = 8
# Bytes between memory checks: uploads admitted at the same time must not fill the server.
_ADMIT_BYTES: Final = 16 * 1024 * 1024


class Staging:
    """`add` each item, then `commit`; call `discard` after any failure, including one in `commit`."""

    def __init__(
        self,
        server: BatchServer,
        scheduler: Scheduler,
        *,
        batch_id: str,
        created: int,
        tenant: str,
        options: BatchOptions,
    ) -> None:
        self.batch_id = batch_id
        self._server = server
        self._scheduler = scheduler
        self._created = created
        self._tenant = tenant
        self._options = options
        self._keys = server.keys.batch(batch_id)

        self._items: list[Item] = []  # of the open chunk
        self._item_bytes = 0
        self._params_bytes = 0
        self._stored_bytes = 0
        self._starts = [0]  # first index of each chunk, the open one last
        self._writes: list[Command] = []
        self._write_bytes = 0
        self._until_admission = _ADMIT_BYTES
        self._models: dict[str, None] = {}
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def count(self) -> int:
        return self._starts[-1] + len(self._items)

    async def add(self, item: Item) -> None:
        """Add an item. Raises Overloaded when the store is full, Unavailable when it cannot be reached."""
        self._items.append(item)
        self._item_bytes += len(item.params)
        self._params_bytes += len(item.params)
        if item.model not in self._models and len(self._models) < MAX_MODELS:
            self._models[item.model] = None
        if self._options.idempotency_key is not None:
            self._digest.update(b"%s %d " % (item.custom_id.encode(), len(item.params)))
            self._digest.update(item.params)
        if len(self._items) >= CHUNK_ITEMS or self._item_bytes >= CHUNK_BYTES:
            await self._close_chunk()

    async def commit(self) -> BatchRecord:
        """Return the batch, now visible and scheduled, or the one that the same idempotency key created before.

        Raises Conflict when that key's other request had other items or is still running, Unavailable when the batch
        could not be kept; then `discard` it.
        """
        if self._items:
            await self._close_chunk()
        index = ChunkIndex.of(self._starts[:-1])
        self._writes.append(("HSET", self._keys.ids, "index", index.pack()))
        await self._write()
        earlier = await self._reserve()
        if earlier is not None:
            await self.discard()
            return await self._confirm(earlier)
        keys = self._server.keys
        await self._server.pipeline(
            [
                ("SADD", keys.tenants, self._tenant),
                ("ZADD", keys.tenant_batches(self._tenant), self._created, self.batch_id),
                ("HSET", keys.tenant_bytes(self._tenant), self.batch_id, self._stored_bytes),
            ]
        )
        await self._scheduler.inspect(self.batch_id, INSPECT_MS)  # the commit is over long before
        await self._commit(chunks=len(index.starts))
        record = await self._confirm(await self._server.read_of(self._tenant, self.batch_id))
        BATCH_EVENTS.labels("created").inc()
        log.info("batch_created", **to_log_fields(record), bytes=self._params_bytes)
        return record

    async def discard(self) -> None:
        """Remove what was staged, and what was committed if it got that far. Safe to call twice.

        With an idempotency key, a committed batch stays: other requests with the key may already have received it.
        """
        self._items, self._writes = [], []
        key = self._idempotency
        if not await self._server.run(scripts.DISCARD, self._keys, (int(key is not None),)):
            return
        keys = self._server.keys
        await self._server.pipeline(
            [
                ("ZREM", keys.tenant_batches(self._tenant), self.batch_id),
                ("ZREM", keys.scheduler.due, self.batch_id),
                ("HDEL", keys.tenant_bytes(self._tenant), self.batch_id),
            ]
        )
        if key is not None and (await self._server.pipeline([("GET", key)]))[0] == self.batch_id.encode():
            await self._server.pipeline([("DEL", key)])

    # -- chunks

    async def _close_chunk(self) -> None:
        number, items = len(self._starts) - 1, self._items
        if self._item_bytes > THREAD_BYTES:
            blob = await asyncio.to_thread(pack_items, items)
        else:
            blob = pack_items(items)
        self._writes.append(("HSET", self._keys.input, number, blob))
        self._writes.append(("HSET", self._keys.ids, number, pack_ids(items)))
        self._write_bytes += len(blob)
        self._starts.append(self._starts[-1] + len(items))
        self._items, self._item_bytes = [], 0
        if self._write_bytes >= _WRITE_BYTES or len(self._writes) >= 2 * _WRITE_CHUNKS:
            await self._write()

    async def _write(self) -> None:
        writes, self._writes = self._writes, []
        self._until_admission -= self._write_bytes
        self._stored_bytes += self._write_bytes
        self._write_bytes = 0
        expiries = [("EXPIRE", key, STAGING_SECONDS) for key in (self._keys.input, self._keys.ids)]
        await self._server.pipeline([*writes, *expiries])
        if self._until_admission <= 0:
            self._until_admission = _ADMIT_BYTES
            await self._server.admit(self._tenant, self._stored_bytes)

    # -- committing

    @property
    def _idempotency(self) -> str | None:
        """Return the Redis key of the client's idempotency key."""
        given = self._options.idempotency_key
        if given is None:
            return None
        return self._server.keys.idempotency(self._tenant, hashlib.blake2b(given.encode(), digest_size=16).hexdigest())

    async def _reserve(self) -> BatchRecord | None:
        """Take the idempotency key, or find the batch that has it."""
        key = self._idempotency
        if key is None:
            return None
        take: Command = ("SET", key, self.batch_id, "NX", "EX", RESERVATION_SECONDS)
        taken, holder, seconds = await self._server.pipeline([take, ("GET", key), ("TTL", key)])
        if taken is not None or holder is None or holder.decode() == self.batch_id:
            return None
        earlier = (await self._server.read([holder.decode()]))[0]
        if earlier is None and seconds > RESERVATION_SECONDS:
            text = "This idempotency key was used before, for a batch that has been deleted"
            raise Conflict(text, should_retry=False)
        if earlier is None:
            raise Conflict("A request with this idempotency key is still being processed", retry_after=2)
        if earlier.digest != self._digest.hexdigest():
            text = "This idempotency key was used before, for a batch with other requests"
            raise Conflict(text, should_retry=False)
        return earlier

    async def _commit(self, chunks: int) -> None:
        policy = self._server.policy
        fields = to_fields(
            self._tenant,
            self._options,
            policy.lifetimes,
            self._created,
            {
                "v": DATA_VERSION,
                "max_lost": policy.max_lost,
                "bytes": self._params_bytes,
                "models": orjson.dumps(list(self._models)).decode(),
                "digest": self._digest.hexdigest() if self._options.idempotency_key is not None else "",
            },
        )
        pairs = [part for pair in fields.items() for part in pair]
        reply = await self._server.run(scripts.COMMIT, self._keys, (self.count, chunks, *pairs))
        if reply != b"committed":
            raise Unavailable("The batch took too long to arrive and was given up. Please send it again")

    async def _confirm(self, record: BatchRecord) -> BatchRecord:
        """Ensure that a committed batch is durable and scheduled, before it is returned to a client."""
        if not await self._server.confirm(record.id):
            raise Unavailable("The batch could not be stored durably. Please send it again", retry_after=5)
        if record.status != "ended":
            await self._scheduler.schedule(
                record.id,
                self._tenant,
                after=0,
                inspect_after=max(0, min(record.expires - record.read, INSPECT_MS)),
                priority=record.priority,
                across=record.across,
            )
        if self._idempotency is not None:
            await self._server.pipeline([("SET", self._idempotency, record.id, "EX", IDEMPOTENCY_SECONDS)])
        return record
