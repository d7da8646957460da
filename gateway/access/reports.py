"""Usage and cost reports in the shapes of Anthropic's Admin API, from the sums of UTC days and the latest entries.

Amounts are cents as decimal text, as in that API. A page holds whole days; its cursor is bound to the report's filters.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson

from gateway.access.records import NANO
from gateway.access.spend import SpendRow, SpendStore
from gateway.errors import InvalidRequest
from gateway.json_values import to_whole

MAX_DAYS: Final = 31
# Rows of one reply, 500 bytes each: writing 50,000 blocks live requests for a third of a second.
MAX_ROWS: Final = 4000
FOREIGN_CURSOR: Final = "page: this cursor belongs to a report with other parameters"
# Anthropic's names of dimensions, and ours (`spend.DIMENSIONS`).
GROUPS: Final[Mapping[str, str]] = {
    "workspace_id": "tenant",
    "actor": "user",
    "api_key_id": "key",
    "model": "model",
    "product": "provider",
    "session_id": "session",
    "agent_id": "agent",
}
# Anthropic's names of filters, and the dimension of each.
FILTERS: Final[Mapping[str, str]] = {
    "workspace_ids": "workspace_id",
    "user_ids": "actor",
    "actor_ids": "actor",
    "api_key_ids": "api_key_id",
    "models": "model",
}
# Anthropic's dimensions that requests here do not have: accepted, and null in every row.
ALWAYS_NULL: Final = frozenset({"service_tier", "context_window", "inference_geo", "speed", "description"})

Row = Callable[[SpendRow], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """Parameters of a report. `by`: dimensions, by Anthropic's names. `wanted`: allowed values by dimension. The day
    `ends` is not included."""

    starts: date
    ends: date
    by: tuple[str, ...]
    wanted: Mapping[str, frozenset[str]]
    limit: int

    @property
    def digest(self) -> str:
        wanted = sorted((name, sorted(values)) for name, values in self.wanted.items())
        return hashlib.sha256(repr((self.starts, self.ends, self.by, wanted)).encode()).hexdigest()[:12]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the dimensions that the report has to read: those of its rows and of its filters."""
        return tuple(dict.fromkeys((*self.by, *self.wanted)))


def cents(nano: int) -> str:
    """Format nano-dollars as cents, exactly."""
    return f"{Decimal(nano) * 100 / NANO:f}"


def to_cost(row: SpendRow) -> dict[str, Any]:
    amount = cents(row.cost)
    return {"amount": amount, "list_amount": amount, "currency": "USD", "requests": row.requests}


def to_usage(row: SpendRow) -> dict[str, Any]:
    uncached = row.input - row.cache_write
    return {
        "uncached_input_tokens": uncached,
        "cache_creation": {"ephemeral_5m_input_tokens": row.cache_write, "ephemeral_1h_input_tokens": 0},
        "cache_read_input_tokens": row.cache_read,
        "output_tokens": row.output,
        "server_tool_use": {"web_search_requests": 0},
        "requests": row.requests,
        "total_tokens": row.input + row.cache_read + row.output,
    }


async def report(store: SpendStore, query: ReportQuery, page: str | None, to_row: Row) -> dict[str, Any]:
    """Return one page of a report in buckets of a day: at most `query.limit` days, and MAX_ROWS rows unless one day has
    more."""
    first = query.starts if page is None else _day_of(page, query)
    days = [first + timedelta(days=number) for number in range(min(query.limit, (query.ends - first).days))]
    data, after, left = list[dict[str, Any]](), first + timedelta(days=1), MAX_ROWS
    for day in days:
        rows = await _rows(store, query, day, day)
        left -= len(rows)
        if left < 0 and data:
            break
        results = [{**_group(query, row), **to_row(row)} for row in rows]
        data.append({**_bounds(day, day), "results": results})
        after = day + timedelta(days=1)
    has_more = after < query.ends
    next_page = f"page_{after:%Y%m%d}_{query.digest}" if has_more else None
    return {"data": data, "has_more": has_more, "next_page": next_page}


async def flat_report(
    store: SpendStore, query: ReportQuery, kind: str, to_row: Row, *, daily: bool, page: str | None = None
) -> dict[str, Any]:
    """Return one page of rows `{starting_at, ending_at, group, cost or usage}`, per day or for the whole range.

    Rows are ordered by day and group, so that new rows do not move others to another page. Days that no spending is
    stored of are not looked at.
    """
    first, passed = (query.starts, None) if page is None else _place_of(page, query)
    spans = [(query.starts, query.ends - timedelta(days=1))]
    if daily:
        kept = store.kept_days(max(first, query.starts), query.ends - timedelta(days=1))
        spans = [(day, day) for day in kept]
    data: list[dict[str, Any]] = []
    at = query.starts, tuple[str, ...]()
    for starts, ends in spans:
        rows = sorted(await _rows(store, query, starts, ends), key=lambda row: row.group)
        if passed is not None and starts == first:
            rows = [row for row in rows if row.group > passed]
        for row in rows:
            if len(data) == MAX_ROWS:
                return {"data": data, "has_more": True, "next_page": _cursor(query, *at)}
            at = starts, row.group
            data.append({**_bounds(starts, ends), "group": _group(query, row), kind: to_row(row)})
    return {"data": data, "has_more": False, "next_page": None}


