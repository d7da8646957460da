"""Stop sequences matched by the gateway, where an upstream takes fewer than Anthropic does."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.chat.response.assembly import Assembly
from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.dialects.reply import Reply
from gateway.schemas.openai import ReasoningEntry


def with_stop_guard(assembly: Assembly, reply: Reply, finish: Finish) -> PieceTarget:
    """Return the assembly behind a guard; the assembly itself where the upstream matches every sequence."""
    return StopGuard(assembly, reply.stop_sequences, finish) if reply.stop_sequences else assembly


class StopGuard:
    """Filter in front of an assembly that ends the answer at the first stop sequence.

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
    """Finds the first stop sequence in a text that arrives in pieces. What could be the start of one is held back.

    First is the match that ends first, since that is where a model that watches every token would have stopped; of
    several that end there the longest, since its start had to be held back anyway. An automaton (Aho and Corasick,
    1975) reads each character once, however many and however long the sequences are.
    """

    __slots__ = ("_depths", "_ends", "_fallbacks", "_held", "_node", "_starts", "_steps")

    def __init__(self, sequences: Sequence[str]) -> None:
        self._steps: list[dict[str, int]] = [{}]  # of each node: character → node
        self._depths = [0]  # how many characters lead to a node
        self._ends: list[str | None] = [None]  # the sequence that is found at a node
        for sequence in sequences:
            if sequence:
                self._add(sequence)
        self._fallbacks = self._link()  # per node, that of its longest suffix that starts a sequence
        self._starts = re.compile("[" + re.escape("".join(self._steps[0])) + "]") if self._steps[0] else None
        self._node = 0
        self._held = ""  # what led to the node

    def feed(self, piece: str) -> tuple[str, str | None]:
        """The text that may go on now, and the sequence that was found, before which the text ends."""
        if self._starts is None:
            return piece, None
        node, at = self._node, 0
        while at < len(piece):
            if node == 0:
                found = self._starts.search(piece, at)
                if found is None:
                    break
                at = found.start()
            character = piece[at]
            while node and character not in self._steps[node]:
                node = self._fallbacks[node]
            node = self._steps[node].get(character, 0)
            at += 1
            sequence = self._ends[node]
            if sequence is not None:
                text = self._held + piece[:at]
                self._node, self._held = 0, ""
                return text[: len(text) - len(sequence)], sequence
        text = self._held + piece
        keep = self._depths[node]
        self._node, self._held = node, text[len(text) - keep :]
        return text[: len(text) - keep], None

    def flush(self) -> str:
        """Return the text held back, when no more text comes."""
        held, self._held, self._node = self._held, "", 0
        return held

    def _add(self, sequence: str) -> None:
        node = 0
        for character in sequence:
            following = self._steps[node].get(character)
            if following is None:
                following = self._steps[node][character] = len(self._steps)
                self._steps.append({})
                self._depths.append(self._depths[node] + 1)
                self._ends.append(None)
            node = following
        self._ends[node] = sequence

    def _link(self) -> list[int]:
        """Breadth first, so that a node's fallback, which is nearer to the root, is known before."""
        fallbacks = [0] * len(self._steps)
        level = list(self._steps[0].values())
        for node in level:
            for character, following in self._steps[node].items():
                level.append(following)
                fallback = fallbacks[node]
                while fallback and character not in self._steps[fallback]:
                    fallback = fallbacks[fallback]
                fallbacks[following] = self._steps[fallback].get(character, 0)
                self._ends[following] = self._ends[following] or self._ends[fallbacks[following]]
        return fallbacks


def overlap(text: str, sequence: str) -> int:
    """Return how many characters at the end of `text` could begin `sequence`."""
    longest = min(len(text), len(sequence) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
