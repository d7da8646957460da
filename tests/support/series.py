"""Reader of a scrape of /metrics, and a finished exchange that moves every counter."""

from gateway.context import Context
from gateway.telemetry.usage import Attempted, UsageRecord


def samples_of(text: str) -> dict[str, float]:
    """Return the samples by name and labels, as they are written."""
    lines = [line.rpartition(" ") for line in text.split("\n") if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def finished(tenant: str, model: str, *, stream: bool, status: int = 200) -> UsageRecord:
    record = UsageRecord(Context("req_1", tenant=tenant), model, upstream="openrouter", dialect="chat", stream=stream)
    record.attempted, record.header_seconds, record.first_content_seconds = (
        [Attempted("openrouter", "200", 1)],
        0.1,
        0.2,
    )
    record.input_tokens = record.output_tokens = record.cache_read_tokens = record.cache_write_tokens = 7
    record.provider = f"provider of {model}"
    record.cost, record.duration_seconds, record.status = 0.25, 1.0, status
    if status != 200:
        record.error_type, record.origin, record.cause = "api_error", "upstream", "failed"
    return record
