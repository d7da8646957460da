"""Background sweep of batches: end expired ones, reschedule stalled ones, repair the state after a crash.

Any number of processes may do this at the same time: every step is safe to repeat, and independent of the others.
"""

from dataclasses import dataclass
from typing import Final, cast

from gateway.batches.ending import conclude
from gateway.batches.lifecycle import BatchPriority, created_of
from gateway.batches.scheduler import INSPECT_MS, Scheduler
from gateway.batches.server import BatchServer, Command
from gateway.redis import scripts
from gateway.redis.keys import DATA_VERSION, STAGING_SECONDS

# Each batch costs one script; a full round is followed by the next at once.
_SWEEP_BATCHES: Final = 64
# A tenant may have thousands of batches: ZRANGE of all would block Redis.
_PAGE: Final = 256


@dataclass(frozen=True, slots=True)
class SweepReport:
    looked_at: int
    ended: int
    more: bool  # sweep again at once


@dataclass(frozen=True, slots=True)
class RebuildReport:
    batches: int
    active: int
    repaired: int
    trimmed: int  # list entries of deleted batches


class Sweeper:
    def __init__(self, server: BatchServer) -> None:
        self._server = server
        self._scheduler = Scheduler(server)

    async def sweep(self) -> SweepReport:
        """Inspect the batches that are due, each at least every 30 s. Call this every few seconds."""
        due = await self._scheduler.due(_SWEEP_BATCHES)
        ended = 0
        for batch_id in due:
            ended += await self.settle(batch_id)
        return SweepReport(looked_at=len(due), ended=ended, more=len(due) == _SWEEP_BATCHES)

    async def settle(self, batch_id: str) -> bool:
        """Stop the batch if it exceeds its time or budget, end it if finished, repair it, and have it offered.

        Return True if it has ended or was deleted.
        """
        keys = self._server.keys.batch(batch_id)
        status, inspection, after, *place = await scripts.SETTLE.run(
            self._server.redis, keys, (DATA_VERSION, INSPECT_MS)
        )
        if status in (b"ended", b"missing"):
            await conclude(self._server, self._scheduler, batch_id)
            return True
        if after >= 0:
            priority, across, tenant = place
            await self._scheduler.schedule(
                batch_id,
                tenant.decode(),
                after=after,
                inspect_after=inspection,
                priority=cast(BatchPriority, int(priority)),
                across=int(across) == 1,
            )
        else:
            await self._scheduler.inspect(batch_id, inspection)
        return False

    async def rebuild(self) -> RebuildReport:
        """Go through all lists: restore a lost scheduler, repair, trim. Runs at start, then every ten minutes."""
        report = RebuildReport(0, 0, 0, 0)
        cursor = 0
        while True:
            [(position, tenants)] = await self._server.pipeline([("SSCAN", self._server.keys.tenants, cursor)])
            for tenant in tenants:
                report = _sum(report, await self._rebuild_tenant(tenant.decode()))
            cursor = int(position)
            if cursor == 0:
                return report

    async def _rebuild_tenant(self, tenant: str) -> RebuildReport:
        report = RebuildReport(0, 0, 0, 0)
        key = self._server.keys.tenant_batches(tenant)
        start = 0
        while True:
            [ids] = await self._server.pipeline([("ZRANGE", key, start, start + _PAGE - 1)])
            page = await self._rebuild_page(key, [batch_id.decode() for batch_id in ids])
            report = _sum(report, page)
            start += len(ids) - page.trimmed
            if len(ids) < _PAGE:
                return report

    async def _rebuild_page(self, key: str, ids: list[str]) -> RebuildReport:
        if not ids:
            return RebuildReport(0, 0, 0, 0)
        keys = [self._server.keys.batch(batch_id) for batch_id in ids]
        commands: list[Command] = [("TIME",)]
        for batch in keys:
            commands += [("HGET", batch.meta, "st"), ("EXISTS", batch.input, batch.lease)]
        (seconds, _), *replies = await self._server.pipeline(commands)
        stale = (int(seconds) - STAGING_SECONDS) * 1000
        active = repaired = 0
        gone: list[str] = []
        for batch_id, status, left in zip(ids, replies[::2], replies[1::2], strict=True):
            if status is None:
                if (created_of(batch_id) or 0) < stale:
                    gone.append(batch_id)
            elif status != b"ended":
                active += 1
                await self.settle(batch_id)
            elif left:  # a crash interrupted the cleanup at its end
                repaired += 1
                await self.settle(batch_id)
        if gone:
            await self._server.pipeline([("ZREM", key, *gone)])
        return RebuildReport(len(ids), active, repaired, len(gone))


def _sum(one: RebuildReport, other: RebuildReport) -> RebuildReport:
    return RebuildReport(
        one.batches + other.batches,
        one.active + other.active,
        one.repaired + other.repaired,
        one.trimmed + other.trimmed,
    )
