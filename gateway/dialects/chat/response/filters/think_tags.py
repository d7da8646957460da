"""Thinking that a model writes into its text: `<think>…</think>`, or the like, at the very beginning of an answer.

Servers that run open models without a reasoning parser send it so. Only the beginning counts: the same tag later on is
text that talks about the tag. What could still become the tag is held back. Parsers may leave the opening tag in the
reasoning too: vLLM 0.32 does where tag and next token come in one piece, under load in up to a tenth of its streams.
"""

from collections.abc import Sequence
from enum import Enum, auto

from gateway.dialects.chat.response.delta import PieceTarget
from gateway.dialects.chat.response.filters.piece_filter import PieceFilter, is_plain
from gateway.dialects.chat.response.filters.stop_sequences import overlap
from gateway.dialects.reply import Reply
from gateway.schemas.openai import ReasoningEntry

# Most open models; Gemini and Gemma; gpt-oss on Bedrock; Seed; Mistral's Magistral (all 2025-11); Kimi's older ones;
# gpt-oss on servers that leave its channels in the text; MiniMax-M3 (vLLM, 2026-06).
TAGS = {
    "<think>": "</think>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|channel|>analysis<|message|>": "<|end|>",
    "<mm:think>": "</mm:think>",
}
OPENINGS = tuple(TAGS)
CLOSINGS = tuple(TAGS.values())
# How text begins that has to be looked at.
TAG_STARTS = ("<", "[", "◁")
# Marks of gpt-oss in front of its text, behind thinking or without any, in their order.
TEXT_MARKS = ("<|start|>assistant", "<|channel|>final<|message|>")


def with_think_tags(target: PieceTarget, reply: Reply) -> PieceTarget:
    """Return the target behind a filter for tags; the target itself where the upstream takes thinking apart."""
    return ThinkTags(target) if reply.think_tags else target


# Characters of reasoning that are held back because they may be a tag behind white space.
MAX_LEAD = 256


class TagPosition(Enum):
    START = auto()
    TAKEN_OUT = auto()  # behind thinking that the server separates: a closing tag may be left over
    INSIDE = auto()
    GAP = auto()  # white space between the closing tag and the text
    AFTER = auto()


UNDECIDED = (TagPosition.START, TagPosition.TAKEN_OUT)


class ThinkTags(PieceFilter):
    """Filter in front of a target that turns a leading tag's content into thinking. `is_over`: it passes all on."""

    __slots__ = ("_blank", "_closing", "_held", "_lead", "_place")

    def __init__(self, inner: PieceTarget) -> None:
        super().__init__(inner)
        self._place = TagPosition.START
        self._blank: list[str] = []  # white space in front of all else
        self._held = ""
        self._closing = ""
        self._lead: str | None = ""  # of the reasoning, while it may be a tag

    @property
    def is_over(self) -> bool:
        return self._place is TagPosition.AFTER and not self._lead

    def add_text(self, text: str) -> None:
        if self._lead:
            self._release_lead()
        if self._place is TagPosition.AFTER:
            self.inner.add_text(text)
            return
        if self._place in UNDECIDED and not self._held and text.isspace():
            self._blank.append(text)
            return
        self._held += text
        if self._place in UNDECIDED:
            self._look_for_opening()
        if self._place is TagPosition.INSIDE:
            self._look_for_closing()
        if self._place is TagPosition.GAP:
            for mark in TEXT_MARKS:
                self._held = self._held.lstrip().removeprefix(mark)
            if self._held and not any(mark.startswith(self._held) for mark in TEXT_MARKS):
                self.release()

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None:
        if text or entries:
            is_first = self._place in UNDECIDED and not self._held
            self._release_text()
            self._place = TagPosition.TAKEN_OUT if is_first else self._place
        if text and not entries and self._lead is not None:
            text = self._untagged(self._lead + text)
            if not text:
                return
        elif self._lead is not None and not text and len(entries) == 1 and is_plain(entries[0]):
            bare = self._untagged(self._lead + (entries[0]["text"] or ""))
            if not bare:
                return
            entries = [{**entries[0], "text": bare}]
        elif entries:
            self._release_lead()
        self.inner.add_thinking(text, entries)

    def _untagged(self, reasoning: str) -> str:
        """The beginning of the reasoning without a tag; nothing while it may still become one."""
        bare = reasoning.lstrip()
        if len(reasoning) <= MAX_LEAD and any(tag.startswith(bare) for tag in OPENINGS):
            self._lead = reasoning
            return ""
        self._lead = None
        opening = _first_of(OPENINGS, bare)
        return bare.removeprefix(opening) if opening else reasoning

    def _release_lead(self) -> None:
        lead, self._lead = self._lead, None
        if lead and lead.strip() not in TAGS:
            self.inner.add_thinking(lead, ())

    def _look_for_opening(self) -> None:
        text = self._held.lstrip()
        openings = OPENINGS if self._place is TagPosition.START else ()
        if opening := _first_of(openings, text):
            self._place, self._closing = TagPosition.INSIDE, TAGS[opening]
            self._blank, self._held = [], text[len(opening) :]
        elif closing := _first_of(CLOSINGS, text):  # of thinking that the server has taken out
            self._place = TagPosition.GAP
            self._blank, self._held = [], text[len(closing) :]
        elif text.startswith(TEXT_MARKS):
            self._place, self._blank = TagPosition.GAP, []
        elif not any(tag.startswith(text) for tag in (*openings, *CLOSINGS, *TEXT_MARKS)):
            self.release()

    def _look_for_closing(self) -> None:
        thinking, closing, text = self._held.partition(self._closing)
        if closing:
            if thinking:
                self.inner.add_thinking(thinking, ())
            self._held, self._place = text, TagPosition.GAP
            return
        keep = overlap(thinking, self._closing)
        passed, self._held = thinking[: len(thinking) - keep], thinking[len(thinking) - keep :]
        if passed:
            self.inner.add_thinking(passed, ())

    def release(self) -> None:
        self._release_lead()
        self._release_text()

    def _release_text(self) -> None:
        """Pass on the held text unchanged, and stop looking for tags."""
        held, place = "".join(self._blank) + self._held, self._place
        self._blank = []
        self._held, self._place = "", TagPosition.AFTER
        if held and place is TagPosition.INSIDE:
            self.inner.add_thinking(held, ())
        elif held:
            self.inner.add_text(held)


def _first_of(tags: Sequence[str], text: str) -> str:
    return next((tag for tag in tags if text.startswith(tag)), "")
