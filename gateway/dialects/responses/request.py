"""A chat request as a Responses request: items, tools, and parameters by their other names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.responses.items import LEAST_OUTPUT, to_items
from gateway.messages.notes import Note
from gateway.messages.openai_breakpoints import OPENAI_BREAKPOINT
from gateway.upstream.models.target import Target

SAME = frozenset(
    {
        *("metadata", "model", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options", "service_tier"),
        *("prompt_cache_retention",),
        *("safety_identifier", "temperature", "top_logprobs", "top_p", "user", "truncation", "max_tool_calls"),
    }
)
# Part of other fields here, or said otherwise.
TAKEN = frozenset(
    {
        *("max_completion_tokens", "max_tokens", "messages", "reasoning_effort", "response_format", "store", "stream"),
        *("stream_options", "tool_choice", "tools", "verbosity"),
        *("add_generation_prompt", "continue_final_message"),  # the status of the last item has their meaning
    }
)
# OpenRouter's Responses take more of its own `reasoning` than OpenAI's (its SDK, 2026-11).
OPENROUTER_REASONING = frozenset({"effort", "enabled", "max_tokens", "summary"})
NO_PARAMETER = "OpenAI's Responses API has no such parameter"
CACHE_MARKS = ("cache_control", OPENAI_BREAKPOINT)
NO_MARK = "OpenAI's Responses API has no cache breakpoints here"


@dataclass(frozen=True, slots=True)
class ResponsesBody:
    body: dict[str, Any] = field(repr=False)
    notes: tuple[Note, ...] = ()


def to_responses_request(chat: Mapping[str, Any], target: Target, settings: Mapping[str, str]) -> ResponsesBody:
    """`settings`: those of reasoning that chat lacks. Raises InvalidRequest as `to_items` does."""
    tools = [_to_tool(tool) for tool in chat.get("tools") or ()]
    custom_tools = frozenset(tool["name"] for tool in tools if tool["type"] == "custom")
    # What a server takes beyond OpenAI's chat it takes here as well: it makes a chat request of this one.
    beyond = {target.reasoning.budget_field, *(path for path, _ in (*target.constants, *target.renamed))}
    same = SAME | target.parameters | beyond | {other for _, other in target.renamed}
    body: dict[str, Any] = {name: value for name, value in chat.items() if name in same}
    notes: list[Note] = []
    body["input"] = to_items(chat["messages"], custom_tools, notes, has_phases=target.has_phases)
    if chat.get("continue_final_message") and body["input"] and body["input"][-1].get("role") == "assistant":
        body["input"][-1]["status"] = "in_progress"  # vLLM 0.32 then continues it
    body |= {"store": False, "include": ["reasoning.encrypted_content"]}
    if tools:
        body["tools"] = tools
        if "tool_choice" in chat:
            body["tool_choice"] = _to_choice(chat["tool_choice"])
    notes += _put_length(body, chat)
    effort = chat.get("reasoning_effort")
    given = chat.get("reasoning") if target.openrouter else None
    reasoning = {name: value for name, value in (given or {}).items() if name in OPENROUTER_REASONING}
    if effort is not None:
        reasoning["effort"] = effort
    if effort != "none" and target.summarises_reasoning:
        reasoning |= settings
    if reasoning:
        body["reasoning"] = reasoning
    text = _to_text(chat)
    if text:
        body["text"] = text
    if chat.get("stream"):
        body["stream"] = True
        if target.pads_streams:  # which costs bytes in each delta
            body["stream_options"] = {"include_obfuscation": False}
    taken = TAKEN | {"reasoning"} if target.openrouter else TAKEN
    dropped = [name for name in chat if name not in same and name not in taken]
    notes += [Note("dropped", name, NO_PARAMETER) for name in dropped]
    notes += [Note("dropped", path, NO_MARK) for path in dict.fromkeys(_lost_marks(chat))]
    return ResponsesBody(body, tuple(notes))


def _to_text(chat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the answer's text: its verbosity and its format."""
    text = {"verbosity": chat["verbosity"]} if chat.get("verbosity") is not None else {}
    wanted = chat.get("response_format")
    if wanted is not None:
        schema = wanted.get("json_schema")
        text["format"] = {"type": "json_schema", **schema} if isinstance(schema, dict) else wanted
    return text


def _lost_marks(chat: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of cache breakpoints that are left out: input has OpenAI's, and answers and tools have none."""
    for tool in chat.get("tools") or ():
        yield from (f"tools.{name}" for name in CACHE_MARKS if tool.get(name))
    for message in chat["messages"]:
        content = message.get("content")
        if isinstance(content, list):
            kept = OPENAI_BREAKPOINT if message["role"] != "assistant" else ""
            yield from (
                f"messages.{name}" for part in content for name in CACHE_MARKS if name != kept and part.get(name)
            )


def _to_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a tool. `strict` is always set: without it Responses holds the model to a schema not written for that."""
    if tool["type"] == "function":
        function = tool["function"]
        described = {name: function[name] for name in ("description",) if name in function}
        parameters = function.get("parameters")
        strict = bool(function.get("strict"))
        return {"type": "function", "name": function["name"], **described, "parameters": parameters, "strict": strict}
    custom = tool.get("custom")
    return {"type": "custom", **custom} if isinstance(custom, dict) else dict(tool)


def _to_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type")
    named = choice.get(kind) if isinstance(kind, str) else None
    if kind == "allowed_tools" and isinstance(named, dict):
        return {"type": kind, **named, "tools": [_to_choice(tool) for tool in named.get("tools") or ()]}
    return {"type": kind, **named} if isinstance(named, dict) else choice


def _put_length(body: dict[str, Any], chat: Mapping[str, Any]) -> list[Note]:
    most = chat.get("max_completion_tokens") or chat.get("max_tokens")
    if most is None:
        return []
    body["max_output_tokens"] = max(most, LEAST_OUTPUT)
    if most >= LEAST_OUTPUT:
        return []
    return [Note("changed", "max_tokens", f"this upstream takes no limit below {LEAST_OUTPUT} tokens")]
