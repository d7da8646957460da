"""One chunk's delta, or a whole answer's message, taken apart into the pieces an assembly understands.

Both have the same fields (`content`, `reasoning`, `reasoning_details`, `tool_calls`, `refusal`), so one reading serves
streams and JSON. Upstreams differ in small ways that are evened out here and nowhere else. Reasoning comes first and
tool calls last, as Anthropic orders the blocks of a message.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from gateway.dialects.chat.citations import is_known
from gateway.dialects.chat.reasoning import to_call_entry
from gateway.dialects.chat.response.images import to_image_block
from gateway.dialects.chat.response.stop_reason import Finish
from gateway.dialects.chat.vocabulary import CLAUDE_FORMAT
from gateway.errors import UpstreamError
from gateway.json_values import to_string
from gateway.schemas.openai import ReasoningEntry

# Fields of deltas that bring only text, as most do.
TEXT_FIELDS = frozenset({"role", "content"})
# Types of content parts that are no part of the answer.
THINKING_PARTS = frozenset({"reasoning", "reasoning_text", "thinking"})
# Names of the text in reasoning that is an object, and of settings that some servers echo in its place.
REASONING_TEXTS = ("text", "content", "thinking", "summary")
REASONING_SETTINGS = frozenset({"effort", "enabled", "exclude", "generate_summary", "max_tokens", "summary", "type"})


# Names of a call's arguments: OpenAI's, Llama's, Anthropic's.
ARGUMENTS = ("arguments", "parameters", "input")
REASONING_FIELDS = ("reasoning", "reasoning_content", "thinking", "reasoning_text")
# Fields of a message that several choices share.
JOINED_FIELDS = frozenset({"content", "tool_calls", *REASONING_FIELDS})
# Some servers write the index of a call as text, or as a float.
INDEX = re.compile(r"\d{1,6}(?:\.0)?", re.ASCII)


class PieceTarget(Protocol):
    """Consumer of the pieces: an assembly, or a guard in front of one."""

    def add_text(self, text: str) -> None: ...

    def add_thinking(self, text: str, entries: Sequence[ReasoningEntry]) -> None: ...

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None: ...

    def add_annotations(self, annotations: Sequence[Mapping[str, Any]]) -> None: ...

    def add_image(self, block: dict[str, Any]) -> None: ...

    def lose(self, what: str) -> None: ...

    def close(self) -> None: ...


def first_choice(answer: dict[str, Any], number: int | None = None) -> dict[str, Any] | None:
    """The choice of this number, if it is known already; more than one was never asked for.

    There is none beside usage or an error.
    """
    choices = answer.get("choices")
    if not choices:
        return None
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise UpstreamError("The upstream sent choices of an unknown shape.")
    if number is None or number_of(choices[0]) == number:
        return choices[0]
    return next((choice for choice in choices if isinstance(choice, dict) and number_of(choice) == number), None)


def join_choices(completion: dict[str, Any]) -> None:
    """Make one of choices that all have the same number: GitHub Copilot sends Claude's text and calls in two."""
    choices = completion.get("choices")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(choice, dict) for choice in choices):
        return
    messages = [choice.get("message") for choice in choices]
    if len(set(map(number_of, choices))) > 1 or not all(isinstance(message, dict) for message in messages):
        return
    joined: dict[str, Any] = {}
    for message in messages:
        for name, value in message.items():
            known = joined.get(name)
            is_joined = name in JOINED_FIELDS and type(value) is type(known) and isinstance(value, str | list)
            joined[name] = known + value if is_joined else known if value is None else value
    completion["choices"] = [{**choices[0], **choices[-1], "message": joined}]


