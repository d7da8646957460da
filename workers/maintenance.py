"""Periodic work on all batches: sweep those that are due, rebuild the schedule, and count items for metrics.

Every worker does this. All of it is safe to do twice at the same time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

import structlog

from gateway.batches.lifecycle import created_of
from gateway.batches.scheduler import Scheduler
from gateway.batches.server import BatchServer
from gateway.batches.store import BatchStore
from gateway.batches.sweeper import Sweeper
from gateway.telemetry.metrics import QUEUE_BATCHES
from workers import metrics

log = structlog.get_logger()

# Expired and lost items are found within seconds. A rebuild of the schedule repairs what a crash of Redis lost.
SWEEP_SECONDS: Final = 2.0
REBUILD_SECONDS: Final = 600.0
CENSUS_SECONDS: Final = 15.0
# Counting costs a call for each batch; beyond this many the figures are a lower bound.
CENSUS_BATCHES: Final = 1000


@dataclass(slots=True)
class Maintenance:
    """Call `sweep` and `count` in separate loops."""

    server: BatchServer
    clock: Callable[[], float] = time.monotonic
    _rebuilt: float = -inf

    async def sweep(self) -> None:
        sweeper = Sweeper(self.server)
        if self.clock() - self._rebuilt >= REBUILD_SECONDS:
            report = await sweeper.rebuild()
            self._rebuilt = self.clock()
            level = log.info if report.active or report.repaired else log.debug
            level("schedule_rebuilt", batches=report.batches, active=report.active, repaired=report.repaired)
        while (await sweeper.sweep()).more:
            pass

    async def count(self) -> None:
        store = BatchStore(self.server)
        active = await Scheduler(self.server).active()
        totals = dict.fromkeys(("pending", "leased", "retrying", "suspect"), 0)
        oldest: int | None = None
        for batch_id in sorted(active, key=lambda one: created_of(one) or 0)[:CENSUS_BATCHES]:
            progress = await store.progress(batch_id)
            if progress is None:
                continue
            for state in totals:
                totals[state] += getattr(progress, state)
            if progress.pending and oldest is None:
                oldest = created_of(batch_id)
        QUEUE_BATCHES.set(len(active))
        for state, total in totals.items():
            metrics.QUEUE_ITEMS.labels(state).set(total)
        metrics.OLDEST_SECONDS.set(0 if oldest is None else max(0, await self.server.now() - oldest) / 1000)
