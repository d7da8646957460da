"""Stores of activity with the same interface: the memory of one process, and Redis for all processes.

No request needs this data, and all of it expires.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.redis.keys import RECENT_EXCHANGES, RECENT_FAILURES
from gateway.redis.server import Command, RedisServer

SLOT_SECONDS: Final = 10
LOCAL_EXCHANGES: Final = 1000
LOCAL_FAILURES: Final = 500
SLOTS: Final = 91  # a quarter of an hour, and the slot that has just begun
SLOT_LIFE_SECONDS: Final = 20 * 60
FLEET_LIFE_SECONDS: Final = 3600
# A process that has not reported for so long has ended: it reports every second, and every 2 s at least after failures.
GONE_SECONDS: Final = 60
PAGE: Final = 1000

Row = dict[str, Any]
# A row as JSON, and whether its exchange failed.
Entry = tuple[bytes, bool]
Counts = dict[str, int]
# What has been read up to: an id of Redis' stream, or a count.
Position = str


@dataclass(slots=True)
class LocalActivity:
    """Activity of this process alone, for a front end without Redis."""

    _rows: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=LOCAL_EXCHANGES), repr=False)
    _failures: deque[bytes] = field(default_factory=lambda: deque(maxlen=LOCAL_FAILURES), repr=False)
    _count: int = 0
    _slots: OrderedDict[int, Counts] = field(default_factory=OrderedDict)
    _reports: dict[str, Any] = field(default_factory=dict, repr=False)

    async def push(self, slot: int, counts: Counts, rows: list[Entry], name: str, report: bytes) -> None:
        for row, has_failed in rows:
            self._count += 1
            self._rows.append((self._count, row))
            if has_failed:
                self._failures.append(row)
        sums = self._slots.setdefault(slot, {})
        for field_name, count in counts.items():
            sums[field_name] = sums.get(field_name, 0) + count
        while len(self._slots) > SLOTS:
            self._slots.popitem(last=False)
        self._reports = {name: orjson.loads(report)}

    async def newest(self, *, failed: bool = False) -> AsyncIterator[bytes]:
        """Yield rows as JSON, newest first: of all exchanges, or only of failures, which reach further back."""
        for row in reversed(tuple(self._failures) if failed else [row for _, row in self._rows]):
            yield row

    async def since(self, position: Position) -> tuple[Position, list[bytes]]:
        """Return the rows after a position, oldest first, and the new position. An empty position returns no rows."""
        after = int(position) if position.isdecimal() else self._count
        return str(self._count), [row for number, row in self._rows if number > after]

    async def slots(self, now: float) -> dict[int, Counts]:
        return {slot: dict(self._slots.get(slot, {})) for slot in slots_until(now)}

    async def fleet(self, now: float) -> list[dict[str, Any]]:
        return list(self._reports.values())


@dataclass(slots=True)
class SharedActivity:
    """Activity of all processes on one Redis. Every method raises StoreAway or Overloaded."""

    server: RedisServer

    async def push(self, slot: int, counts: Counts, rows: list[Entry], name: str, report: bytes) -> None:
        keys = self.server.keys
        commands: list[Command] = [
            ("XADD", keys.recent_exchanges, "MAXLEN", "~", RECENT_EXCHANGES, "*", "e", row) for row, _ in rows
        ]
        commands += [
            ("XADD", keys.recent_failures, "MAXLEN", "~", RECENT_FAILURES, "*", "e", row)
            for row, has_failed in rows
            if has_failed
        ]
        commands += [("HINCRBY", keys.activity(slot), field_name, count) for field_name, count in counts.items()]
        if counts:
            commands.append(("EXPIRE", keys.activity(slot), SLOT_LIFE_SECONDS))
        commands += [
            ("HSET", keys.fleet, name, report),
            ("EXPIRE", keys.fleet, FLEET_LIFE_SECONDS),
        ]
        await self.server.pipeline(commands)

    async def newest(self, *, failed: bool = False) -> AsyncIterator[bytes]:
        """Yield rows as JSON, newest first: of all exchanges, or only of failures, which reach further back."""
        keys = self.server.keys
        last, key = "+", keys.recent_failures if failed else keys.recent_exchanges
        while True:
            [page] = await self.server.pipeline([("XREVRANGE", key, last, "-", "COUNT", PAGE)])
            for _, fields in page:
                yield fields[b"e"]
            if len(page) < PAGE:
                return
            last = "(" + page[-1][0].decode()

    async def since(self, position: Position) -> tuple[Position, list[bytes]]:
        """Return the rows after a position, oldest first, and the new position. An empty position returns no rows."""
        key = self.server.keys.recent_exchanges
        if not position:
            [latest] = await self.server.pipeline([("XREVRANGE", key, "+", "-", "COUNT", 1)])
            return (latest[0][0].decode() if latest else "0-0"), []
        [page] = await self.server.pipeline([("XRANGE", key, f"({position}", "+", "COUNT", PAGE)])
        return (page[-1][0].decode() if page else position), [fields[b"e"] for _, fields in page]

    async def slots(self, now: float) -> dict[int, Counts]:
        wanted = slots_until(now)
        found = await self.server.pipeline([("HGETALL", self.server.keys.activity(slot)) for slot in wanted])
        return {
            slot: {name.decode(): int(count) for name, count in counts.items()}
            for slot, counts in zip(wanted, found, strict=True)
        }

    async def fleet(self, now: float) -> list[dict[str, Any]]:
        """Return the latest report of each process, and delete those of processes that have ended."""
        key = self.server.keys.fleet
        [reports] = await self.server.pipeline([("HGETALL", key)])
        found = {name: orjson.loads(report) for name, report in reports.items()}
        gone = [name for name, report in found.items() if now - report["seen"] > GONE_SECONDS]
        if gone:
            await self.server.pipeline([("HDEL", key, *gone)])
        return [report for name, report in sorted(found.items()) if name not in gone]


AnyActivity = LocalActivity | SharedActivity


def slots_until(now: float) -> list[int]:
    latest = int(now) // SLOT_SECONDS * SLOT_SECONDS
    return [latest - number * SLOT_SECONDS for number in reversed(range(SLOTS))]


def matches(row: Row, wanted: dict[str, str]) -> bool:
    """Return True if a row has the wanted values. `model` matches the requested or the answering model; `status` may be
    `failed`."""
    for name, value in wanted.items():
        if name == "status":
            if value == "failed" and "error" not in row:
                return False
            if value not in ("failed", str(row["status"])):
                return False
        elif name == "model":
            if value not in (row.get("model"), row.get("served_model"), row.get("upstream_model")):
                return False
        elif str(row.get(name, "")) != value:
            return False
    return True
