"""Facts that an answer shows of itself, for the usage record."""

from typing import Any

from gateway.dialects.base import Origin
from gateway.telemetry.redaction import Redactor
from gateway.telemetry.usage import UsageRecord

# Content of the answer to a pre-warming request; a chat upstream has generated one token, which is discarded.
EMPTY_ANSWER: dict[str, Any] = {"content": [], "stop_reason": "max_tokens", "stop_sequence": None, "stop_details": None}


def note_answer(
    redactor: Redactor, record: UsageRecord, origin: Origin, usage: dict[str, Any], stop_reason: str | None
) -> None:
    """Record what the answer says of itself; its names without what is secret."""
    name = redactor.name
    origin.model, origin.provider = name(origin.model), name(origin.provider)
    origin.generation_id = name(origin.generation_id)
    record.served_model, record.provider, record.generation_id = origin.model, origin.provider, origin.generation_id
    record.cost, record.estimated, record.mismatched = origin.cost, origin.estimated, origin.mismatched
    record.stop_reason = stop_reason
    record.input_tokens, record.output_tokens = usage["input_tokens"], usage["output_tokens"]
    record.cache_read_tokens = usage["cache_read_input_tokens"]
    record.cache_write_tokens = usage["cache_creation_input_tokens"]
