"""Fair scheduling of batches: between tenants, then by priority, then between a tenant's batches.

Virtual time: each item moves its tenant and its batch on, and the one furthest behind comes next, so a small batch sent
after a large one is done first. Priority counts among the batches of one tenant. A batch that is allowed to (`across`)
goes before, or after, those of all tenants. All of this is a hint only: a batch's own keys decide what may be claimed,
and the sweeper restores what is lost here.
"""

import secrets
from typing import Final
from urllib.parse import quote

from gateway.batches.lifecycle import BatchPriority
from gateway.batches.server import BatchServer
from gateway.redis import scripts

# Maximum delay for noticing expiry, a worker's death or the need for a repair.
INSPECT_MS: Final = 30_000
# Tolerance for clock differences and a late sweeper, beyond which a stored time is treated as invalid.
CLOCK_SLACK_MS: Final = 1_000

# Level of batches with a priority that does not count across tenants.
NORMAL: Final = 1


class Scheduler:
    """Times are milliseconds from now."""

    def __init__(self, server: BatchServer) -> None:
        self._server = server
        self._keys = server.keys.scheduler

    async def schedule(
        self,
        batch_id: str,
        tenant: str,
        *,
        after: int,
        inspect_after: int,
        priority: BatchPriority = 1,
        across: bool = False,
    ) -> None:
        """Offer a batch after a time (0: now), and have the sweeper inspect it. Safe to repeat."""
        level, order = priority if across else NORMAL, 2 - priority
        arguments = (batch_id, level, order, quote(tenant, safe=""), after, inspect_after)
        await self._server.run(scripts.SCHEDULE, self._keys, arguments)

    async def pick(self, worker: str, items: int) -> str | None:
        """Return the batch to claim up to `items` from, charged for them. None when no batch has any."""
        keys = (*self._keys, self._server.keys.pick(worker))
        picked = await self._server.run(scripts.PICK, keys, (secrets.token_hex(8), items))
        return picked.decode() if picked is not None else None

    async def park(self, batch_id: str, *, unused: int, after: int) -> None:
        """Offer a batch again after a time. `unused` items are refunded from its charge."""
        await self._server.run(scripts.PARK, self._keys, (batch_id, unused, after))

    async def wake(self, batch_id: str, after: int) -> None:
        """Offer a batch after a time if it is not offered before."""
        await self._server.run(scripts.WAKE, self._keys, (batch_id, after))

    async def inspect(self, batch_id: str, after: int) -> None:
        """Have the sweeper inspect a batch after a time."""
        await self._server.run(scripts.INSPECT, self._keys, (batch_id, after))

    async def drop(self, batch_id: str) -> bool:
        """Forget a batch. Return True the first time."""
        return bool(await self._server.run(scripts.DROP, self._keys, (batch_id,)))

    async def due(self, limit: int) -> list[str]:
        """Return the batches for the sweeper to inspect now."""
        arguments = (limit, INSPECT_MS + CLOCK_SLACK_MS)
        return [batch_id.decode() for batch_id in await self._server.run(scripts.DUE, self._keys, arguments)]

    async def active(self) -> list[str]:
        """Return all batches that have not ended."""
        return [batch_id.decode() for batch_id in (await self._server.pipeline([("HKEYS", self._keys.records)]))[0]]
