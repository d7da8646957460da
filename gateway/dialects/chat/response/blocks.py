"""The blocks of an answer while they are being told: what each has been given so far, and whether it may end.

`fragments` are what came while a block waited behind another one. What is done with blocks is in `assembly`.
"""

from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.chat.response.tool_arguments import Ending, is_object, to_ending
from gateway.errors import UpstreamError
from gateway.schemas.openai import ReasoningEntry


@dataclass(slots=True, eq=False, repr=False)
class TextRun:
    """`citations` came while the run waited. Text that comes after `is_ended` belongs to another block."""

    fragments: list[str] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)
    is_ended: bool = False


@dataclass(slots=True, eq=False, repr=False)
class ThinkingRun:
    """`entries` grow for as long as the run lasts."""

    fragments: list[str] = field(default_factory=list)
    entries: list[ReasoningEntry] = field(default_factory=list)
    has_text: bool = False

    @property
    def is_shown(self) -> bool:
        """As a thinking block; else it is redacted. A signature without text belongs to thinking that was left out."""
        return self.has_text or (len(self.entries) == 1 and is_bare_signature(self.entries[0]))


@dataclass(slots=True, eq=False, repr=False)
class ToolCall:
    """`id` and `name` are the upstream's. Arguments pass live only once they begin like an object."""

    id: str = ""
    name: str = ""
    fragments: list[str] = field(default_factory=list)
    ready: bool = False  # to begin
    live: bool = False
    closed: bool = False

    @property
    def arguments(self) -> str:
        if len(self.fragments) > 1:
            self.fragments = ["".join(self.fragments)]
        return self.fragments[0] if self.fragments else ""

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are one whole object, as far as they have come."""
        return self.arguments.rstrip().endswith("}") and is_object(self.arguments)

    def becomes_ready(self) -> bool:
        """Whether all that the block's start needs has come with the last piece: an id may still follow the name."""
        was_ready = self.ready
        self.ready = was_ready or (self.name != "" and (self.id != "" or self.arguments != ""))
        return self.ready and not was_ready

    def take(self, fragment: str) -> str:
        """Add a fragment to an open call; return what is to be shown of the arguments."""
        self.fragments.append(fragment)
        return fragment if self.live else self.show()

    def show(self) -> str:
        """All of the arguments so far, once they begin like an object."""
        self.live = self.arguments.lstrip().startswith("{")
        return self.arguments if self.live else ""

    def end(self, *, may_be_cut: bool) -> Ending:
        """Close the call. Raises UpstreamError if its arguments cannot be made one object."""
        self.closed = True
        if self.live and is_object(self.arguments):
            return Ending("")
        ending = to_ending(self.arguments, is_shown=self.live, may_be_cut=may_be_cut)
        if ending is None:
            raise UpstreamError(f"The upstream sent arguments for the tool {self.name!r} that are not a JSON object.")
        return ending

    def is_over_at(self, call_id: str, name: str) -> bool:
        """Whether a piece at this call's index begins another one.

        A new id alone does not: some upstreams make one up for every fragment.
        """
        if not name or not self.name:
            return False
        return name != self.name or bool(call_id and self.id and call_id != self.id)

    def is_followed_by(self, fragment: str) -> bool:
        """Whether a fragment at this call's place is the beginning of another call's arguments, and no repetition."""
        begun = fragment.strip()
        if not begun.startswith("{") or not (self.closed or self.is_complete):
            return False
        return begun != self.arguments.strip()

    def check_repetition(self, fragment: str) -> None:
        """After the end of its arguments a call may bring white space, or all of itself again; more would be lost."""
        if fragment.strip() and fragment.strip() != self.arguments.strip():
            raise UpstreamError(f"The upstream went on with the arguments of the tool {self.name!r} after their end.")


@dataclass(slots=True, eq=False, repr=False)
class WholeBlock:
    """A block that comes all at once."""

    content: dict[str, Any]


Block = TextRun | ThinkingRun | ToolCall | WholeBlock


def is_bare_signature(entry: ReasoningEntry) -> bool:
    return bool(entry.get("signature")) and not entry.get("text")
