"""OpenAI's Responses of the simulator: strict requests in, whole responses or events out.

Stateless only, as the gateway uses it. A request is read as a chat request and answered by the simulated OpenRouter
models. Reasoning is encrypted: an item that comes back has to be the simulator's own, and must not be the last one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.simulator.behaviours import THOUGHT
from gateway.simulator.broken_streams import broken, error_status, sound_model
from gateway.simulator.models import to_script
from gateway.simulator.prompt import SimulatedPrompt, to_prompt
from gateway.simulator.script import Script, converted, json_script
from gateway.simulator.shapes import Generation, Json, to_fragments, to_signature, to_thinking

FIELDS = frozenset(
    {
        *("background", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls"),
        *("metadata", "model", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream"),
        *("stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation"),
        *("user", "verbosity"),
    }
)
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
LEAST_OUTPUT = 16
ROLES = frozenset({"user", "assistant", "system", "developer"})
TEXT_PARTS = frozenset({"input_text", "output_text", "refusal", "text"})
MEDIA_PARTS = frozenset({"input_image", "input_file", "input_audio"})
CALL_TYPES = frozenset({"function_call", "custom_tool_call"})
BROKEN = "The server had an error while processing your request."
ERROR_EVENT = (
    b'event: error\ndata: {"type":"error","code":"server_error","message":"The server had an error while processing '
    b'your request.","param":null,"sequence_number":9}\n\n'
)
OUTPUT_TYPES = frozenset({"function_call_output", "custom_tool_call_output"})


def to_response_script(body: bytes, number: int, created: int) -> Script:
    """Answer `POST /responses`. `number` counts answers, `created` is in Unix seconds."""
    try:
        request = orjson.loads(body)
        _check(request)
        prompt = to_prompt(to_chat(request))
        generation = Generation(number, created, prompt.model)
        status = error_status(prompt.model, streamed=prompt.streamed)
        if status is not None:
            return to_refusal(status, BROKEN)
        script = to_script(replace(prompt, model=sound_model(prompt.model), streamed=False), generation)
    except orjson.JSONDecodeError:
        return to_refusal(400, "We could not parse the JSON body of your request.")
    except (AttributeError, KeyError, TypeError) as error:
        return to_refusal(400, f"Missing or malformed parameter: {error}.")
    except InvalidRequest as error:
        return to_refusal(400, error.message)
    if script.status != 200:
        failure = orjson.loads(b"".join(step for step in script.steps if isinstance(step, bytes)))["error"]
        return to_refusal(script.status, str(failure["message"]))
    converted_script = _to_own_script(script, request, prompt, generation)
    return broken(converted_script, prompt.model, ERROR_EVENT, streamed=prompt.streamed)


def to_refusal(status: int, message: str) -> Script:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return json_script({"error": {"message": message, "type": kind, "param": None, "code": None}}, status=status)


def _check(request: Json) -> None:
    """Raises InvalidRequest in the words of OpenAI's API."""
    unknown = sorted(request.keys() - FIELDS)
    if unknown:
        raise InvalidRequest(f"Unknown parameter: '{unknown[0]}'.")
    if request.get("previous_response_id") is not None:
        raise InvalidRequest(f"Previous response with id '{request['previous_response_id']}' not found.")
    most = request.get("max_output_tokens")
    if most is not None and most < LEAST_OUTPUT:
        raise InvalidRequest(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {LEAST_OUTPUT}, but got "
            f"{most} instead."
        )
    effort = (request.get("reasoning") or {}).get("effort")
    if effort is not None and effort not in EFFORTS:
        raise InvalidRequest(f"Invalid value: '{effort}'. Supported values are: {', '.join(sorted(EFFORTS))}.")
    for index, tool in enumerate(request.get("tools") or ()):
        if tool.get("type") in ("function", "custom") and "name" not in tool:
            raise InvalidRequest(f"Missing required parameter: 'tools[{index}].name'.")


