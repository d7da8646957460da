"""Stop sequences matched by the gateway, where an upstream takes fewer than Anthropic does."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.dialects.reply import Reply
from gateway.schemas.openai import ReasoningEntry


def guarded(assembly: Assembly, reply: Reply, finish: Finish) -> PieceTarget:
    """The assembly itself where the upstream matches every sequence by itself."""
    return StopGuard(assembly, reply.stop_sequences, finish) if reply.stop_sequences else assembly


class StopGuard:
    """Stands in front of an assembly and lets nothing pass after the first stop sequence.

    A sequence is looked for within one run of text: what is held back as its possible start goes on when anything else
    comes. The sequence that was found is put into `finish`.
    """

    __slots__ = ("_assembly", "_finish", "_scan")

    def __init__(self, assembly: Assembly, sequences: Sequence[str], finish: Finish) -> None:
        self._assembly = assembly
        self._scan = StopScan(sequences)
        self._finish = finish

    def add_text(self, text: str) -> None:
        if self._finish.matched is None:
            passed, self._finish.matched = self._scan.feed(text)
            if passed:
                self._assembly.add_text(passed)

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        if self._finish.matched is None:
            if text or entries:
                self._release()
            self._assembly.add_thinking(text, entries)

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None:
        if self._finish.matched is None:
            self._release()
            self._assembly.add_tool(index, call_id, name, fragment)

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        if self._finish.matched is None:
            self._assembly.add_annotations(annotations)

    def add_image(self, block: dict[str, Any]) -> None:
        if self._finish.matched is None:
            self._release()
            self._assembly.add_image(block)

    def lose(self, what: str) -> None:
        self._assembly.lose(what)

    def close(self) -> None:
        self._release()
        self._assembly.close()

    def _release(self) -> None:
        held = self._scan.flush()
        if held:
            self._assembly.add_text(held)


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
        keep = max((overlap(text, sequence) for sequence in self._sequences), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def flush(self) -> str:
        """Return the held-back text at the end of the run."""
        held, self._held = self._held, ""
        return held


def _first_match(text: str, sequences: Sequence[str]) -> tuple[int, str] | None:
    """The match that ends first, since that is where a model that watches every token would have stopped.

    Of several that end there the longest, whose start had to be held back anyway.
    """
    matches = [(text.find(sequence), sequence) for sequence in sequences]
    ends = [(start + len(sequence), start, sequence) for start, sequence in matches if start >= 0]
    if not ends:
        return None
    _, start, sequence = min(ends)
    return start, sequence


def overlap(text: str, sequence: str) -> int:
    """Return how many characters at the end of `text` could begin `sequence`."""
    longest = min(len(text), len(sequence) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
