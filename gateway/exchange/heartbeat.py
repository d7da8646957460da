"""One timer for all open streams.

Pings, first-content deadlines and stalled clients need an occasional check of each stream, not one timer each: 10,000
streams cost one pass over a set each second instead of 10,000 wake-ups.
"""

import asyncio
import time
from typing import Protocol

# A ping is due every 10 s and deadlines are tens of seconds: a second of delay is not noticed.
INTERVAL = 1.0


class Ticking(Protocol):
    def tick(self, now: float) -> None:
        """Look at the clock (`time.monotonic`). Must not block and must not raise."""


class Heartbeat:
    """The timer. Run it as a task while the process serves; streams register while they are open."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._members: set[Ticking] = set()

    def register(self, member: Ticking) -> None:
        self._members.add(member)

    def unregister(self, member: Ticking) -> None:
        self._members.discard(member)

    def __len__(self) -> int:
        return len(self._members)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            now = time.monotonic()
            for member in tuple(self._members):
                member.tick(now)
