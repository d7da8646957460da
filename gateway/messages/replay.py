"""Convert a whole message to an event stream, for answers that are complete before the client reads."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.messages import events
from gateway.messages.usage import to_delta_usage

# Text comes in slices about as large as a busy upstream's reads, so that no client meets one giant event.
SLICE = 1024

# Known only at the end of a stream.
EXTENSIONS = ("logprobs", "system_fingerprint")

EMPTY_FORMS: dict[str, dict[str, Any]] = {
    "text": {"text": "", "citations": None},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
}


def to_events(message: Mapping[str, Any], cost: float | None = None) -> bytes:
    """Return all events, message_start to message_stop."""
    fields = {name: value for name, value in message.items() if name not in EXTENSIONS}
    started = {**fields, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    usage = message["usage"]
    parts = [events.message_start({**started, "usage": {**usage, "output_tokens": 0}})]
    for index, block in enumerate(message["content"]):
        parts.append(events.block_start(index, {**block, **EMPTY_FORMS.get(block["type"], {})}))
        parts += _deltas(index, block)
        parts.append(events.block_stop(index))
    stop = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details", "container")}
    stop |= {name: message[name] for name in EXTENSIONS if name in message}
    parts += (events.message_delta(stop, to_delta_usage(usage, cost)), events.MESSAGE_STOP)
    return events.line_safe(b"".join(parts))


def _deltas(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    match block["type"]:
        case "text":
            for citation in block.get("citations") or ():
                yield events.citation_delta(index, citation)
            yield from _sliced(index, events.TEXT, block["text"])
        case "thinking":
            yield from _sliced(index, events.THINKING, block["thinking"])
            if block.get("signature"):  # servers other than Anthropic's may leave it out
                yield events.delta(index, events.SIGNATURE, block["signature"])
        case "tool_use" | "server_tool_use" if block["input"]:
            yield from _sliced(index, events.TOOL_INPUT, orjson.dumps(block["input"]).decode())


def _sliced(index: int, kind: bytes, text: str) -> Iterator[bytes]:
    for start in range(0, len(text), SLICE):
        yield events.delta(index, kind, text[start : start + SLICE])
