"""Streams of OpenAI's Responses API, built from their items."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 10},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 8},
    "total_tokens": 50,
}
REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Second."}],
    "encrypted_content": "ENC==",
}
MESSAGE: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello wörld", "annotations": []}],
}
CALLS: list[dict[str, Any]] = [
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "read", "arguments": '{"path":"a \\"b\\""}'},
    {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "list", "arguments": "{}"},
]
CUSTOM: dict[str, Any] = {
    "type": "custom_tool_call", "id": "ct_1", "call_id": "call_3", "name": "patch", "input": 'line "1"\nline 2 \\ é',
}  # fmt: skip

# An item's fields before its deltas.
STARTED: dict[str, dict[str, Any]] = {
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
    "message": {"content": []},
}


def response(items: Sequence[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    base = {"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-6-2026", "error": None}
    return {**base, "output": list(items), "usage": USAGE, "incomplete_details": None, **fields}


def to_stream(items: Sequence[dict[str, Any]], end: str = "completed", **fields: Any) -> bytes:
    """Return the whole stream, with deltas of three letters."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps({**event, "sequence_number": number}))
        for number, event in enumerate(events(items, end, **fields))
    )


def events(items: Sequence[dict[str, Any]], end: str = "completed", **fields: Any) -> Iterator[dict[str, Any]]:
    begun = response([], status="in_progress", usage=None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(items):
        place = {"output_index": index, "item_id": item["id"]}
        started = {**item, **STARTED.get(item["type"], {"summary": [], "encrypted_content": None})}
        yield {"type": "response.output_item.added", "output_index": index, "item": started}
        for kind, extra, text in deltas(item):
            for start in range(0, len(text), 3):
                yield {"type": f"response.{kind}.delta", **place, **extra, "delta": text[start : start + 3]}
            yield {"type": f"response.{kind}.done", **place, **extra, "text": text}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{end}", "response": response(items, status=end, **fields)}


def deltas(item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    match item["type"]:
        case "message":
            for index, part in enumerate(item["content"]):
                yield "output_text", {"content_index": index}, part["text"]
        case "reasoning":
            for index, part in enumerate(item["summary"]):
                yield "reasoning_summary_text", {"summary_index": index}, part["text"]
        case "function_call":
            yield "function_call_arguments", {}, item["arguments"]
        case "custom_tool_call":
            yield "custom_tool_call_input", {}, item["input"]
