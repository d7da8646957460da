"""Stop sequences matched by the gateway, where an upstream takes fewer than Anthropic does."""

from collections.abc import Sequence
from typing import Any


class StopScan:
    """Finds the first stop sequence in a text that arrives in pieces. What could be the start of one is held back."""

    __slots__ = ("_held", "_sequences")

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""

    def feed(self, piece: str) -> tuple[str, str | None]:
        """The text that may go on now, and the sequence that was found, before which the text ends."""
        text = self._held + piece
        found = _first_match(text, self._sequences)
        if found is not None:
            position, sequence = found
            self._held = ""
            return text[:position], sequence
        keep = max((_overlap(text, sequence) for sequence in self._sequences), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def flush(self) -> str:
        """What was held back when no more text comes."""
        held, self._held = self._held, ""
        return held


def cut_at_stop(message: dict[str, Any], sequences: Sequence[str]) -> tuple[dict[str, Any], str | None]:
    """A whole answer's message cut at the first stop sequence; tool calls come after the text, so they go with the rest."""
    found = _first_match(message["content"], sequences)
    if found is None:
        return message, None
    position, sequence = found
    kept = {name: value for name, value in message.items() if name not in ("tool_calls", "function_call")}
    return {**kept, "content": message["content"][:position]}, sequence


def _first_match(text: str, sequences: Sequence[str]) -> tuple[int, str] | None:
    """The match that ends first, since that is where a model that watches every token would have stopped."""
    matches = [
        (text.find(sequence) + len(sequence), sequence) for sequence in sequences if sequence and sequence in text
    ]
    if not matches:
        return None
    end, sequence = min(matches)
    return end - len(sequence), sequence


def _overlap(text: str, sequence: str) -> int:
    """How many characters at the end of `text` could begin `sequence`."""
    longest = min(len(text), len(sequence) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
