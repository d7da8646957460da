"""Tool calls that a server left in the text or the reasoning, in the markup that its model writes them in.

Servers without the parser for a model, or with one that missed a call, send its markup as the answer's text, under the
reason `stop`: the client shows it, and the agent's turn ends (sglang issue 40236, vllm 41182). If the model did not end
its reasoning, the markup is part of that (vllm PR 35687, sglang PR 11764). Markup is taken for calls where it ends the
answer and calls tools that were offered. Markup in code is text about markup.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.response.calls.call_markup import (
    MAX_LOOKED_AT,
    may_be_calls,
    read_calls,
    size_of_part,
    starts_of_calls,
)
from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.filters.code_fences import CodeFences
from gateway.dialects.chat.response.filters.piece_filter import PieceFilter, is_plain
from gateway.dialects.reply import Reply
from gateway.messages.notes import Note
from gateway.schemas.openai import ReasoningEntry

# Held back at most, in characters; no call is longer.
MAX_HELD = 1_000_000
REASON = "the server left a call in the text, in the model's markup"


def reads_written_calls(reply: Reply) -> bool:
    """False where no call can come, or the upstream takes answers apart by itself, as OpenRouter does.

    Stop sequences that the gateway looks for may be part of the markup, so that they have to be found first.
    """
    return bool(reply.think_tags and reply.offered and not reply.forbids_calls and not reply.stop_sequences)


def with_written_calls(target: PieceTarget, reply: Reply, notes: list[Note]) -> PieceTarget:
    return WrittenCalls(target, reply, notes) if reads_written_calls(reply) else target


def may_hold_calls(text: str, reply: Reply) -> bool:
    """Return whether a whole text has to go through the filter."""
    return "<" in text or "[TOOL" in text if reads_written_calls(reply) else False


class MarkupWatch:
    """One text in pieces, held back from where it may be calls."""

    __slots__ = ("_fences", "_held", "_is_begun", "_offered", "_size")

    def __init__(self, offered: frozenset[str]) -> None:
        self._offered = offered
        self._fences = CodeFences()
        self._held: list[str] = []  # markup, or what may be the start of its beginning
        self._size = 0
        self._is_begun = False  # whether only the end of the text decides about what is held

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held back."""
        return not self._held

    @property
    def is_full(self) -> bool:
        return self._size > MAX_HELD

    @property
    def held(self) -> str:
        return "".join(self._held)

    def pass_on(self, text: str) -> None:
        """Note a piece that goes on, since nothing is held and no markup begins in it."""
        self._fences.add(text)

    def take(self, text: str) -> str:
        """Take a piece; return what goes on now."""
        if not self._held and "<" not in text and "[" not in text:  # as beginnings of markup do
            self._fences.add(text)
            return text
        self._held.append(text)
        self._size += len(text)
        return "" if self._is_begun else self._look("".join(self._held))

    def release(self) -> str:
        """Return what is held. No markup is looked for in it again."""
        held = self.held
        self._fences.add(held)
        self._hold("")
        return held

    def _look(self, text: str) -> str:
        """Return all in front of markup."""
        passed = 0
        for start in starts_of_calls(text):
            self._fences.add(text[passed:start])
            passed = start
            if not self._fences.is_inside and may_be_calls(text, start, self._offered):
                self._hold(text[start:], is_begun=len(text) - start > MAX_LOOKED_AT)
                return text[:start]
        end = len(text) - size_of_part(text[passed:])
        self._fences.add(text[passed:end])
        self._hold(text[end:])
        return text[:end]

    def _hold(self, text: str, *, is_begun: bool = False) -> None:
        self._held = [text] if text else []
        self._size = len(text)
        self._is_begun = is_begun


class WrittenCalls(PieceFilter):
    """Holds text and reasoning back from where they may be calls. `is_over`: it passes all on.

    `is_idle`: it holds nothing back.
    """

    __slots__ = ("_blank", "_blank_size", "_entry", "_notes", "_offered", "_text", "_thought", "_tools", "is_over")

    def __init__(self, inner: PieceTarget, reply: Reply, notes: list[Note]) -> None:
        super().__init__(inner)
        self.is_over = False
        self._offered = reply.offered
        self._tools = reply.tools
        self._notes = notes
        self._text = MarkupWatch(reply.offered)
        self._thought = MarkupWatch(reply.offered)
        self._entry: ReasoningEntry | None = None  # form of the reasoning that is held
        self._blank: list[str] = []  # text behind it
        self._blank_size = 0

    @property
    def is_idle(self) -> bool:
        return not (self._text._held or self._thought._held)

    def add_text(self, text: str) -> None:
        if self.is_over:
            self.inner.add_text(text)
            return
        if not self._thought.is_idle:
            if text.isspace() and self._blank_size < MAX_HELD:
                self._blank.append(text)
                self._blank_size += len(text)
                return
            self._release_thought()
        passed = self._text.take(text)
        if passed:
            self.inner.add_text(passed)
        if self._text.is_full:
            self.release()

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        """Reasoning that the upstream sealed, or that has text behind it, cannot be calls."""
        if not entries and self.is_idle and "<" not in text and "[" not in text and not self.is_over:  # as most pieces
            self._entry = None
            self._thought.pass_on(text)
            self.inner.add_thinking(text, entries)
            return
        entry = entries[0] if len(entries) == 1 and not text and is_plain(entries[0]) else None
        if self.is_over or not self._text.is_idle or (entries and entry is None) or not (text or entry):
            self._release_thought()
            self.inner.add_thinking(text, entries)
            return
        if not self._thought.is_idle and _form_of(entry) != _form_of(self._entry):
            self._release_thought()
        self._entry = entry
        self._pass_thought(self._thought.take(text if entry is None else entry["text"] or ""))
        if self._thought.is_full:
            self._release_thought()

    def close(self) -> None:
        held = self._text.held or self._thought.held
        calls = read_calls(held, to_schemas(self._tools)) if held else []
        if calls and all(call.name in self._offered for call in calls):
            self._notes.append(Note("changed", "content", REASON))
            if self._text.held:
                self._text.release()
            else:
                self._thought.release()
                self._blank, self._blank_size = [], 0
            for index, call in enumerate(calls):
                self.inner.add_tool(index, call.id, call.name, call.arguments)
        self.release()
        self.inner.close()

    def release(self) -> None:
        """Pass on what is held; what follows is text."""
        self._release_thought()
        self.is_over = True
        held = self._text.release()
        if held:
            self.inner.add_text(held)

    def _release_thought(self) -> None:
        self._pass_thought(self._thought.release())
        blank, self._blank, self._blank_size = "".join(self._blank), [], 0
        if blank:
            self.add_text(blank)

    def _pass_thought(self, text: str) -> None:
        if not text:
            return
        if self._entry is None:
            self.inner.add_thinking(text, ())
        else:
            self.inner.add_thinking("", [{**self._entry, "text": text}])


def _form_of(entry: ReasoningEntry | None) -> dict[str, Any]:
    return {name: value for name, value in (entry or {}).items() if name != "text"}


def to_schemas(tools: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """The schemas of chat tools by their names."""
    functions = [tool.get("function") or {} for tool in tools]
    return {function["name"]: function.get("parameters") or {} for function in functions if "name" in function}
