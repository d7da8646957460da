"""Renew the leases of items in flight, and abandon the items before another worker may claim them.

A round renews all leases every third of a lease. A worker without a good round for two thirds of a lease, or with a
clock that shows that it slept through a whole lease, aborts its upstream calls: other workers will repeat them. Results
that are finished by then are still recorded.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

import structlog
from redis.exceptions import RedisError

from gateway.batches.queue import Claim, Renewal
from gateway.errors import GatewayError
from workers.in_flight import InFlightItem, InFlightItems

log = structlog.get_logger()

# Parts of a lease: between rounds, for a round (Redis may hang instead of refusing), and without a good one.
ROUND_EVERY: Final = 1 / 3
ROUND_TIMEOUT: Final = 1 / 6
FENCE_AFTER: Final = 2 / 3

Reason = Literal["lost", "fenced", "slept"]
Renew = Callable[[Claim, Iterable[int]], Awaitable[Renewal]]


@dataclass(slots=True)
class LeaseKeeper:
    """`renew` is `BatchQueue.renew`; `gave_up` receives the number of items given up and why. Call `step` in a loop."""

    renew: Renew
    in_flight: InFlightItems
    lease_seconds: float
    gave_up: Callable[[Reason, int], None]
    clock: Callable[[], float] = time.monotonic
    _begun: float = inf  # the last round
    _renewed: float = inf  # the last good one, when it began

    async def step(self) -> None:
        """One round. Raises when Redis cannot be reached in time."""
        now = self.clock()
        if now - self._begun > self.lease_seconds:
            self._give_up("slept", self.in_flight.all())
        self._begun, self._renewed = now, min(now, self._renewed)
        try:
            async with asyncio.timeout(self.lease_seconds * ROUND_TIMEOUT):
                for claim, held in self.in_flight.claims():
                    renewal = await self.renew(claim, [one.index for one in held])
                    self._give_up("lost", [one for one in held if one.index in renewal.lost])
        except (GatewayError, RedisError, TimeoutError):
            if self.clock() - self._renewed >= self.lease_seconds * FENCE_AFTER:
                self._give_up("fenced", self.in_flight.all())
            raise
        self._renewed = now

    def _give_up(self, reason: Reason, held: list[InFlightItem]) -> None:
        running = sum(1 for one in held if one.call is not None and one.aborted is None)
        for one in held:
            one.abort(reason)
        if running:
            log.warning("leases_given_up", reason=reason, items=running)
            self.gave_up(reason, running)
