"""Replies in the API that the client speaks, where that is not Messages.

A handler sets `request[FACE]`; everything below works with Messages, and the reply is converted at the very end: a
stream by a sink in front of the client's, a message when it is written.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web

from gateway.errors import UpstreamError
from gateway.exchange.face_sink import CANNOT_BE_READ, UNREADABLE, StreamFace


class ClientFace(Protocol):
    """One API of clients, for one request. `keep_alive_after`: seconds of silence, None to leave it to the stream."""

    keep_alive_after: float | None

    def stream(self) -> StreamFace: ...

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]: ...


FACE: web.RequestKey[Any] = web.RequestKey("face", object)  # a ClientFace: a key cannot hold a protocol


def to_reply_body(request: web.Request, message: Mapping[str, Any] | bytes) -> Any:
    """Return what the client reads: a message, or the JSON of one, in the client's API."""
    face: ClientFace | None = request.get(FACE)
    if face is None:
        return orjson.Fragment(message) if isinstance(message, bytes) else message
    try:
        return face.answer(orjson.loads(message) if isinstance(message, bytes) else message)
    except UNREADABLE:
        raise UpstreamError(CANNOT_BE_READ) from None
