"""Which batch a worker claims from next: by priority, then fairly between tenants, then fairly between their batches.

Virtual time: each item moves its tenant and its batch on, whoever is furthest behind comes next, so a small batch sent
after a large one is done first. What is here is a hint only: a batch's own keys say what may be claimed, and what is
lost here the sweeper restores.
"""

import secrets
from urllib.parse import quote

from gateway.batches.server import BatchServer
from gateway.redis import scripts

# What happens to a batch without anybody asking (expiry, a worker's death, a repair) is noticed within this time.
LOOK_MS = 30_000


class Scheduler:
    def __init__(self, server: BatchServer) -> None:
        self._server = server
        self._keys = server.keys.scheduler

    async def schedule(self, batch_id: str, *, level: int, tenant: str, at: int, look: int) -> None:
        """Offer a batch from the time `at` on, and have the sweeper look at it at `look`. Safe to repeat."""
        arguments = (batch_id, level, quote(tenant, safe=""), at, look)
        await scripts.SCHEDULE.run(self._server.redis, self._keys, arguments)

    async def pick(self, worker: str, items: int) -> str | None:
        """The batch to claim up to `items` from, charged for them. None when no batch has any."""
        keys = (*self._keys, self._server.keys.pick(worker))
        picked = await scripts.PICK.run(self._server.redis, keys, (secrets.token_hex(8), items))
        return picked.decode() if picked is not None else None

    async def park(self, batch_id: str, *, unused: int, at: int) -> None:
        """It had `unused` items fewer than were charged: offer it again at `at`."""
        await scripts.PARK.run(self._server.redis, self._keys, (batch_id, unused, at))

    async def wake(self, batch_id: str, at: int) -> None:
        """Offer it at `at` if it is not offered before."""
        await self._server.pipeline([("ZADD", self._keys.wake, "LT", at, batch_id)])

    async def look(self, batch_id: str, at: int) -> None:
        """Have the sweeper look at it at `at`."""
        await self._server.pipeline([("ZADD", self._keys.due, at, batch_id)])

    async def drop(self, batch_id: str) -> None:
        await scripts.DROP.run(self._server.redis, self._keys, (batch_id,))

    async def due(self, limit: int) -> list[str]:
        """Batches for the sweeper to look at now."""
        now = await self._server.now()
        command = ("ZRANGEBYSCORE", self._keys.due, "-inf", now, "LIMIT", 0, limit)
        return [batch_id.decode() for batch_id in (await self._server.pipeline([command]))[0]]

    async def active(self) -> list[str]:
        """All batches that have not ended."""
        return [batch_id.decode() for batch_id in (await self._server.pipeline([("HKEYS", self._keys.records)]))[0]]

    async def set_weight(self, tenant: str, weight: float) -> None:
        """A tenant of weight 2 gets twice the share of one of weight 1, which is what a tenant has by default."""
        if weight < 0.01:
            raise ValueError("a tenant's weight is at least 0.01")
        await self._server.pipeline([("HSET", self._keys.weights, quote(tenant, safe=""), repr(weight))])
