"""Record finished results in groups, so that a hundred of them cost a few calls, and keep them until recorded.

While Redis is unavailable results wait here, at most one per slot. Recording is idempotent: the first result of an
item wins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.exceptions import RedisError

from gateway.batches.queue import ItemResult, Outcome
from gateway.errors import GatewayError
from gateway.process.tasks import Sleep

# Results recorded in one call, which saves a round trip for each.
GROUP_ITEMS: Final = 32
# How long the first result of a group waits for others.
GROUP_SECONDS: Final = 0.01

Done = Callable[[str, Sequence[ItemResult]], Awaitable[list[Outcome]]]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    batch_id: str
    result: ItemResult
    outcome: asyncio.Future[Outcome]


@dataclass(slots=True)
class Recorder:
    """`done` records results of one batch (`BatchQueue.done`). Call `step` in a loop."""

    done: Done
    sleep: Sleep = asyncio.sleep
    _waiting: list[Waiting] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def record(self, batch_id: str, result: ItemResult) -> Outcome:
        """Return once the result is recorded, or known to be too late. A cancelled wait leaves it to be recorded."""
        waiting = Waiting(batch_id, result, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.outcome

    async def step(self) -> None:
        """Record one group. If Redis fails, raise and keep the results that were not recorded."""
        await self._arrived.wait()
        if len(self._waiting) < GROUP_ITEMS:
            await self.sleep(GROUP_SECONDS)
        group = self._waiting[:GROUP_ITEMS]
        failure: Exception | None = None
        for batch_id in dict.fromkeys(waiting.batch_id for waiting in group):
            of_batch = [waiting for waiting in group if waiting.batch_id == batch_id]
            try:
                await self._record(of_batch)
            except (GatewayError, RedisError) as error:
                failure = error
                # To the end of the queue: a failing batch must not delay the others.
                self._waiting = [waiting for waiting in self._waiting if waiting not in of_batch] + of_batch
        if failure is not None:
            raise failure

    async def _record(self, group: list[Waiting]) -> None:
        outcomes = await self.done(group[0].batch_id, [waiting.result for waiting in group])
        for waiting, outcome in zip(group, outcomes, strict=True):
            self._waiting.remove(waiting)
            if not waiting.outcome.done():
                waiting.outcome.set_result(outcome)
        if not self._waiting:
            self._arrived.clear()
