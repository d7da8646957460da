"""What a process measures whatever is asked of it: how late its event loop runs, whether Redis answers, what it holds.

None of it is ever in a request's way, and nothing is decided by it: alert rules read the figures.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from gateway.batches.server import BatchServer
from gateway.errors import GatewayError
from gateway.telemetry import metrics

LAG_SECONDS: Final = 0.5
REDIS_SECONDS: Final = 5.0
# A ping that takes longer counts as none.
REDIS_TIMEOUT: Final = 2.0


async def watch_loop(every: float = LAG_SECONDS) -> None:
    """Measure how late a timer fires: what any request waits for, beside its own work."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))


@dataclass(frozen=True, slots=True)
class RedisWatch:
    """Asks the server that holds the batches. Front ends do too: with no worker left, who else would tell?"""

    server: BatchServer

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(REDIS_SECONDS)

    async def look(self) -> None:
        """One small question; that it goes without an answer is a figure like any other."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            async with asyncio.timeout(REDIS_TIMEOUT):
                memory, batches = await self.server.pipeline(
                    [("INFO", "memory"), ("HLEN", self.server.keys.scheduler.records)]
                )
        except (GatewayError, RedisError, TimeoutError):
            metrics.REDIS_UP.set(0)
            return
        metrics.REDIS_SECONDS.observe(clock() - begun)
        metrics.REDIS_UP.set(1)
        metrics.REDIS_MEMORY.labels("used").set(memory["used_memory"])
        metrics.REDIS_MEMORY.labels("limit").set(memory["maxmemory"])
        metrics.QUEUE_BATCHES.set(batches)
