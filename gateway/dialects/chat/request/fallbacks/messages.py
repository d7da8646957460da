"""Rewrites of a chat request's messages, for upstreams that refuse some form of them.

A rewrite returns the body that it was given when there is nothing to change, else a new one. Messages are copied where
they change, since they share their parts with the client's request.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from gateway.dialects.chat.vocabulary import INSTRUCTION_ROLES, SYSTEM_MARK
from gateway.messages.notes import Note
from gateway.upstream.adaptation import Adaptation

Body: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Rewritten: TypeAlias = tuple[Body, tuple[Note, ...]]

REPLAY_FIELDS = frozenset({"reasoning", "reasoning_content", "reasoning_details"})


def system_as_user(_: Adaptation, body: Body) -> Rewritten:
    """System messages behind the first become marked user text in their place, which keeps the prompt's prefix.

    One that directly follows the first is joined to it. Text never comes between a call and its results.
    """
    note = Note("changed", "messages", "this upstream takes a system message at the start only; others are user text")
    return _replaced(body, _instructions_as_user(body["messages"]), note)


def drop_reasoning(_: Adaptation, body: Body) -> Rewritten:
    """Leave out the reasoning that was given back, after its signature was refused.

    A thinking budget goes too where the conversation ends in a tool result: Claude then demands the very thinking block
    that has just been taken out.
    """
    messages = [_without(message, REPLAY_FIELDS) for message in body["messages"]]
    note = Note("dropped", "reasoning", "the upstream could not verify the reasoning that was given back")
    rewritten, notes = _replaced(body, messages, note)
    if rewritten is not body and messages[-1]["role"] == "tool" and "max_tokens" in (body.get("reasoning") or {}):
        del rewritten["reasoning"]
    return rewritten, notes


def _instructions_as_user(messages: Sequence[Message]) -> list[Message]:
    result: list[Message] = []
    waiting: list[Any] = []  # instructions that must not come between a call and its results
    for message in messages:
        role = message["role"]
        if role in INSTRUCTION_ROLES:
            if not result and not waiting:
                result.append(message)
            elif len(result) == 1 and result[0]["role"] in INSTRUCTION_ROLES and not waiting:
                result[0] = {**result[0], "content": _joined(result[0]["content"], message["content"])}
            elif message["content"]:
                waiting.append(_marked(message["content"]))
            continue
        if role != "tool":
            _flush(waiting, result)
        _append(message, result)
    _flush(waiting, result)
    return result


def _flush(waiting: list[Any], result: list[Message]) -> None:
    for content in waiting:
        _append({"role": "user", "content": content}, result)
    waiting.clear()


def _append(message: Message, result: list[Message]) -> None:
    """Add a message; a user's is joined to one right before it, since many templates want turns to alternate."""
    if message["role"] == "user" and result and result[-1]["role"] == "user":
        result[-1] = {**result[-1], "content": _joined(result[-1]["content"], message["content"])}
    else:
        result.append(message)


def _marked(content: Any) -> Any:
    if isinstance(content, str):
        return f"{SYSTEM_MARK}\n{content}"
    return [{"type": "text", "text": SYSTEM_MARK}, *content]


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, str) and isinstance(other, str):
        return "\n\n".join(filter(None, (one, other)))
    return [*_as_parts(one), *_as_parts(other)]


def _as_parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _without(mapping: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    if names.isdisjoint(mapping):
        return mapping
    return {key: value for key, value in mapping.items() if key not in names}


def _replaced(body: Body, messages: list[Message], *notes: Note) -> Rewritten:
    old = body["messages"]
    if len(messages) == len(old) and all(new is message for new, message in zip(messages, old, strict=True)):
        return body, ()
    return {**body, "messages": messages}, notes
