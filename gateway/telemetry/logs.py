"""Structured logs: one JSON line per exchange, written to standard output by a thread (`log_writer`).

From clients and upstreams, only ids, names and numbers are logged. Logging never raises, for any value, and no value
can be mistaken for a separate line or field.
"""

import atexit
import logging
import os
import re
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import structlog

from gateway.context import Context
from gateway.messages.notes import Note
from gateway.process.tasks import describe
from gateway.telemetry.console_log import colored, shows_colors, to_lines
from gateway.telemetry.exchange_line import DELETE, ExchangeLines, exchange_fields
from gateway.telemetry.log_writer import LogWriter, to_descriptor
from gateway.telemetry.usage import UsageRecord

Render = Callable[[Any, str, MutableMapping[str, Any]], bytes]
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

# Controls, line breaks, invisible characters and those that change the direction of text: they could make one line look
# like another on a terminal. JSON escapes only the first 32.
UNPRINTABLE = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# logfmt: a value with these would be read as several fields.
NEEDS_QUOTES = re.compile(r"""[\s"'=]|^$""")
# Levels of failures by their origin; those that are the client's own are part of normal traffic.
FAULT_LEVELS = {"upstream": logging.WARNING, "account": logging.ERROR, "gateway": logging.ERROR}
# Of an upstream's message, where it is logged.
LONGEST_QUOTE = 300
# orjson refuses integers beyond 64 bits; Python refuses to turn very long ones into text.
MAX_BITS = 64
JSON_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_UTC_Z
# Maximum of a library's log line, after its values are left out.
LONGEST_TEMPLATE = 200


def configure_logs(level: str, form: Literal["auto", "json", "console"]) -> LogWriter:
    """Log to standard output until the process ends, including the logs of libraries.

    `auto` selects `console` on a terminal and `json` elsewhere.
    """
    # Started with standard output closed, there is none; descriptor 1 may soon be a client's socket.
    descriptor = os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else sys.stdout.fileno()
    is_terminal = os.isatty(descriptor)
    console = form == "console" or (form == "auto" and is_terminal)
    render = _render_json
    if console:
        render = _render_colored if shows_colors(is_terminal) else _render_console
    output = LogWriter(
        to_descriptor(descriptor),
        lambda lines: render(None, "warning", {"event": "log_lines_dropped", "lines": lines}),
    )
    structlog.configure(
        processors=[render],
        wrapper_class=_to_bound_logger(LEVELS[level], render),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    logging.lastResort = LibraryHandler(logging.WARNING)
    sys.unraisablehook = log_unraisable
    output.start()
    atexit.register(output.close)
    return output


class LibraryHandler(logging.Handler):
    """Log what libraries log, without its values: they may quote a prompt or a key. Never raises."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        found = {"where": f"{record.pathname}:{record.lineno}"} if error is None else describe(error)
        LOG.warning("library_logged", library=record.name, text=str(record.msg)[:LONGEST_TEMPLATE], **found)


def log_unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Log an error that cannot be caught, such as one in a finalizer. Python would print the repr of the object."""
    LOG.error("error_ignored", **({} if found.exc_value is None else describe(found.exc_value)))


def _to_bound_logger(level: int, render: Render) -> type[structlog.typing.FilteringBoundLogger]:
    """structlog's, with a short way from a call of `info` to its line: the usual one costs twice the line itself.

    `record` replaces keyword arguments: those of an exchange, which as JSON are mostly written from a template.
    """
    bound = structlog.make_filtering_bound_logger(level)
    if level > logging.INFO:
        return bound
    to_line = ExchangeLines().line if render is _render_json else lambda _: None

    def info(self: Any, event: str, record: UsageRecord | None = None, **named: Any) -> None:
        line = None if record is None else to_line(record)
        if line is None:
            fields = named if record is None else exchange_fields(record)
            fields["event"] = event
            line = render(self._logger, "info", fields)
        self._logger.info(line)

    return type("BoundLogger", (bound,), {"info": info})


def log_exchange(record: UsageRecord, redact: Callable[[str], str] | None = None) -> None:
    """Log the line of an exchange, without empty fields. Its level depends on the party at fault.

    With `redact`, the line of a failure includes the upstream's message.
    """
    record.context.is_logged = True
    if not record.origin and not record.upstream_words:
        LOG.bind().info("exchange_finished", record=record)
        return
    fields = exchange_fields(record)
    if redact is not None and record.upstream_words:
        fields["upstream_message"] = to_printable(redact(record.upstream_words))[:LONGEST_QUOTE]
    LOG.log(FAULT_LEVELS.get(record.origin, logging.INFO), "exchange_finished", **fields)


def to_printable(text: str) -> str:
    """Return the text on one line, without characters that change how it is displayed."""
    return "".join([character if character.isprintable() else " " for character in text])


def log_note(context: Context, note: Note) -> None:
    """Log the reason of a loss or change at the level `debug`."""
    fields = {"request_id": context.request_id, "kind": note.kind, "field": note.field, "reason": note.reason}
    LOG.debug("conversion_noted", **fields)


LOG = structlog.get_logger()


def _render_json(_: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    """Render an event as JSON. Replaces structlog's three processors, which take twice the time. Never raises."""
    now = datetime.now(UTC)
    event["level"], event["timestamp"] = method, now
    try:
        line = orjson.dumps(event, default=_to_type_name, option=JSON_OPTIONS)
    except TypeError:  # surrogates, integers beyond 64 bits, names that are no text
        event["timestamp"] = orjson.dumps(now, option=JSON_OPTIONS)[1:-1].decode()
        line = orjson.dumps({str(name): _to_encodable(value) for name, value in event.items()})
    if line.isascii() and DELETE not in line:
        return line
    return UNPRINTABLE.sub(_to_json_escape, line.decode()).encode()


def _render_console(_: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    """Render an event for people: `name=value`, with quotes around ambiguous values. Never raises."""
    return to_lines(datetime.now(UTC).strftime("%H:%M:%S"), method, dict(event), _to_text).encode()


def _render_colored(_: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    return colored(_render_console(None, method, event).decode(), method).encode()


def _to_text(value: object) -> str:
    """Return a value as one printable word, or as quoted text with escaped control characters."""
    if isinstance(value, str):
        return value if value.isprintable() and not NEEDS_QUOTES.search(value) else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_to_text, value))}]"
    return str(value) if _is_plain(value) else _to_type_name(value)


def _to_encodable(value: object) -> object:
    """Return a value in a form that orjson can write."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_to_encodable(each) for each in value]
    return value if _is_plain(value) else _to_type_name(value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, float) or (isinstance(value, int) and value.bit_length() < MAX_BITS)


def _to_type_name(value: object) -> str:
    """Return the type's name. Objects are never written out: their fields may include a prompt or a key."""
    return f"<{type(value).__name__}>"


def _to_json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
