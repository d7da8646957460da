"""Requests in each API for clients, and what a strict client reads of the answers."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.dialects.responses.client.refusal import NO_WORDS

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "command": {"type": "string"}}}
NAMES = ("get_weather", "run", "look")
FINISHES = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
FUNCTIONS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": (
        "/v1/messages",
        {
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": name, "input_schema": SCHEMA} for name in NAMES],
        },
    ),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "tools": FUNCTIONS}),
    "responses": (
        "/v1/responses",
        {"input": "hi", "tools": [{"type": "function", **function["function"]} for function in FUNCTIONS]},
    ),
}


@dataclass(slots=True)
class Read:
    """`error`: the status, or the type of an error within a stream."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    stop: str = ""
    error: Any = 0
    output: int | None = None


def to_input(arguments: str, *, is_cut: bool) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        assert is_cut, f"the arguments of a whole call are no JSON: {arguments}"
        return "cut"


def events_of(data: bytes) -> list[dict[str, Any]]:
    events = []
    for block in data.split(b"\n\n"):
        lines = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
        assert len(lines) <= 1, block
        if lines and lines[0] != b"[DONE]":
            events.append(orjson.loads(lines[0]))
    return events


def read_messages(data: bytes, *, stream: bool) -> Read:
    read = Read()
    message = fold_messages(data, read) if stream else orjson.loads(data)
    for block in message["content"]:
        match block["type"]:
            case "text":
                assert block["text"].strip(), "a text block that could not be given back"
                read.text += block["text"]
            case "thinking":
                assert "signature" in block
                read.thinking += block["thinking"]
            case "tool_use":
                assert isinstance(block["input"], dict)
                cut = message["stop_reason"] == "max_tokens"
                read.calls.append((block["name"], "cut" if cut else block["input"]))
    read.stop = message["stop_reason"] or ""
    read.output = message["usage"]["output_tokens"]
    if not stream:
        assert isinstance(message["usage"]["input_tokens"], int)
    return read


def fold_messages(data: bytes, read: Read) -> dict[str, Any]:
    message: dict[str, Any] = {"content": [], "stop_reason": None, "usage": {"output_tokens": 0}}
    opened: int | None = None
    pieces: list[str] = []
    kinds = []
    for event in events_of(data):
        kinds += [event["type"]] if event["type"] != "ping" else []
        match event["type"]:
            case "message_start":
                message |= event["message"]
                assert message["content"] == []
                assert isinstance(message["usage"]["input_tokens"], int)
            case "content_block_start":
                assert opened is None
                assert event["index"] == len(message["content"])
                opened = event["index"]
                message["content"].append(dict(event["content_block"]))
                pieces = []
            case "content_block_delta":
                assert event["index"] == opened
                _fold_delta(message["content"][-1], event["delta"], pieces)
            case "content_block_stop":
                assert event["index"] == opened
                opened = None
                if pieces:
                    cut = True  # checked by the caller
                    message["content"][-1]["input"] = to_input("".join(pieces), is_cut=cut)
            case "message_delta":
                message |= {name: value for name, value in event["delta"].items() if value is not None}
                message["usage"] = {**message["usage"], **event["usage"]}
            case "error":
                read.error = event["error"]["type"]
    for block in message["content"]:
        if block["type"] == "tool_use" and block["input"] == "cut":
            block["input"] = {}
            assert message["stop_reason"] in ("max_tokens", None), "a whole call is no JSON"
    if not read.error:
        assert kinds[0] == "message_start"
        assert kinds[-2:] == ["message_delta", "message_stop"]
    return message


def _fold_delta(block: dict[str, Any], delta: dict[str, Any], pieces: list[str]) -> None:
    kinds = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "tool_use"}
    kind = kinds.get(delta["type"])
    assert kind in (None, block["type"])
    if kind == "tool_use":
        pieces.append(delta["partial_json"])
    elif kind is not None:
        block[kind] += delta[kind]
    elif delta["type"] == "signature_delta":
        block["signature"] = delta["signature"]


