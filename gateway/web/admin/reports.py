"""Usage and cost reports, in Anthropic's shapes: `usage_report/messages`, `cost_report` and `analytics/*`."""

from datetime import UTC, date, datetime

from aiohttp import web

from gateway.access.reports import ReportQuery, flat_report, report, to_cost, to_query, to_usage
from gateway.access.spend import SpendStore
from gateway.errors import InvalidRequest
from gateway.json_values import from_time, to_datetime
from gateway.web.admin.leads import lead_of
from gateway.web.admin.requests import store_of
from gateway.web.reply import NO_STORE, json_response


async def show_usage_report(request: web.Request) -> web.Response:
    """Buckets of a day, each with the tokens of every group."""
    query, page = _query(request)
    return json_response(await report(_spend(request), query, page, to_usage), headers=NO_STORE)


async def show_cost_report(request: web.Request) -> web.Response:
    """Buckets of a day, each with the cost of every group in cents."""
    query, page = _query(request)
    return json_response(await report(_spend(request), query, page, to_cost), headers=NO_STORE)


async def list_usage(request: web.Request) -> web.Response:
    query, page = _query(request)
    daily = "time_bucket_width" in request.query
    found = await flat_report(_spend(request), query, "usage", to_usage, daily=daily, page=page)
    return json_response(found, headers=NO_STORE)


async def list_cost(request: web.Request) -> web.Response:
    query, page = _query(request)
    daily = "time_bucket_width" in request.query
    found = await flat_report(_spend(request), query, "cost", to_cost, daily=daily, page=page)
    return json_response(found, headers=NO_STORE)


def _spend(request: web.Request) -> SpendStore:
    return SpendStore(store_of(request).server)


def _query(request: web.Request) -> tuple[ReportQuery, str | None]:
    values: dict[str, list[str]] = {}
    for name, value in request.query.items():
        values.setdefault(name, []).append(value)
    if lead_of(request):
        values["workspace_ids[]"] = [lead_of(request)]
    return to_query(values, datetime.now(UTC).date(), to_date=_to_date), request.query.get("page")


def _to_date(text: str, name: str) -> date:
    try:
        return to_datetime(from_time(text.replace(" ", "+"))).date()  # a plus that was not escaped
    except ValueError:
        raise InvalidRequest(f"{name}: must be a time such as 2026-11-01T00:00:00Z") from None
