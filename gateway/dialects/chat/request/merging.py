"""Merging of consecutive chat messages of one role, which upstreams take as one turn.

A conversation may have thousands of them: lists grow in place and texts are joined once, at the end, so that the time
grows with the length and not with its square. What the client's request shares is copied before it grows.
"""

from collections.abc import Sequence
from typing import Any

from gateway.dialects.chat.request.content import Content
from gateway.schemas.openai import ContentPart

# Where upstreams take reasoning as text.
PLAIN_REASONING = ("reasoning", "reasoning_content")


def join_content(one: Content, other: Content) -> Content:
    """Return the content of two messages in their order, as parts."""
    return _merged(as_parts(one), as_parts(other))


def extend_message(last: dict[str, Any], chat: dict[str, Any]) -> None:
    """Add an assistant message to the one right before it."""
    if (content := chat["content"]) is not None:
        last["content"] = content if last["content"] is None else join_content(last["content"], content)
    for key in ("tool_calls", "reasoning_details", "annotations"):
        if key in chat:
            last[key] = _merged(last.get(key, ()), chat[key])
    for key in PLAIN_REASONING:
        if key in chat:
            last[key] = _merged(_as_texts(last.get(key)), (chat[key],))


def join_reasoning(messages: Sequence[Any]) -> None:
    """Turn the reasoning of merged messages into one text each, once all messages are there."""
    for message in messages:
        for key in PLAIN_REASONING:
            if isinstance(message.get(key), Merged):
                message[key] = "\n\n".join(message[key])


def as_parts(content: Content) -> list[ContentPart]:
    if not isinstance(content, str):
        return content
    return [{"type": "text", "text": content}] if content else []


class Merged(list[Any]):
    """A list made by a merge, which may grow in place: a copy for each message would be quadratic."""


def _merged(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    """Append `other`. `one` may be shared with the request, unless it was merged before."""
    grown = one if isinstance(one, Merged) else Merged(one)
    grown.extend(other)
    return grown


def _as_texts(reasoning: Any) -> Sequence[str]:
    """Return the reasoning of merged messages, which is joined only once: each join copies all of it."""
    if isinstance(reasoning, Merged):
        return reasoning
    return (reasoning,) if reasoning else ()