def to_chat(request: Json) -> Json:
    """Convert the request to a chat request for the simulated models. Raises InvalidRequest."""
    instructions = request.get("instructions")
    messages: list[Json] = [{"role": "system", "content": instructions}] if instructions else []
    given = request["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for index, item in enumerate(items):
        _add_item(f"input[{index}]", item, items[index + 1 :], messages)
    wanted = (request.get("text") or {}).get("format")
    kind = (wanted or {}).get("type")
    response_format = {"type": kind, "json_schema": wanted} if kind else None
    choice = request.get("tool_choice") or "auto"
    named = {"type": "function", "function": {"name": choice.get("name")}} if isinstance(choice, dict) else choice
    return {
        "model": request["model"],
        "messages": messages,
        "stream": request.get("stream", False),
        "max_tokens": request.get("max_output_tokens"),
        "tools": [_to_tool(tool) for tool in request.get("tools") or () if tool.get("type") in ("function", "custom")],
        "tool_choice": named,
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "response_format": response_format,
    }


def _add_item(place: str, item: Json, following: list[Json], messages: list[Json]) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        if item["role"] not in ROLES:
            raise InvalidRequest(f"Invalid value: '{item['role']}'. Supported values are: {', '.join(sorted(ROLES))}.")
        text = _to_text(f"{place}.content", item["content"])
        if item["role"] == "assistant" and messages and messages[-1].get("reasoning_details"):
            messages[-1]["content"] = text
        else:
            messages.append({"role": item["role"], "content": text})
    elif kind in CALL_TYPES:
        if messages[-1:] == [] or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": None})
        arguments = item["arguments"] if kind == "function_call" else orjson.dumps({"input": item["input"]}).decode()
        function = {"name": item["name"], "arguments": arguments}
        messages[-1].setdefault("tool_calls", []).append(
            {"id": item["call_id"], "type": "function", "function": function}
        )
    elif kind in OUTPUT_TYPES:
        if not any(item["call_id"] == call["id"] for one in messages for call in one.get("tool_calls") or ()):
            raise InvalidRequest(f"No tool call found for function call output with call_id {item['call_id']}.")
        text = _to_text(f"{place}.output", item["output"])
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": text})
    elif kind == "reasoning":
        name = item.get("id")
        if not following or (following[0].get("type") == "message" and following[0].get("role") != "assistant"):
            raise InvalidRequest(f"Item '{name}' of type 'reasoning' was provided without its required following item.")
        if item.get("encrypted_content") != to_signature(THOUGHT):
            raise InvalidRequest(f"The encrypted content for item {name} could not be verified.")
        # What the simulated models look for, in the message of the calls that follow.
        messages.append({"role": "assistant", "content": None, "reasoning_details": [to_thinking(THOUGHT)]})
    else:
        raise InvalidRequest(f"Invalid value: '{kind}'. Expected a type of item at '{place}'.")


def _to_text(place: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    for index, part in enumerate(content):
        if part.get("type") not in TEXT_PARTS | MEDIA_PARTS:
            raise InvalidRequest(f"Invalid value: '{part.get('type')}' at '{place}[{index}].type'.")
    return "\n".join([part["text"] for part in content if part["type"] in TEXT_PARTS])


def _to_tool(tool: Json) -> Json:
    parameters = tool.get("parameters") or {"type": "object", "properties": {"input": {"type": "string"}}}
    return {"type": "function", "function": {"name": tool["name"], "parameters": parameters}}


def _to_own_script(script: Script, request: Json, prompt: SimulatedPrompt, generation: Generation) -> Script:
    """Convert the chat answer to a response or its events."""

    def pieces(completion: Json) -> Iterable[bytes]:
        response = _to_response(completion, request, generation)
        return ResponseEvents().of(response) if prompt.streamed else [orjson.dumps(response)]

    return converted(script, pieces, ("x-request-id", "req_simulator"), streamed=prompt.streamed)


def _to_response(completion: Json, request: Json, generation: Generation) -> Json:
    choice, usage = completion["choices"][0], completion["usage"]
    is_cut = choice["finish_reason"] == "length"
    effort = (request.get("reasoning") or {}).get("effort")
    thinks = bool(choice["message"].get("reasoning")) or effort not in (None, "none")
    return {
        "id": f"resp_{generation.created}_{generation.number}",
        "object": "response",
        "created_at": generation.created,
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "error": None,
        "model": generation.model,
        "output": list(_to_output(choice["message"], request, generation, thinks=thinks)),
        "service_tier": "default",
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": usage["completion_tokens_details"],
            "total_tokens": usage["total_tokens"],
        },
    }


def _to_output(message: Json, request: Json, generation: Generation, *, thinks: bool) -> Iterator[Json]:
    suffix = f"{generation.created}_{generation.number}"
    if thinks:
        shows = (request.get("reasoning") or {}).get("summary") is not None
        summary = [{"type": "summary_text", "text": THOUGHT}] if shows else []
        yield {
            "type": "reasoning",
            "id": f"rs_{suffix}",
            "summary": summary,
            "encrypted_content": to_signature(THOUGHT),
        }
    if text := message.get("content") or message.get("refusal"):
        kind = {"type": "refusal", "refusal": text} if message.get("refusal") else {"type": "output_text", "text": text}
        content = [{**kind, "annotations": []} if "text" in kind else kind]
        yield {"type": "message", "id": f"msg_{suffix}", "status": "completed", "role": "assistant", "content": content}
    custom = {tool["name"] for tool in request.get("tools") or () if tool.get("type") == "custom"}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        named = {"id": f"fc_{suffix}_{index}", "call_id": call["id"], "name": function["name"], "status": "completed"}
        if function["name"] in custom:
            text = orjson.loads(function["arguments"]).get("input", "")
            yield {"type": "custom_tool_call", **named, "input": text}
        else:
            yield {"type": "function_call", **named, "arguments": function["arguments"]}


@dataclass(slots=True, repr=False)
class ResponseEvents:
    """The numbered events of one response."""

    _numbers: Iterator[int] = field(default_factory=count)

    def of(self, response: Json) -> Iterator[bytes]:
        started = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        yield self._event("response.created", response=started)
        yield self._event("response.in_progress", response=started)
        for index, item in enumerate(response["output"]):
            yield from self._of_item(index, item)
        yield self._event(f"response.{response['status']}", response=response)

    def _of_item(self, index: int, item: Json) -> Iterator[bytes]:
        place = {"output_index": index, "item_id": item["id"]}
        emptied: Json = {
            name: type(item[name])() for name in ("content", "summary", "arguments", "input") if name in item
        }
        begun = {**item, **emptied, "status": "in_progress"}
        begun.pop("encrypted_content", None)
        yield self._event("response.output_item.added", output_index=index, item=begun)
        match item["type"]:
            case "reasoning":
                for part, summary in enumerate(item["summary"]):
                    yield from self._of_text(
                        "reasoning_summary_text", summary["text"], {**place, "summary_index": part}
                    )
            case "message":
                yield from self._of_part(item["content"][0], {**place, "content_index": 0})
            case "function_call":
                yield from self._of_text("function_call_arguments", item["arguments"], place, last="arguments")
            case _:
                yield from self._of_text("custom_tool_call_input", item["input"], place, last="input")
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _of_part(self, part: Json, place: Mapping[str, Any]) -> Iterator[bytes]:
        name = "text" if part["type"] == "output_text" else "refusal"
        yield self._event("response.content_part.added", **place, part={**part, name: ""})
        yield from self._of_text("output_text" if name == "text" else name, part[name], place, last=name)
        yield self._event("response.content_part.done", **place, part=part)

    def _of_text(self, kind: str, text: str, place: Mapping[str, Any], last: str = "text") -> Iterator[bytes]:
        for fragment in to_fragments(text):
            yield self._event(f"response.{kind}.delta", **place, delta=fragment)
        yield self._event(f"response.{kind}.done", **place, **{last: text})

    def _event(self, kind: str, **fields: Any) -> bytes:
        payload = orjson.dumps({"type": kind, "sequence_number": next(self._numbers), **fields})
        return b"event: " + kind.encode() + b"\ndata: " + payload + b"\n\n"