def number_of(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def delta_of(choice: dict[str, Any], *, is_later: bool = False) -> dict[str, Any]:
    """A chunk's `delta`, or an answer's `message`, which some upstreams also put in their chunks, or a mere `text`.

    `is_later`: deltas came before, so that a message only repeats them.
    """
    delta = choice.get("delta")
    if delta is None:
        delta = choice.get("message")
        if delta and is_later:
            return {}
    if not delta:
        text = choice.get("text")
        return {"content": text} if text and isinstance(text, str) else {}
    if not isinstance(delta, dict):
        raise UpstreamError("The upstream sent a delta of an unknown shape.")
    return delta


def add_pieces(delta: dict[str, Any], target: PieceTarget, finish: Finish) -> None:
    """Pass all fields of `delta` to `target`. Raises UpstreamError where it is not shaped like a chat delta."""
    if delta.keys() <= TEXT_FIELDS:
        if delta.get("content"):
            _add_content(delta["content"], target, finish)
        return
    _add_reasoning(delta, target)
    annotations = delta.get("annotations")
    if annotations:
        _add_annotations(annotations, target)
    content = delta.get("content")
    if content:
        _add_content(content, target, finish)
    refusal = delta.get("refusal")
    if refusal:
        _add_refusal(refusal, target, finish)
    for call in _listed(delta.get("tool_calls"), "tool calls"):
        _add_call(call, target)
    # Before tools there was one function call, without an id; llama-cpp-python 0.3.36 sends each piece in both forms.
    legacy_call = delta.get("function_call")
    if legacy_call and not delta.get("tool_calls"):
        _add_call({"index": 0, "function": legacy_call}, target)
    audio = delta.get("audio")
    if audio:
        _add_audio(audio, target, content)
    images = delta.get("images")
    if images:
        for image in images if isinstance(images, list) else (images,):
            _add_image(image, target)


def _add_annotations(annotations: Any, target: PieceTarget) -> None:
    """Add annotations, to be called before the text that they belong to, which is cut where they end."""
    known = []
    for annotation in _list(annotations, "annotations"):
        if isinstance(annotation, dict) and is_known(annotation):
            known.append(annotation)
        else:
            target.lose("annotations of an unknown kind")
    if known:
        target.add_annotations(known)


def _add_content(content: Any, target: PieceTarget, finish: Finish) -> None:
    if isinstance(content, str):
        target.add_text(content)
        return
    for part in (content,) if isinstance(content, dict) else _list(content, "content"):
        if isinstance(part, str):
            target.add_text(part)
        elif isinstance(part, dict):
            _add_part(part, target, finish)
        else:
            target.lose("content that is not text")


def _add_part(part: dict[str, Any], target: PieceTarget, finish: Finish) -> None:
    kind, text = to_string(part.get("type")), part.get("text")
    text = text.get("value") if isinstance(text, dict) else text  # as in OpenAI's Assistants
    if kind in THINKING_PARTS:
        thought = _thought(part.get("thinking") or part.get("reasoning") or part.get("summary") or text)
        if thought:
            target.add_thinking(thought, ())
    elif isinstance(text, str):
        target.add_text(text)
    elif kind == "refusal":
        _add_refusal(part.get("refusal"), target, finish)
    elif kind == "image_url":
        _add_image(part, target)
    elif kind == "tool_use":
        target.add_tool(None, to_string(part.get("id")), to_string(part.get("name")), _arguments(part.get("input")))
    else:
        target.lose("content that is not text")


def _add_refusal(refusal: Any, target: PieceTarget, finish: Finish) -> None:
    if isinstance(refusal, str) and refusal and finish.matched is None:
        finish.refusal = (finish.refusal or "") + refusal
        target.add_text(refusal)
    elif refusal and not isinstance(refusal, str):
        target.lose("refusal of an unknown shape")


def _thought(value: Any) -> str:
    """The thinking of a content part: a text, or parts with texts (Mistral's reasoning models, Databricks)."""
    if isinstance(value, str):
        return value
    return "".join([to_string(part.get("text")) for part in _list(value, "thinking") if isinstance(part, dict)])


def _add_image(image: Any, target: PieceTarget) -> None:
    block = to_image_block(image)
    if block is None:
        target.lose("images that no request could hold")
    else:
        target.add_image(block)


def _add_audio(audio: Any, target: PieceTarget, content: Any) -> None:
    """Add the transcript of audio unless the content repeats it; the sound is lost: no block can hold it."""
    transcript = audio.get("transcript") if isinstance(audio, dict) else None
    if transcript and isinstance(transcript, str) and transcript != content:
        target.add_text(transcript)
    if not isinstance(audio, dict) or audio.get("data"):
        target.lose("audio")


def _add_reasoning(delta: dict[str, Any], target: PieceTarget) -> None:
    plain = next((value for name in REASONING_FIELDS if (value := delta.get(name))), "")
    details = delta.get("reasoning_details")
    blocks = delta.get("thinking_blocks")
    if not plain and not details and not blocks:
        if details is not None:
            target.add_thinking("", ())  # an empty list that is spelled out may have to be given back
        return
    entries = [_typed(entry) for entry in _listed(details, "reasoning")]
    entries = entries or [_to_entry(block) for block in _list(blocks, "thinking")]
    if not all(map(_is_entry, entries)):
        raise UpstreamError("The upstream sent reasoning of an unknown shape.")
    text = plain if isinstance(plain, str) else _reasoning_text(plain, target)
    if text or entries:
        target.add_thinking(text, entries)


def _reasoning_text(value: Any, target: PieceTarget) -> str:
    """Reasoning that is no text: an object with one (Envoy's gateway), or the request's own settings echoed."""
    if isinstance(value, list):
        return "".join([_reasoning_text(part, target) if isinstance(part, dict) else to_string(part) for part in value])
    if not isinstance(value, dict):
        raise UpstreamError("The upstream sent reasoning of an unknown shape.")
    text = next((text for name in REASONING_TEXTS if (text := to_string(value.get(name)))), "")
    if not text and not value.keys() <= REASONING_SETTINGS:
        target.lose("reasoning of an unknown shape")
    return text


def _to_entry(block: Any) -> Any:
    """A thinking block of Anthropic's, which LiteLLM puts beside the reasoning, as a reasoning detail."""
    match block:
        case {"type": "thinking", "thinking": str(text)}:
            signature = to_string(block.get("signature")) or None
            return {"type": "reasoning.text", "text": text, "signature": signature, "format": CLAUDE_FORMAT}
        case {"type": "redacted_thinking", "data": str(data)}:
            return {"type": "reasoning.encrypted", "data": data, "format": CLAUDE_FORMAT}
        case _:
            return None


def _typed(entry: Any) -> Any:
    """A reasoning detail; one that has a text and no type is a text."""
    if isinstance(entry, dict) and "type" not in entry and isinstance(entry.get("text"), str):
        return {"type": "reasoning.text", **entry}
    return entry


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _add_call(call: Any, target: PieceTarget) -> None:
    if call is None:
        return
    if not isinstance(call, dict):
        raise UpstreamError("The upstream sent a tool call of an unknown shape.")
    function = call.get("function") or call  # some servers leave out the level between
    if not isinstance(function, dict):
        raise UpstreamError("The upstream sent a tool call of an unknown shape.")
    index, extra_content = call.get("index"), call.get("extra_content")
    if extra_content and isinstance(extra_content, dict):
        call_id = to_string(call.get("id"))
        if call_id or not function.get("name"):  # without either it belongs to the call before
            target.add_thinking("", [to_call_entry(call_id, extra_content)])
        else:
            target.lose("signature of a call without an id")
    target.add_tool(
        _to_index(index),
        to_string(call.get("id")),
        to_string(function.get("name")),
        _arguments(next((function[name] for name in ARGUMENTS if function.get(name) is not None), None)),
    )


def _to_index(value: Any) -> int | None:
    """Some servers write it as a text, or as a float."""
    if type(value) is int:
        return value
    if isinstance(value, (str, float)) and INDEX.fullmatch(str(value)):
        return int(float(value))
    return None


def _arguments(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()  # an object, as Ollama sends it; anything else is refused as no object
    except orjson.JSONEncodeError:
        raise UpstreamError("The upstream sent tool arguments that nest too deeply.") from None


def _listed(value: Any, what: str) -> list[Any]:
    """Return a list; a single value becomes a list of one."""
    return [value] if isinstance(value, dict) and value else _list(value, what)


def _list(value: Any, what: str) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise UpstreamError(f"The upstream sent {what} of an unknown shape.")
