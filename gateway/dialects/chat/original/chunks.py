"""Payloads of a chat stream that is passed on, as chunks; and the failures that they report."""

from typing import Any

from gateway.dialects.chat.original.forms import head_of
from gateway.dialects.chat.response.chunks import BrokenChunk, ChunkDecoder
from gateway.dialects.chat.response.delta import first_choice
from gateway.dialects.chat.response.errors.embedded_errors import error_in, error_of_broken, error_of_event
from gateway.dialects.chat.response.errors.refused_output import quoted_choice
from gateway.dialects.reply import Reply
from gateway.messages.notes import Note
from gateway.sse import ERROR_EVENT


class ChunkReader:
    """Reads the chunks of one stream in order. `last`: the latest one."""

    __slots__ = ("_decoder", "_notes", "_reply", "last")

    def __init__(self, reply: Reply, notes: list[Note]) -> None:
        self._reply = reply
        self._notes = notes
        self._decoder = ChunkDecoder()
        self.last: dict[str, Any] = {}

    def read(self, payload: bytes) -> tuple[dict[str, Any], bool]:
        """Return a chunk, and whether it is what the payload holds.

        Raises BrokenChunk for a payload that is no JSON, and the failure that one reports, unless it quotes an answer.
        """
        changes = self._decoder.changes
        is_error = payload.startswith(ERROR_EVENT)
        chunk = {} if is_error else self._decoded(payload)
        error = error_of_event(payload, self._reply) if is_error else error_in(chunk, first_choice(chunk), self._reply)
        if error is not None:
            chunk = {**head_of(self.last), "choices": [quoted_choice(error, self._notes)]}
        is_told = error is None and self._decoder.changes == changes
        is_blank = bool(chunk.pop("error", None))  # an empty error, which clients would raise all the same
        self.last = chunk
        return chunk, is_told and not is_blank

    def _decoded(self, payload: bytes) -> dict[str, Any]:
        try:
            return self._decoder.decode(payload)
        except BrokenChunk as broken:
            raise error_of_broken(payload, self._reply) or broken from None
