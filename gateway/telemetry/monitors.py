"""Monitors of a process: event loop lag, writes to Redis, held resources.

None of them delays a request. Metrics show the figures, and readiness probes the problem of Redis.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog
from redis.exceptions import RedisError

from gateway.errors import GatewayError
from gateway.redis.failures import problem_of
from gateway.redis.patience import within
from gateway.redis.server import RedisServer
from gateway.telemetry import metrics

log = structlog.get_logger()

# Finer than the stalls that clients notice, and two wake-ups a second.
LAG_SECONDS: Final = 0.5
# An outage shows in the metrics within one scrape (15 s by default).
REDIS_SECONDS: Final = 5.0
# A write that takes longer counts as none.
REDIS_TIMEOUT: Final = 2.0


async def watch_loop(every: float = LAG_SECONDS) -> None:
    """Measure how late a timer fires, which is the delay that the event loop adds to any request."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))


@dataclass(slots=True)
class RedisMonitor:
    """Write to the Redis of the batches every REDIS_SECONDS. `problem`: reason why the last write failed, None if it
    did not.

    Front ends do this too, so that an outage shows without a worker. A write also detects that the server has become a
    replica, which still answers reads, and then reconnects to the new primary.
    """

    server: RedisServer
    timeout: float = REDIS_TIMEOUT
    problem: str | None = None

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(REDIS_SECONDS)

    async def look(self) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            async with within(self.timeout):
                await self.server.probe()
                metrics.REDIS_SECONDS.observe(clock() - begun)
                [batches] = await self.server.pipeline([("HLEN", self.server.keys.scheduler.records)])
                facts = await self.server.facts()
        except (GatewayError, RedisError, TimeoutError) as error:
            self._note(problem_of(error))
            return
        self._note(None)
        metrics.QUEUE_BATCHES.set(batches)
        if facts is not None:
            metrics.REDIS_MEMORY.labels("used").set(facts.used_memory)
            metrics.REDIS_MEMORY.labels("limit").set(facts.maxmemory)

    def _note(self, problem: str | None) -> None:
        """Set the gauge, and log a change."""
        metrics.REDIS_UP.set(problem is None)
        if problem == self.problem:
            return
        self.problem = problem
        if problem is None:
            log.info("redis_back")
        else:
            log.warning("redis_away", reason=problem)
