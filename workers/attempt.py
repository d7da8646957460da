"""One attempt at an item, from the upstream call to a recorded result or back into the queue."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from gateway import ids
from gateway.batches.queue import BatchQueue, Claim, ItemResult, Release
from gateway.errors import GatewayError, InternalError, MalformedOutput, Unavailable, UpstreamTimedOut
from gateway.exchange.exchange import Exchange
from gateway.process.tasks import FIRST_BACKOFF, MAX_BACKOFF
from gateway.upstream.health.circuits import Permit
from gateway.upstream.health.trouble import Trouble
from gateway.upstream.routes.route import Route
from workers import metrics
from workers.execute import Failed, Succeeded, execute, to_failed
from workers.in_flight import InFlightItem
from workers.recorder import Recorder
from workers.retry import History, next_try

log = structlog.get_logger()

# 128k tokens at 20 tokens a second; a call still running after this is considered stuck.
ITEM_SECONDS: Final = 7200.0


@dataclass(slots=True)
class Attempts:
    """Run the items that a worker has claimed."""

    queue: BatchQueue
    exchange: Exchange
    recorder: Recorder
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic
    _turns: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def run(self, item: InFlightItem) -> None:
        """Call the upstream, and record the result or release the item."""
        async with item.permit_scope:
            outcome = await self._call(item)
            report(item.permit, outcome)
        await self._settle(item, outcome)

    async def release(self, claim: Claim, releases: Sequence[Release], reason: str) -> None:
        """Release items, retrying until Redis is back: a lease that expires would count as a lost worker."""
        metrics.RELEASED.labels(reason).inc(len(releases))
        backoff = FIRST_BACKOFF
        while True:
            try:
                await self.queue.release(claim, releases)
                return
            except GatewayError:
                await asyncio.sleep(backoff)
                backoff = min(MAX_BACKOFF, 2 * backoff)

    async def _call(self, item: InFlightItem) -> Succeeded | Failed | None:
        """Return the outcome of the upstream call, or None if it was aborted."""
        batch, work = item.claim.batch, item.work
        try:
            async with asyncio.timeout(ITEM_SECONDS) as item.call:
                if item.aborted is not None:
                    return None
                begun, first = partial(accepted, item.permit), item.permit.route
                return await execute(self.exchange, batch, work, begun, first, turns=self._turns)
        except TimeoutError:
            if item.aborted is not None:
                return None
            error = UpstreamTimedOut("The upstream took too long to finish its answer.")
            return to_failed(work.item, ids.request_id(), error, sent=True)
        finally:
            item.call = None

    async def _settle(self, item: InFlightItem, outcome: Succeeded | Failed | None) -> None:
        if outcome is None:
            await self.release(item.claim, [Release(item.index)], item.aborted or "stopping")
            return
        if isinstance(outcome, Failed):
            history = History(item.work.lease.tries, item.work.lease.refusals)
            others_served = item.permit.model_serves_others()
            again = next_try(outcome.error, history, self.chance(), others_served=others_served)
            if again is not None:
                reason, tries, seconds = outcome.trouble.value, again.history.tries, round(again.delay, 1)
                self._log(item, "item_postponed", reason=reason, cause=outcome.cause, seconds=seconds, tries=tries)
                delay = round(again.delay * 1000)
                release = Release(item.index, delay, tries, outcome.cost, again.history.refusals)
                await self.release(item.claim, [release], reason)
                return
        succeeded = isinstance(outcome, Succeeded)
        result = ItemResult(item.index, succeeded, outcome.line, outcome.cost)
        kept = await self.recorder.record(item.claim.batch.id, result)
        kind = "succeeded" if succeeded else "errored"
        metrics.RESULTS.labels(kind if kept == "recorded" else kept).inc()
        metrics.ITEM_SECONDS.labels(kind).observe(self.clock() - item.since)
        if isinstance(outcome, Failed) or kept != "recorded":
            error, cause = (outcome.error.type, outcome.cause) if isinstance(outcome, Failed) else (None, None)
            self._log(item, "item_finished", result=kind, kept=kept, error=error, cause=cause)

    def _log(self, item: InFlightItem, event: str, **fields: object) -> None:
        named = {"batch": item.claim.batch.id, "item": item.index, "custom_id": item.work.item.custom_id}
        log.info(event, **named, **{name: value for name, value in fields.items() if value is not None})


def accepted(permit: Permit, route: Route) -> None:
    """Report that the upstream has begun to answer."""
    if permit.concerns(route):
        permit.accepted()


def report(permit: Permit, outcome: Succeeded | Failed | None) -> None:
    """Report the call's outcome to the circuits. A call that was aborted or never sent is not reported, nor one that
    another candidate has answered: the circuits of live calls have judged each of them.
    """
    if outcome is None or not permit.concerns(outcome.route):
        return
    if isinstance(outcome, Succeeded):
        permit.succeeded()
    elif outcome.sent:
        if outcome.trouble is not Trouble.NONE and not isinstance(outcome.error, MalformedOutput):
            permit.failed(outcome.trouble, outcome.error.retry_after)
        elif not isinstance(outcome.error, InternalError | Unavailable):
            permit.accepted()  # it refused this request, or could not read its model's output: it works
