"""Replies in the API that the client speaks, where that is not Messages.

A handler sets `request[FACE]`; everything below works with Messages, and the reply is converted at the very end: a
stream by a sink in front of the client's, a message when it is written.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web

from gateway.exchange.sink import Flow, Sink


class StreamFace(Protocol):
    """Bytes of a Messages stream in, bytes for the client out."""

    def feed(self, data: bytes) -> bytes: ...

    def keep_alive(self) -> bytes: ...


class ClientFace(Protocol):
    """One API of clients, for one request. `keep_alive_after`: seconds of silence, None to leave it to the stream."""

    keep_alive_after: float | None

    def stream(self) -> StreamFace: ...

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]: ...


FACE: web.RequestKey[Any] = web.RequestKey("face", object)  # a ClientFace: a key cannot hold a protocol


class FaceSink:
    """A sink that converts a Messages stream for `sink`. A member of the heartbeat while it is open."""

    __slots__ = ("_converter", "_keep_alive_after", "_quiet_since", "_sink")

    def __init__(self, sink: Sink, face: ClientFace) -> None:
        self._sink = sink
        self._converter = face.stream()
        self._keep_alive_after = face.keep_alive_after
        self._quiet_since: float | None = None  # on the heartbeat's clock; None: written to since its last beat

    @property
    def committed(self) -> bool:
        return self._sink.committed

    def write(self, data: bytes) -> None:
        converted = self._converter.feed(data)
        if converted:
            self._quiet_since = None
            self._sink.write(converted)

    def attach(self, source: Flow | None) -> None:
        self._sink.attach(source)

    def abort(self) -> None:
        self._sink.abort()

    def tick(self, now: float) -> None:
        if self._keep_alive_after is None or not self.committed:
            return
        if self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= self._keep_alive_after:
            self.write_keep_alive()

    def write_keep_alive(self) -> None:
        self._quiet_since = None
        self._sink.write(self._converter.keep_alive())


def to_reply_body(request: web.Request, message: Mapping[str, Any] | bytes) -> Any:
    """Return what the client reads: a message, or the JSON of one, in the client's API."""
    face: ClientFace | None = request.get(FACE)
    if face is None:
        return orjson.Fragment(message) if isinstance(message, bytes) else message
    return face.answer(orjson.loads(message) if isinstance(message, bytes) else message)
