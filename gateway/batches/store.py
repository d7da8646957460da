"""Batch store for front ends: create, show, cancel and delete batches, and read their results.

The process keeps no state: any front end can serve any batch. Every method that takes a tenant is limited to its
batches; another tenant's id raises the same NotFound as one that never existed.
"""

import os
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from gateway.batches.ending import conclude, to_log_fields
from gateway.batches.lifecycle import BatchOptions, BatchRecord, created_of, to_batch_id, to_rfc3339
from gateway.batches.results import read_results
from gateway.batches.scheduler import Scheduler
from gateway.batches.server import BatchServer
from gateway.batches.staging import Staging
from gateway.errors import GatewayError, InvalidRequest, NotFound
from gateway.process.tasks import Repeated
from gateway.redis import scripts
from gateway.telemetry.metrics import BATCH_EVENTS

log = structlog.get_logger()

# Staged chunks of uploads that failed are deleted in the background, since Redis may be the reason why they failed.
# Above the bound, they expire by themselves within STAGING_SECONDS.
DISCARD_SECONDS: Final = 1.0
MAX_DISCARDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `has_more` looks in the direction of the page: older ones, or newer ones after `before_id`."""

    records: tuple[BatchRecord, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Live figures of a batch, for metrics; clients see none of them before it has ended."""

    pending: int
    leased: int
    retrying: int
    suspect: int
    succeeded: int
    errored: int


class BatchStore:
    """`run` it as a task while batches may be created."""

    def __init__(self, server: BatchServer) -> None:
        self._server = server
        self._scheduler = Scheduler(server)
        # Failed creations that Redis could not take back at once. What is left of the oldest expires within the hour.
        self._discards: deque[Staging] = deque(maxlen=MAX_DISCARDS)

    async def begin(self, tenant: str, options: BatchOptions | None = None) -> Staging:
        """Start a batch. Raises Overloaded when there is no room for another one."""
        await self._server.admit(tenant)
        created = await self._server.now()
        return Staging(
            self._server,
            self._scheduler,
            batch_id=to_batch_id(created, os.urandom(9)),
            created=created,
            tenant=tenant,
            options=options or BatchOptions(),
        )

    async def discard(self, staging: Staging) -> None:
        """Take back a failed creation; if Redis cannot do so now, later."""
        try:
            await staging.discard()
        except GatewayError:
            self._discards.append(staging)

    async def run(self) -> None:
        """Take back what could not be taken back at once."""
        await Repeated("discards", self.finish_discards, every=DISCARD_SECONDS).run()

    async def finish_discards(self) -> None:
        """Raises StoreAway while Redis cannot do so."""
        while self._discards:
            await self._discards[0].discard()
            self._discards.popleft()

    async def retrieve(self, tenant: str, batch_id: str) -> BatchRecord:
        """Raises NotFound."""
        _check_id(batch_id)
        return await self._server.read_of(tenant, batch_id)

    async def page(
        self, tenant: str, *, limit: int = 20, after_id: str | None = None, before_id: str | None = None
    ) -> Page:
        """List the tenant's batches, newest first: the newest, or those after (older than) or before (newer than) one.

        The id may be that of a batch deleted since. Raises InvalidRequest for one that is none, or for both.
        """
        if after_id is not None and before_id is not None:
            raise InvalidRequest("after_id: Cannot be given together with before_id")
        found: list[BatchRecord] = []
        cursor = after_id if before_id is None else before_id
        while len(found) <= limit:
            wanted = limit + 1 - len(found)
            ids = await self._ids(tenant, wanted, "after" if before_id is None else "before", cursor)
            read = [record for record in await self._server.read(ids) if record is not None]
            found = found + read if before_id is None else read + found
            if len(ids) < wanted:
                break
            cursor = ids[-1 if before_id is None else 0]
        shown = found[:limit] if before_id is None else found[-limit:]
        return Page(tuple(shown), has_more=len(found) > limit)

    async def cancel(self, tenant: str, batch_id: str) -> BatchRecord:
        """Cancel the batch; it ends at once if no item is in flight. An ended batch is returned unchanged."""
        _check_id(batch_id)
        before = await self._server.read_of(tenant, batch_id)
        keys = self._server.keys.batch(batch_id)
        reply = await self._server.run(scripts.CANCEL, keys, (tenant,))
        record = await self._server.read_of(tenant, batch_id)
        if before.status == "in_progress" and record.cancel is not None:
            BATCH_EVENTS.labels("canceled").inc()
            log.info("batch_canceled", **to_log_fields(record))
        if reply == b"ended":
            await conclude(self._server, self._scheduler, batch_id)
        else:
            await self._scheduler.inspect(batch_id, 0)
        return record

    async def delete(self, tenant: str, batch_id: str) -> None:
        """Delete the batch. Raises InvalidRequest if it has not ended."""
        _check_id(batch_id)
        record = await self._server.read_of(tenant, batch_id)
        reply = await self._server.run(scripts.DELETE, self._server.keys.batch(batch_id), (tenant,))
        if reply in (b"in_progress", b"canceling"):
            raise InvalidRequest(
                f"Message batch {batch_id} is still {reply.decode()} and cannot be deleted. "
                "Cancel it first, and delete it once it has ended"
            )
        await self._scheduler.drop(batch_id)
        tenant_keys = (self._server.keys.tenant_batches(tenant), self._server.keys.tenant_bytes(tenant))
        await self._server.pipeline([("ZREM", tenant_keys[0], batch_id), ("HDEL", tenant_keys[1], batch_id)])
        log.info("batch_deleted", **to_log_fields(record))

    async def results(self, tenant: str, batch_id: str) -> AsyncIterator[bytes]:
        """Yield pieces of whole JSON lines, each with its newline. Raises InvalidRequest before the batch has ended,
        NotFound after its results were deleted."""
        record = await self.retrieve(tenant, batch_id)
        if record.status != "ended":
            raise InvalidRequest(f"Message batch {batch_id} has not ended yet; it has no results before that")
        if record.is_archived:
            raise NotFound(f"The results of message batch {batch_id} were kept until {to_rfc3339(record.archive)}")
        return read_results(self._server.server.unlimited, record)

    async def progress(self, batch_id: str) -> Progress | None:
        """Return None once the batch has ended or was deleted."""
        keys = self._server.keys.batch(batch_id)
        (status, total), *counts = await self._server.pipeline(
            [
                ("HMGET", keys.meta, "st", "total"),
                ("ZCARD", keys.lease),
                ("ZCARD", keys.retry),
                ("ZCARD", keys.suspect),
                ("HLEN", keys.ok),
                ("HLEN", keys.err),
            ]
        )
        if status is None or status == b"ended":
            return None
        # The counts are read one after the other while items move: never below 0.
        return Progress(max(0, int(total) - sum(counts)), *counts)

    async def _ids(self, tenant: str, limit: int, side: Literal["after", "before"], cursor: str | None) -> list[str]:
        """Read ids from the list only, which includes uncommitted and deleted batches."""
        keys = (self._server.keys.tenant_batches(tenant),)
        arguments: tuple[str | int, ...] = (limit, "start", "", 0)
        if cursor is not None:
            created = created_of(cursor)
            if created is None:
                raise InvalidRequest(f"{side}_id: Not the id of a message batch")
            arguments = (limit, side, cursor, created)
        return [batch_id.decode() for batch_id in await self._server.run(scripts.LIST, keys, arguments)]


def _check_id(batch_id: str) -> None:
    if created_of(batch_id) is None:
        raise NotFound("There is no message batch with this id in this workspace")
