"""Batch lifecycle: record, timestamps, counts, and the representation for clients. Values in, values out.

in_progress ──► ended          every item recorded, or the batch expired or spent its budget
     └► canceling ──► ended    what was in flight may still finish

Times are milliseconds since the epoch, by the Redis server's clock.
"""

import re
from base64 import b32decode, b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, cast

import orjson

from gateway.errors import BillingProblem, GatewayError, InternalError, to_envelope
from gateway.schemas.batches import MessageBatch, ProcessingStatus, RequestCounts, ResultLine

Rest = Literal["", "canceled", "expired", "capped"]
BatchPriority = Literal[0, 1, 2]

# Maximum number of models stored with a batch.
MAX_MODELS: Final = 100

_DAY: Final = 24 * 3600 * 1000
# As Anthropic names batches; the rest is base32, so ids are safe in paths and keys.
_ID_PREFIX: Final = "msgbatch_"
_ID: Final = re.compile(_ID_PREFIX + r"[a-z2-7]{24}\Z")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Milliseconds from creation; `grace` is the time that items in flight may continue after a batch is stopped."""

    expiry: int = _DAY
    retention: int = 29 * _DAY
    keep: int = 90 * _DAY
    grace: int = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a new batch, besides its items.

    `priority` is 0 (low), 1 or 2 (high); with `across` it counts against the batches of all tenants. `spend_cap` and
    all costs are micro-dollars. `context` holds the exchange's other inputs: request id, key, trace parent, session and
    agent ids.
    """

    priority: BatchPriority = 1
    across: bool = False
    spend_cap: int | None = None
    api_version: str = "2023-06-01"
    betas: tuple[str, ...] = ()
    context: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as it is stored. `succeeded` and `errored` are 0 until it has ended."""

    id: str
    version: int
    tenant: str
    status: ProcessingStatus
    rest: Rest  # why the batch was stopped, which decides the outcome of items without a result
    total: int
    created: int
    expires: int
    archive: int
    ended: int | None
    cancel: int | None
    succeeded: int
    errored: int
    priority: BatchPriority
    spend: int
    spend_cap: int | None
    max_lost: int
    models: tuple[str, ...]
    api_version: str
    betas: tuple[str, ...]
    context: Mapping[str, str]
    digest: str
    read: int  # time of the read
    across: bool = False  # its priority counts against the batches of all tenants
    params_bytes: int = 0  # of all items together; 0 if it was stored by an older version

    @property
    def unrecorded(self) -> int:
        """Return the number of items without a result in an ended batch."""
        return self.total - self.succeeded - self.errored

    @property
    def names_all_models(self) -> bool:
        """Return True if `models` covers all items; a batch with more models stores only some."""
        return len(self.models) < MAX_MODELS and "" not in self.models

    @property
    def is_archived(self) -> bool:
        """Return True if the batch has ended and its results were deleted."""
        return self.status == "ended" and self.read >= self.archive

    @classmethod
    def of(cls, batch_id: str, fields: Mapping[bytes, bytes], read: int) -> Self:
        """Read the Redis hash that `to_fields` and the scripts write."""
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return cls(
            id=batch_id,
            version=int(text["v"]),
            tenant=text["tenant"],
            status=cast(ProcessingStatus, text["st"]),
            rest=cast(Rest, text["rest"]),
            total=int(text["total"]),
            created=int(text["created"]),
            expires=int(text["expires"]),
            archive=int(text["archive"]),
            ended=_optional(text.get("ended")),
            cancel=_optional(text.get("cancel")),
            succeeded=int(text.get("n_ok", 0)),
            errored=int(text.get("n_err", 0)),
            priority=cast(BatchPriority, int(text["prio"])),
            across=text.get("across") == "1",
            params_bytes=int(text.get("bytes", 0)),
            spend=int(text["spend"]),
            spend_cap=_optional(text["cap"]),
            max_lost=int(text["max_lost"]),
            models=tuple(orjson.loads(text["models"])),
            api_version=text["api"],
            betas=tuple(orjson.loads(text["betas"])),
            context=orjson.loads(text["context"]),
            digest=text["digest"],
            read=read,
        )


def to_batch_id(created: int, chance: bytes) -> str:
    """`chance` is 9 random bytes. The id contains the time so that a list can continue from a deleted batch."""
    return _ID_PREFIX + b32encode(created.to_bytes(6, "big") + chance).decode().lower()


def created_of(batch_id: str) -> int | None:
    """Return None for an invalid batch id. Call this before an id is used in a key."""
    if not _ID.match(batch_id):
        return None
    return int.from_bytes(b32decode(batch_id.removeprefix(_ID_PREFIX).upper())[:6], "big")


def to_fields(
    tenant: str, options: BatchOptions, lifetimes: Lifetimes, created: int, extra: Mapping[str, str | int]
) -> dict[str, str | int]:
    """Return the stored fields of a new batch; `extra` has `v`, `max_lost`, `models`, `bytes`, `digest`."""
    return {
        "tenant": tenant,
        "created": created,
        "expires": created + lifetimes.expiry,
        "archive": created + lifetimes.retention,
        "forget": created + max(lifetimes.keep, lifetimes.retention),
        "grace": lifetimes.grace,
        "prio": options.priority,
        "across": int(options.across),
        "cap": "" if options.spend_cap is None else options.spend_cap,
        "api": options.api_version,
        "betas": orjson.dumps(options.betas).decode(),
        "context": orjson.dumps(dict(options.context)).decode(),
        **extra,
    }


def request_counts(record: BatchRecord) -> RequestCounts:
    """Return counts as Anthropic does: all items are `processing` until the whole batch has ended."""
    counts = RequestCounts(processing=0, succeeded=0, errored=0, canceled=0, expired=0)
    if record.status != "ended":
        counts["processing"] = record.total
        return counts
    counts["succeeded"] = record.succeeded
    counts["errored"] = record.errored
    if record.rest == "canceled":
        counts["canceled"] = record.unrecorded
    elif record.rest == "expired":
        counts["expired"] = record.unrecorded
    else:
        counts["errored"] += record.unrecorded
    return counts


def to_message_batch(record: BatchRecord, public_url: str) -> MessageBatch:
    """`public_url` is the prefix of the results path, and may be empty."""
    has_results = record.status == "ended" and not record.is_archived
    return MessageBatch(
        id=record.id,
        type="message_batch",
        processing_status=record.status,
        request_counts=request_counts(record),
        created_at=to_rfc3339(record.created),
        expires_at=to_rfc3339(record.expires),
        ended_at=None if record.ended is None else to_rfc3339(record.ended),
        cancel_initiated_at=None if record.cancel is None else to_rfc3339(record.cancel),
        archived_at=to_rfc3339(record.archive) if record.is_archived else None,
        results_url=f"{public_url}/v1/messages/batches/{record.id}/results" if has_results else None,
    )


def to_rfc3339(time: int) -> str:
    seconds, milliseconds = divmod(time, 1000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def unrecorded_line(record: BatchRecord, custom_id: str) -> bytes:
    """Return the result line of an item without a recorded result, in an ended batch."""
    if record.rest == "canceled":
        return _line({"custom_id": custom_id, "result": {"type": "canceled"}})
    if record.rest == "expired":
        return _line({"custom_id": custom_id, "result": {"type": "expired"}})
    return errored_line(
        record, custom_id, BillingProblem("The batch reached its spend cap before this request was sent")
    )


def worker_lost_line(record: BatchRecord, custom_id: str) -> bytes:
    message = f"This request was given up: {record.max_lost} workers in a row were lost while they processed it"
    return errored_line(record, custom_id, InternalError(message))


def errored_line(record: BatchRecord, custom_id: str, error: GatewayError) -> bytes:
    envelope: dict[str, Any] = to_envelope(error, record.context.get("request_id", ""))
    return _line({"custom_id": custom_id, "result": {"type": "errored", "error": envelope}})


def _line(line: ResultLine) -> bytes:
    return orjson.dumps(line)


def _optional(text: str | None) -> int | None:
    return int(text) if text else None