async def _rows(store: SpendStore, query: ReportQuery, first: date, last: date) -> list[SpendRow]:
    known = [name for name in query.names if name in GROUPS]
    dimensions = [GROUPS[name] for name in known]
    if {"session", "agent"} & set(dimensions):
        rows = await store.by_entries(dimensions, first, last)
    else:
        rows = await store.by_day(first, last, dimensions)
    return await asyncio.to_thread(_regrouped, query, known, rows)


def _regrouped(query: ReportQuery, known: Sequence[str], rows: Sequence[SpendRow]) -> list[SpendRow]:
    found: dict[tuple[str, ...], SpendRow] = {}
    for row in rows:
        values = dict(zip(known, row.group, strict=True))
        if any(values[name] not in wanted for name, wanted in query.wanted.items()):
            continue
        group = tuple(values.get(name, "") for name in query.by)
        found[group] = row.regrouped(group) + found[group] if group in found else row.regrouped(group)
    return list(found.values())


def _group(query: ReportQuery, row: SpendRow) -> dict[str, Any]:
    values: dict[str, Any] = dict(zip(query.by, row.group, strict=True))
    shown = {name: value or None for name, value in values.items()}
    if shown.get("actor"):
        shown["actor"] = {"type": "user_actor", "user_id": values["actor"], "deleted": False}
    return shown


def _bounds(first: date, last: date) -> dict[str, str]:
    ends = last + timedelta(days=1)
    return {"starting_at": f"{first.isoformat()}T00:00:00Z", "ending_at": f"{ends.isoformat()}T00:00:00Z"}


def _day_of(page: str, query: ReportQuery) -> date:
    """Return the day that a cursor names. Raises InvalidRequest for a cursor of another report."""
    head, _, digest = page.removeprefix("page_").partition("_")
    try:
        day = date.fromisoformat(head)
    except ValueError:
        day = None
    if day is None or digest != query.digest or not query.starts <= day < query.ends:
        raise InvalidRequest(FOREIGN_CURSOR)
    return day


def _cursor(query: ReportQuery, day: date, group: tuple[str, ...]) -> str:
    """Return the cursor of the rows after this group. `day`: day of the group, or the start of the whole range."""
    place = base64.urlsafe_b64encode(orjson.dumps([day, group])).decode().rstrip("=")
    return f"page_{query.digest}_{place}"


def _place_of(page: str, query: ReportQuery) -> tuple[date, tuple[str, ...]]:
    """Return day and group of a cursor. Raises InvalidRequest for a cursor of another report."""
    digest, _, place = page.removeprefix("page_").partition("_")
    if digest == query.digest:
        with suppress(ValueError, TypeError):  # of base64, JSON and the date
            day, group = orjson.loads(base64.urlsafe_b64decode(place + "=" * (-len(place) % 4)))
            return date.fromisoformat(day), tuple(map(str, group))
    raise InvalidRequest(FOREIGN_CURSOR)


def to_query(values: Mapping[str, Sequence[str]], today: date, *, to_date: Callable[[str, str], date]) -> ReportQuery:
    """Read a request's query. Raises InvalidRequest with the name of the wrong parameter."""
    if not values.get("starting_at"):
        raise InvalidRequest("starting_at: is required, such as 2026-11-01T00:00:00Z")
    starts = to_date(values["starting_at"][0], "starting_at")
    ends = to_date(values["ending_at"][0], "ending_at") if values.get("ending_at") else today + timedelta(days=1)
    if ends <= starts:
        raise InvalidRequest("ending_at: must be later than starting_at")
    for name in ("bucket_width", "time_bucket_width"):
        if values.get(name, ["1d"])[0] != "1d":
            raise InvalidRequest(f"{name}: must be 1d, the width of the sums that are kept")
    by = tuple(dict.fromkeys([*values.get("group_by[]", ()), *values.get("group_by", ())]))
    unknown = [name for name in by if name not in GROUPS and name not in ALWAYS_NULL]
    if unknown:
        raise InvalidRequest(f"group_by[]: {unknown[0]} is not one of {', '.join([*GROUPS, *sorted(ALWAYS_NULL)])}")
    wanted = {group: frozenset(values[f"{name}[]"]) for name, group in FILTERS.items() if values.get(f"{name}[]")}
    limit = to_whole(values.get("limit", ["7"])[0], MAX_DAYS)
    if limit is None:
        raise InvalidRequest(f"limit: must be 1 to {MAX_DAYS}")
    return ReportQuery(starts, ends, by, wanted, limit)
