"""A guard in front of an assembly that cuts off what an answer repeats of the client's prefill.

The client has that text already and puts the answer behind it. llama.cpp repeats it in JSON, and a server that does not
continue a message lets the model restart its turn, often in the same words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.reply import Reply
from gateway.schemas.openai import ReasoningEntry


def without_prefill(target: PieceTarget, reply: Reply) -> PieceTarget:
    return PrefillCut(target, reply.prefill) if reply.prefill else target


class PrefillCut:
    """Holds the first text back until it is the prefill, or cannot become it. `is_over`: it passes all on."""

    __slots__ = ("_held", "_prefill", "inner", "is_over")

    def __init__(self, inner: PieceTarget, prefill: str) -> None:
        self.inner = inner
        self.is_over = False
        self._prefill = prefill
        self._held = ""

    def add_text(self, text: str) -> None:
        if self.is_over:
            self.inner.add_text(text)
            return
        self._held += text
        begun = self._held.lstrip()
        if len(begun) < len(self._prefill) and self._prefill.startswith(begun):
            return
        if begun.startswith(self._prefill):
            self._held = begun.removeprefix(self._prefill)
        self._release()

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        self.inner.add_thinking(text, entries)

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None:
        self._release()
        self.inner.add_tool(index, call_id, name, fragment)

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        self.inner.add_annotations(annotations)

    def add_image(self, block: dict[str, Any]) -> None:
        self._release()
        self.inner.add_image(block)

    def lose(self, what: str) -> None:
        self.inner.lose(what)

    def close(self) -> None:
        self._release()
        self.inner.close()

    def _release(self) -> None:
        held, self._held, self.is_over = self._held, "", True
        if held:
            self.inner.add_text(held)
