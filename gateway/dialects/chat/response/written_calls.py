"""Tool calls that a server left in the text, in the markup that its model writes them in.

Servers without the parser for a model, or with one that missed a call, send its markup as the answer's text, under the
reason `stop`: the client shows it, and the agent's turn ends (sglang issue 40236, vllm 41182). Markup is taken for
calls where it ends the answer and calls tools that were offered. Markup in code is text about markup.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.response.call_markup import (
    MAX_LOOKED_AT,
    may_be_calls,
    read_calls,
    size_of_part,
    starts_of_calls,
)
from gateway.dialects.chat.response.code_fences import CodeFences
from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.piece_filter import PieceFilter
from gateway.dialects.reply import Reply
from gateway.messages.notes import Note

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
    """Whether a whole text has to go through the filter."""
    return "<" in text or "[TOOL" in text if reads_written_calls(reply) else False


class WrittenCalls(PieceFilter):
    """Holds text back from where it may be calls. `is_over`: it passes all on. `is_idle`: it holds nothing back."""

    __slots__ = ("_fences", "_held", "_is_begun", "_notes", "_offered", "_size", "_tools", "is_over")

    def __init__(self, inner: PieceTarget, reply: Reply, notes: list[Note]) -> None:
        super().__init__(inner)
        self.is_over = False
        self._offered = reply.offered
        self._tools = reply.tools
        self._notes = notes
        self._fences = CodeFences()
        self._held: list[str] = []  # markup, or what may be the start of its beginning
        self._size = 0
        self._is_begun = False  # whether only the end of the text decides about what is held

    @property
    def is_idle(self) -> bool:
        return not self._held

    def add_text(self, text: str) -> None:
        if self.is_over:
            self.inner.add_text(text)
            return
        if not self._held and "<" not in text and "[" not in text:  # as beginnings of markup do
            self._fences.add(text)
            self.inner.add_text(text)
            return
        self._held.append(text)
        self._size += len(text)
        if not self._is_begun:
            self._look("".join(self._held))
        elif self._size > MAX_HELD:
            self.release()

    def close(self) -> None:
        calls = read_calls("".join(self._held), to_schemas(self._tools)) if self._held else []
        if calls and all(call.name in self._offered for call in calls):
            self._notes.append(Note("changed", "content", REASON))
            self._held = []
            for index, call in enumerate(calls):
                self.inner.add_tool(index, call.id, call.name, call.arguments)
        self.release()
        self.inner.close()

    def _look(self, text: str) -> None:
        """Pass on all in front of markup."""
        passed = 0
        for start in starts_of_calls(text):
            self._fences.add(text[passed:start])
            if passed < start:
                self.inner.add_text(text[passed:start])
            passed = start
            if not self._fences.is_inside and may_be_calls(text, start, self._offered):
                self._hold(text[start:], is_begun=len(text) - start > MAX_LOOKED_AT)
                return
        kept = size_of_part(text[passed:])
        rest = text[passed : len(text) - kept]
        if rest:
            self._fences.add(rest)
            self.inner.add_text(rest)
        self._hold(text[len(text) - kept :])

    def _hold(self, text: str, *, is_begun: bool = False) -> None:
        self._held = [text] if text else []
        self._size = len(text)
        self._is_begun = is_begun

    def release(self) -> None:
        """Pass on what is held; what follows is text."""
        held, self._held, self.is_over = "".join(self._held), [], True
        if held:
            self.inner.add_text(held)


def to_schemas(tools: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """The schemas of chat tools by their names."""
    functions = [tool.get("function") or {} for tool in tools]
    return {function["name"]: function.get("parameters") or {} for function in functions if "name" in function}
