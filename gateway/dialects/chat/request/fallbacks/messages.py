"""Rewrites of a chat request's messages, for upstreams that refuse some form of them.

A rewrite returns the body that it was given when there is nothing to change, else a new one. Messages are copied where
they change, since they share their parts with the client's request.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from gateway.dialects.chat.vocabulary import INSTRUCTION_ROLES, SYSTEM_MARK, UNSIGNED_CALL
from gateway.messages.notes import Note
from gateway.upstream.vendors.adaptation import Adaptation

Body: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Rewritten: TypeAlias = tuple[Body, tuple[Note, ...]]

# Fields of earlier answers in which reasoning is given back.
REPLAY_FIELDS = frozenset({"reasoning", "reasoning_content", "reasoning_details"})
# Placeholder for unknown reasoning. Kimi's API reads an empty string as a missing one (new-api, issue 3121).
NO_REASONING = " "
# Stands between a tool's result and the user's next words, for templates that count turns (Mistral's, 2026).
FILLER_TURN = "Understood."

# Placeholder for a message without text.
EMPTY = "[no text]"

# Mistral refuses tool call ids of any other form.
SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")
SHORT_ID_LENGTH = 9


def system_as_user(_: Adaptation, body: Body) -> Rewritten:
    """System messages behind the first become marked user text in their place, which keeps the prompt's prefix.

    One that directly follows the first is joined to it. Text never comes between a call and its results.
    """
    note = Note("changed", "messages", "this upstream takes a system message at the start only; others are user text")
    return replaced(body, _instructions_as_user(body["messages"], keeps_first=True), note)


def no_system(_: Adaptation, body: Body) -> Rewritten:
    """Turn all system messages into marked user text."""
    note = Note("changed", "system", "this upstream takes no system messages; they are user text")
    return replaced(body, _instructions_as_user(body["messages"], keeps_first=False), note)


def system_role(adaptation: Adaptation, body: Body) -> Rewritten:
    """Send instructions in the role that the upstream knows, of `system` and `developer`."""
    role = adaptation.names[0]

    def change(message: Message) -> Message:
        return {**message, "role": role} if message["role"] in INSTRUCTION_ROLES - {role} else message

    return mapped(body, change)


def alternate_turns(_: Adaptation, body: Body) -> Rewritten:
    """Put a short assistant message between tool results and a user message."""
    messages: list[Message] = []
    for message in body["messages"]:
        if message["role"] == "user" and messages and messages[-1]["role"] == "tool":
            messages.append({"role": "assistant", "content": FILLER_TURN})
        messages.append(message)
    note = Note("changed", "messages", "this upstream wants an assistant message between a tool's result and the user")
    return replaced(body, messages, note)


def fill_reasoning(adaptation: Adaptation, body: Body) -> Rewritten:
    """Give each assistant message the reasoning field that a thinking model insists on, blank where it has none."""
    field = adaptation.names[0]

    def change(message: Message) -> Message:
        return (
            {**message, field: NO_REASONING} if message["role"] == "assistant" and not message.get(field) else message
        )

    return mapped(body, change)


def fill_empty(_: Adaptation, body: Body) -> Rewritten:
    """Send a word for it where a message has neither text nor calls, and no empty parts."""

    def change(message: Message) -> Message:
        content = message.get("content")
        if isinstance(content, list):
            kept = [part for part in content if part.get("type") != "text" or part["text"].strip()]
            content = content if len(kept) == len(content) else kept
        has_nothing = not content or (isinstance(content, str) and not content.strip())
        if has_nothing and message.get("tool_calls"):
            return message
        if has_nothing:
            content = EMPTY
        return message if content is message.get("content") else {**message, "content": content}

    return mapped(body, change)


def sign_calls(_: Adaptation, body: Body) -> Rewritten:
    """Mark calls by another model, or with a lost signature, in the way that Gemini accepts for those.

    Google's documentation on thought signatures names the mark; the first call of a message is the one that is checked.
    """

    def change(message: Message) -> Message:
        calls = message.get("tool_calls")
        if not calls or "extra_content" in calls[0]:
            return message
        return {**message, "tool_calls": [{**calls[0], "extra_content": UNSIGNED_CALL}, *calls[1:]]}

    return mapped(body, change)


def drop_reasoning(_: Adaptation, body: Body) -> Rewritten:
    """Leave out the reasoning that was given back, after its signature was refused.

    A thinking budget goes too where the conversation ends in a tool result: Claude then demands the very thinking block
    that has just been taken out.
    """
    note = Note("dropped", "reasoning", "the upstream could not verify the reasoning that was given back")
    rewritten, notes = mapped(body, lambda message: without(message, REPLAY_FIELDS), note)
    ends_in_result = body["messages"][-1]["role"] == "tool"
    if rewritten is not body and ends_in_result and "max_tokens" in (body.get("reasoning") or {}):
        del rewritten["reasoning"]
    return rewritten, notes


def drop_nested(adaptation: Adaptation, body: Body) -> Rewritten:
    """Leave out keys that the upstream does not know of messages, their parts and calls, and of tools."""
    names = frozenset(adaptation.names)
    notes = tuple(Note("dropped", f"messages.{name}", f"the upstream refuses {name}") for name in adaptation.names)
    rewritten, _ = mapped(body, lambda message: _without_nested(message, names))
    tools = [without(tool, names) for tool in body.get("tools") or ()]
    if differs(tools, body.get("tools") or ()):
        rewritten = {**rewritten, "tools": tools}
    return rewritten, () if rewritten is body else notes


def empty_content(_: Adaptation, body: Body) -> Rewritten:
    """Send an empty text where a message has no content besides its calls."""

    def change(message: Message) -> Message:
        return {**message, "content": ""} if "content" in message and message["content"] is None else message

    return mapped(body, change)


def omit_content(_: Adaptation, body: Body) -> Rewritten:
    """Leave the content of a message out where it has calls only."""
    content = frozenset({"content"})

    def change(message: Message) -> Message:
        has_calls_only = message.get("tool_calls") and not message.get("content")
        return without(message, content) if has_calls_only else message

    return mapped(body, change)


def short_ids(_: Adaptation, body: Body) -> Rewritten:
    """Send ids of tool calls as nine letters and digits, the same for one id in each request."""

    def change(message: Message) -> Message:
        if message["role"] == "tool":
            short = _to_short_id(message["tool_call_id"])
            return message if short == message["tool_call_id"] else {**message, "tool_call_id": short}
        calls = message.get("tool_calls") or ()
        if all(SHORT_ID.fullmatch(call["id"]) for call in calls):
            return message
        return {**message, "tool_calls": [{**call, "id": _to_short_id(call["id"])} for call in calls]}

    return mapped(body, change)


def name_results(_: Adaptation, body: Body) -> Rewritten:
    """Send the name of the tool with each result, as older versions of the chat API had it."""
    calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
    names = {call["id"]: call["function"]["name"] for call in calls if "function" in call}

    def change(message: Message) -> Message:
        name = names.get(message.get("tool_call_id"))
        return {**message, "name": name} if name and message["role"] == "tool" and not message.get("name") else message

    return mapped(body, change)


def prefill_flag(adaptation: Adaptation, body: Body) -> Rewritten:
    """Mark a trailing assistant message as one to be continued: `prefix` at Mistral, `partial` at Kimi."""
    last = body["messages"][-1]
    if last["role"] != "assistant" or last.get("tool_calls") or adaptation.names[0] in last:
        return body, ()
    return replaced(body, [*body["messages"][:-1], {**last, **dict.fromkeys(adaptation.names, True)}])


def prefill_fields(adaptation: Adaptation, body: Body) -> Rewritten:
    """Ask for a trailing assistant message to be continued by fields of the request (vLLM wants both, SGLang one)."""
    last = body["messages"][-1]
    if last["role"] != "assistant" or last.get("tool_calls") or adaptation.names[0] in body:
        return body, ()
    return {**body, **{name: name != "add_generation_prompt" for name in adaptation.names}}, ()


def with_instruction(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages, with `text` at the end of the system prompt."""
    first = messages[0]
    if first["role"] in INSTRUCTION_ROLES:
        return [{**first, "content": _joined(first["content"], text)}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def mapped(body: Body, change: Callable[[Message], Message], *notes: Note) -> Rewritten:
    return replaced(body, [change(message) for message in body["messages"]], *notes)


def replaced(body: Body, messages: list[Message], *notes: Note) -> Rewritten:
    return ({**body, "messages": messages}, notes) if differs(messages, body["messages"]) else (body, ())


def without(mapping: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """A copy without these keys; the mapping itself if it has none of them."""
    if names.isdisjoint(mapping):
        return mapping
    return {key: value for key, value in mapping.items() if key not in names}


def differs(new: Sequence[Any], old: Sequence[Any]) -> bool:
    """Return whether any entry is another object."""
    return len(new) != len(old) or any(one is not other for one, other in zip(new, old, strict=True))


def _instructions_as_user(messages: Sequence[Message], *, keeps_first: bool) -> list[Message]:
    result: list[Message] = []
    waiting: list[Any] = []  # instructions that must not come between a call and its results
    for message in messages:
        role = message["role"]
        if role in INSTRUCTION_ROLES:
            if keeps_first and not result and not waiting:
                result.append(message)
            elif keeps_first and len(result) == 1 and result[0]["role"] in INSTRUCTION_ROLES and not waiting:
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


def _without_nested(message: Message, names: frozenset[str]) -> Message:
    kept = without(message, names)
    for key in ("content", "tool_calls"):
        entries = kept.get(key)
        if isinstance(entries, list):
            smaller = [without(entry, names) for entry in entries]
            kept = {**kept, key: smaller} if differs(smaller, entries) else kept
    return kept


def _to_short_id(call_id: str) -> str:
    if SHORT_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:SHORT_ID_LENGTH]
