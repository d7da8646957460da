"""Messages of a chat request as items of a Responses request."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import orjson

from gateway.errors import InvalidRequest
from gateway.messages.notes import Note
from gateway.messages.openai_breakpoints import OPENAI_BREAKPOINT
from gateway.schemas.openai import ContentPart
from gateway.schemas.responses import InputPart, ReasoningItem, ResponseItem

# Of tokens; OpenAI refuses less (its API's errors, 2026).
LEAST_OUTPUT = 16
# Settings of reasoning beside its effort, which only OpenAI's Responses have.
REASONING_SETTINGS = ("summary", "context", "mode")
# The name of the text in the input of a custom tool's call: `tool_use` blocks have an object there.
CUSTOM_INPUT = "input"
LOST_REASONING = Note("dropped", "messages.thinking", "the API refuses reasoning without the item that followed it")


def to_items(
    messages: Sequence[Any], custom_tools: frozenset[str], notes: list[Note], *, has_phases: bool = False
) -> list[ResponseItem]:
    """Raises InvalidRequest for media that Responses has no part for. `custom_tools`: names of tools without schema.

    A note of reasoning that is left out is added to `notes`.

    `has_phases`: the model is told which of its messages were comments on the way to its final answer. OpenAI's guide
    asks for it from gpt-5.3-codex on; Messages has no such field, but a text in front of calls is a comment.
    """
    items: list[ResponseItem] = []
    custom_calls: set[str] = set()
    for message in messages:
        match message["role"]:
            case "assistant":
                turn = _to_turn(message, custom_tools, custom_calls, has_phases=has_phases)
                if turn and turn[-1]["type"] == "reasoning":
                    turn = []
                    notes += [LOST_REASONING] if LOST_REASONING not in notes else []
                items += turn
            case "tool":
                call_id = message["tool_call_id"]
                output = _to_content(message["content"])
                is_custom = call_id in custom_calls
                kind = "custom_tool_call_output" if is_custom else "function_call_output"
                items.append(cast(Any, {"type": kind, "call_id": call_id, "output": output}))
            case role:
                content = _to_content(message["content"])
                if content:
                    items.append(cast(Any, {"type": "message", "role": role, "content": content}))
    return items


def _to_turn(
    message: Mapping[str, Any], custom_tools: frozenset[str], custom_calls: set[str], *, has_phases: bool
) -> list[ResponseItem]:
    """One assistant message: its reasoning, its text, its calls."""
    said: list[Any] = []
    parts = message.get("content") or ""
    parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
    # Media that the assistant made cannot be given back, and chat upstreams get none either.
    texts = [part["text"] for part in parts if part.get("type") == "text" and part["text"]]
    if texts:
        output = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
        phase = {"phase": "commentary" if message.get("tool_calls") else "final_answer"} if has_phases else {}
        said.append({"type": "message", "role": "assistant", "content": output, "status": "completed", **phase})
    for call in message.get("tool_calls") or ():
        function = call["function"]
        item = {"type": "function_call", "call_id": call["id"], "name": function["name"]}
        # Calls of a custom tool must come back as such, or the API refuses the result.
        if function["name"] in custom_tools:
            custom_calls.add(call["id"])
            item |= {"type": "custom_tool_call", "input": _to_custom_input(function["arguments"])}
        else:
            item |= {"arguments": function["arguments"]}
        said.append(item)
    plain = message.get("reasoning") or message.get("reasoning_content")
    reasoning = list(to_reasoning_items(message.get("reasoning_details") or ()))
    if plain and not reasoning:
        content = [{"type": "reasoning_text", "text": plain}]
        reasoning = [cast(ReasoningItem, {"type": "reasoning", "summary": [], "content": content})]
    return [*reasoning, *said]


def to_reasoning_items(entries: Sequence[Mapping[str, Any]]) -> Iterator[ReasoningItem]:
    """Entries with one id are the parts of one item."""
    # OpenAI refuses two items with one id.
    grouped: dict[Any, list[Mapping[str, Any]]] = {}
    for entry in entries:
        grouped.setdefault(entry.get("id") or None, []).append(entry)
    for item_id, parts in grouped.items():
        item: Any = {"type": "reasoning", "id": item_id, "summary": []}
        for part in parts:
            match part.get("type"):
                case "reasoning.summary":
                    item["summary"].append({"type": "summary_text", "text": part.get("summary") or ""})
                case "reasoning.text":
                    text = {"type": "reasoning_text", "text": part.get("text") or ""}
                    item.setdefault("content", []).append(text)
                case "reasoning.encrypted":
                    item["encrypted_content"] = part.get("data")
        # The id is optional, and neither null nor an empty text is one.
        if item_id is None:
            del item["id"]
        yield item


def _to_custom_input(arguments: str) -> str:
    """The text of a custom tool's call, which its `tool_use` block holds in an object."""
    value = orjson.loads(arguments)
    text = value.get(CUSTOM_INPUT) if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def _to_content(content: Any) -> str | list[InputPart]:
    return content if isinstance(content, str) else [_to_part(part) for part in content or ()]


def _to_part(part: ContentPart) -> InputPart:
    fields: Any = part
    marked = {OPENAI_BREAKPOINT: fields[OPENAI_BREAKPOINT]} if OPENAI_BREAKPOINT in fields else {}
    return cast(InputPart, {**_to_unmarked(part, fields), **marked})


def _to_unmarked(part: ContentPart, fields: Any) -> InputPart:
    match part["type"]:
        case "text":
            return {"type": "input_text", "text": fields["text"]}
        case "image_url":
            image = fields["image_url"]
            return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
        case "file":
            file = fields["file"]
            data = file["file_data"]
            if not data.startswith("data:"):
                # A URL of the client: the upstream fetches it.
                return {"type": "input_file", "file_url": data}
            return {"type": "input_file", "filename": file["filename"], "file_data": data}
        case other:
            raise InvalidRequest(f"messages: this upstream takes no content of type {other!r}")
