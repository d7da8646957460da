"""Spend reports, from the sums of each UTC day that settlements update, and from the latest single entries."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from operator import add
from typing import Any, Final

import orjson

from gateway.errors import Overloaded, StoreAway
from gateway.redis.codec import pack, unpack
from gateway.redis.server import RedisServer

# Parts of the name of a sum, in order.
DIMENSIONS: Final = ("tenant", "user", "key", "model", "provider")
# Dimensions that only single entries have.
OF_ENTRIES: Final = ("session", "agent", "batch", "upstream")
COUNTS: Final = ("requests", "input", "output", "cost", "cache_read", "cache_write")
# Entries per read: adding these up takes some milliseconds of the event loop.
PAGE: Final = 300
# Days per round trip.
DAYS_AT_ONCE: Final = 10
PACKED_DAYS_AT_ONCE: Final = 50
SUMS_SECONDS: Final = 400 * 86_400
KEPT: Final = timedelta(seconds=SUMS_SECONDS)
# Sums older than yesterday do not change: a process adds to the current day of its clock.
CLOSED_AFTER: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class SpendRow:
    """Sums of one group. `cost`: nano-dollars. `input`: without tokens read from a cache, with those written to it."""

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


def to_sums(fields: Mapping[bytes, bytes]) -> dict[str, list[int]]:
    """Parse the fields of a day into COUNTS by name. Counts of a later version are left out."""
    found: dict[str, list[int]] = {}
    for field_name, value in fields.items():
        name, _, what = field_name.decode().rpartition("|")
        if what in COUNTS:
            found.setdefault(name, [0] * len(COUNTS))[COUNTS.index(what)] = int(value)
    return found


@dataclass(slots=True)
class DailyTotals:
    """Sums of days, grouped. Most names occur on every day, so each name is split once."""

    by: Sequence[str]
    found: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _groups: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def add(self, day: str, sums: Mapping[str, list[int]]) -> None:
        is_daily = "day" in self.by
        totals = {} if is_daily else self.found
        for name, counts in sums.items():
            if name not in self._groups:
                known = dict(zip(DIMENSIONS, name.split("|"), strict=True)) | {"day": ""}
                self._groups[name] = tuple(known[one] for one in self.by)
            group = self._groups[name]
            before = totals.get(group)
            totals[group] = counts if before is None else list(map(add, before, counts))
        if is_daily:
            at = self.by.index("day")
            self.found |= {(*group[:at], day, *group[at + 1 :]): counts for group, counts in totals.items()}

    def add_packed(self, blobs: Mapping[str, bytes]) -> None:
        for day, blob in blobs.items():
            self.add(day, orjson.loads(unpack(blob)))

    def add_fields(self, days: Mapping[str, Mapping[bytes, bytes]]) -> dict[str, bytes]:
        """Add days, and return them in the packed form, except those with counts of a later version."""
        packed = {}
        for day, fields in days.items():
            sums = to_sums(fields)
            self.add(day, sums)
            if all(name.rpartition(b"|")[2].decode() in COUNTS for name in fields):
                packed[day] = pack(orjson.dumps(sums))
        return packed


@dataclass(frozen=True, slots=True)
class SpendStore:
    server: RedisServer
    wall_clock: Callable[[], float] = time.time

    async def by_day(self, first: date, last: date, by: Sequence[str]) -> list[SpendRow]:
        """Return the sums of these days, grouped by dimensions or `day`, highest cost first.

        Sums of closed days are packed at their first read: 400 days of 250 keys are 600,000 fields. Adding up runs in a
        thread, since live requests share the event loop.
        """
        days = [day.isoformat() for day in self.kept_days(first, last)]
        keys, totals = self.server.keys, DailyTotals(by)
        closed = (datetime.fromtimestamp(self.wall_clock(), UTC) - CLOSED_AFTER).date().isoformat()
        for some in _in_runs([day for day in days if day <= closed], PACKED_DAYS_AT_ONCE):
            blobs = await self.server.pipeline([("GET", keys.packed_sums(day)) for day in some])
            packed = {day: blob for day, blob in zip(some, blobs, strict=True) if blob is not None}
            await asyncio.to_thread(totals.add_packed, packed)
            for unpacked in _in_runs([day for day in some if day not in packed], DAYS_AT_ONCE):
                await self._pack(await self._add_fields(totals, unpacked))
        for some in _in_runs([day for day in days if day > closed], DAYS_AT_ONCE):
            await self._add_fields(totals, some)
        return await asyncio.to_thread(_sorted, totals.found)

    def kept_days(self, first: date, last: date) -> list[date]:
        """Return those of the days from `first` to `last` that may have sums, up to tomorrow for clocks that differ."""
        today = datetime.fromtimestamp(self.wall_clock(), UTC).date()
        start, end = max(first, today - KEPT), min(last, today + timedelta(days=1))
        return [start + timedelta(days=number) for number in range((end - start).days + 1)]

    async def _add_fields(self, totals: DailyTotals, days: Sequence[str]) -> dict[str, bytes]:
        sums = await self.server.pipeline([("HGETALL", self.server.keys.usage_sums(day)) for day in days])
        return await asyncio.to_thread(totals.add_fields, dict(zip(days, sums, strict=True)))

    async def _pack(self, packed: Mapping[str, bytes]) -> None:
        """Store the packed days, with the remaining lifetime of their fields."""
        today = datetime.fromtimestamp(self.wall_clock(), UTC).date()
        kept = {day: SUMS_SECONDS - (today - date.fromisoformat(day)).days * 86_400 for day in packed}
        sets = [
            ("SET", self.server.keys.packed_sums(day), packed[day], "EX", kept[day]) for day in kept if kept[day] > 0
        ]
        with suppress(StoreAway, Overloaded):  # the report does not depend on it
            if sets:
                await self.server.pipeline(sets)

    async def by_entries(
        self, by: Sequence[str], first: date | None = None, last: date | None = None
    ) -> list[SpendRow]:
        """Return the sums of the stored entries of these days, grouped by any of DIMENSIONS and OF_ENTRIES."""
        totals: dict[tuple[str, ...], list[int]] = {}
        async for entry in self.entries(first, last):
            group = tuple(str(entry.get("served" if one == "model" else one, "")) for one in by)
            found = totals.setdefault(group, [0] * len(COUNTS))
            read, write = entry.get("cache_read", 0), entry.get("cache_write", 0)
            counted, one = entry.get("input", 0) + write, 0 if "adjusts" in entry else 1
            for place, value in enumerate((one, counted, entry.get("output", 0), entry.get("cost", 0), read, write)):
                found[place] += value
        return await asyncio.to_thread(_sorted, totals)

    async def entries(self, first: date | None = None, last: date | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield the stored entries, oldest first, each with `at`, the time of its settlement in ISO format."""
        start, end = "-" if first is None else _to_id(first), "+" if last is None else _to_id(last, 1)
        while True:
            [page] = await self.server.pipeline([("XRANGE", self.server.keys.access.usage, start, end, "COUNT", PAGE)])
            for name, fields in page:
                at = datetime.fromtimestamp(int(name.partition(b"-")[0]) / 1000, UTC)
                yield {"at": at.isoformat(timespec="milliseconds"), **orjson.loads(fields[b"e"])}
            if len(page) < PAGE:
                return
            start = "(" + page[-1][0].decode()


def _in_runs(days: Sequence[str], length: int) -> Iterator[Sequence[str]]:
    return (days[start : start + length] for start in range(0, len(days), length))


def _to_id(day: date, after: int = 0) -> str:
    """Return the first id of a day in the stream; with `after=1`, the last one."""
    days = day.toordinal() - date(1970, 1, 1).toordinal() + after
    return str(max(0, days * 86_400_000 - after))


def _sorted(totals: Mapping[tuple[str, ...], Iterable[int]]) -> list[SpendRow]:
    rows = [SpendRow(group, *counts) for group, counts in totals.items()]
    return sorted(rows, key=lambda row: (-row.cost, -row.requests, row.group))