def read_chat(data: bytes, *, stream: bool) -> Read:
    read = Read()
    if stream:
        choice, usage = fold_chat(data, read)
    else:
        whole = orjson.loads(data)
        choice, usage = whole["choices"][0], whole.get("usage")
        assert len(whole["choices"]) == 1
        choice["message"]["detailed"] = ""
    message, reason = choice["message"], choice["finish_reason"]
    assert message.get("content") is None or isinstance(message["content"], str)
    read.text = message.get("content") or message.get("refusal") or ""
    read.thinking = message.get("reasoning_content") or message.get("reasoning") or message["detailed"]
    read.text = read.text if message.get("tool_calls") is None else read.text.strip()
    for call in message.get("tool_calls") or ():
        assert call["id"]
        assert call["type"] == "function"
        is_cut = reason in ("length", None)
        given = to_input(call["function"]["arguments"], is_cut=is_cut)
        read.calls.append((call["function"]["name"], "cut" if is_cut else given))
    read.stop = "refusal" if message.get("refusal") else FINISHES[reason] if reason else ""
    read.output = (usage or {}).get("completion_tokens")
    return read


def fold_chat(data: bytes, read: Read) -> tuple[dict[str, Any], Any]:
    message: dict[str, Any] = {"content": "", "refusal": "", "tool_calls": [], "detailed": ""}
    names: set[str] = set()
    reason, usage, is_over = None, None, False
    for chunk in events_of(data):
        if "error" in chunk:
            read.error = chunk["error"].get("code") or chunk["error"].get("type") or "error"
            continue
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            assert delta.get("role") in (None, "assistant"), delta
            assert not is_over or not any(delta.values()), "content behind the finish reason"
            message["content"] += delta.get("content") or ""
            message["refusal"] += delta.get("refusal") or ""
            for entry in delta.get("reasoning_details") or ():
                message["detailed"] += entry.get("text") or ""
            for name in ("reasoning_content", "reasoning"):
                if delta.get(name):
                    names.add(name)
                    message[name] = message.get(name, "") + delta[name]
            _fold_calls(message["tool_calls"], delta.get("tool_calls") or ())
            if choice.get("finish_reason"):
                assert not is_over, "two finish reasons"
                reason, is_over = choice["finish_reason"], True
    assert read.error or (is_over and data.endswith(b"data: [DONE]\n\n")), data[-300:]
    return {"message": message, "finish_reason": reason}, usage


def _fold_calls(calls: list[dict[str, Any]], pieces: Any) -> None:
    for piece in pieces:
        index, function = piece["index"], piece["function"]
        if index == len(calls):
            calls.append(
                {"id": piece["id"], "type": piece["type"], "function": {"name": function["name"], "arguments": ""}}
            )
        else:
            assert index == len(calls) - 1, "pieces of another call"
            assert not function.get("name"), "a name twice"
            assert not piece.get("id"), "an id twice"
        calls[index]["function"]["arguments"] += function.get("arguments") or ""


def read_responses(data: bytes, *, stream: bool) -> Read:
    read = Read()
    response = fold_responses(data, read) if stream else orjson.loads(data)
    if response is None:
        return read
    if response["status"] == "failed":
        read.error = response["error"]["code"]
    cut = response["status"] == "incomplete"
    for item in response["output"]:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    read.text += part.get("text") or ""
                    if not read.text and part.get("refusal") != NO_WORDS:
                        read.text = part.get("refusal") or ""
                    read.stop = "refusal" if part["type"] == "refusal" else read.stop
            case "reasoning":
                parts = item.get("content") or item["summary"]
                read.thinking += "".join([part["text"] for part in parts])
            case "function_call":
                assert item["call_id"]
                is_cut = item.get("status") == "incomplete" or bool(read.error)
                read.calls.append((item["name"], "cut" if is_cut else to_input(item["arguments"], is_cut=cut)))
    if cut:
        reasons = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}
        read.stop = reasons[response["incomplete_details"]["reason"]]
    elif not read.stop:
        read.stop = "tool_use" if read.calls else "end_turn"
    read.output = (response.get("usage") or {}).get("output_tokens")
    return read


def fold_responses(data: bytes, read: Read) -> dict[str, Any] | None:
    text, items = "", set()
    last = None
    for event in events_of(data):
        match event["type"]:
            case "response.output_item.added":
                items.add(event["item"]["id"])
            case "response.output_text.delta":
                assert event["item_id"] in items, "a delta of an item that was not announced"
                text += event["delta"]
            case "error":
                read.error = event.get("code") or "error"
            case "response.completed" | "response.incomplete" | "response.failed":
                last = event["response"]
                if last["status"] != "failed":
                    parts = [part for item in last["output"] if item["type"] == "message" for part in item["content"]]
                    said = [part.get("text") or "" for part in parts]
                    refused = [part.get("refusal") for part in parts]
                    assert text in ("".join(said), *refused), "deltas and the response differ"
    if last is not None and last["status"] == "failed":
        read.text = text
    return last


READERS = {"messages": read_messages, "chat": read_chat, "responses": read_responses}
