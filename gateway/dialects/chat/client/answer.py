"""A message as a chat completion."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.dialects.chat.response.images import to_image_part
from gateway.dialects.clients.citations import to_annotations, to_entries
from gateway.dialects.clients.tools import ToolRegistry, to_custom_input
from gateway.dialects.clients.turns import to_arguments
from gateway.dialects.clients.usage import to_chat_usage

BETWEEN_THOUGHTS: Final = "\n\n"
FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def to_completion(message: Mapping[str, Any], tools: ToolRegistry, created: int) -> dict[str, Any]:
    """Return the completion. `created`: seconds since 1970."""
    texts: list[str] = []
    annotations: list[dict[str, Any]] = []
    thoughts: list[str] = []
    details: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    images = [to_image_part(block) for block in message["content"] if block["type"] == "image"]
    for block in message["content"]:
        match block["type"]:
            case "text":
                start = sum(map(len, texts))
                annotations += to_entries(to_annotations(block.get("citations"), start, start + len(block["text"])))
                texts.append(block["text"])
            case "thinking":
                thoughts += [block["thinking"]] if block["thinking"] else []  # some thoughts are a signature alone
                details.append(to_text_entry(block["thinking"], block.get("signature", ""), len(details)))
            case "redacted_thinking":
                details.append(to_encrypted_entry(block["data"], len(details)))
            case "tool_use":
                calls.append(to_call(block["id"], block["name"], orjson.dumps(block["input"]).decode(), tools))
    answer: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    answer["refusal"] = (message.get("stop_details") or {}).get("explanation")
    if thoughts:
        answer["reasoning_content"] = BETWEEN_THOUGHTS.join(thoughts)
    lists = {"reasoning_details": details, "annotations": annotations, "images": images, "tool_calls": calls}
    answer |= {name: entries for name, entries in lists.items() if entries}
    choice = {"index": 0, "message": answer, "logprobs": message.get("logprobs")}
    choice["finish_reason"] = to_finish_reason(message.get("stop_reason"))
    completion = {
        "id": to_completion_id(message["id"]),
        "object": "chat.completion",
        "created": created,
        "model": message["model"],
        "choices": [choice],
        "usage": to_chat_usage(message["usage"]),
    }
    if message.get("system_fingerprint") is not None:
        completion["system_fingerprint"] = message["system_fingerprint"]
    return completion


def to_completion_id(message_id: str) -> str:
    return "chatcmpl-" + message_id.removeprefix("msg_")


def to_finish_reason(stop_reason: object) -> str:
    """Return a reason in any case: without one, opencode 1.18.33 repeats its request without end."""
    return FINISH_REASONS.get(str(stop_reason), "stop")


def to_call(call_id: str, flat: str, arguments: str, tools: ToolRegistry) -> dict[str, Any]:
    """Return a call of the tool that the client declared under this name."""
    tool = tools.find(flat)
    if tool.kind == "custom":
        text = to_custom_input(to_arguments(arguments)[0])
        return {"id": call_id, "type": "custom", "custom": {"name": tool.name, "input": text}}
    return {"id": call_id, "type": "function", "function": {"name": tool.name, "arguments": arguments}}


def to_text_entry(text: str, signature: str, index: int) -> dict[str, Any]:
    """Return an entry of `reasoning_details`, in OpenRouter's form: a thinking block that the client may give back."""
    return {"type": "reasoning.text", "text": text, "signature": signature, "index": index}


def to_encrypted_entry(data: str, index: int) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": data, "index": index}
