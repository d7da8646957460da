"""Blocks of a message as items of a response, and the response around them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from gateway.dialects.clients.citations import to_annotations, to_parts
from gateway.dialects.clients.tools import ToolRegistry, to_custom_input
from gateway.dialects.clients.turns import to_arguments
from gateway.dialects.clients.usage import to_responses_usage
from gateway.dialects.responses.client.refusal import is_refused, with_refusal, words_of
from gateway.dialects.responses.client.sealed import seal_block, seal_summary

ItemStatus = Literal["in_progress", "completed", "incomplete"]

# Stop reasons of a message that is incomplete → OpenAI's word for them.
INCOMPLETE: Final = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
}


@dataclass(frozen=True, slots=True)
class ResponseFacts:
    """Fields repeated in every event. `created`: seconds since 1970. `echoed`: parameters of the request."""

    created: int
    echoed: Mapping[str, Any] = field(repr=False)

    @property
    def has_format(self) -> bool:
        """Whether the text is to be JSON."""
        wanted = (self.echoed.get("text") or {}).get("format") or {}
        return bool(wanted.get("type", "text") != "text")


def to_response(
    message: Mapping[str, Any], tools: ToolRegistry, facts: ResponseFacts, *, compacts: bool
) -> dict[str, Any]:
    """Return the whole response for a message."""
    if compacts:
        output = [to_compaction(to_text(message), message["id"])]
        return to_response_object(message, facts, "completed", output, message["usage"])
    blocks = [block for block in message["content"] if block["type"] in ITEM_PREFIXES]
    reason = INCOMPLETE.get(str(message.get("stop_reason")))
    output = []
    for index, block in enumerate(blocks):
        is_cut = reason is not None and index == len(blocks) - 1 and block["type"] == "tool_use"
        status: ItemStatus = "incomplete" if is_cut else "completed"
        output.append(to_item(block, item_id(block, message["id"], index, tools), tools, status))
    if is_refused(message):
        output = with_refusal(output, words_of(message), message["id"])
    return to_response_object(message, facts, "incomplete" if reason else "completed", output, message["usage"], reason)


def to_response_object(
    message: Mapping[str, Any],
    facts: ResponseFacts,
    status: str,
    output: list[dict[str, Any]],
    usage: Mapping[str, Any] | None = None,
    reason: str | None = None,
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a response in any state, with all fields of the SDKs' types. `message` may be empty for an error."""
    return {
        "id": "resp_" + str(message.get("id", "")).removeprefix("msg_"),
        "object": "response",
        "created_at": facts.created,
        "status": status,
        "error": error,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": message.get("model"),
        "output": output,
        "previous_response_id": None,
        "store": False,
        "tools": [],
        "truncation": "disabled",
        "usage": to_responses_usage(usage) if usage is not None else None,
        **facts.echoed,
    }


def to_echoed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a response repeats; the SDKs' types require most of them."""
    return {
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "top_p": body.get("top_p", 1.0),
    }


ITEM_PREFIXES: Final = {"thinking": "rs", "redacted_thinking": "rs", "text": "msg", "tool_use": "fc", "image": "ig"}
CALL_PREFIXES: Final = {"function": "fc", "custom": "ctc", "tool_search": "tsc"}


def item_id(block: Mapping[str, Any], message_id: str, index: int, tools: ToolRegistry) -> str:
    """Return the id of an item, the same in all events of a response."""
    prefix = ITEM_PREFIXES[block["type"]]
    if block["type"] == "tool_use":
        prefix = CALL_PREFIXES[tools.find(block["name"]).kind]
    return f"{prefix}_{message_id.removeprefix('msg_')}_{index}"


def to_item(block: Mapping[str, Any], identifier: str, tools: ToolRegistry, status: ItemStatus) -> dict[str, Any]:
    """Return the item of a block. The input of a `tool_use` block may be JSON text, as it is streamed."""
    match block["type"]:
        case "text":
            content = [to_text_part(block["text"], block.get("citations"))] if status != "in_progress" else []
            return {"id": identifier, "type": "message", "status": status, "role": "assistant", "content": content}
        case "tool_use":
            return _to_call(block, identifier, tools, status)
        case "image":
            source = block["source"]
            result = (source.get("data") or source.get("url")) if status != "in_progress" else None
            return {"id": identifier, "type": "image_generation_call", "status": status, "result": result}
        case _:
            summary = [{"type": "summary_text", "text": block["thinking"]}] if block.get("thinking") else []
            return {
                "id": identifier,
                "type": "reasoning",
                "status": status,
                "summary": summary,
                "encrypted_content": seal_block(dict(block)) if status != "in_progress" else None,
            }


def _to_call(block: Mapping[str, Any], identifier: str, tools: ToolRegistry, status: ItemStatus) -> dict[str, Any]:
    tool, written = tools.find(block["name"]), block["input"]
    text = written if isinstance(written, str) else orjson.dumps(written).decode()
    call: dict[str, Any] = {"id": identifier, "status": status, "call_id": block["id"]}
    match tool.kind:
        case "function":
            call |= {"type": "function_call", "name": tool.name, "arguments": text}
        case "custom":
            raw = to_custom_input(to_arguments(text)[0]) if status != "in_progress" else ""
            call |= {"type": "custom_tool_call", "name": tool.name, "input": raw}
        case "tool_search":
            return call | {"type": "tool_search_call", "execution": "client", "arguments": to_arguments(text)[0]}
    return call | ({"namespace": tool.namespace} if tool.namespace is not None else {})


def to_text_part(text: str, citations: object = None) -> dict[str, Any]:
    annotations = to_parts(to_annotations(citations, 0, len(text)))
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def to_compaction(summary: str, message_id: str) -> dict[str, Any]:
    """Return the one item that answers a compaction trigger (Codex 0.171.0)."""
    identifier = "cmp_" + message_id.removeprefix("msg_")
    return {"type": "compaction", "id": identifier, "encrypted_content": seal_summary(summary)}


def to_text(message: Mapping[str, Any]) -> str:
    return "".join([block["text"] for block in message["content"] if block["type"] == "text"])
