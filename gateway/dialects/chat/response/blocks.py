"""The blocks of an answer while they are written: the content of each so far, and whether it may end.

`fragments` arrived while a block waited behind another one. `assembly` handles the blocks.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.chat.response.calls.following_calls import REASON as FOLLOWED
from gateway.dialects.chat.response.calls.following_calls import following_calls
from gateway.dialects.chat.response.calls.near_json import NearJson, repaired
from gateway.dialects.chat.response.calls.restarts import Restart
from gateway.dialects.chat.response.calls.tool_arguments import REPAIRED, Ending, is_object, to_ending
from gateway.errors import UpstreamError
from gateway.schemas.openai import ReasoningEntry

# Times that the arguments of one call may begin again; servers were seen to do it once.
MAX_RESTARTS = 4


@dataclass(slots=True, eq=False, repr=False)
class TextRun:
    """`citations` came while the run waited. Text that comes after `is_ended` belongs to another block."""

    fragments: list[str] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)
    is_ended: bool = False


@dataclass(slots=True, eq=False, repr=False)
class ThinkingRun:
    """`entries` grow until the run ends."""

    fragments: list[str] = field(default_factory=list)
    entries: list[ReasoningEntry] = field(default_factory=list)
    has_text: bool = False

    @property
    def is_shown(self) -> bool:
        """Whether it becomes a thinking block, not a redacted one. A lone signature is of thinking left out."""
        return self.has_text or (len(self.entries) == 1 and is_bare_signature(self.entries[0]))


@dataclass(slots=True, eq=False, repr=False)
class OpenToolCall:
    """`id` and `name` are the upstream's. `fragments`: the arguments so far, repaired once they begin like an object.

    `is_named`: whether the name is that of a tool that was offered. `ready`: whether its start has all it needs.
    `is_blank`: whether the arguments are an empty object so far, which is not shown, since others may replace it.
    `begun`: whether the arguments begin like an object, so that they can be shown while they come. `is_over`: whether
    their last bracket has come. `is_valid`: whether they are known to be an object. `again`: their second
    beginning.
    """

    id: str = ""
    name: str = ""
    fragments: list[str] = field(default_factory=list)
    is_named: bool = False
    ready: bool = False
    is_blank: bool = False
    begun: bool = False
    is_over: bool = False
    is_valid: bool = False
    closed: bool = False
    reader: NearJson = field(default_factory=NearJson)
    again: Restart | None = None
    _restarts: int = 0
    _first: str = ""  # character of the arguments, behind white space

    @classmethod
    def of(cls, name: str, arguments: str) -> "OpenToolCall":
        """Return a whole call."""
        call = cls(name=name, ready=True)
        call.add(arguments)
        return call

    @property
    def arguments(self) -> str:
        if len(self.fragments) > 1:
            self.fragments = ["".join(self.fragments)]
        return self.fragments[0] if self.fragments else ""

    @property
    def is_nothing(self) -> bool:
        """Whether it has neither an id nor a name nor arguments."""
        return not (self.id or self.name or self.fragments)

    def becomes_ready(self) -> bool:
        """Return whether the last piece completes what the block's start needs: an id may still follow the name.

        A name that no tool has may go on.
        """
        was_ready = self.ready
        has_arguments = self.is_blank or bool(self.fragments)
        self.ready = was_ready or (self.name != "" and ((self.id != "" and self.is_named) or has_arguments))
        return self.ready and not was_ready

    def add(self, fragment: str) -> str:
        """Add a fragment; return what can be shown by it."""
        if not self.begun and fragment:
            self.fragments.append(fragment)
            self._first = self._first or fragment.lstrip()[:1]
            self.begun = self._first == "{"
            if self.begun:
                fragment, self.fragments = self.arguments, []
        if not self.begun:
            return ""
        if not self.fragments and fragment.strip() == "{}":  # LiteLLM sends it in front of the arguments of Claude
            self.is_blank = self.is_over = self.is_valid = self.reader.is_over = True
            return ""
        if not self.fragments and fragment.endswith("}") and is_object(fragment):
            # Most that come whole are valid, which orjson finds in a tenth of the time.
            self.is_over = self.is_valid = self.reader.is_over = True
        else:
            fragment = self._read(fragment)
            self.is_over = self.reader.is_over
        self.fragments.append(fragment)
        return fragment

    def _read(self, fragment: str) -> str:
        """Read a fragment; return what of it is new."""
        shown = self.reader.feed(fragment) if self.again is None else self.again.add(fragment)
        while True:
            if self.again is not None and self.again.is_caught_up:
                self.reader, self.again = self.again.reader, None
            if self.again is not None or not self.reader.again:
                return shown
            self._restarts += 1
            if self._restarts > MAX_RESTARTS:  # each copies what follows it
                raise self._not_an_object()
            self.again = Restart(self.arguments + shown)
            shown += self.again.add(self.reader.again)

    def end(self, *, may_be_cut: bool, offered: Collection[str] = ()) -> Ending:
        """Close the call. Raises UpstreamError if its arguments cannot be made one object.

        `offered`: tools of which further calls may be in them.
        """
        self.closed = self.is_over = True
        held = self.reader.end() + (self.again.rest if self.again is not None else "")
        if held:
            self.fragments.append(held)
        arguments = self.arguments
        if not self.reader.is_rest_meaningless and repaired(self.reader.rest).strip() != arguments.strip():
            following = following_calls(arguments, self.reader.rest, self.name, offered)
            if not following:
                raise self._went_on()
            return Ending("", FOLLOWED, following=tuple(following))
        if self.is_blank:
            return Ending("{}")
        if self.is_valid or (self.begun and is_object(arguments)):
            return Ending("", REPAIRED if self.reader.is_changed else "")
        ending = to_ending(arguments, is_shown=self.begun, may_be_cut=may_be_cut)
        if ending is None:
            raise self._not_an_object()
        return Ending(held + ending.text, ending.reason, ending.is_cut)

    def is_over_at(self, call_id: str, name: str) -> bool:
        """Return whether a piece at this call's index begins another one.

        A new id alone does not: some upstreams make one up for every fragment.
        """
        if not name or not self.name:
            return False
        return name != self.name or bool(call_id and self.id and call_id != self.id)

    def is_followed_by(self, fragment: str) -> bool:
        """Return whether a fragment behind the end of this call begins the arguments of another one."""
        if self.is_blank or not fragment.lstrip().startswith("{"):
            return False
        return self.reader.is_rest_meaningless and not self._repeats(fragment)

    def add_rest(self, fragment: str) -> str:
        """Add text behind the end of the arguments: all of them again, or noise; return the part to show.

        Raises UpstreamError for more, which would be lost, once the call is closed.
        """
        if not fragment or self._repeats(fragment):
            return ""
        if self.is_blank and not self.closed and fragment.lstrip().startswith("{"):
            self.is_blank = self.begun = self.is_over = self.is_valid = self.reader.is_over = False
            return self.add(fragment)
        shown = self.reader.feed(fragment)
        self.fragments.append(shown)
        if self.closed and not self.reader.is_rest_meaningless:
            raise self._went_on()
        return shown

    def _repeats(self, fragment: str) -> bool:
        """Return whether a fragment behind the end of the arguments is all of them again."""
        if not fragment.lstrip().startswith("{"):  # line ends: no need to join the arguments
            return False
        return repaired(fragment).strip() == self.arguments.strip()

    def _not_an_object(self) -> UpstreamError:
        """The model would write the same again, and each attempt is paid for."""
        message = f"The upstream sent arguments for the tool {self.name!r} that are not a JSON object."
        return UpstreamError(message, should_retry=False)

    def _went_on(self) -> UpstreamError:
        message = f"The upstream went on with the arguments of the tool {self.name!r} after their end."
        return UpstreamError(message, should_retry=False)


@dataclass(slots=True, eq=False, repr=False)
class WholeBlock:
    """A block that comes all at once."""

    content: dict[str, Any]


Block = TextRun | ThinkingRun | OpenToolCall | WholeBlock


def is_bare_signature(entry: ReasoningEntry) -> bool:
    return bool(entry.get("signature")) and not entry.get("text")
