"""Batches of all tenants: how far they are, what failed in them, and cancelling one."""

from typing import Any, Final

import orjson
from aiohttp import web

from gateway.batches.lifecycle import BatchRecord, created_of, request_counts
from gateway.batches.store import BatchStore
from gateway.errors import NotFound
from gateway.redis.codec import unpack
from gateway.web.admin.authorization import CHANGE
from gateway.web.admin.requests import record_action
from gateway.web.console.sources import CONSOLE, data_response

# Of the list: tenants that are looked at, the latest batches of each, and rows beside those that have not ended.
MAX_TENANTS: Final = 1000
OF_ONE_TENANT: Final = 20
MAX_ROWS: Final = 200
# Failed items that are looked at for their types, of a batch with any number of them.
SAMPLE: Final = 500
EXAMPLES: Final = 3  # custom_ids for a type of error
MICRO: Final = 1_000_000


async def list_batches(request: web.Request) -> web.Response:
    """Newest first: those that have not ended, and the latest of each tenant. `tenant` and `status` filter."""
    sources = request.app[CONSOLE]
    tenant, status = request.query.get("tenant"), request.query.get("status")
    server, keys = sources.batch_server, sources.batch_server.keys
    [known, unfinished] = await server.pipeline([("SMEMBERS", keys.tenants), ("HKEYS", keys.scheduler.records)])
    tenants = sorted(one.decode() for one in known)[:MAX_TENANTS] if not tenant else [tenant]
    latest = await server.pipeline([("ZREVRANGE", keys.tenant_batches(one), 0, OF_ONE_TENANT - 1) for one in tenants])
    ids = {one.decode() for one in unfinished} | {one.decode() for found in latest for one in found}
    newest = sorted(ids, key=lambda one: created_of(one) or 0, reverse=True)
    # Those that have not ended are never left out: they are what the page is for.
    shown = [one for number, one in enumerate(newest) if number < MAX_ROWS or one.encode() in unfinished]
    records = [record for record in await server.read(shown) if record is not None]
    records = [one for one in records if tenant in (None, "", one.tenant) and status in (None, "", one.status)]
    return data_response({"data": [await to_row(sources.batch_store, record) for record in records]})


async def show_batch(request: web.Request) -> web.Response:
    """Return the batch, with the types of its failed items and examples of their custom_ids."""
    sources = request.app[CONSOLE]
    record = await _record(request)
    row = await to_row(sources.batch_store, record)
    key = sources.batch_server.keys.batch(record.id).err
    [[_, found]] = await sources.batch_server.pipeline([("HSCAN", key, 0, "COUNT", SAMPLE)])
    sample = list(found.values())[:SAMPLE]
    types: dict[str, list[str]] = {}
    for blob in sample:
        result = orjson.loads(unpack(blob)) if blob[:1] in (b"r", b"z") else {}
        name = result.get("result", {}).get("error", {}).get("error", {}).get("type", "worker_lost")
        types.setdefault(name, []).append(result.get("custom_id", ""))
    errors = [{"type": name, "count": len(ids), "examples": ids[:EXAMPLES]} for name, ids in types.items()]
    return data_response({**row, "errors": sorted(errors, key=lambda one: -one["count"]), "sampled": len(sample)})


async def cancel_any_batch(request: web.Request) -> web.Response:
    record = await _record(request)
    await record_action(request, "batch_canceled", {"batch": record.id, "tenant": record.tenant})
    changed = await request.app[CONSOLE].batch_store.cancel(record.tenant, record.id)
    request[CHANGE] = {"before": record.status, "after": changed.status}
    return data_response(await to_row(request.app[CONSOLE].batch_store, changed))


async def to_row(store: BatchStore, record: BatchRecord) -> dict[str, Any]:
    """Return a batch as the console shows it. Counts are those of now, which clients see only at its end."""
    counts: dict[str, int] = {name: int(count) for name, count in request_counts(record).items()}  # type: ignore[call-overload]
    progress = None if record.status == "ended" else await store.progress(record.id)
    if progress is not None:
        counts |= {
            "processing": progress.pending + progress.leased + progress.retrying + progress.suspect,
            "succeeded": progress.succeeded,
            "errored": progress.errored,
        }
    done = record.total - counts["processing"]
    seconds = ((record.ended or record.read) - record.created) / 1000
    rate = done / seconds if seconds > 0 else 0.0
    return {
        "id": record.id,
        "tenant": record.tenant,
        "status": record.status,
        "priority": ("low", "normal", "high")[record.priority],
        "total": record.total,
        "counts": counts,
        "in_flight": 0 if progress is None else progress.leased,
        "retrying": 0 if progress is None else progress.retrying,
        "created": record.created / 1000,
        "ended": None if record.ended is None else record.ended / 1000,
        "expires": record.expires / 1000,
        "rate": round(rate, 3),
        "seconds_left": round(counts["processing"] / rate) if rate and counts["processing"] else None,
        "cost": record.spend / MICRO,
        "spend_cap": None if record.spend_cap is None else record.spend_cap / MICRO,
        "models": list(record.models[:5]),
        "request_id": record.context.get("request_id"),
        "key": record.context.get("key_id"),
    }


async def _record(request: web.Request) -> BatchRecord:
    """Raises NotFound."""
    batch_id = request.match_info["batch_id"]
    found = [None] if created_of(batch_id) is None else await request.app[CONSOLE].batch_server.read([batch_id])
    if found[0] is None:
        raise NotFound("There is no message batch with this id.")
    return found[0]
