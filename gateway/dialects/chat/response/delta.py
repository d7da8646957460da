"""One chunk's delta, or a whole answer's message, taken apart into the pieces an assembly understands.

Both have the same fields (`content`, `reasoning`, `reasoning_details`, `tool_calls`, `refusal`), so one reading serves
streams and JSON. Upstreams differ in small ways that are evened out here and nowhere else. Reasoning comes first and
tool calls last, as Anthropic orders the blocks of a message.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from gateway.dialects.chat.citations import is_known
from gateway.dialects.chat.reasoning import to_call_entry
from gateway.dialects.chat.response.images import to_image_block
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.errors import UpstreamError
from gateway.schemas.openai import ReasoningEntry


class PieceTarget(Protocol):
    """Consumer of the pieces: an assembly, or a guard in front of one."""

    def add_text(self, text: str) -> None: ...

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None: ...

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None: ...

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None: ...

    def add_image(self, block: dict[str, Any]) -> None: ...

    def lose(self, what: str) -> None: ...

    def close(self) -> None: ...


def first_choice(answer: dict[str, Any]) -> dict[str, Any] | None:
    """More than one was never asked for; there is none beside usage or an error."""
    choices = answer.get("choices")
    if not choices:
        return None
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise UpstreamError("The upstream sent choices of an unknown shape.")
    return choices[0]


def delta_of(choice: dict[str, Any]) -> dict[str, Any]:
    """A chunk's `delta`, or an answer's `message`, which some upstreams also put in their chunks."""
    delta = choice.get("delta") or choice.get("message") or {}
    if not isinstance(delta, dict):
        raise UpstreamError("The upstream sent a delta of an unknown shape.")
    return delta


def add_pieces(delta: dict[str, Any], target: PieceTarget, finish: Finish) -> None:
    """Hand on everything that `delta` brings. Raises UpstreamError where it has not the shape of a chat delta."""
    _add_reasoning(delta, target)
    annotations = delta.get("annotations")
    if annotations:
        _add_annotations(annotations, target)
    content = delta.get("content")
    if content:
        _add_content(content, target)
    refusal = delta.get("refusal")
    if refusal and isinstance(refusal, str) and finish.matched is None:
        finish.refusal = (finish.refusal or "") + refusal
        target.add_text(refusal)
    for call in _list(delta.get("tool_calls"), "tool calls"):
        _add_call(call, target)
    legacy_call = delta.get("function_call")  # before tools there was one function call, without an id
    if legacy_call:
        _add_call({"index": 0, "function": legacy_call}, target)
    audio = delta.get("audio")
    if audio:
        _add_audio(audio, target)
    images = delta.get("images")
    if images:
        for image in images if isinstance(images, list) else (images,):
            _add_image(image, target)


def _add_annotations(annotations: Any, target: PieceTarget) -> None:
    """Before the text that they belong to, so that it can be cut where they end."""
    known = []
    for annotation in _list(annotations, "annotations"):
        if isinstance(annotation, dict) and is_known(annotation):
            known.append(annotation)
        else:
            target.lose("annotations of an unknown kind")
    if known:
        target.add_annotations(known)


def _add_content(content: Any, target: PieceTarget) -> None:
    if isinstance(content, str):
        target.add_text(content)
        return
    for part in _list(content, "content"):
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str):
            target.add_text(text)
        elif isinstance(part, dict) and part.get("type") == "image_url":
            _add_image(part, target)
        elif isinstance(part, dict) and part.get("type") == "thinking":
            target.add_thinking(_thought(part.get("thinking")), ())
        else:
            target.lose("content that is not text")


def _thought(value: Any) -> str:
    """The thinking of a content part: a text, or parts with texts (Mistral's reasoning models)."""
    if isinstance(value, str):
        return value
    return "".join([_string(part.get("text")) for part in _list(value, "thinking") if isinstance(part, dict)])


def _add_image(image: Any, target: PieceTarget) -> None:
    block = to_image_block(image)
    if block is None:
        target.lose("images that no request could hold")
    else:
        target.add_image(block)


def _add_audio(audio: Any, target: PieceTarget) -> None:
    """A message has no place for sound, but for what is said in it."""
    transcript = audio.get("transcript") if isinstance(audio, dict) else None
    if transcript and isinstance(transcript, str):
        target.add_text(transcript)
    if not isinstance(audio, dict) or audio.get("data"):
        target.lose("audio")


def _add_reasoning(delta: dict[str, Any], target: PieceTarget) -> None:
    plain = delta.get("reasoning") or delta.get("reasoning_content") or ""
    details = delta.get("reasoning_details")
    if not plain and not details:
        if details is not None:
            target.add_thinking("", ())  # an empty list that is spelled out may have to be given back
        return
    entries = _list(details, "reasoning")
    if not isinstance(plain, str) or not all(map(_is_entry, entries)):
        raise UpstreamError("The upstream sent reasoning of an unknown shape.")
    target.add_thinking(plain, entries)


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _add_call(call: Any, target: PieceTarget) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise UpstreamError("The upstream sent a tool call of an unknown shape.")
    index, extra_content = call.get("index"), call.get("extra_content")
    if extra_content and isinstance(extra_content, dict):
        target.add_thinking("", [to_call_entry(_string(call.get("id")), extra_content)])
    target.add_tool(
        index if isinstance(index, int) else None,
        _string(call.get("id")),
        _string(function.get("name")),
        _arguments(function.get("arguments")),
    )


def _arguments(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()  # an object, as Ollama sends it; anything else is refused as no object
    except orjson.JSONEncodeError:
        raise UpstreamError("The upstream sent tool arguments that nest too deeply.") from None


def _list(value: Any, what: str) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise UpstreamError(f"The upstream sent {what} of an unknown shape.")


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
