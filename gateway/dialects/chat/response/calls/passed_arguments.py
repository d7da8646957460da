"""Arguments of a call that is passed on: repaired where they are nearly JSON, as those of converted answers are.

Unlike there, arguments that were cut stay unfinished, and those that cannot be repaired stay as the model wrote them:
OpenAI's clients expect both. `length` says that the former must not be run.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from gateway.dialects.chat.response.blocks import OpenToolCall
from gateway.dialects.chat.response.calls.following_calls import REASON as FOLLOWED
from gateway.dialects.chat.response.calls.tool_arguments import REPAIRED
from gateway.errors import UpstreamError
from gateway.messages.notes import Note

if TYPE_CHECKING:
    from gateway.dialects.chat.response.calls.call_markup import WrittenCall


class CallArguments:
    """Those of a call of `name`. `is_cut`, once they have ended: whether they lack their end.

    `is_repaired`: whether they were no JSON. `following`: further calls that were in them.
    `error`: why they cannot be made JSON.
    """

    __slots__ = ("_call", "_has_any", "_shown", "error", "following", "is_cut", "is_repaired")

    def __init__(self, name: str = "") -> None:
        self._call = OpenToolCall(name=name)
        self._has_any = False
        self._shown = 0  # characters
        self.is_cut = False
        self.is_repaired = False
        self.following: tuple[WrittenCall, ...] = ()
        self.error: UpstreamError | None = None

    @property
    def is_over(self) -> bool:
        """Whether their last bracket has come."""
        return self._call.is_over

    @property
    def is_blank(self) -> bool:
        """Whether they are an empty object so far, which LiteLLM sends in front of Claude's arguments."""
        return self._call.is_blank

    def add(self, fragment: str) -> str:
        """Add a fragment; return what can be passed on by it."""
        call = self._call
        self._has_any = self._has_any or fragment != ""
        shown = call.add_rest(fragment) if call.is_over else call.add(fragment)
        self._shown += len(shown)
        return shown

    def end(self, *, may_be_cut: bool, at_limit: bool = False, offered: Collection[str] = ()) -> str:
        """Return what is still to be passed on: `{}` for none at all, since clients parse them.

        `at_limit`: the limit of the answer was reached, so that the model may not have reached its arguments.
        """
        if at_limit and not self._has_any:
            return ""
        call = self._call
        try:
            ending = call.end(may_be_cut=may_be_cut, offered=offered)
        except UpstreamError as error:
            self.error = error
            return call.arguments[self._shown :] + call.reader.rest
        self.is_cut, self.following = ending.is_cut, ending.following
        if ending.is_cut:
            return call.arguments[self._shown :]
        self.is_repaired = ending.reason == REPAIRED
        return ending.text

    def notes(self, index: int) -> list[Note]:
        """Return notes of what was changed in them, as those of the call at `index`."""
        reasons = [*([REPAIRED] if self.is_repaired else ()), *([FOLLOWED] if self.following else ())]
        return [Note("changed", f"tool_calls.{index}.function.arguments", reason) for reason in reasons]


def text_of(function: Any) -> str | None:
    """Return the arguments in a call's function, or in a piece of one; None for a custom tool, which has no JSON."""
    if not isinstance(function, dict):
        return None
    arguments = function.get("arguments")
    return arguments if isinstance(arguments, str) else ""
