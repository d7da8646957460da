"""Spend by day and by tenant, key, model, user or provider; as JSON for the page, and as CSV for a spreadsheet."""

import asyncio
import csv
import io
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.access.records import NANO
from gateway.access.spend import DIMENSIONS, SpendRow
from gateway.errors import InvalidRequest
from gateway.web.console.sources import CONSOLE, DATA_HEADERS
from gateway.web.reply import JSON_TYPE

MAX_DAYS: Final = 400  # for which sums are kept
DEFAULT_DAYS: Final = 30
CSV_GROUP: Final = ("day", "tenant", "key", "model")
# A spreadsheet reads a cell that starts with one of these as a formula; names are client input.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


async def show_spend(request: web.Request) -> web.Response:
    """Sums of the UTC days `from` to `to`, grouped `by` some of day, tenant, key, model, user, provider."""
    first, last = days_of(request)
    by = tuple(name for name in request.query.get("by", "day,tenant").split(",") if name)
    unknown = [name for name in by if name not in (*DIMENSIONS, "day")]
    if unknown:
        raise InvalidRequest(f"by: {unknown[0][:40]!r} is no group; use day, {', '.join(DIMENSIONS)}")
    rows = await request.app[CONSOLE].spend.by_day(first, last, by)
    wanted = {by.index(name): request.query[name] for name in by if request.query.get(name)}

    def to_body() -> bytes:
        data = [to_json(by, row) for row in rows if all(row.group[at] == value for at, value in wanted.items())]
        return orjson.dumps({"from": first.isoformat(), "to": last.isoformat(), "by": by, "data": data})

    # In a thread, as the CSV: a report may have 100,000 rows, and live requests share this loop.
    body = await asyncio.to_thread(to_body)
    return web.Response(body=body, content_type=JSON_TYPE, headers=dict(DATA_HEADERS))


async def show_usage_csv(request: web.Request) -> web.Response:
    """One row for each day, tenant, key and model."""
    first, last = days_of(request)
    rows = await request.app[CONSOLE].spend.by_day(first, last, CSV_GROUP)
    body = await asyncio.to_thread(to_csv, rows)
    name = f"usage-{first.isoformat()}-{last.isoformat()}.csv"
    headers = [*DATA_HEADERS, ("content-disposition", f'attachment; filename="{name}"')]
    return web.Response(body=body, content_type="text/csv", charset="utf-8", headers=dict(headers))


def to_csv(rows: Iterable[SpendRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*CSV_GROUP, "requests", "input_tokens", "output_tokens", "cost_usd"))
    for row in sorted(rows, key=lambda one: one.group):
        names = [f"'{name}" if name.startswith(FORMULA) else name for name in row.group]
        writer.writerow((*names, row.requests, row.input, row.output, f"{row.cost / NANO:.9f}"))
    return text.getvalue().encode()


def days_of(request: web.Request) -> tuple[date, date]:
    """Raises InvalidRequest."""
    today = datetime.now(UTC).date()
    last = to_day(request.query.get("to"), "to", today)
    first = to_day(request.query.get("from"), "from", date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS + 1)))
    if first > last or last - first > timedelta(days=MAX_DAYS):
        raise InvalidRequest(f"from: must not be after to, and at most {MAX_DAYS} days before it")
    return first, last


def to_day(text: str | None, name: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(text) if text else otherwise
    except ValueError:
        raise InvalidRequest(f"{name}: must be a day such as 2027-01-31") from None


def to_json(by: tuple[str, ...], row: SpendRow) -> dict[str, Any]:
    counts = {"requests": row.requests, "input_tokens": row.input, "output_tokens": row.output}
    return {**dict(zip(by, row.group, strict=True)), **counts, "cost": row.cost / NANO}
