"""One choice of a chat stream that is passed on: what is corrected in its deltas, and how it ends.

Parallel calls come one after the other (`call_order`), and calls that a server left in the text of its first choice as
calls (`written`).
"""

from typing import Any

from gateway.dialects.chat.original.answer import LIMITS, to_finish_reason
from gateway.dialects.chat.original.call_order import CallOrder
from gateway.dialects.chat.original.call_starts import CallStarts
from gateway.dialects.chat.original.calls import CallIndexes, to_call, to_calls, without_forbidden
from gateway.dialects.chat.original.written import TextOfCalls, reasoning_names, to_plain_delta
from gateway.dialects.chat.response.calls.written_calls import reads_written_calls
from gateway.dialects.chat.response.delta import delta_of
from gateway.dialects.chat.response.stop_reason import Finish, broken_finish, may_cut_calls, meaning_of
from gateway.dialects.reply import Reply
from gateway.messages.notes import Note

ROLES = (None, "assistant")
# Fields of a delta that bring no content.
EMPTY_FIELDS = frozenset({"role"})


class ChoiceStream:
    """`text`: the text and reasoning that may be calls; None where there are none to find, and after its end.

    `is_ended`: whether the client has its finish reason.
    """

    __slots__ = (
        "_has_written_calls", "_indexes", "_notes", "_reply", "_starts", "_thought_name", "finish", "is_ended",
        "number", "order", "text",
    )  # fmt: skip

    def __init__(self, number: int, reply: Reply, notes: list[Note]) -> None:
        prefix = f"call_{reply.message_id[-8:]}_{number}_"
        self.number = number
        self._reply = reply
        self._notes = notes
        self._indexes = CallIndexes(prefix, reply.offered)
        self._thought_name = "reasoning_content"
        self._has_written_calls = False
        self._starts = CallStarts(reply.offered)
        self.order = CallOrder(notes, reply.offered)
        looks = not number and (reads_written_calls(reply) or reply.leaks_channels)
        self.text = TextOfCalls(reply, prefix) if looks else None
        self.finish = Finish()
        self.is_ended = False

    def take(self, choice: dict[str, Any]) -> bool:
        """Take what a chunk brings. Return True if it was corrected. Raises the error that its finish reason means."""
        told = choice.get("delta")
        is_repeated = self.finish.has_choice and bool(choice.get("finish_reason"))  # the whole message, by MiniMax
        delta = to_plain_delta(delta_of(choice, is_later=is_repeated), self.finish, self._notes)
        corrected = delta is not told and delta != told
        if told is None:
            choice.pop("message", None)
        if delta.get("role") not in ROLES:  # it is an empty text with MiniMax
            delta, corrected = {name: value for name, value in delta.items() if name != "role"}, True
        choice["delta"] = delta
        if not isinstance(choice.get("finish_reason"), str | None) or choice.get("finish_reason") == "":
            choice["finish_reason"], corrected = None, True
        corrected = self._take_text(delta) or corrected
        if delta.get("tool_calls"):
            corrected = self._take_calls(delta) or corrected
        self.finish.note(choice)
        error = broken_finish(self.finish)
        if error is not None:
            raise error
        return corrected

    def go_on(self) -> None:
        """Take the finish reason for an early one, since content follows it: some servers have one in each chunk."""
        self.finish.said = False

    def end(self, choice: dict[str, Any]) -> list[dict[str, Any]]:
        """Give the last chunk its finish reason in OpenAI's words.

        Return the deltas that come before it: those that waited, and in front of them its own.
        """
        finish = self.finish
        at_limit = meaning_of(finish.reason) in LIMITS
        may_be_cut = not finish.said or may_cut_calls(finish, self._reply)
        calls = self.order.ordered(self._starts.rest())
        calls = [*calls, *self.order.rest(may_be_cut=may_be_cut, at_limit=at_limit)]
        calls += [self._indexes.begun(to_call(call)) for call in self.order.following]
        rest = [{"tool_calls": [call]} for call in calls]
        rest += self._rest_of_text()
        if rest:
            delta = choice["delta"]
            shown = (*reasoning_names(delta), "content", "tool_calls")
            ahead = {name: delta.pop(name) for name in shown if delta.get(name)}
            rest = [ahead, *rest] if ahead else rest
        reason = to_finish_reason(finish, has_calls=self._has_written_calls or len(self._indexes) > 0)
        if reason == "tool_calls" and self.order.has_cut_call:
            reason = "length"
        choice["finish_reason"] = finish.reason = reason
        finish.said = self.is_ended = True
        return rest

    def _take_calls(self, delta: dict[str, Any]) -> bool:
        if self._reply.forbids_calls:
            return without_forbidden(delta, self._notes)
        told = delta["tool_calls"]
        calls = self._indexes.without_empty(to_calls(told))
        pieces = [piece for call in calls for piece in self._starts.taken(self._indexes.corrected(call))]
        sent = self.order.ordered(pieces)
        if sent:
            delta["tool_calls"] = sent
        else:
            del delta["tool_calls"]
        is_changed = calls is not told or len(sent) != len(calls)
        return is_changed or any(one is not other for one, other in zip(sent, calls, strict=True))

    def _take_text(self, delta: dict[str, Any]) -> bool:
        """Hold back text and reasoning that may be calls. Return True if the delta was changed."""
        content = delta.get("content") or ""
        names = reasoning_names(delta)
        if self.text is None or not isinstance(content, str):
            return False
        self._thought_name = names[0] if names else self._thought_name
        thought = delta[names[0]] if names else ""
        if delta.get("tool_calls"):
            held, self.text = self.text.stop(), None
            sent = held[0] + thought, held[1] + content
        else:
            sent = self.text.take(thought, content)
        if sent[0] != thought:
            delta.update(dict.fromkeys(names or (self._thought_name,), sent[0]))
        if sent[1] != content:
            delta["content"] = sent[1]
        return sent != (thought, content)

    def _rest_of_text(self) -> list[dict[str, Any]]:
        if self.text is None:
            return []
        thought, text, calls = self.text.end()
        self.text = None
        self._has_written_calls = bool(calls)
        rest: list[dict[str, Any]] = [{self._thought_name: thought}] if thought else []
        rest += [{"content": text}] if text else []
        return rest + [{"tool_calls": [call]} for call in calls]


def brings_content(choice: dict[str, Any]) -> bool:
    """Return whether a choice of a chunk has more than a role."""
    return any(value for name, value in delta_of(choice).items() if name not in EMPTY_FIELDS)


def is_empty(choice: dict[str, Any]) -> bool:
    """Return whether a choice of a chunk has nothing left of what it brought."""
    return not choice.get("finish_reason") and not any(choice["delta"].values())
