"""Recent exchanges: listed, one by its request-id, failures by cause, upstreams by model, and live events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.errors import InvalidRequest, NotFound, Overloaded
from gateway.json_values import to_whole
from gateway.redis.keys import RECENT_EXCHANGES
from gateway.telemetry.activity_store import Row, matches
from gateway.upstream.health.causes import CAUSES, CLIENT_LEFT
from gateway.web.console.feed import TICK_SECONDS, Feed
from gateway.web.console.sources import CONSOLE, data_response, filters_of, now, seconds_of

# Rows of a list.
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1000
EXAMPLES: Final = 3  # request ids, and models, for a cause
# A quarter of an hour, as the overview's charts.
UPSTREAM_SECONDS: Final = 900

# A stream ends after five minutes; the browser opens it again, and shows its session again.
MAX_EVENTS: Final = 300
MAX_VIEWERS: Final = 20
FEED = web.AppKey("feed", Feed)
MEANINGS: Final = {cause.name: cause.meaning for cause in (*CAUSES, CLIENT_LEFT)}


async def list_exchanges(request: web.Request) -> web.Response:
    """Newest first, up to `limit`, after Unix second `since`. `searched`: how many were looked at."""
    wanted, since = filters_of(request), seconds_of(request, "since")
    limit = to_whole(request.query.get("limit", str(DEFAULT_LIMIT)), MAX_LIMIT)
    if limit is None:
        raise InvalidRequest(f"limit: must be 1 to {MAX_LIMIT}")
    found: list[Row] = []
    searched = 0
    async for row in rows_of(request, since, failed=wanted.get("status") == "failed"):
        searched += 1
        if matches(row, wanted):
            found.append(row)
            if len(found) == limit:
                break
    return data_response({"data": found, "searched": searched})


async def show_exchange(request: web.Request) -> web.Response:
    request_id = request.match_info["request_id"]
    sought = request_id.encode("utf-8", "replace")
    for failed in (True, False):
        async for raw in request.app[CONSOLE].activity.newest(failed=failed):
            if sought in raw and (row := orjson.loads(raw))["request_id"] == request_id:
                template = request.app[CONSOLE].settings.trace_url
                link = {"trace_url": template.replace("{trace}", row["trace"])} if template and "trace" in row else {}
                return data_response({**row, **meaning_of(row), **link})
    raise NotFound("This request is not among the recent ones. The log has one line of every exchange with its id.")


async def list_failures(request: web.Request) -> web.Response:
    """Return failures by cause: how often, when last, and the latest request-ids."""
    since = seconds_of(request, "since")
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    async for row in rows_of(request, since, failed=True):
        key = (str(row.get("cause", row["error"])), str(row["status"]), str(row.get("upstream", "")))
        group = groups.setdefault(key, {"count": 0, "last": row["at"], "models": [], "examples": []})
        group["count"] += 1
        if len(group["examples"]) < EXAMPLES:
            group["examples"].append(row["request_id"])
        if row["model"] not in group["models"] and len(group["models"]) < EXAMPLES:
            group["models"].append(row["model"])
    data = [
        {"cause": cause, "status": int(status), "upstream": upstream, **group, **meaning_of({"cause": cause})}
        for (cause, status, upstream), group in groups.items()
    ]
    counts = (await request.app[CONSOLE].activity.slots(now())).values()
    return data_response(
        {
            "data": sorted(data, key=lambda one: -one["count"]),
            "exchanges_15m": sum(one.get("live", 0) + one.get("batch", 0) for one in counts),
            "failed_15m": sum(one.get("failed", 0) for one in counts),
        }
    )


def meaning_of(row: Row) -> dict[str, str]:
    """Return what the cause of a failure means, in words; nothing for a cause of a newer version."""
    meaning = MEANINGS.get(row.get("cause", ""))
    return {} if meaning is None else {"meaning": meaning}


async def list_upstreams(request: web.Request) -> web.Response:
    """Return, for each upstream and model, how its listed exchanges of a quarter of an hour went."""
    groups: dict[tuple[str, str], list[Row]] = {}
    async for row in rows_of(request, now() - UPSTREAM_SECONDS):
        model = row.get("served_model") or row.get("upstream_model") or row["model"]
        groups.setdefault((row.get("upstream", ""), model), []).append(row)
    data = [
        {
            "upstream": upstream,
            "model": model,
            "exchanges": len(rows),
            "failed": sum(1 for row in rows if "error" in row),
            "seconds_p50": sorted(row["seconds"] for row in rows)[len(rows) // 2],
            "cost": sum(row.get("cost", 0.0) for row in rows),
            "last": rows[0]["at"],
        }
        for (upstream, model), rows in groups.items()
    ]
    return data_response({"data": sorted(data, key=lambda one: -one["exchanges"])})


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Server-sent events of the feed, which the filters let through."""
    wanted, feed = filters_of(request), request.app[FEED]
    if feed.viewers >= MAX_VIEWERS:
        raise Overloaded(f"{MAX_VIEWERS} consoles are open at this process already.", retry_after=30)
    feed.viewers += 1
    try:
        headers = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        number = None
        for _ in range(MAX_EVENTS):
            ticks = await feed.after(number)
            number = ticks[-1].number if ticks else number
            await response.write(b"".join(tick.events(wanted) for tick in ticks) or b": \n\n")
            await asyncio.sleep(TICK_SECONDS)
        await response.write_eof()
        return response
    finally:
        feed.viewers -= 1


async def rows_of(request: web.Request, since: float, *, failed: bool = False) -> AsyncIterator[Row]:
    """Yield the recent exchanges, or the recent failures, newest first, back to a Unix second."""
    number = 0
    async for raw in request.app[CONSOLE].activity.newest(failed=failed):
        row: Row = orjson.loads(raw)
        number += 1
        # Processes push once a second each, so rows are in the order of their ends, give or take a few seconds.
        if row["at"] < since - 5 or number > RECENT_EXCHANGES:
            return
        if row["at"] >= since:
            yield row
