"""The events of a Messages stream as bytes, ready for the client's socket.

One function an event. Deltas are built around a template so that a streamed delta costs one dump of its string; the
templates are also what `dialects/chat/response/fast_path` fills with an upstream's raw JSON text.
"""

from typing import Any

import orjson

from gateway.errors import GatewayError, to_envelope
from gateway.sse import to_event

PING = to_event(b"ping", b'{"type":"ping"}')
MESSAGE_STOP = to_event(b"message_stop", b'{"type":"message_stop"}')

TEXT = b'"text_delta","text":'
THINKING = b'"thinking_delta","thinking":'
TOOL_INPUT = b'"input_json_delta","partial_json":'
SIGNATURE = b'"signature_delta","signature":'

DELTA_END = b"}}\n\n"


def message_start(message: dict[str, Any]) -> bytes:
    return to_event(b"message_start", b'{"type":"message_start","message":' + orjson.dumps(message) + b"}")


def block_start(index: int, block: dict[str, Any]) -> bytes:
    payload = b'{"type":"content_block_start","index":%d,"content_block":%b}' % (index, orjson.dumps(block))
    return to_event(b"content_block_start", payload)


def delta_prefix(index: int, kind: bytes) -> bytes:
    """Return a delta's event up to its string; `DELTA_END` closes it. `kind` is one of the constants above."""
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b' % (
        index,
        kind,
    )


def delta(index: int, kind: bytes, text: str) -> bytes:
    return delta_prefix(index, kind) + orjson.dumps(text) + DELTA_END


def citation_delta(index: int, citation: dict[str, Any]) -> bytes:
    payload = b'{"type":"content_block_delta","index":%d,"delta":{"type":"citations_delta","citation":%b}}' % (
        index,
        orjson.dumps(citation),
    )
    return to_event(b"content_block_delta", payload)


def block_stop(index: int) -> bytes:
    return to_event(b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % index)


def message_delta(delta_fields: dict[str, Any], usage: dict[str, Any]) -> bytes:
    return to_event(b"message_delta", orjson.dumps({"type": "message_delta", "delta": delta_fields, "usage": usage}))


def line_safe(events: bytes) -> bytes:
    """Escape U+2028, U+2029 and U+0085, which JSON allows raw: clients that split lines the Unicode way break at them.

    httpx' `iter_lines` and `str.splitlines` do. The three occur within strings only, and events are never cut here.
    """
    if events.isascii():
        return events
    # `in` would raise and drop a TypeError first (CPython 3.11), which takes about as long again as `find`.
    if events.find(b"\xe2\x80") >= 0:  # the first two bytes of typographic quotes as well
        events = events.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return events.replace(b"\xc2\x85", b"\\u0085") if events.find(b"\xc2\x85") >= 0 else events


def without_start(stream: bytes) -> bytes:
    """A whole stream less its message_start, for a client that has already got one."""
    return stream[stream.index(b"\n\n") + 2 :]


def error_event(error: GatewayError, request_id: str) -> bytes:
    return line_safe(to_event(b"error", orjson.dumps(to_envelope(error, request_id))))
