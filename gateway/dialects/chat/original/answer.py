"""A whole chat completion for a client that speaks chat: passed on with the model's name as the client knows it."""

from typing import Any, Final

import orjson

from gateway.dialects.base import Answered
from gateway.dialects.chat.original.call_starts import check_name
from gateway.dialects.chat.original.calls import CallIndexes, to_call, to_calls, without_forbidden, without_index
from gateway.dialects.chat.original.forms import TEXT
from gateway.dialects.chat.original.written import TextOfCalls, reasoning_names, to_plain_delta
from gateway.dialects.chat.response.calls.passed_arguments import CallArguments, text_of
from gateway.dialects.chat.response.calls.written_calls import may_hold_calls
from gateway.dialects.chat.response.chunks import BrokenChunk
from gateway.dialects.chat.response.convert import NOT_A_COMPLETION, read_choice, to_origin, unwrapped
from gateway.dialects.chat.response.delta import delta_of, number_of
from gateway.dialects.chat.response.filters.channels import may_be_channels
from gateway.dialects.chat.response.stop_reason import REFUSALS, Finish, broken_finish, may_cut_calls, meaning_of
from gateway.dialects.chat.response.usage import counts_of, estimated_usage, is_readable, read_counts, to_usage
from gateway.dialects.clients.usage import to_chat_usage
from gateway.dialects.native.answer import with_model
from gateway.dialects.reply import Reply
from gateway.errors import UpstreamError
from gateway.json_values import TOO_DEEP, check_answer_values
from gateway.messages.notes import Note

FINISH_REASONS: Final = frozenset({"content_filter", "function_call", "length", "stop", "tool_calls"})
# Anthropic's stop reasons of an answer that reached a limit.
LIMITS: Final = frozenset({"max_tokens", "model_context_window_exceeded"})
STOP_REASONS: Final = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def to_passed_on(body: bytes, reply: Reply) -> Answered:
    """Raises the error inside a 200, and BrokenChunk for a body that cannot be passed on as it is."""
    check_answer_values(body)
    try:
        completion = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BrokenChunk(NOT_A_COMPLETION) from None
    if isinstance(completion, list):
        raise BrokenChunk(NOT_A_COMPLETION)
    inner = unwrapped(completion)
    told = inner.get("choices") if isinstance(inner, dict) else None
    first, finish = read_choice(inner, reply)
    found = counts_of(inner)
    counts = read_counts(found) if found else None
    if counts is not None:
        finish.read, finish.spent = counts.prompt, counts.output
    notes: list[Note] = []
    is_changed = complete_choice(first, finish, reply, notes) or inner is not completion
    is_changed = is_changed or inner["choices"] is not told
    is_changed = is_changed or bool(inner.pop("error", None))  # an empty one: any other has been raised
    for choice in inner["choices"][1:]:
        is_changed = complete_choice(choice, finish_of(choice), reply, notes) or is_changed
    completion = inner
    size = 0 if counts is not None and counts.output else sum(map(len, TEXT.findall(body)))
    usage = to_usage(counts, reply, size) if counts else estimated_usage(reply.input_estimate, size)
    if not is_readable(completion.get("usage"), has_output=size > 0):
        completion["usage"], is_changed = to_chat_usage(usage), True
    if is_changed:
        try:
            body = orjson.dumps(completion)
        except orjson.JSONEncodeError:
            raise UpstreamError(TOO_DEEP) from None
    message: dict[str, Any] = {"usage": usage, "stop_reason": stop_reason_of(finish)}
    written = with_model(body, completion, reply.model)
    return Answered(message, to_origin(completion, counts), tuple(notes), written=written, is_original=True)


def finish_of(choice: Any) -> Finish:
    """Return how a choice beyond the first one ended. Raises as `read_choice`."""
    if not isinstance(choice, dict):
        raise UpstreamError("The upstream sent choices of an unknown shape.")
    finish = Finish()
    finish.note(choice)
    error = broken_finish(finish)
    if error is not None:
        raise error
    return finish


