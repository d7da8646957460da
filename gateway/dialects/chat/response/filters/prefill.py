"""A guard in front of an assembly that cuts off what an answer repeats of the client's prefill.

The client has that text already and puts the answer behind it. llama.cpp repeats it in JSON, and a server that does not
continue a message lets the model restart its turn, often in the same words.
"""

from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.filters.piece_filter import PieceFilter
from gateway.dialects.reply import Reply


def without_prefill(target: PieceTarget, reply: Reply) -> PieceTarget:
    return PrefillCut(target, reply.prefill) if reply.prefill else target


class PrefillCut(PieceFilter):
    """Holds the first text back until it is the prefill, or cannot become it. `is_over`: it passes all on."""

    __slots__ = ("_held", "_prefill", "is_over")

    def __init__(self, inner: PieceTarget, prefill: str) -> None:
        super().__init__(inner)
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
        self.release()

    def release(self) -> None:
        held, self._held, self.is_over = self._held, "", True
        if held:
            self.inner.add_text(held)
