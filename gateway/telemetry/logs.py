"""Structured logs: one JSON line per exchange, written to stdout in batches.

A flush per line costs more than making the line, so lines are collected and flushed by size, by a timer and at exit;
errors are flushed at once. Nothing that a client or an upstream wrote is logged but ids, names and numbers.
"""

import asyncio
import atexit
import contextlib
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO, Literal

import orjson
import structlog

from gateway.context import Context
from gateway.messages.notes import Note
from gateway.telemetry.usage import UsageRecord

FLUSH_BYTES = 16 * 1024
FLUSH_SECONDS = 0.5
LONGEST_MODEL = 128  # characters of the name that a client asked for; what is beyond says nothing
Render = Callable[[Any, str, MutableMapping[str, Any]], bytes]
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class BufferedLogger:
    """structlog's logger over a binary file. Call `flush` from a timer; lines over FLUSH_BYTES flush by themselves."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self._size = 0

    def flush(self) -> None:
        if self._lines:
            data = b"\n".join(self._lines) + b"\n"
            self._lines.clear()
            self._size = 0
            with contextlib.suppress(BrokenPipeError):  # whoever read the log has gone: the service goes on
                self._file.write(data)
                self._file.flush()

    def _log(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()

    def _log_now(self, line: bytes) -> None:
        self._log(line)
        self.flush()

    debug = info = msg = _log
    warning = error = critical = exception = _log_now


async def flush_regularly(output: BufferedLogger) -> None:
    """The timer that a logger's lines wait for; to be run as long as it is used."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        output.flush()


def configure_logs(level: str, form: Literal["auto", "json", "console"]) -> BufferedLogger:
    """`auto` is made for a person on a terminal, JSON anywhere else. Returns what has to be flushed from a timer."""
    output = BufferedLogger(sys.stdout.buffer)
    console = form == "console" or (form == "auto" and sys.stdout.isatty())
    render = _render_console if console else _render_json
    structlog.configure(
        processors=[render],
        wrapper_class=_to_bound_logger(LEVELS[level], render),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    atexit.register(output.flush)
    return output


def _to_bound_logger(level: int, render: Render) -> type[structlog.typing.FilteringBoundLogger]:
    """structlog's, with a short way from a call of `info` to its line: the long one takes twice as long as the line.

    `fields` stands for all that is otherwise passed by name, which costs a line of twenty names a quarter more.
    """
    bound = structlog.make_filtering_bound_logger(level)
    if level > logging.INFO:
        return bound

    def info(self: Any, event: str, fields: dict[str, Any] | None = None, **named: Any) -> None:
        line = named if fields is None else fields
        line["event"] = event
        self._logger.info(render(self._logger, "info", line))

    return type("BoundLogger", (bound,), {"info": info})


def log_exchange(record: UsageRecord) -> None:
    """The one line of an exchange; what there is nothing to say of is left out."""
    context = record.context
    fields: dict[str, Any] = {
        "request_id": context.request_id,
        "tenant": context.tenant,
        "model": record.model[:LONGEST_MODEL],
        "upstream": record.upstream,
        "stream": record.stream,
        "status": record.status,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cache_read_tokens": record.cache_read_tokens,
        "cache_write_tokens": record.cache_write_tokens,
        "attempts": record.attempts,
        "seconds": _rounded(record.duration_seconds),
    }
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
    if record.first_content_seconds is not None:
        fields["first_content"] = _rounded(record.first_content_seconds)
    if record.error_type is not None:
        fields["error"] = record.error_type
    if record.cache:
        fields["cache"] = record.cache
    if record.notes:
        fields["notes"] = record.notes
    _add_origin(fields, context)
    LOG.bind().info("exchange_finished", fields=fields)


def log_note(context: Context, note: Note) -> None:
    """Why something was lost or changed: for operators who look closer, at the level `debug`."""
    fields = {"request_id": context.request_id, "kind": note.kind, "field": note.field, "reason": note.reason}
    LOG.debug("conversion_noted", **fields)


def _add_origin(fields: dict[str, Any], context: Context) -> None:
    """On whose behalf the exchange was, beyond the tenant."""
    if context.key_id:
        fields["key"] = context.key_id
    if context.session_id is not None:
        fields["session"] = context.session_id
    if context.batch is not None:
        fields |= {"batch": context.batch, "item": context.item}


LOG = structlog.get_logger()


def _rounded(seconds: float) -> float:
    """To the microsecond below; `round` takes four times as long."""
    return int(seconds * 1e6) / 1e6


def _render_json(_: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    """One processor in place of structlog's three, which take twice as long."""
    event["level"], event["timestamp"] = method, timestamp(time.time())
    return orjson.dumps(event, default=repr)


def _render_console(_: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    name = event.pop("event", "")
    fields = " ".join([f"{key}={value}" for key, value in event.items()])
    return f"{timestamp(time.time())[11:19]} {method:<7} {name} {fields}".encode("utf-8", "backslashreplace")


def timestamp(now: float) -> str:
    """ISO 8601 in UTC, to the microsecond, of seconds since 1970."""
    second = int(now)
    return f"{_to_second(second)}.{int((now - second) * 1e6):06d}Z"


@lru_cache(maxsize=1)
def _to_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
