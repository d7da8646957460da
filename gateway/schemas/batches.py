"""Message Batches on the wire: the batch object, and the lines of its results."""

from typing import Any, Literal

from typing_extensions import TypedDict

ProcessingStatus = Literal["in_progress", "canceling", "ended"]


class RequestCounts(TypedDict):
    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(TypedDict):
    id: str
    type: Literal["message_batch"]
    processing_status: ProcessingStatus
    request_counts: RequestCounts
    created_at: str
    expires_at: str
    ended_at: str | None
    cancel_initiated_at: str | None
    archived_at: str | None
    results_url: str | None


class SucceededResult(TypedDict):
    type: Literal["succeeded"]
    message: dict[str, Any]


class ErroredResult(TypedDict):
    type: Literal["errored"]
    error: dict[str, Any]


class CanceledResult(TypedDict):
    type: Literal["canceled"]


class ExpiredResult(TypedDict):
    type: Literal["expired"]


class ResultLine(TypedDict):
    custom_id: str
    result: SucceededResult | ErroredResult | CanceledResult | ExpiredResult
