"""Spend reports, from the sums that settlements keep of each UTC day, and from the latest single entries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import orjson

from gateway.redis.server import RedisServer

# Parts of a sum's name, in their order.
DIMENSIONS: Final = ("tenant", "user", "key", "model", "provider")
# Only single entries have these.
OF_ENTRIES: Final = ("session", "agent", "batch", "upstream")
COUNTS: Final = ("requests", "input", "output", "cost")
PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class SpendRow:
    """Sums of one group. `cost`: nano-dollars; `input` without tokens read from a cache."""

    group: tuple[str, ...]
    requests: int
    input: int
    output: int
    cost: int


@dataclass(frozen=True, slots=True)
class SpendStore:
    server: RedisServer

    async def by_day(self, first: date, last: date, by: Sequence[str]) -> list[SpendRow]:
        """Return the sums of these days, grouped by DIMENSIONS and `day`, dearest first."""
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        totals: dict[tuple[str, ...], list[int]] = {}
        for day in days:
            [sums] = await self.server.pipeline([("HGETALL", self.server.keys.usage_sums(day.isoformat()))])
            for name, value in sums.items():
                *parts, what = name.decode().split("|")
                known = dict(zip(DIMENSIONS, parts, strict=True)) | {"day": day.isoformat()}
                group = tuple(known[one] for one in by)
                totals.setdefault(group, [0, 0, 0, 0])[COUNTS.index(what)] += int(value)
        return _sorted(totals)

    async def by_entries(self, by: Sequence[str]) -> list[SpendRow]:
        """Return the sums of the single entries that are kept, grouped by what DIMENSIONS lack too."""
        totals: dict[tuple[str, ...], list[int]] = {}
        async for entry in self.entries():
            group = tuple(str(entry.get("served" if one == "model" else one, "")) for one in by)
            found = totals.setdefault(group, [0, 0, 0, 0])
            counted = entry.get("input", 0) + entry.get("cache_write", 0)
            for place, value in enumerate((1, counted, entry.get("output", 0), entry.get("cost", 0))):
                found[place] += value
        return _sorted(totals)

    async def entries(self) -> Any:
        """Yield the single entries that are kept, oldest first."""
        last = "-"
        while True:
            [page] = await self.server.pipeline([("XRANGE", self.server.keys.access.usage, last, "+", "COUNT", PAGE)])
            for _, fields in page:
                yield orjson.loads(fields[b"e"])
            if len(page) < PAGE:
                return
            last = "(" + page[-1][0].decode()


def _sorted(totals: Mapping[tuple[str, ...], Iterable[int]]) -> list[SpendRow]:
    rows = [SpendRow(group, *counts) for group, counts in totals.items()]
    return sorted(rows, key=lambda row: (-row.cost, -row.requests, row.group))
