"""Anthropic's Messages of the simulator: strict requests in, whole messages or events out.

A request is checked as by Anthropic's API, read as a chat request, and answered by the simulated OpenRouter models.
Their answer is then converted to a message.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import orjson

from gateway.errors import InvalidRequest
from gateway.messages.replay import to_events
from gateway.messages.validation import check_count_tokens_request, check_messages_request
from gateway.messages.validation.unknown_keys import to_note
from gateway.simulator.behaviours import THOUGHT, replay_fault
from gateway.simulator.broken_streams import broken, error_status, sound_model
from gateway.simulator.models import to_script
from gateway.simulator.prompt import SimulatedPrompt, to_prompt
from gateway.simulator.script import Script, converted, json_script
from gateway.simulator.shapes import Generation, Json, to_signature, to_tokens

VERSION = "2023-06-01"
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
STOP_REASONS = {"tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
THINKING = frozenset({"thinking", "redacted_thinking"})
EVENT_END = b"\n\n"
BROKEN = "Overloaded"
ERROR_EVENT = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},'
    b'"request_id":"req_simulator"}\n\n'
)


def to_message_script(body: bytes, betas: frozenset[str], number: int, created: int) -> Script:
    """Answer `POST /messages`. `number` counts answers, `created` is in Unix seconds."""
    try:
        request, notes = check_messages_request(orjson.loads(body), version=VERSION, betas=betas)
        prompt = to_prompt(to_chat(request))
        generation = Generation(number, created, prompt.model)
        unknown = next((note for note in notes if note == to_note(note.field)), None)
        if unknown is not None:
            return to_refusal(400, f"{unknown.field}: Extra inputs are not permitted")
        fault = replay_fault(prompt) or _thinking_fault(request)
        if fault is not None:
            return to_refusal(400, fault)
        status = error_status(prompt.model, streamed=prompt.streamed)
        if status is not None:
            return to_refusal(status, BROKEN)
        script = to_script(replace(prompt, model=sound_model(prompt.model), streamed=False), generation)
    except orjson.JSONDecodeError:
        return to_refusal(400, "The request body is not valid JSON.")
    except InvalidRequest as error:
        return to_refusal(error.status, error.message)
    if script.status != 200:
        failure = orjson.loads(b"".join(step for step in script.steps if isinstance(step, bytes)))["error"]
        return to_refusal(script.status, str(failure["message"]))
    thinking = request.get("thinking")
    thinks = thinking is not None and thinking["type"] in ("adaptive", "enabled")
    converted_script = _to_own_script(script, prompt, generation, thinks=thinks)
    return broken(converted_script, prompt.model, ERROR_EVENT, streamed=prompt.streamed)


def to_count_script(body: bytes, betas: frozenset[str]) -> Script:
    """Answer `POST /messages/count_tokens`."""
    try:
        request, _ = check_count_tokens_request(orjson.loads(body), version=VERSION, betas=betas)
        return json_script({"input_tokens": to_prompt(to_chat(request)).tokens})
    except orjson.JSONDecodeError:
        return to_refusal(400, "The request body is not valid JSON.")
    except InvalidRequest as error:
        return to_refusal(error.status, error.message)


def to_refusal(status: int, message: str) -> Script:
    error = {"type": ERROR_TYPES.get(status, "api_error"), "message": message}
    return json_script({"type": "error", "error": error, "request_id": "req_simulator"}, status=status)


def to_chat(request: Mapping[str, Any]) -> Json:
    """Convert the request to a chat request for the simulated models."""
    system = request.get("system")
    messages: list[Json] = [{"role": "system", "content": _text_of(system)}] if system else []
    for message in request["messages"]:
        blocks = _blocks(message["content"])
        if message["role"] == "assistant":
            messages.append(_to_turn(blocks))
        else:
            messages += _to_user_messages(message["role"], blocks)
    choice = request.get("tool_choice") or {}
    schema = ((request.get("output_config") or {}).get("format") or {}).get("schema")
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}} if schema else None
    return {
        "model": request["model"],
        "messages": messages,
        "stream": request.get("stream", False),
        "max_tokens": request.get("max_tokens") or 1,
        "stop": request.get("stop_sequences") or [],
        "tools": [_to_tool(tool) for tool in request.get("tools") or ()],
        "tool_choice": _to_choice(choice),
        "parallel_tool_calls": not choice.get("disable_parallel_tool_use", False),
        "response_format": wanted,
    }


def _to_turn(blocks: list[Any]) -> Json:
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    details = [
        {"type": "reasoning.text", "text": block["thinking"], "signature": block["signature"]}
        for block in blocks
        if block["type"] == "thinking"
    ]
    return {"role": "assistant", "content": _text_of(blocks), "tool_calls": calls, "reasoning_details": details}


def _to_user_messages(role: str, blocks: list[Any]) -> Iterator[Json]:
    """Return results first, since Anthropic accepts them only at the start of a message."""
    for block in blocks:
        if block["type"] == "tool_result":
            content = _text_of(block.get("content") or "")
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}
    text = _text_of(blocks)
    if text or not any(block["type"] == "tool_result" for block in blocks):
        yield {"role": role, "content": text}


def _to_tool(tool: Mapping[str, Any]) -> Json:
    """Convert a tool. Anthropic's own tools have a type instead of a schema."""
    return {
        "type": "function",
        "function": {"name": tool.get("name") or tool["type"], "parameters": tool.get("input_schema") or {}},
    }


