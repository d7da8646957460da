"""The follow-up of a batch's end: it is offered no more, its end is durable, and one process logs and counts it.

Several processes may notice an end, and after a crash more than once; the one that takes the batch out of the
schedule is the one that logs it.
"""

import structlog

from gateway.batches.lifecycle import BatchRecord, request_counts
from gateway.batches.scheduler import Scheduler
from gateway.batches.server import BatchServer
from gateway.errors import GatewayError
from gateway.telemetry.metrics import BATCH_EVENTS, BATCH_SECONDS

log = structlog.get_logger()


async def conclude(server: BatchServer, scheduler: Scheduler, batch_id: str) -> None:
    """Take an ended batch out of the schedule, make its end durable, and note it once.

    Safe to repeat. Raises as `Scheduler.drop` does.
    """
    is_first = await scheduler.drop(batch_id)
    await server.confirm(batch_id)
    if not is_first:
        return
    try:
        [record] = await server.read([batch_id])
    except GatewayError as error:  # it has ended all the same
        log.info("batch_ended", batch=batch_id, error=error.type)
        return
    if record is not None and record.status == "ended":
        note_end(record)


def note_end(record: BatchRecord) -> None:
    counts, fields = request_counts(record), to_log_fields(record)
    BATCH_EVENTS.labels("ended").inc()
    seconds = max(0, (record.ended or record.read) - record.created) / 1000
    BATCH_SECONDS.observe(seconds)
    if record.rest == "expired":
        BATCH_EVENTS.labels("expired").inc()
        log.warning("batch_expired", **fields, expired=counts["expired"])
    outcome = {name: count for name, count in counts.items() if name != "processing"}
    log.info("batch_ended", **fields, **outcome, seconds=seconds, cost=record.spend / 1e6, reason=record.rest or "done")


def to_log_fields(record: BatchRecord) -> dict[str, object]:
    """The batch and its creation's id, tenant and key: the same names as on every other log line."""
    carried = record.context
    fields = {"batch": record.id, "request_id": carried.get("request_id"), "key": carried.get("key_id")}
    return {
        **{name: value for name, value in fields.items() if value},
        "tenant": record.tenant,
        "requests": record.total,
    }