def complete_choice(choice: dict[str, Any], finish: Finish, reply: Reply, notes: list[Note]) -> bool:
    """Give a choice the shape that clients know. Return True if it was changed."""
    prefix = f"call_{reply.message_id[-8:]}_{number_of(choice)}_"
    known = CallIndexes(prefix, reply.offered)
    is_changed = complete_message(choice, finish, known, notes)
    message = choice["message"]
    if message.get("tool_calls") and reply.forbids_calls:
        is_changed = without_forbidden(message, notes)
    is_changed = take_written_calls(message, reply, prefix) or is_changed
    is_repaired, is_cut = complete_arguments(message, finish, reply, notes, known=known)
    reason = to_finish_reason(finish, has_calls=bool(message.get("tool_calls")))
    reason = "length" if reason == "tool_calls" and is_cut else reason
    if reason == choice.get("finish_reason"):
        return is_changed or is_repaired
    finish.note({"finish_reason": reason})
    choice["finish_reason"] = reason
    return True


def complete_arguments(
    message: dict[str, Any], finish: Finish, reply: Reply, notes: list[Note], *, known: CallIndexes
) -> tuple[bool, bool]:
    """Repair the arguments of all calls. Return whether any were changed, and whether any lack their end."""
    is_changed = is_cut = False
    following: list[dict[str, Any]] = []
    for place, call in enumerate(message.get("tool_calls") or ()):
        told = text_of(call.get("function"))
        if told is None:
            continue
        arguments = CallArguments(call["function"].get("name") or "")
        shown = arguments.add(told)
        at_limit = meaning_of(finish.reason) in LIMITS
        may_be_cut = not finish.said or may_cut_calls(finish, reply)
        shown += arguments.end(may_be_cut=may_be_cut, at_limit=at_limit, offered=reply.offered)
        is_cut = is_cut or arguments.is_cut
        if shown != told:
            is_changed = True
            call["function"] = {**call["function"], "arguments": shown}
        notes += arguments.notes(place)
        following += [without_index(known.begun(to_call(found))) for found in arguments.following]
    if following:
        message["tool_calls"] = [*message["tool_calls"], *following]
    return is_changed, is_cut


def complete_message(choice: dict[str, Any], finish: Finish, known: CallIndexes, notes: list[Note]) -> bool:
    """Give the choice a message, and its calls the shape that clients know. Return True if it was changed.

    Raises UpstreamError for a call without a name.
    """
    told_message = choice.get("message")
    whole = (
        told_message if isinstance(told_message, dict) else {"role": "assistant", "content": None, **delta_of(choice)}
    )
    message = choice["message"] = to_plain_delta(whole, finish, notes)
    choice.pop("delta", None)
    if not message.get("tool_calls"):
        return message is not told_message
    told = message["tool_calls"]
    calls = known.without_empty(to_calls(told))
    named = [known.begun(call) for call in calls]
    for call in named:
        check_name(call)
    if calls is told and all(one is other for one, other in zip(named, calls, strict=True)):
        return message is not told_message
    message["tool_calls"] = [without_index(call) for call in named]
    if not named:
        del message["tool_calls"]
    return True


def take_written_calls(message: dict[str, Any], reply: Reply, prefix: str) -> bool:
    """Take calls and channels out of the text or the reasoning. Return True if there were any."""
    content = message.get("content") or ""
    names = reasoning_names(message)
    thought = message[names[0]] if names else ""
    if not isinstance(content, str) or message.get("tool_calls"):
        return False
    if not may_hold_calls(content + thought, reply) and not may_be_channels(content, reply):
        return False
    text = TextOfCalls(reply, prefix)
    sent = text.take(thought, content)
    *rest, calls = text.end()
    shown, said = (part + more for part, more in zip(sent, rest, strict=True))
    if (shown, said) == (thought, content) and not calls:
        return False
    message |= dict.fromkeys(names or (("reasoning_content",) if shown else ()), shown) | {"content": said or None}
    if calls:
        message["tool_calls"] = [without_index(call) for call in calls]
    return True


def to_finish_reason(finish: Finish, *, has_calls: bool) -> str:
    """Return the reason in OpenAI's words: clients wait for one, run no calls under `stop`, and know no other words."""
    word = finish.reason
    if word == "tool_calls" and not has_calls:  # for which clients would wait
        return "stop"
    if word == "function_call" and has_calls:  # its word before tools
        return "tool_calls"
    if word in FINISH_REASONS and not (has_calls and word == "stop"):
        return word
    if meaning_of(word) in LIMITS:
        return "length"
    if word in REFUSALS:
        return "content_filter"
    return "tool_calls" if has_calls else "stop"


def stop_reason_of(finish: Finish) -> str:
    """Return the stop reason in Anthropic's words, for the usage record."""
    return STOP_REASONS.get(finish.reason or "", "end_turn")
