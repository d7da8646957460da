"""One attempt at an item, from the upstream call to a recorded result or back into the queue."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway import ids
from gateway.batches.queue import BatchQueue, Claim, ItemResult, Release
from gateway.errors import GatewayError, InternalError, Unavailable, UpstreamTimedOut
from gateway.exchange.exchange import Exchange
from gateway.process.tasks import FIRST_BACKOFF, MAX_BACKOFF
from workers import metrics
from workers.execute import Failed, Succeeded, execute, to_failed
from workers.gates import Gates
from workers.holdings import Held
from workers.recorder import Recorder
from workers.retry import Trouble, next_try, trouble_of

log = structlog.get_logger()

# 128k tokens at 20 tokens a second; nothing that still trickles after this will end well.
ITEM_SECONDS: Final = 7200.0


@dataclass(slots=True)
class Attempts:
    """Runs what a worker holds."""

    queue: BatchQueue
    exchange: Exchange
    gates: Gates
    recorder: Recorder
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    async def run(self, held: Held) -> None:
        """From the upstream call until the item is out of hand."""
        outcome: Succeeded | Failed | None = None
        try:
            outcome = await self._call(held)
            self._tell_gates(held, outcome)
        finally:
            self.gates.leave(held.granted, succeeded=isinstance(outcome, Succeeded))
        await self._settle(held, outcome)

    async def give_back(self, claim: Claim, releases: Sequence[Release], reason: str) -> None:
        """Put items back into the queue, however long Redis is away: a lease that passes counts as a lost worker."""
        metrics.GIVEN_BACK.labels(reason).inc(len(releases))
        backoff = FIRST_BACKOFF
        while True:
            try:
                await self.queue.release(claim, releases)
                return
            except GatewayError:
                await asyncio.sleep(backoff)
                backoff = min(MAX_BACKOFF, 2 * backoff)

    async def _call(self, held: Held) -> Succeeded | Failed | None:
        """What came of the upstream call; None when it was broken off."""
        batch, work = held.claim.batch, held.work
        try:
            async with asyncio.timeout(ITEM_SECONDS) as held.call:
                if held.aborted is not None:
                    return None
                return await execute(self.exchange, batch, work, lambda: self.gates.accepted(held.granted))
        except TimeoutError:
            if held.aborted is not None:
                return None
            error = UpstreamTimedOut("The upstream took too long to finish its answer.")
            return to_failed(work.item, ids.request_id(), error, sent=True)
        finally:
            held.call = None

    def _tell_gates(self, held: Held, outcome: Succeeded | Failed | None) -> None:
        if not isinstance(outcome, Failed) or not outcome.sent:
            return
        trouble = trouble_of(outcome.error)
        if trouble is not Trouble.NONE:
            self.gates.failed(held.granted, trouble, outcome.error.retry_after)
        elif not isinstance(outcome.error, InternalError | Unavailable):
            self.gates.accepted(held.granted)  # it has refused this request, hence it works

    async def _settle(self, held: Held, outcome: Succeeded | Failed | None) -> None:
        if outcome is None:
            await self.give_back(held.claim, [Release(held.index)], held.aborted or "stopping")
            return
        if isinstance(outcome, Failed):
            again = next_try(outcome.error, held.work.lease.tries, self.chance())
            if again is not None:
                reason = trouble_of(outcome.error).value
                self._log(held, "item_postponed", reason=reason, seconds=round(again.delay, 1), tries=again.tries)
                release = Release(held.index, round(again.delay * 1000), again.tries, outcome.cost)
                await self.give_back(held.claim, [release], reason)
                return
        await self._record(held, outcome)

    async def _record(self, held: Held, outcome: Succeeded | Failed) -> None:
        succeeded = isinstance(outcome, Succeeded)
        result = ItemResult(held.index, succeeded, outcome.line, outcome.cost)
        kept = await self.recorder.record(held.claim.batch.id, result)
        kind = "succeeded" if succeeded else "errored"
        metrics.RESULTS.labels(kind if kept == "recorded" else kept).inc()
        metrics.ITEM_SECONDS.labels(kind).observe(self.clock() - held.since)
        if isinstance(outcome, Failed) or kept != "recorded":
            error = outcome.error.type if isinstance(outcome, Failed) else None
            self._log(held, "item_finished", result=kind, kept=kept, error=error)

    def _log(self, held: Held, event: str, **fields: object) -> None:
        log.info(event, batch=held.claim.batch.id, item=held.index, **fields)
