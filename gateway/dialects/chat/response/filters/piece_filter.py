"""Base of the filters between the pieces of an answer and its assembly."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.response.delta import PieceTarget
from gateway.schemas.openai import ReasoningEntry


class PieceFilter:
    """Passes all pieces to `inner`, after the text that a subclass holds back where they would overtake it."""

    __slots__ = ("inner",)

    def __init__(self, inner: PieceTarget) -> None:
        self.inner = inner

    def add_text(self, text: str) -> None:
        raise NotImplementedError

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        self.inner.add_thinking(text, entries)

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None:
        self.release()
        self.inner.add_tool(index, call_id, name, fragment)

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        self.inner.add_annotations(annotations)

    def add_image(self, block: dict[str, Any]) -> None:
        self.release()
        self.inner.add_image(block)

    def lose(self, what: str) -> None:
        self.inner.lose(what)

    def close(self) -> None:
        self.release()
        self.inner.close()

    def release(self) -> None:
        """Pass on the text that is held back."""
        raise NotImplementedError


def is_plain(entry: Any) -> bool:
    """Return whether a reasoning detail is a text alone, as of an upstream that speaks Responses (vLLM 0.32)."""
    return entry["type"] == "reasoning.text" and isinstance(entry.get("text"), str) and not entry.get("signature")
