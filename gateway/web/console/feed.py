"""Live events of the console, read once a second for all viewers of a process.

The first viewer to ask in a second reads the new rows and, every other second, the overview; the others get the same
bytes. So open consoles cost little more than one, and without viewers nothing is read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.telemetry.activity_store import AnyActivity, Row, matches

TICK_SECONDS: Final = 1.0
# A viewer's sleep may end a little early.
EARLIEST_SECONDS: Final = 0.9
ROWS_A_TICK: Final = 20
OVERVIEW_EVERY: Final = 2  # ticks
# Viewers look once a second, so they find each tick; one that is later than this misses rows.
TICKS_KEPT: Final = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """News of one second. `rows`: each with its bytes, oldest first. `overview` is None in every other tick."""

    number: int
    rows: Sequence[tuple[Row, bytes]] = field(repr=False)
    overview: bytes | None = field(repr=False)

    def events(self, wanted: dict[str, str]) -> bytes:
        """Return `exchange` for each row that the filters let through, up to a limit; `skipped`, how many more there
        were; `overview`."""
        found = [raw for row, raw in self.rows if matches(row, wanted)]
        pieces = [to_event("exchange", raw) for raw in found[-ROWS_A_TICK:]]
        if len(found) > ROWS_A_TICK:
            pieces.append(to_event("skipped", b"%d" % (len(found) - ROWS_A_TICK)))
        if self.overview is not None:
            pieces.append(to_event("overview", self.overview))
        return b"".join(pieces)


@dataclass(slots=True)
class Feed:
    """`viewers`: how many follow it, for their limit."""

    activity: AnyActivity
    overview: Callable[[], Awaitable[dict[str, Any]]]
    clock: Callable[[], float] = time.monotonic
    viewers: int = 0
    _ticks: deque[Tick] = field(default_factory=lambda: deque(maxlen=TICKS_KEPT), repr=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _position: str = ""
    _number: int = 0
    _overview: bytes = field(default=b"", repr=False)
    _read_at: float = float("-inf")

    async def after(self, number: int | None) -> list[Tick]:
        """Return the ticks after that number, oldest first; for None, a new viewer, the latest overview without rows.

        Raises StoreAway or Overloaded.
        """
        async with self._lock:
            age = self.clock() - self._read_at
            if age >= TICKS_KEPT * TICK_SECONDS:  # rows from before the first viewer are no news
                self._ticks.clear()
                self._position = ""
            if age >= EARLIEST_SECONDS:
                position, raw = await self.activity.since(self._position)
                overview = None
                if not self._ticks or self._number % OVERVIEW_EVERY == 0:
                    overview = self._overview = orjson.dumps(await self.overview())
                self._number += 1
                self._position, self._read_at = position, self.clock()
                self._ticks.append(Tick(self._number, [(orjson.loads(row), row) for row in raw], overview))
        if number is None:
            return [Tick(self._number, (), self._overview)]
        return [tick for tick in self._ticks if tick.number > number]


def to_event(name: str, value: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), value)
