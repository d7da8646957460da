"""The request bodies as a client of chat completions sends them: the same content in the other API."""

import json
from typing import Any

Body = dict[str, Any]

PATH = "/v1/chat/completions"
# What a sound answer holds, by what one of Messages holds.
EXPECTED = {"message_stop": "[DONE]"}


def to_chat(body: Body) -> Body:
    """Return a body of Messages as one of chat completions; parameters that chat has not are left out."""
    messages: list[Body] = []
    if "system" in body:
        messages.append({"role": "system", "content": "\n\n".join([block["text"] for block in body["system"]])})
    for message in body["messages"]:
        messages += _to_messages(message["role"], message["content"])
    kept = {name: body[name] for name in ("model", "max_tokens", "temperature", "stream") if name in body}
    tools = [
        {
            "type": "function",
            "function": {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]},
        }
        for tool in body.get("tools", ())
    ]
    return kept | {"messages": messages} | ({"tools": tools} if tools else {})


def _to_messages(role: str, content: Any) -> list[Body]:
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    results = [
        {"role": "tool", "tool_call_id": block["tool_use_id"], "content": _text_of(block["content"])}
        for block in content
        if block["type"] == "tool_result"
    ]
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": _json(block["input"])},
        }
        for block in content
        if block["type"] == "tool_use"
    ]
    parts = [part for block in content for part in _to_parts(block)]
    rest = [{"role": role, "content": parts} | ({"tool_calls": calls} if calls else {})] if parts or calls else []
    return [*results, *rest]


def _to_parts(block: Body) -> list[Body]:
    if block["type"] == "text":
        return [{"type": "text", "text": block["text"]}]
    if block["type"] == "image":
        source = block["source"]
        return [{"type": "image_url", "image_url": {"url": f"data:{source['media_type']};base64,{source['data']}"}}]
    return []


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join([block["text"] for block in content])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
