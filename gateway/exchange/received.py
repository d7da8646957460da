"""An answer's way from the upstream, and the facts that it shows of itself, for the usage record."""

from typing import Any

from gateway.dialects.base import Answered, Origin
from gateway.exchange.plan import Plan, note_losses
from gateway.exchange.relay import Relay
from gateway.telemetry.redaction import Redactor
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.http.client import Answer

# Content of the answer to a pre-warming request; a chat upstream has generated one token, which is discarded.
EMPTY_ANSWER: dict[str, Any] = {"content": [], "stop_reason": "max_tokens", "stop_sequence": None, "stop_details": None}


async def relayed(redactor: Redactor, plan: Plan, relay: Relay, answer: Answer) -> Origin:
    """Pass a stream through the relay. Raises its failure, once what came before it is recorded."""
    converter, record = relay.converter, plan.record
    try:
        await relay.run(answer)
    finally:
        if relay.first_content is not None:
            record.first_content_seconds = relay.first_content - record.begun
        origin = converter.origin
        note_answer(redactor, record, origin, converter.usage, converter.stop_reason)
        note_losses(record, converter.notes)
    return origin


def noted(redactor: Redactor, plan: Plan, answered: Answered) -> Answered:
    """Return a whole answer, recorded."""
    usage, stop_reason = answered.message["usage"], answered.message["stop_reason"]
    note_answer(redactor, plan.record, answered.origin, usage, stop_reason)
    note_losses(plan.record, answered.notes)
    return answered


def note_answer(
    redactor: Redactor, record: UsageRecord, origin: Origin, usage: dict[str, Any], stop_reason: str | None
) -> None:
    """Record what the answer says of itself; its names without what is secret."""
    name = redactor.name
    origin.model, origin.provider = name(origin.model), name(origin.provider)
    origin.generation_id = redactor.identifier(origin.generation_id)
    record.served_model, record.provider, record.generation_id = origin.model, origin.provider, origin.generation_id
    record.cost, record.estimated, record.mismatched = origin.cost, origin.estimated, origin.mismatched
    record.stop_reason, record.usage = stop_reason, usage
    record.input_tokens, record.output_tokens = usage["input_tokens"], usage["output_tokens"]
    record.cache_read_tokens = usage["cache_read_input_tokens"]
    record.cache_write_tokens = usage["cache_creation_input_tokens"]
