"""Spend reports, from the sums that settlements keep of each UTC day, and from the latest single entries."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from gateway.redis.server import RedisServer

# Parts of a sum's name, in their order.
DIMENSIONS: Final = ("tenant", "user", "key", "model", "provider")
# Only single entries have these.
OF_ENTRIES: Final = ("session", "agent", "batch", "upstream")
COUNTS: Final = ("requests", "input", "output", "cost", "cache_read", "cache_write")
PAGE: Final = 1000
# Days that are read in one round trip.
DAYS_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True)
class SpendRow:
    """Sums of one group. `cost`: nano-dollars; `input` without tokens read from a cache, with those written to it."""

    group: tuple[str, ...]
    requests: int
    input: int
    output: int
    cost: int
    cache_read: int = 0
    cache_write: int = 0

    def regrouped(self, group: tuple[str, ...]) -> "SpendRow":
        return replace(self, group=group)

    def __add__(self, other: "SpendRow") -> "SpendRow":
        return SpendRow(self.group, *(getattr(self, one) + getattr(other, one) for one in COUNTS))


@dataclass(slots=True)
class DailyTotals:
    """Sums of days, grouped. The names of a day's sums mostly repeat those of the day before: each is read once."""

    by: Sequence[str]
    found: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _names: dict[bytes, tuple[tuple[str, ...], int] | None] = field(default_factory=dict, repr=False)

    def add(self, days: Sequence[str], sums: Sequence[Mapping[bytes, bytes]]) -> None:
        is_daily = "day" in self.by
        for day, of_day in zip(days, sums, strict=True):
            totals = {} if is_daily else self.found
            for name, value in of_day.items():
                known = self._names[name] if name in self._names else self._read(name)
                if known is None:
                    continue
                group, place = known
                counts = totals.get(group)
                if counts is None:
                    counts = totals[group] = [0] * len(COUNTS)
                counts[place] += int(value)
            if is_daily:
                at = self.by.index("day")
                self.found |= {(*group[:at], day, *group[at + 1 :]): counts for group, counts in totals.items()}

    def _read(self, name: bytes) -> tuple[tuple[str, ...], int] | None:
        """Return the group, with an empty day, and the place of the count; None for a count of a later version."""
        *parts, what = name.decode().split("|")
        known = dict(zip(DIMENSIONS, parts, strict=True)) | {"day": ""}
        found = (tuple(known[one] for one in self.by), COUNTS.index(what)) if what in COUNTS else None
        self._names[name] = found
        return found


@dataclass(frozen=True, slots=True)
class SpendStore:
    server: RedisServer

    async def by_day(self, first: date, last: date, by: Sequence[str]) -> list[SpendRow]:
        """Return the sums of these days, grouped by DIMENSIONS and `day`, dearest first."""
        days = [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
        totals = DailyTotals(by)
        for start in range(0, len(days), DAYS_AT_ONCE):
            some = days[start : start + DAYS_AT_ONCE]
            sums = await self.server.pipeline([("HGETALL", self.server.keys.usage_sums(day)) for day in some])
            # In a thread: 400 days of 250 keys are 600,000 fields, and live requests share this loop.
            await asyncio.to_thread(totals.add, some, sums)
        return await asyncio.to_thread(_sorted, totals.found)

    async def by_entries(
        self, by: Sequence[str], first: date | None = None, last: date | None = None
    ) -> list[SpendRow]:
        """Return the sums of the single entries that are kept, of these days, grouped by what DIMENSIONS lack too."""
        totals: dict[tuple[str, ...], list[int]] = {}
        async for entry in self.entries(first, last):
            group = tuple(str(entry.get("served" if one == "model" else one, "")) for one in by)
            found = totals.setdefault(group, [0] * len(COUNTS))
            read, write = entry.get("cache_read", 0), entry.get("cache_write", 0)
            counted, one = entry.get("input", 0) + write, 0 if "adjusts" in entry else 1
            for place, value in enumerate((one, counted, entry.get("output", 0), entry.get("cost", 0), read, write)):
                found[place] += value
        return _sorted(totals)

    async def entries(self, first: date | None = None, last: date | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield the single entries that are kept, oldest first, each with `at`, the time when it was entered."""
        start, end = "-" if first is None else _to_id(first), "+" if last is None else _to_id(last, 1)
        while True:
            [page] = await self.server.pipeline([("XRANGE", self.server.keys.access.usage, start, end, "COUNT", PAGE)])
            for name, fields in page:
                at = datetime.fromtimestamp(int(name.partition(b"-")[0]) / 1000, UTC)
                yield {"at": at.isoformat(timespec="milliseconds"), **orjson.loads(fields[b"e"])}
            if len(page) < PAGE:
                return
            start = "(" + page[-1][0].decode()


def _to_id(day: date, after: int = 0) -> str:
    """Return the first id of a day in the stream, or the last one before the day after it."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=after)
    return str(int(at.timestamp() * 1000) - after)


def _sorted(totals: Mapping[tuple[str, ...], Iterable[int]]) -> list[SpendRow]:
    rows = [SpendRow(group, *counts) for group, counts in totals.items()]
    return sorted(rows, key=lambda row: (-row.cost, -row.requests, row.group))
