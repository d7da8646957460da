"""Channels of gpt-oss that a server left in the text without their marks.

A server without a parser for Harmony, or whose parser failed, drops the special tokens and joins what is left:
`analysisWe need …assistantfinalHello`, `analysis…assistantcommentary to=functions.look json{"city": "Paris"}`. Only
models known as gpt-oss write so, and only a text that is nothing but channels, from its beginning to its end, is taken
apart. Any other stays text: a channel for both the user and tools, or a call with more behind it, leaves doubt.
"""

import json
import re
from collections.abc import Collection, Sequence
from typing import Final

from gateway.dialects.chat.response.calls.call_markup import WrittenCall
from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.filters.piece_filter import PieceFilter
from gateway.dialects.reply import Reply
from gateway.messages.notes import Note
from gateway.schemas.openai import ReasoningEntry

THINKING: Final = ("analysis", "assistantanalysis")
FINAL: Final = "assistantfinal"
CALL_START: Final = "assistantcommentary to=functions."
# How a text begins that is channels. A server that took the thinking out leaves the rest.
BEGINNINGS: Final = (*THINKING, FINAL, CALL_START)
NEXT: Final = re.compile(r"assistant(?:analysis|final|commentary)")
CALL: Final = re.compile(rf"{re.escape(CALL_START)}(?P<name>[\w.-]+?) ?(?:<\|constrain\|>)?(?:json|code)? ?(?=\{{)")
# Text that goes on behind one of the beginnings as a word or a sentence of its own: "analysis of the heap".
SPACE: Final = re.compile(r"\s")
DECODER: Final = json.JSONDecoder()
REASON: Final = "the server left the model's channels in the text, without their marks"
# Held back at most, in characters; no thinking is longer.
MAX_HELD: Final = 1_000_000


def with_channels(target: PieceTarget, reply: Reply, notes: list[Note]) -> PieceTarget:
    return Channels(target, reply, notes) if reply.leaks_channels else target


def may_be_channels(text: str, reply: Reply) -> bool:
    """Return whether a whole text has to go through the filter."""
    return reply.leaks_channels and text.startswith(BEGINNINGS)


class Channels(PieceFilter):
    """Holds a text back while it may be channels. `is_over`: it passes all on."""

    __slots__ = ("_held", "_may_be_final", "_notes", "_offered", "_size", "_tail", "is_over")

    def __init__(self, inner: PieceTarget, reply: Reply, notes: list[Note]) -> None:
        super().__init__(inner)
        self._offered: Collection[str] = () if reply.forbids_calls else reply.offered
        self._notes = notes
        self._held: list[str] = []
        self._size = 0
        self._tail = ""  # of what is held
        self._may_be_final = True  # whether all that is held may be thinking
        self.is_over = False

    @property
    def is_held(self) -> bool:
        """Whether anything is held back."""
        return bool(self._held)

    def add_text(self, text: str) -> None:
        if self.is_over:
            self.inner.add_text(text)
            return
        recent = self._tail + text
        self._tail = recent[1 - len(FINAL) :]
        self._held.append(text)
        self._size += len(text)
        if self._size > MAX_HELD or (self._size - len(text) <= len(CALL_START) and not self._may_begin()):
            self.release()
        elif self._may_be_final and FINAL in recent:
            self._pass_final()

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        if self._held:
            self.release()
        self.inner.add_thinking(text, entries)

    def close(self) -> None:
        text = "".join(self._held)
        thinking, rest = _thinking_of(text)
        calls = _calls_in(rest, self._offered)
        if calls:
            self._forget()
            self._show(thinking)
            for index, call in enumerate(calls):
                self.inner.add_tool(index, call.id, call.name, call.arguments)
        self.release()
        self.inner.close()

    def release(self) -> None:
        held = "".join(self._held)
        self._forget()
        if held:
            self.inner.add_text(held)

    def _may_begin(self) -> bool:
        text = "".join(self._held)
        begun = next((beginning for beginning in BEGINNINGS if text.startswith(beginning)), "")
        if begun in THINKING and SPACE.match(text, len(begun)):
            return False
        return bool(begun) or any(beginning.startswith(text) for beginning in BEGINNINGS)

    def _pass_final(self) -> None:
        """Show what is in front of the final channel, and pass on the rest, if that is thinking alone."""
        thinking, rest = _thinking_of("".join(self._held))
        if not rest.startswith(FINAL):
            self._may_be_final = False
            return
        self._forget()
        self._show(thinking)
        final = rest.removeprefix(FINAL)
        if final:
            self.inner.add_text(final)

    def _show(self, thinking: str) -> None:
        self._notes.append(Note("changed", "content", REASON))
        if thinking:
            self.inner.add_thinking(thinking, ())

    def _forget(self) -> None:
        self._held, self._size, self.is_over = [], 0, True


def _thinking_of(text: str) -> tuple[str, str]:
    """Return the thinking that a text begins with, and the channels behind it."""
    parts: list[str] = []
    place = 0
    while (begun := next((mark for mark in THINKING if text.startswith(mark, place)), "")) != "":
        found = NEXT.search(text, place + len(begun))
        end = found.start() if found is not None else len(text)
        parts.append(text[place + len(begun) : end])
        place = end
    return "\n".join(parts), text[place:]


def _calls_in(text: str, offered: Collection[str]) -> list[WrittenCall]:
    """Return the calls that are all of a text; none for any other."""
    calls: list[WrittenCall] = []
    place = 0
    while place < len(text.rstrip()):
        head = CALL.match(text, place)
        if head is None or head["name"] not in offered:
            return []
        try:
            _, end = DECODER.raw_decode(text, head.end())
        except (ValueError, RecursionError):
            return []
        calls.append(WrittenCall("", head["name"], text[head.end() : end]))
        place = end
    return calls
