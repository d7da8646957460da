"""Message Batches over HTTP: create while the body arrives, show, list, cancel, delete, stream the results.

Thin over `batches.store`: the envelope of a batch is checked here and at once, the requests in it by the workers.
"""

import re
from collections.abc import AsyncIterator, Callable
from typing import Literal

from aiohttp import web

from gateway.batches.lifecycle import BatchOptions, BatchRecord, to_message_batch
from gateway.batches.splitter import BatchLimits, Splitter
from gateway.batches.staging import Staging
from gateway.batches.store import BatchStore
from gateway.context import Context
from gateway.errors import GatewayError, InvalidRequest, Unavailable
from gateway.messages.validation.unknown_keys import PLAIN_NAME
from gateway.telemetry.metrics import BATCH_EVENTS
from gateway.web.admin.requests import idempotency_key_of
from gateway.web.api.messages import COST
from gateway.web.api.models import parse_limit
from gateway.web.app_keys import BATCHES, DIRECTORY, SETTINGS
from gateway.web.arrivals import held_bytes
from gateway.web.auth import CONTEXT
from gateway.web.body import body_pieces
from gateway.web.reply import IGNORED, id_headers, json_response

# A piece of this size is split in about 2.5 ms, after which others get their turn.
PIECE_BYTES = 256 * 1024
RESULTS_TYPE = "application/x-jsonl"
PRIORITIES: dict[str, Literal[0, 1, 2]] = {"low": 0, "normal": 1, "high": 2}
# Also takes the body of older gateways, {"messages": [params, …]}.
OLD_PATH = "/v1/messages/batch"
SPEND_CAP = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?\Z")


async def create_batch(request: web.Request) -> web.Response:
    """POST /v1/messages/batches."""
    try:
        return await _create_batch(request)
    except GatewayError:
        BATCH_EVENTS.labels("refused").inc()
        raise


async def _create_batch(request: web.Request) -> web.Response:
    """The batch is visible once all of it has arrived and been stored; a cut-off upload leaves nothing behind."""
    context = request[CONTEXT]
    request.app[DIRECTORY].check_batches(context)
    store = _store(request)
    limits = BatchLimits()
    # Before the body: a full store, or a priority that is not allowed, is refused without an upload.
    staging = await store.begin(context.tenant, to_options(request, context))
    committed = False
    try:
        with held_bytes(request) as hold:
            splitter = Splitter(limits, takes_bare=request.path.endswith(OLD_PATH))
            ignored = await stage(staging, body_pieces(request, limits.bytes, PIECE_BYTES), splitter, hold)
        record = await staging.commit()
        committed = True
    finally:
        if not committed:
            # Also for a client that disconnects, which cancels this handler.
            await store.discard(staging)
    response = _batch_response(request, record)
    if ignored:
        # Names are client input: only plain ones may enter a header.
        names = [name if PLAIN_NAME.fullmatch(name) else "?" for name in ignored]
        response.headers[IGNORED] = ", ".join([f"dropped:{name}" for name in names])
    return response


async def stage(
    staging: Staging, pieces: AsyncIterator[bytes], splitter: Splitter, hold: Callable[[int], None]
) -> list[str]:
    """Split the body while it arrives: memory holds one item and one chunk. Returns the keys that no batch has.

    `hold` is given the bytes of the item that has not arrived whole.
    """
    async for piece in pieces:
        for item in splitter.feed(piece):
            await staging.add(item)
        hold(splitter.held)
    splitter.finish()
    return splitter.ignored