def _to_choice(choice: Mapping[str, Any]) -> Any:
    if choice.get("type") == "tool":
        return {"type": "function", "function": {"name": choice["name"]}}
    return {"any": "required", "none": "none"}.get(str(choice.get("type")), "auto")


def _thinking_fault(request: Mapping[str, Any]) -> str | None:
    """Return the refusal of a turn with calls that lacks the thinking before them; None if it is correct."""
    kind = (request.get("thinking") or {}).get("type")
    messages = request["messages"]
    if kind != "enabled" or len(messages) < 2:
        return None
    results, turn = _blocks(messages[-1]["content"]), _blocks(messages[-2]["content"])
    if not any(block["type"] == "tool_result" for block in results) or not turn or turn[0]["type"] in THINKING:
        return None
    place = f"messages.{len(messages) - 2}.content.0.type"
    return f"{place}: Expected `thinking` or `redacted_thinking`, but found `{turn[0]['type']}`."


def _to_own_script(script: Script, prompt: SimulatedPrompt, generation: Generation, *, thinks: bool) -> Script:
    """Convert the chat answer to a message or its events."""

    def pieces(completion: Json) -> list[bytes]:
        message = _to_message(completion, prompt, generation, thinks=thinks)
        if not prompt.streamed:
            return [orjson.dumps(message)]
        return [event + EVENT_END for event in to_events(message).split(EVENT_END) if event]

    return converted(script, pieces, ("request-id", "req_simulator"), streamed=prompt.streamed)


def _to_message(completion: Json, prompt: SimulatedPrompt, generation: Generation, *, thinks: bool) -> Json:
    choice, usage = completion["choices"][0], completion["usage"]
    message = choice["message"]
    thought = message.get("reasoning") or (THOUGHT if thinks else "")
    content: list[Json] = []
    if thought:
        content.append({"type": "thinking", "thinking": thought, "signature": to_signature(thought)})
    if text := message.get("content") or message.get("refusal"):
        content.append({"type": "text", "text": text})
    for call in message.get("tool_calls") or ():
        arguments = orjson.loads(call["function"]["arguments"])
        content.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments})
    stopped = choice["native_finish_reason"] == "stop_sequence"
    return {
        "id": f"msg_{generation.created}_{generation.number}",
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": content,
        "stop_reason": "stop_sequence" if stopped else STOP_REASONS.get(choice["finish_reason"], "end_turn"),
        "stop_sequence": prompt.stop[0] if stopped else None,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": usage["completion_tokens"] + (0 if message.get("reasoning") else to_tokens(thought)),
        },
    }


def _blocks(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _text_of(content: Any) -> str:
    return "\n".join([cast(str, block["text"]) for block in _blocks(content) if block["type"] == "text"])
