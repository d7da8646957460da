"""Single frames of a Messages stream: their names, their data, and the failures that they report."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.dialects.chat.response.errors.embedded_errors import error_of_event
from gateway.dialects.chat.vocabulary import DONE_FORMS
from gateway.dialects.native.errors import TYPE, to_relayed
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError, UpstreamError
from gateway.json_values import check_answer_values, to_mapping
from gateway.sse import FAILURES, SIGNS_OF_LIFE, meant_by

# A frame in the form that goes to clients. Any other is written again.
FRAME = re.compile(rb"event: (\S+)\ndata: ([^\n]*)")
KINDS = (
    b"message_start",
    b"content_block_start",
    b"content_block_delta",
    b"content_block_stop",
    b"message_delta",
    b"message_stop",
)
# Where data name their type. Within a text a quotation mark has a backslash in front.
TYPES: Final[Mapping[bytes, re.Pattern[bytes]]] = {kind: re.compile(rb'"type"\s*:\s*"' + kind + b'"') for kind in KINDS}
# Fields of a message that clients read as text.
TEXTS: Final = ("id", "type", "role", "model")
ANY_TYPE = re.compile(rb'"type"\s*:\s*"(' + b"|".join(KINDS) + rb')"')


def name_and_data(frame: bytes) -> tuple[bytes, bytes]:
    """Return them of a frame in any form; none for a comment and for `[DONE]`. Data may name their type alone."""
    fields = [line.partition(b":")[::2] for line in frame.split(b"\n")]
    payload = meant_by(b" ".join(value.strip() for name, value in fields if name == b"data"))
    if not payload or DONE_FORMS.match(payload):
        return b"", b""
    named = next((value.strip() for name, value in fields if name == b"event"), b"")
    if named:
        return named, payload
    data = to_object(payload)
    kind = "error" if data.get("error") else data.get("type")
    if not isinstance(kind, str):
        raise UpstreamError("The upstream's stream is not one of Messages.")
    return kind.encode(), payload


def is_usual(name: bytes, payload: bytes) -> bool:
    """Return whether clients read the frame by its name and by its data."""
    named = TYPES.get(name)
    return named is not None and named.search(payload) is not None


def to_usual(name: bytes, payload: bytes) -> tuple[bytes, bytes]:
    """Return a name and data that clients know, of a frame that has its type in only one of both."""
    if name in TYPES:
        is_empty = not meant_by(payload) or DONE_FORMS.match(payload)
        return name, orjson.dumps({**({} if is_empty else to_object(payload)), "type": name.decode()})
    if name in FAILURES:
        return b"error", payload
    if name in SIGNS_OF_LIFE:
        return b"ping", payload
    told = ANY_TYPE.search(payload)
    return (told[1], payload) if told is not None else (name, payload)


def to_object(payload: bytes) -> dict[str, Any]:
    check_answer_values(payload)
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise UpstreamError("The upstream sent an event that is not JSON.") from None
    if not isinstance(value, dict):
        raise UpstreamError("The upstream sent an event that is not an object.")
    return value


def is_readable_start(message: Mapping[str, Any]) -> bool:
    """Return whether clients can read the message of a message_start."""
    has_texts = all(isinstance(message.get(name), str) for name in TEXTS)
    return (
        has_texts and message.get("content") == [] and type(to_mapping(message.get("usage")).get("input_tokens")) is int
    )


def without_broken_texts(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without those of its TEXTS that are null or of another type; the same one if there are none."""
    broken = [name for name in TEXTS if not isinstance(message.get(name, ""), str)]
    return {name: value for name, value in message.items() if name not in broken} if broken else message


def is_whole(frame: bytes) -> bool:
    """Return True for a frame that lacks only its blank line."""
    try:
        return isinstance(orjson.loads(name_and_data(frame)[1]), dict)
    except (orjson.JSONDecodeError, UpstreamError):
        return False


def to_failure(payload: bytes, reply: Reply) -> GatewayError:
    """Return the failure of an `error` event. Data in other shapes are read as those of chat upstreams."""
    details = to_mapping(to_object(payload).get("error")) if payload.startswith(b"{") else {}
    kind, message = details.get("type"), details.get("message")
    if isinstance(message, str) and isinstance(kind, str) and TYPE.fullmatch(kind):
        return to_relayed(None, dict(details))
    return error_of_event(payload, reply)
