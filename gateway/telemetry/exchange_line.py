"""The log line of an exchange: its fields, and a JSON template for each set of model, upstream and other names.

Lines with the same names differ only in the client and a dozen numbers. These are written as one JSON array and filled
into the template, which takes half the time of writing an object. Lines with further fields are written as an object.
"""

from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Final

import orjson

from gateway.telemetry.usage import UsageRecord

# Characters of a model's name that a client chose. Those of upstreams are cut when they are recorded.
LONGEST_NAME: Final = 128
# Of ASCII, JSON escapes all characters that are not printable but this one. `in` finds a number faster than bytes.
DELETE: Final = 0x7F
# Fields that differ between lines of the same template, in the order of the line. The client is among them: with 600
# keys and 20 models, hardly a template for one client would be used again before it is dropped.
FIGURES: Final = (
    *("request_id", "tenant", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "attempts"),
    *("seconds", "generation", "cost", "first_content", "upstream_request", "key", "session", "timestamp"),
)
# Clients choose the names of models. 512 templates of some 400 bytes are more than most gateways have names.
MAX_TEMPLATES: Final = 512
LONGEST_TEMPLATE: Final = 1024


class ExchangeLines:
    """JSON lines of exchanges that have only the usual fields."""

    __slots__ = ("_templates",)

    def __init__(self) -> None:
        self._templates: dict[tuple[Any, ...], bytes] = {}

    def line(self, record: UsageRecord) -> bytes | None:
        """Return the line, or None if the exchange has further fields and has to be written as an object."""
        context, first_content = record.context, record.first_content_seconds
        if record.error_type is not None or record.notes or record.hedge_cost or len(record.attempted) > 1:
            return None
        if context.batch is not None or context.trace is not None:
            return None
        names = (
            record.model, record.upstream, record.dialect, record.stream, record.status,
            record.served_model, record.provider, record.stop_reason, record.cache,
            record.generation_id is None, record.cost is None, first_content is None,
            record.upstream_request_id is None, not context.key_id, context.session_id is None,
        )  # fmt: skip
        figures = (
            context.request_id, context.tenant, record.input_tokens, record.output_tokens, record.cache_read_tokens,
            record.cache_write_tokens, record.attempts, record.duration_seconds * 1e6 // 1 / 1e6,
            record.generation_id, record.cost, None if first_content is None else first_content * 1e6 // 1 / 1e6,
            record.upstream_request_id, context.key_id, context.session_id, datetime.now(UTC),
        )  # fmt: skip
        try:
            template = self._templates.get(names) or self._keep_template(names, record)
            written = orjson.dumps(figures, option=orjson.OPT_UTC_Z)[1:-1].split(b",")
        except TypeError:  # half of a surrogate pair, an integer beyond 64 bits
            return None
        if len(written) != len(FIGURES):  # a text with a comma
            return None
        line = template % tuple(written)
        return line if line.isascii() and DELETE not in line else None

    def _keep_template(self, names: tuple[Any, ...], record: UsageRecord) -> bytes:
        template = to_template(exchange_fields(record))
        if len(record.model) <= LONGEST_NAME and len(template) <= LONGEST_TEMPLATE:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[names] = template
        return template


def to_template(fields: dict[str, Any]) -> bytes:
    """Return the line as a format string for all values in order; `%.0b` consumes a value that this line omits."""
    pieces, figures = [], iter(FIGURES)
    for name, value in (fields | {"event": "exchange_finished", "level": "info", "timestamp": None}).items():
        if name in FIGURES:
            absent = list(takewhile(name.__ne__, figures))
            pieces.append(b"%.0b" * len(absent) + orjson.dumps(name) + b":%b")
        else:
            pieces.append(orjson.dumps({name: value})[1:-1].replace(b"%", b"%%"))
    return b"{%b}" % b",".join(pieces)


def exchange_fields(record: UsageRecord) -> dict[str, Any]:
    """Return the fields of an exchange for log and console, without empty ones."""
    context = record.context
    fields: dict[str, Any] = {
        "request_id": context.request_id,
        "tenant": context.tenant,
        "model": record.model[:LONGEST_NAME],
        "upstream": record.upstream,
        "stream": record.stream,
        "status": record.status,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cache_read_tokens": record.cache_read_tokens,
        "cache_write_tokens": record.cache_write_tokens,
        "attempts": record.attempts,
        "seconds": record.duration_seconds * 1e6 // 1 / 1e6,  # `round` takes seven times as long
    }
    if len(record.attempted) > 1:
        fields["tried"] = record.attempts_line()
    _add_answer(fields, record)
    if record.error_type is not None:
        fields |= {"error": record.error_type, "origin": record.origin, "cause": record.cause}
        if record.upstream_status is not None:
            fields["upstream_status"] = record.upstream_status
    if record.notes:
        fields["notes"] = record.notes
    if context.key_id:
        fields["key"] = context.key_id
    if context.session_id is not None:
        fields["session"] = context.session_id
    if context.batch is not None:
        fields |= {"batch": context.batch, "item": context.item, "custom_id": context.custom_id}
    if context.trace is not None:
        fields |= {"trace": context.trace.trace_id, "span": context.trace.span_id}
    return fields


def _add_answer(fields: dict[str, Any], record: UsageRecord) -> None:
    """Add the fields that only some answers have."""
    if record.served_model is not None:
        fields["served_model"] = record.served_model
    if record.provider is not None:
        fields["provider"] = record.provider
    if record.generation_id is not None:
        fields["generation"] = record.generation_id
    if record.stop_reason is not None:
        fields["stop"] = record.stop_reason
    if record.cost is not None:
        fields["cost"] = record.cost
    if record.hedge_cost:
        fields["hedge_cost"] = record.hedge_cost
    if record.first_content_seconds is not None:
        fields["first_content"] = record.first_content_seconds * 1e6 // 1 / 1e6
    if record.dialect not in ("", "chat"):
        fields["dialect"] = record.dialect
    if record.upstream_request_id is not None:
        fields["upstream_request"] = record.upstream_request_id
    if record.cache:
        fields["cache"] = record.cache
