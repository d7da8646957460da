"""Rewrites of media in messages, for models that read text only and servers that take no lists of parts.

As in `messages`, a rewrite returns the body that it was given when there is nothing to change.
"""

from typing import Any

from gateway.dialects.chat.request.fallbacks.messages import Body, Message, Rewritten, mapped, replaced
from gateway.dialects.chat.vocabulary import MEDIA_ORIGIN, MEDIA_POINTER
from gateway.messages.notes import Note
from gateway.upstream.vendors.adaptation import Adaptation

# Content parts that are not text, and what a placeholder calls them.
MEDIA_NAMES = {"file": "document", "image_url": "image", "input_audio": "audio", "video_url": "video"}


def media_as_text(adaptation: Adaptation, body: Body) -> Rewritten:
    """Replace media that the model cannot read by a line of text that says what is missing.

    Media of a tool's result are in the next user message, since strict servers take none in results. Their line goes
    back into the result, and a message that becomes empty is left out.
    """
    kinds = frozenset(adaptation.names)
    if kinds.isdisjoint(media_kinds(body)):
        return body, ()
    messages: list[Message] = []
    for message in body["messages"]:
        parts = _parts(message)
        if kinds.isdisjoint(part["type"] for part in parts):
            messages.append(message)
            continue
        kept: list[Any] = []
        for part in parts:
            if part["type"] not in kinds:
                kept.append(part)
            elif kept and _put_into_result(kept[-1], _placeholder(part), messages):
                kept.pop()
            else:
                kept.append({"type": "text", "text": _placeholder(part)})
        if kept:
            messages.append({**message, "content": kept})
    names = " or ".join(MEDIA_NAMES[kind] for kind in sorted(kinds))
    note = Note("changed", "messages", f"this model takes no {names} input; a line of text replaces it")
    return replaced(body, messages, note)


def flat_content(_: Adaptation, body: Body) -> Rewritten:
    """Send content as one text, for servers that take no list of parts."""

    def change(message: Message) -> Message:
        parts = _parts(message)
        if not parts:
            return message
        return {
            **message,
            "content": "\n\n".join(part["text"] if "text" in part else _placeholder(part) for part in parts),
        }

    note = Note("changed", "messages", "this upstream takes text only; a line of text replaces each medium")
    return mapped(body, change, *([note] if media_kinds(body) else []))


def media_kinds(body: Body) -> set[str]:
    """The types of parts that are not text."""
    return {part["type"] for message in body["messages"] for part in _parts(message)} & MEDIA_NAMES.keys()


def _put_into_result(origin: Any, line: str, earlier: list[Message]) -> bool:
    """Put the line where the result of the call that `origin` names points at a medium."""
    text = origin.get("text", "")
    for index, message in enumerate(earlier):
        if message["role"] != "tool" or text != MEDIA_ORIGIN.format(message["tool_call_id"]):
            continue
        content = message["content"]
        if isinstance(content, str) and MEDIA_POINTER in content:
            earlier[index] = {**message, "content": content.replace(MEDIA_POINTER, line, 1)}
            return True
        pointer = next((one for one in content if isinstance(one, dict) and one.get("text") == MEDIA_POINTER), None)
        if pointer is not None:
            labelled = [{**one, "text": line} if one is pointer else one for one in content]
            earlier[index] = {**message, "content": labelled}
            return True
    return False


def _parts(message: Message) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _placeholder(part: dict[str, Any]) -> str:
    return placeholder(MEDIA_NAMES.get(part["type"], "content"), (part.get("file") or {}).get("filename"))


def placeholder(name: str, title: Any) -> str:
    """Return the line of text for media that a model cannot read. `title`: of the document, if it has one."""
    named = f" {title!r}" if title else ""
    return f"[{name}{named} omitted: this model cannot read it]"
