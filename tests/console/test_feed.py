"""The console's live events: read once a second for all viewers."""

import re
from typing import Any

import orjson
import pytest

from gateway.telemetry.activity_store import LocalActivity
from gateway.web.console.feed import OVERVIEW_EVERY, ROWS_A_TICK, Feed, Tick


class Source:
    """An overview that counts its readings, rows, and a clock."""

    def __init__(self) -> None:
        self.activity = LocalActivity()
        self.now = 0.0
        self.overviews = 0
        self.feed = Feed(self.activity, self.overview, lambda: self.now)

    async def overview(self) -> dict[str, Any]:
        self.overviews += 1
        return {"number": self.overviews}

    async def finish(self, *tenants: str) -> None:
        rows = [(orjson.dumps({"tenant": tenant, "status": 200}), False) for tenant in tenants]
        await self.activity.push(0, {}, rows, "process", b"{}")


def tenants_of(ticks: list[Tick]) -> list[str]:
    return [row["tenant"] for tick in ticks for row, _ in tick.rows]


async def test_viewers_of_one_second_share_one_reading() -> None:
    source = Source()
    [first] = await source.feed.after(None)
    assert (first.overview, source.overviews) == (b'{"number":1}', 1)
    await source.finish("acme")
    source.now = 1.0
    for _ in range(5):
        assert tenants_of(await source.feed.after(first.number)) == ["acme"]
    assert source.overviews == 1
    overviews = []
    for number in range(2 * OVERVIEW_EVERY):
        source.now += 1.0
        overviews += [tick.overview for tick in await source.feed.after(first.number + 1 + number)]
    assert overviews == [b'{"number":2}', None, b'{"number":3}', None]


async def test_new_viewer_gets_the_overview_and_no_rows_that_its_list_has_already() -> None:
    source = Source()
    await source.feed.after(None)
    await source.finish("acme")
    source.now = 1.0
    await source.feed.after(1)
    [tick] = await source.feed.after(None)
    assert (tick.number, tick.rows, tick.events({})) == (2, (), b'event: overview\ndata: {"number":1}\n\n')


async def test_late_viewer_gets_the_ticks_that_it_missed() -> None:
    source = Source()
    await source.feed.after(None)
    for number in (1, 2):
        await source.finish(f"tenant-{number}")
        source.now += 1.0
        await source.feed.after(number)
    assert tenants_of(await source.feed.after(1)) == ["tenant-1", "tenant-2"]


async def test_rows_from_before_the_first_viewer_are_no_news() -> None:
    source = Source()
    await source.feed.after(None)
    await source.finish("acme")
    source.now = 3600.0
    await source.feed.after(None)
    assert tenants_of(await source.feed.after(0)) == []


@pytest.mark.parametrize(
    ("wanted", "exchanges", "skipped"),
    [
        ({}, ROWS_A_TICK, ROWS_A_TICK + 3),
        ({"tenant": "acme"}, 1, None),
        ({"tenant": "lab"}, ROWS_A_TICK, None),
        ({"tenant": "other"}, ROWS_A_TICK, 2),
        ({"tenant": "x"}, 0, None),
    ],
)
async def test_tick_has_the_rows_that_the_filters_let_through_up_to_a_limit(
    wanted: dict[str, str], exchanges: int, skipped: int | None
) -> None:
    source = Source()
    await source.feed.after(None)
    await source.finish("acme", *["lab"] * ROWS_A_TICK, *["other"] * (ROWS_A_TICK + 2))
    source.now = 1.0
    [tick] = await source.feed.after(1)
    sent = tick.events(wanted).decode()
    assert sent.count("event: exchange\n") == exchanges
    assert re.findall(r"event: skipped\ndata: (\d+)\n", sent) == ([] if skipped is None else [str(skipped)])
