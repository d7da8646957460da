"""Sums of days become groups."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from redis.asyncio import Redis

from gateway.access.reports import MAX_ROWS, ReportQuery, flat_report, report, to_cost, to_usage
from gateway.access.spend import DailyTotals, SpendRow, SpendStore
from gateway.errors import InvalidRequest
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from tests.support.redis_server import redis_server

MONDAY = {
    b"acme|ann|k1|big|openrouter|requests": b"2",
    b"acme|ann|k1|big|openrouter|cost": b"70",
    b"acme|bob|k2|big|openrouter|requests": b"1",
    b"lab|eve|k3|small|vllm|requests": b"4",
    b"lab|eve|k3|small|vllm|of_a_later_version": b"9",
}
TUESDAY = {b"acme|ann|k1|big|openrouter|requests": b"5", b"lab|eve|k3|small|vllm|cache_write": b"8"}
DAYS = ("2027-01-04", "2027-01-05")


def counts(requests: int = 0, cost: int = 0, cache_write: int = 0) -> list[int]:
    return [requests, 0, 0, cost, 0, cache_write]


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ((), {(): counts(12, 70, 8)}),
        (("tenant",), {("acme",): counts(8, 70), ("lab",): counts(4, 0, 8)}),
        (
            ("tenant", "day"),
            {
                ("acme", DAYS[0]): counts(3, 70),
                ("acme", DAYS[1]): counts(5),
                ("lab", DAYS[0]): counts(4),
                ("lab", DAYS[1]): counts(0, 0, 8),
            },
        ),
        (("day",), {(DAYS[0],): counts(7, 70), (DAYS[1],): counts(5, 0, 8)}),
        (("provider", "key"), {("openrouter", "k1"): counts(7, 70), ("openrouter", "k2"): counts(1)}
         | {("vllm", "k3"): counts(4, 0, 8)}),
    ],
)  # fmt: skip
def test_sums_of_days_are_grouped(by: tuple[str, ...], found: dict[tuple[str, ...], list[int]]) -> None:
    at_once, one_by_one = DailyTotals(by), DailyTotals(by)
    packed = at_once.add_fields(dict(zip(DAYS, (MONDAY, TUESDAY), strict=True)))
    assert packed.keys() == {DAYS[1]}  # the other has a count of a later version
    one_by_one.add_fields({DAYS[0]: MONDAY})
    one_by_one.add_packed(packed)
    assert at_once.found == one_by_one.found == found


async def test_sums_of_closed_days_are_read_from_their_packed_form() -> None:
    today, keys = date(2027, 1, 5), Keys()
    days = [today - timedelta(days=ago) for ago in range(4)]
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        store = SpendStore(RedisServer(redis, keys), lambda: datetime(2027, 1, 5, 12, tzinfo=UTC).timestamp())
        for day in days:
            await redis.hset(keys.usage_sums(day.isoformat()), "acme|ann|k1|big|openrouter|requests", str(day.day))
        assert [row.requests for row in await store.by_day(days[3], today, ("tenant",))] == [5 + 4 + 3 + 2]
        kept = [await redis.ttl(keys.packed_sums(day.isoformat())) for day in days]
        assert kept == [-2, -2, 398 * 86_400, 397 * 86_400]
        await redis.delete(*(keys.usage_sums(day.isoformat()) for day in days))
        assert [row.requests for row in await store.by_day(days[3], today, ())] == [3 + 2]


async def test_corrections_count_as_cost_of_a_request_and_not_as_another_one() -> None:
    entries = [
        {"id": "a", "session": "s", "input": 5, "cache_write": 2, "cache_read": 1, "output": 3, "cost": 70},
        {"id": "a.late", "adjusts": "a", "session": "s", "output": 4, "cost": -20},
        {"id": "b", "session": "t", "input": 1, "cost": 9},
    ]
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        store = SpendStore(RedisServer(redis, Keys()))
        for entry in entries:
            await redis.xadd(Keys().access.usage, {"e": orjson.dumps(entry)})
        rows = await store.by_entries(("session",))
    assert rows == [SpendRow(("s",), 1, 7, 7, 50, 1, 2), SpendRow(("t",), 1, 1, 0, 9, 0, 0)]
    both = rows[0] + rows[1]
    assert (both.requests, both.input, both.output, both.cost) == (2, 8, 7, 59)


@pytest.mark.parametrize("daily", [False, True])
async def test_flat_report_ends_with_the_day_before_its_end(daily: bool) -> None:
    first, last, keys = date(2027, 1, 4), date(2027, 1, 5), Keys()
    query = ReportQuery(first, last + timedelta(days=1), ("workspace_id",), {}, 7)
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        store = SpendStore(RedisServer(redis, keys), lambda: datetime(2027, 1, 9, tzinfo=UTC).timestamp())
        for ago in range(-1, 3):
            day = (last - timedelta(days=ago)).isoformat()
            await redis.hset(
                keys.usage_sums(day), "acme|ann|k1|big|openrouter|requests", str(10**ago) if ago > 0 else "1"
            )
        rows = (await flat_report(store, query, "usage", to_usage, daily=daily))["data"]
    found = [(row["starting_at"][:10], row["ending_at"][:10], row["usage"]["requests"]) for row in rows]
    days = [("2027-01-04", "2027-01-05", 10), ("2027-01-05", "2027-01-06", 1)]
    assert found == (days if daily else [("2027-01-04", "2027-01-06", 11)])


@pytest.mark.parametrize("by", ["workspace_id", "session_id"])
async def test_reports_of_all_days_read_those_that_have_sums(by: str) -> None:
    today, keys = date(2027, 1, 5), Keys()
    query = ReportQuery(date.min, date.max, (by,), {}, 31)
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        store = SpendStore(RedisServer(redis, keys), lambda: datetime(2027, 1, 5, tzinfo=UTC).timestamp())
        assert store.kept_days(date.min, date.max) == [today + timedelta(days=number) for number in range(-400, 2)]
        assert store.kept_days(date(2028, 1, 1), date(2028, 1, 2)) == []
        await redis.hset(keys.usage_sums(today.isoformat()), "acme|ann|k1|big|openrouter|requests", "3")
        await redis.xadd(keys.access.usage, {"e": orjson.dumps({"session": "s"})}, id="1798800000000-0")
        for daily in (False, True):
            [row] = (await flat_report(store, query, "usage", to_usage, daily=daily))["data"]
            assert row["usage"]["requests"] == (3 if by == "workspace_id" else 1)
        last = replace(query, starts=date.max - timedelta(days=1))
        assert [len(one["results"]) for one in (await report(store, last, None, to_usage))["data"]] == [0]


async def test_reports_of_many_groups_come_in_pages_without_a_gap() -> None:
    first, keys, count = date(2027, 1, 4), Keys(), MAX_ROWS // 2 + 10
    query = ReportQuery(first, first + timedelta(days=3), ("actor",), {}, 7)
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        store = SpendStore(RedisServer(redis, keys), lambda: datetime(2027, 1, 9, tzinfo=UTC).timestamp())
        for day in range(3):
            name = keys.usage_sums((first + timedelta(days=day)).isoformat())
            await redis.hset(name, mapping={f"t|u{number}|k|m|p|requests": 1 for number in range(count)})
        lengths, page, seen = [], None, set()
        while True:
            found = await flat_report(store, query, "usage", to_usage, daily=True, page=page)
            lengths.append(len(found["data"]))
            seen |= {(row["starting_at"], row["group"]["actor"]["user_id"]) for row in found["data"]}
            page = found["next_page"]
            if page is None:
                break
            with pytest.raises(InvalidRequest, match="this cursor belongs to a report with other parameters"):
                await flat_report(store, replace(query, by=("model",)), "usage", to_usage, daily=True, page=page)
        assert (lengths, len(seen)) == ([MAX_ROWS, 3 * count - MAX_ROWS], 3 * count)
        whole = await flat_report(store, query, "usage", to_usage, daily=False)
        assert (len(whole["data"]), whole["has_more"]) == (count, False)
        buckets = await report(store, query, None, to_usage)
        assert [len(one["results"]) for one in buckets["data"]] == [count]
        assert (buckets["has_more"], buckets["next_page"][:13]) == (True, "page_20270105")
        for wrong in ("page_x", f"{page}x", f"page_{query.digest}_WzFd", f"page_{query.digest}_!"):
            with pytest.raises(InvalidRequest):
                await flat_report(store, query, "usage", to_usage, daily=True, page=wrong)


def test_use_and_cost_of_a_row_have_anthropics_fields() -> None:
    row = SpendRow(("red",), requests=2, input=100, output=7, cost=12_345_678_900, cache_read=30, cache_write=40)
    assert to_usage(row) == {
        "uncached_input_tokens": 60,
        "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 0},
        "cache_read_input_tokens": 30,
        "output_tokens": 7,
        "server_tool_use": {"web_search_requests": 0},
        "requests": 2,
        "total_tokens": 137,
    }
    amount = to_cost(row)["amount"]
    assert to_cost(row) == {"amount": amount, "list_amount": amount, "currency": "USD", "requests": 2}
    assert Decimal(amount) == Decimal("1234.56789")
