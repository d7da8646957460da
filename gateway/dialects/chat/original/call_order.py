"""Pieces of parallel tool calls in order: each call is whole before the next one begins.

Some servers mix the pieces of parallel calls. The stream helpers of OpenAI's SDKs take a call for whole once a piece of
another one comes, and parse its arguments then (openai 3.57.0, npm 7.59.0). So arguments are repaired here as well.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from operator import is_
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.dialects.chat.response.calls.passed_arguments import CallArguments, text_of
from gateway.errors import UpstreamError
from gateway.messages.notes import Note

if TYPE_CHECKING:
    from gateway.dialects.chat.response.calls.call_markup import WrittenCall

# Characters of the arguments that wait, in all: the longest answers have half a megabyte.
MAX_WAITING = 16 * 1024 * 1024
# The first half of a surrogate pair at the end of an event; the other half begins the next one.
HALF_A_PAIR: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}\Z")


@dataclass(slots=True, repr=False)
class WaitingCall:
    """A call that waits for its turn: its first piece, and the arguments of all its pieces."""

    first: dict[str, Any]
    arguments: list[str] = field(default_factory=list)

    def joined(self) -> dict[str, Any]:
        """Return the call with its arguments so far."""
        function = self.first.get("function")
        if not isinstance(function, dict) or not self.arguments:
            return self.first
        return {**self.first, "function": {**function, "arguments": "".join(self.arguments)}}


class CallOrder:
    """The calls of one choice. Their indexes are correct, and custom tools are never mixed.

    `has_cut_call`: whether a call that has ended was cut, so that its client must not run it. `following`: calls that
    were in the arguments of others, for the end of the stream.
    """

    __slots__ = (
        "_arguments",
        "_begun",
        "_blank",
        "_half",
        "_indexes",
        "_notes",
        "_offered",
        "_open",
        "_size",
        "_waiting",
        "following",
        "has_cut_call",
    )  # fmt: skip

    def __init__(self, notes: list[Note], offered: Collection[str]) -> None:
        self._notes = notes
        self._offered = offered
        self._open: int | None = None  # index of the call that is being sent
        self._arguments: CallArguments | None = None  # of it; None for a call that has no JSON
        self._blank: dict[str, Any] | None = None  # its piece with empty arguments
        self._begun: set[int] = set()  # indexes of the open call and those before it
        self._half = b""  # of a surrogate pair
        self._waiting: dict[int, WaitingCall] = {}  # by index
        self._indexes: list[int] = []  # theirs, as a heap
        self._size = 0  # characters of arguments that have waited
        self.has_cut_call = False
        self.following: list[WrittenCall] = []

    def takes_more(self, pieces: list[dict[str, Any]]) -> bool:
        """Return whether what follows these in their form belongs to the open call, and no call waits for its end."""
        is_open = len(pieces) == 1 and pieces[0]["index"] == self._open
        return is_open and not self._waiting and self._blank is None

    def pass_raw(self, text: bytes) -> bytes:
        """Take a part of the open call's arguments, as it is written within a string; return what is passed on.

        Raises UpstreamError for text that cannot stand in a string.
        """
        if self._arguments is None:
            return text
        if self._half:
            text, self._half = self._half + text, b""
        half = HALF_A_PAIR.search(text)
        if half is not None:
            self._half, text = text[half.end() - 6 :], text[: half.end() - 6]
        try:
            fragment = orjson.loads(b'"%b"' % text)
        except orjson.JSONDecodeError:
            raise UpstreamError("The upstream sent an event that is not JSON.") from None
        shown = self._arguments.add(fragment)
        return text if shown == fragment else orjson.dumps(shown)[1:-1]

    def ordered(self, pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the pieces that may be sent now: the same list if all of them may, nothing waited and all is JSON.

        Raises UpstreamError when more than MAX_WAITING characters wait.
        """
        sent = [one for piece in pieces for one in self._take(piece)]
        return pieces if len(sent) == len(pieces) and all(map(is_, sent, pieces)) else sent

    def rest(self, *, may_be_cut: bool, at_limit: bool) -> list[dict[str, Any]]:
        """Return the end of the open call, and the calls that wait, for the end of the stream.

        `may_be_cut`: the answer may have ended before its last call did. `at_limit`: it ended at its limit.
        """
        ending = {"may_be_cut": may_be_cut, "at_limit": at_limit}
        rest = [*self._ended(**ending)]
        while self._indexes:
            index = heappop(self._indexes)
            rest += self._passed(index, self._waiting.pop(index).joined())
            rest += self._ended(**ending)
        return rest

    def _take(self, piece: dict[str, Any]) -> Iterator[dict[str, Any]]:
        index = piece["index"]
        if index != self._open and index in self._begun:  # behind the end of a call, so it is noise
            yield piece
            return
        if index != self._open and not self._is_over():
            self._wait(index, piece)
            return
        yield from self._passed(index, piece)
        while self._waiting and self._is_over():
            index = heappop(self._indexes)
            yield from self._passed(index, self._waiting.pop(index).joined())

    def _passed(self, index: int, piece: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Pass on a piece of the open call, or the first one of another. `{}` waits, since arguments may follow it."""
        function = piece.get("function")
        text = text_of(function)
        if index != self._open:
            yield from self._ended(may_be_cut=False, at_limit=False)
            self._open, self._half = index, b""
            self._begun.add(index)
            self._arguments = CallArguments((function or {}).get("name") or "") if text is not None else None
        if self._arguments is None or not text:
            yield piece
            return
        shown = self._arguments.add(text)
        if self._arguments.is_blank:
            self._blank = self._blank or piece
            return
        blank, self._blank = self._blank, None
        if blank is not None:
            yield from with_arguments(blank, "")
        yield from [piece] if shown == text else with_arguments(piece, shown)

    def _ended(self, *, may_be_cut: bool, at_limit: bool) -> Iterator[dict[str, Any]]:
        """End the open call: return what its arguments lack, or what was held back of them."""
        arguments, self._arguments = self._arguments, None
        if arguments is None or self._open is None:
            return
        blank, self._blank = self._blank, None
        rest = arguments.end(may_be_cut=may_be_cut, at_limit=at_limit, offered=self._offered)
        self.has_cut_call = self.has_cut_call or arguments.is_cut
        self._notes += arguments.notes(self._open)
        self.following += arguments.following
        if blank is not None:
            yield blank
        elif rest:
            yield {"index": self._open, "function": {"arguments": rest}}

    def _is_over(self) -> bool:
        return self._arguments is None or self._arguments.is_over

    def _wait(self, index: int, piece: dict[str, Any]) -> None:
        waiting = self._waiting.get(index)
        if waiting is None:
            waiting = self._waiting[index] = WaitingCall(piece)
            heappush(self._indexes, index)
        arguments = text_of(piece.get("function"))
        if arguments:
            waiting.arguments.append(arguments)
            self._size += len(arguments)
            if self._size > MAX_WAITING:
                raise UpstreamError("The upstream sent longer tool calls than the gateway accepts.")


def with_arguments(piece: dict[str, Any], arguments: str) -> Iterator[dict[str, Any]]:
    """Return a piece with other arguments; nothing if it has no more than those, and they are empty."""
    function = piece["function"]
    if arguments or piece.keys() - {"index", "function"} or function.keys() - {"arguments"}:
        yield {**piece, "function": {**function, "arguments": arguments}}
