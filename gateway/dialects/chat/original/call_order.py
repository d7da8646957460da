"""Pieces of parallel tool calls in order: each call is whole before the next one begins.

Some servers mix the pieces of parallel calls. The stream helpers of OpenAI's SDKs take a call for whole once a piece of
another one comes, and parse its arguments then (openai 3.57.0, npm 7.59.0).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from operator import is_
from typing import Any

import orjson

from gateway.dialects.chat.response.calls.near_json import NearJson
from gateway.errors import UpstreamError

# Characters of the arguments that wait, in all: the longest answers have half a megabyte.
MAX_WAITING = 16 * 1024 * 1024


@dataclass(slots=True, repr=False)
class WaitingCall:
    """A call whose turn has not come: its first piece, and the arguments of all its pieces."""

    first: dict[str, Any]
    arguments: list[str] = field(default_factory=list)

    def joined(self, *, is_whole: bool = False) -> dict[str, Any]:
        """Return the call with its arguments so far; `is_whole`: no more will come, and none at all are `{}`."""
        function = self.first.get("function")
        text = "".join(self.arguments) or ("{}" if is_whole else "")
        if not isinstance(function, dict) or not text:
            return self.first
        return {**self.first, "function": {**function, "arguments": text}}


class CallOrder:
    """The calls of one choice. Their indexes are correct, and custom tools are never mixed."""

    __slots__ = ("_indexes", "_is_bare", "_open", "_raw", "_reader", "_size", "_waiting")

    def __init__(self) -> None:
        self._open: int | None = None  # index of the call that is being sent
        self._reader: NearJson | None = None  # of its arguments; None for a call that has no JSON
        self._is_bare = False  # whether the open call has had no arguments yet
        self._raw: list[bytes] = []  # what the reader has not read, as it is written within strings
        self._waiting: dict[int, WaitingCall] = {}  # by index
        self._indexes: list[int] = []  # theirs, as a heap
        self._size = 0  # characters of arguments that have waited

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def pass_raw(self, text: bytes) -> None:
        """Note a part of the open call's arguments that was sent without a look at it."""
        self._raw.append(text)
        self._is_bare = self._is_bare and not text

    def ordered(self, pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the pieces that may be sent now: the same list if all of them may and nothing waited.

        Raises UpstreamError when more than MAX_WAITING characters wait.
        """
        sent = [one for piece in pieces for one in self._take(piece)]
        return pieces if len(sent) == len(pieces) and all(map(is_, sent, pieces)) else sent

    def has_cut_call(self) -> bool:
        """Whether the arguments of a call have begun and not ended. Call it before `rest`."""
        readers = [NearJson() for _ in self._waiting]
        for reader, waiting in zip(readers, self._waiting.values(), strict=True):
            reader.feed("".join(waiting.arguments))
        if not self._is_over() and self._reader is not None:
            readers.append(self._reader)
        return any(reader.is_inside for reader in readers)

    def rest(self, *, are_whole: bool) -> list[dict[str, Any]]:
        """Return the calls that wait, for the end of the stream, and the arguments of a call that has none.

        Clients parse the arguments, and an empty text is no JSON. `are_whole`: the answer was not cut.
        """
        bare: list[dict[str, Any]] = (
            [{"index": self._open, "function": {"arguments": "{}"}}] if self._is_bare and are_whole else []
        )
        rest = [self._waiting[index].joined(is_whole=are_whole) for index in sorted(self._waiting)]
        self._waiting, self._indexes, self._is_bare = {}, [], False
        return bare + rest

    def _take(self, piece: dict[str, Any]) -> Iterator[dict[str, Any]]:
        index = piece["index"]
        if index != self._open and not self._is_over():
            self._wait(index, piece)
            return
        yield self._begun(index, piece)
        while self._waiting and self._is_over():
            index = heappop(self._indexes)
            yield self._begun(index, self._waiting.pop(index).joined())

    def _begun(self, index: int, piece: dict[str, Any]) -> dict[str, Any]:
        function = piece.get("function")
        if index != self._open:
            self._open, self._raw = index, []
            self._reader = NearJson() if isinstance(function, dict) else None
            self._is_bare = self._reader is not None
        if self._reader is not None and isinstance(function, dict) and isinstance(function.get("arguments"), str):
            self.pass_raw(orjson.dumps(function["arguments"])[1:-1])
        return piece

    def _is_over(self) -> bool:
        if self._open is None or self._reader is None:
            return True
        raw, self._raw = b"".join(self._raw), []
        try:
            self._reader.feed(orjson.loads(b'"%b"' % raw))
        except orjson.JSONDecodeError:  # in an event that was passed on without a look at it
            raise UpstreamError("The upstream sent an event that is not JSON.") from None
        return self._reader.is_over

    def _wait(self, index: int, piece: dict[str, Any]) -> None:
        waiting = self._waiting.get(index)
        if waiting is None:
            waiting = self._waiting[index] = WaitingCall(piece)
            heappush(self._indexes, index)
        function = piece.get("function")
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, str):
            waiting.arguments.append(arguments)
            self._size += len(arguments)
            if self._size > MAX_WAITING:
                raise UpstreamError("The upstream sent longer tool calls than the gateway accepts.")
