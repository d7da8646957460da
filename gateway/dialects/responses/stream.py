"""A Responses stream on its way to the client: its events become chat chunks, and those a Messages stream."""

from typing import Any

import orjson

from gateway.dialects.base import Origin
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.chat.vocabulary import DONE_EVENT, DONE_FORMS
from gateway.dialects.json_body import BodyForm
from gateway.dialects.reply import Reply
from gateway.dialects.responses.answer import ChunkWriter, to_completion_events, written
from gateway.errors import GatewayError
from gateway.json_values import has_too_many_values
from gateway.messages.events import PING
from gateway.messages.notes import Note
from gateway.sse import EventParser, meant_by, name_and_payload, without_mark

# How the names of its events begin: some servers write the type there only.
NAMES = b"response."
LAST_EVENTS = frozenset({"response.completed", "response.done", "response.incomplete", "response.cancelled"})


class ResponsesStream:
    """`opened` and `collects` are those of the `MessageStream` behind it."""

    __slots__ = ("_form", "_mark", "_message", "_parser", "_writer")

    ping = PING

    def __init__(self, reply: Reply, *, opened: bool = False, collects: bool = False) -> None:
        self._message = MessageStream(reply, opened=opened, collects=collects)
        self._parser = EventParser(NAMES)
        self._writer = ChunkWriter(reply.upstream_model, reply.max_tokens, reply.offered)
        self._form = BodyForm()
        self._mark = b""  # the start of a byte order mark

    @property
    def failure(self) -> GatewayError | None:
        return self._message.failure

    @failure.setter
    def failure(self, error: GatewayError | None) -> None:
        self._message.failure = error

    @property
    def started(self) -> bool:
        return self._message.started

    @property
    def abandoned(self) -> bool:
        return self._message.abandoned

    @property
    def done(self) -> bool:
        return self._message.done

    @property
    def is_finished(self) -> bool:
        return self._message.is_finished

    @property
    def has_usage(self) -> bool:
        return self._message.has_usage

    @property
    def origin(self) -> Origin:
        return self._message.origin

    @property
    def usage(self) -> dict[str, Any]:
        return self._message.usage

    @property
    def stop_reason(self) -> str | None:
        return self._message.stop_reason

    @property
    def notes(self) -> tuple[Note, ...]:
        return (*self._message.notes, *self._writer.notes)

    def message(self) -> dict[str, Any]:
        return self._message.message()

    def open(self) -> bytes:
        return self._message.open()

    def feed(self, piece: bytes) -> bytes:
        if not self._form.has_begun:
            self._mark, piece = without_mark(self._mark, piece)
        try:
            if not self._form.is_event_piece(piece):
                return b""
            payloads = self._parser.feed(piece)
        except GatewayError as error:
            return self._message.fail(error)
        return self._message.feed(b"".join(map(self._to_chunks, payloads))) if payloads else b""

    def end(self) -> bytes:
        if self._form.json is not None:
            body = to_chat_stream(self._form.json.joined(), self._writer)
            return self._message.feed(body) + self._message.end()
        rest = b"".join(map(self._to_chunks, self._parser.finish()))
        return (self._message.feed(rest) if rest else b"") + self._message.end()

    def fail(self, error: GatewayError) -> bytes:
        return self._message.fail(error)

    def _to_chunks(self, payload: bytes) -> bytes:
        name, payload = name_and_payload(payload)
        if payload[:1] != b"{":
            payload = meant_by(payload)
            if not payload or DONE_FORMS.match(payload):
                return b""
        if has_too_many_values(payload):
            return b"data: %b\n\n" % payload  # for the chat stream to refuse
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError:
            # Passed on as it is: the chat stream reports broken JSON in its words.
            # Data that is no event is judged by the chat stream, which knows the forms of servers' failures.
            return b"data: %b\n\n" % payload
        if not isinstance(event, dict):
            return b""
        if isinstance(event.get("choices"), list):  # of a server that speaks chat here
            return b"data: %b\n\n" % payload
        event = _typed(name, event) if name else event
        if not event.get("type"):  # no event, but perhaps a failure
            return b"data: %b\n\n" % payload
        chunks = written(self._writer.to_chunks(event))
        return chunks + DONE_EVENT if str(event.get("type")) in LAST_EVENTS else chunks


def _typed(name: bytes, event: dict[str, Any]) -> dict[str, Any]:
    """Give an event the type that only its name has. The type of a failure may be its own."""
    kind = name.decode("ascii", "replace")
    if kind == "error" and event.get("type") not in ("error", "response.failed"):
        event = {"error": event} if "error" not in event else event
        event["type"] = kind
    elif kind and not event.get("type"):
        event["type"] = kind
    return event


def to_chat_stream(body: bytes, writer: ChunkWriter) -> bytes:
    """Return a JSON body as a chat stream; one that is no response is passed on, for the error that it may hold."""
    if has_too_many_values(body):
        return body
    try:
        response = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if isinstance(response, dict) and not isinstance(response.get("output"), list):
        response = response.get("data")  # some proxies put it into an object of their own
    if not isinstance(response, dict) or not isinstance(response.get("output"), list):
        return body
    return to_completion_events(response, writer)