async def retrieve_batch(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    record = await _store(request).retrieve(context.tenant, request.match_info["batch_id"])
    response = _batch_response(request, record)
    response.headers.extend(_cost_headers(record))
    return response


async def list_batches(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    page = await _store(request).page(
        context.tenant,
        limit=parse_limit(request.query.get("limit")),
        after_id=request.query.get("after_id"),
        before_id=request.query.get("before_id"),
    )
    batches = [to_message_batch(record, _public_url(request)) for record in page.records]
    return json_response(
        {
            "data": batches,
            "has_more": page.has_more,
            "first_id": batches[0]["id"] if batches else None,
            "last_id": batches[-1]["id"] if batches else None,
        }
    )


async def cancel_batch(request: web.Request) -> web.Response:
    """Canceling again, or canceling what has ended, changes nothing and answers with the batch."""
    context = request[CONTEXT]
    record = await _store(request).cancel(context.tenant, request.match_info["batch_id"])
    return _batch_response(request, record)


async def delete_batch(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    batch_id = request.match_info["batch_id"]
    await _store(request).delete(context.tenant, batch_id)
    return json_response({"id": batch_id, "type": "message_batch_deleted"})


async def stream_results(request: web.Request) -> web.StreamResponse:
    """One line a request, in the order they were sent."""
    context = request[CONTEXT]
    # Errors are raised here, before the header of the reply is sent.
    pieces = await _store(request).results(context.tenant, request.match_info["batch_id"])
    headers = {"content-type": RESULTS_TYPE, "cache-control": "no-store", **dict(id_headers(context.request_id))}
    response = web.StreamResponse(headers=headers)
    # Chunked, without a length: reading the results twice to know it would double the load on Redis.
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def show_status(request: web.Request) -> web.Response:
    """GET /v1/messages/batch/{id}/status: the batch, for clients of gateways that had this path, with live figures."""
    context = request[CONTEXT]
    store = _store(request)
    record = await store.retrieve(context.tenant, request.match_info["batch_id"])
    progress = await store.progress(record.id)
    done = record.total if progress is None else progress.succeeded + progress.errored
    headers = [("x-gateway-batch-done", str(done)), ("x-gateway-batch-total", str(record.total))]
    headers += _cost_headers(record)
    return json_response(to_message_batch(record, _public_url(request)), headers=headers)


def to_options(request: web.Request, context: Context) -> BatchOptions:
    """Return the batch's options for the workers. Raises InvalidRequest for headers that make no sense."""
    priority = request.headers.get("x-gateway-priority", "normal")
    if priority not in PRIORITIES:
        raise InvalidRequest(f"x-gateway-priority: must be one of {', '.join(PRIORITIES)}")
    idempotency_key = idempotency_key_of(request)
    # What the items need of the request that created them, since workers see no request.
    carried = {
        "request_id": context.request_id,
        "key_id": context.key_id,
        "user": context.user,
        "trace_parent": context.trace_parent,
        "session_id": context.session_id,
        "agent_id": context.agent_id,
        "parent_agent_id": context.parent_agent_id,
    }
    allowed = request.app[SETTINGS].batch_priority_keys
    return BatchOptions(
        priority=PRIORITIES[priority],
        across=context.tenant in allowed or context.key_id in allowed,
        spend_cap=to_spend_cap(request.headers.get("x-gateway-spend-cap")),
        api_version=context.api_version,
        betas=tuple(sorted(context.betas)),
        context={name: value for name, value in carried.items() if value},
        idempotency_key=idempotency_key,
    )


def to_spend_cap(dollars: str | None) -> int | None:
    """Micro-dollars. Raises InvalidRequest for what is no amount of money."""
    if dollars is None:
        return None
    if not SPEND_CAP.match(dollars):
        raise InvalidRequest("x-gateway-spend-cap: must be an amount in US dollars, such as 2.50")
    # SPEND_CAP allows six decimals, so a float is exact enough here.
    return round(float(dollars) * 1_000_000)


def _store(request: web.Request) -> BatchStore:
    store = request.app[BATCHES]
    if store is None:
        off = "Message batches are off: this gateway runs without Redis (GATEWAY_REDIS_URL)."
        raise Unavailable(off, should_retry=False)
    return store


def _cost_headers(record: BatchRecord) -> list[tuple[str, str]]:
    """Return the cost of its requests so far, where an upstream reports costs."""
    return [(COST, f"{record.spend / 1e6:.6f}".rstrip("0").rstrip("."))] if record.spend else []


def _batch_response(request: web.Request, record: BatchRecord) -> web.Response:
    return json_response(to_message_batch(record, _public_url(request)))


def _public_url(request: web.Request) -> str:
    url = request.app[SETTINGS].public_url
    return "" if url is None else str(url).rstrip("/")
