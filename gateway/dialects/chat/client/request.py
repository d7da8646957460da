"""A client's chat request as a Messages request.

Several forms are accepted: content as text, parts, null or absent; flat tools and Responses' `input`, which Cursor
sends here; fields of other gateways. Fields that change the answer and cannot be converted are refused by name.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.dialects.clients.choice import to_choice
from gateway.dialects.clients.content import marked, to_blocks, to_text_blocks, to_texts
from gateway.dialects.clients.fields import to_count, to_flag, to_list, to_object, to_text
from gateway.dialects.clients.parameters import (
    DEFAULT_MAX_TOKENS,
    STREAM_OPTIONS,
    ClientAsking,
    ClientRequest,
    note_ignored,
    note_unknown,
    to_sampling_fields,
    to_tier_fields,
)
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.clients.turns import Turns, read_arguments
from gateway.dialects.responses.client.input import add_items, declare_tools, to_items
from gateway.dialects.responses.client.settings import note_absent_parts, note_truncation, to_text_fields
from gateway.errors import InvalidRequest, shorten
from gateway.json_values import to_mapping
from gateway.messages.notes import Note
from gateway.schemas.openai import PassThrough
from gateway.upstream.models.target import Target

# Refused unless they ask for nothing (None, false, 1 …): an answer without them is not what the client wants.
REFUSED: Final[dict[str, tuple[tuple[object, ...], str]]] = {
    "n": ((None, 1), "only one completion per request is possible"),
    "audio": ((None,), "audio output is not possible"),
    "functions": ((None, []), "use `tools`"),
    "function_call": ((None, "none", "auto"), "use `tool_choice`"),
}
IGNORED: Final = {
    "store": "the gateway stores no completions",
    "metadata": "metadata goes to OpenAI's storage of completions",
}
# Read by name below, or of no consequence.
READ: Final = frozenset(
    {
        *REFUSED,
        *IGNORED,
        "model",
        "messages",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "service_tier",
        "modalities",
        "thinking",
        "enable_thinking",
        "reasoning",
        "openai",
        "openrouter",
        "text",
        "include",
        "truncation",
    }
)
MODALITIES: Final = ("text", "image")
ROLES: Final = "assistant, developer, system, tool, user"
PASSED_ON: Final = (frozenset(PassThrough.__annotations__) - READ) | {"top_k", "openai", "openrouter", "reasoning"}
KNOWN: Final = READ | PASSED_ON


def to_messages_request(body: Mapping[str, Any], asking: ClientAsking, registry: ToolRegistry) -> ClientRequest:
    """Convert a request, and add its tools to the empty `registry`.

    Raises InvalidRequest naming the first field that is wrong or cannot be carried over.
    """
    for name, (harmless, reason) in REFUSED.items():
        if body.get(name) not in harmless:
            raise InvalidRequest(f"{name}: {reason}", code="unsupported_parameter")
    unknown = [kind for kind in to_list(body.get("modalities"), "modalities") if kind not in MODALITIES]
    if unknown:
        kind = shorten(str(unknown[0]))
        raise InvalidRequest(f"modalities: {kind} output is not possible", code="unsupported_parameter")
    turns = Turns(asking.target.model, asking.keyring)
    registry.declare_all(body.get("tools"), "tools")
    add_conversation(body, turns, registry)
    request: dict[str, Any] = {"model": body["model"], **turns.finish()}
    choice = to_choice(body.get("tool_choice"), body.get("parallel_tool_calls"), registry)
    if registry.tools:
        request["tools"] = registry.tools
    if choice is not None:
        request["tool_choice"] = choice
    notes = [*registry.notes, *turns.notes]
    asked = ClientRequest(request, registry, notes)
    _add_parameters(body, asking.target, asked)
    return asked


def _add_parameters(body: Mapping[str, Any], target: Target, asked: ClientRequest) -> None:
    request, notes = asked.request, asked.notes
    length = length_of(body)
    asked.has_default_length = length is None
    request["max_tokens"] = length or target.max_output or DEFAULT_MAX_TOKENS
    if body.get("stream"):
        request["stream"] = body["stream"]
    stop = body.get("stop")
    if stop:
        request["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    request |= {name: body[name] for name in PASSED_ON if body.get(name) is not None} | to_sampling_fields(body)
    request |= to_tier_fields(body.get("service_tier"), notes) | _to_thinking(body)
    if "image" in to_list(body.get("modalities"), "modalities"):
        request["modalities"] = body["modalities"]
    asked.session = body.get("prompt_cache_key") if isinstance(body.get("prompt_cache_key"), str) else None
    request |= {name: value for name, value in to_text_fields(body.get("text"), notes).items() if name not in request}
    note_absent_parts(body.get("include"), notes)
    note_truncation(body.get("truncation"), notes)
    note_ignored(body, IGNORED, notes)
    note_unknown(to_mapping(body.get("stream_options")), STREAM_OPTIONS, "stream_options", notes)
    note_unknown(body, KNOWN, "", notes)


def length_of(body: Mapping[str, Any]) -> int | None:
    """Return the tokens that the client wants at most; None where it leaves that to the model."""
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    return next((length for name in names if (length := to_count(body.get(name), name))), None)


def _to_thinking(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `thinking` for the switches of other chat servers: DeepSeek's and Z.ai's object, Qwen's flag."""
    thinking = body.get("thinking")
    if thinking is not None:
        thinking = to_object(thinking, "thinking")
        wants_budget = thinking.get("type") == "enabled" and "budget_tokens" not in thinking
        return {"thinking": {"type": "adaptive"} if wants_budget else thinking}
    if body.get("enable_thinking") is None:
        return {}
    return {"thinking": {"type": "adaptive" if to_flag(body["enable_thinking"], "enable_thinking") else "disabled"}}


# --- messages -------------------------------------------------------------------------------------------------------


def add_conversation(body: Mapping[str, Any], turns: Turns, registry: ToolRegistry) -> None:
    """Add `messages`, or the `input` of Responses in their place: Cursor sends it to this API (litellm PR 34029)."""
    if body.get("messages") is not None:
        add_messages(body["messages"], turns, registry)
    elif body.get("input") is not None:
        items = to_items(body["input"])
        declare_tools(items, registry)
        if body.get("instructions"):
            turns.add_instructions(to_text_blocks(to_text(body["instructions"], "instructions")))
        add_items(items, turns, registry)
    else:
        raise InvalidRequest("messages: Field required")


def add_messages(messages: object, turns: Turns, registry: ToolRegistry) -> None:
    called = ""  # id of the latest call in the form before tools
    for index, message in enumerate(to_list(messages, "messages")):
        path = f"messages.{index}"
        content, place = to_object(message, path).get("content"), f"{path}.content"
        if message.get("name") and message.get("role") not in ("function", "tool"):
            turns.notes.append(Note("dropped", f"{path}.name", "the participants of a conversation have no names"))
        match message.get("role"):
            case "system" | "developer":
                turns.add_instructions(marked(to_texts(content, place), message))
            case "user":
                turns.add_user(marked(to_blocks(content, place), message), path)
            case "assistant":
                _add_assistant(message, path, turns, registry)
                called = f"call_{index}"
            case "tool":
                call_id = to_text(message.get("tool_call_id"), f"{path}.tool_call_id")
                turns.add_result(call_id, marked(to_blocks(content, place), message))
            case "function":
                turns.add_result(called, to_blocks(content, place))
            case role:
                raise InvalidRequest(f"{path}.role: {shorten(str(role))!r} is not a role; use one of {ROLES}")


def _add_assistant(message: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    _add_reasoning(message, path, turns)
    turns.add_assistant(marked(to_blocks(message.get("content"), f"{path}.content"), message))
    if isinstance(message.get("refusal"), str):
        turns.add_assistant(to_blocks(message["refusal"], f"{path}.refusal"))
    if message.get("images"):  # of an answer, as OpenRouter and this gateway give them
        turns.add_assistant(to_blocks(message["images"], f"{path}.images"))
    if message.get("audio"):
        turns.notes.append(Note("dropped", f"{path}.audio", "sound of an earlier answer is stored at OpenAI"))
    if isinstance(message.get("function_call"), dict):
        call = {"id": path.replace("messages.", "call_"), "function": message["function_call"]}
        _add_call(call, path, turns, registry)
    for index, call in enumerate(to_list(message.get("tool_calls"), f"{path}.tool_calls")):
        _add_call(to_object(call, f"{path}.tool_calls.{index}"), f"{path}.tool_calls.{index}", turns, registry)


def _add_call(call: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    call_id = to_text(call.get("id"), f"{path}.id")
    if isinstance(call.get("custom"), dict):
        name = to_text(call["custom"].get("name"), f"{path}.custom.name")
        arguments: dict[str, Any] = {"input": to_text(call["custom"].get("input"), f"{path}.custom.input")}
        turns.add_call(call_id, registry.flat_name("custom", name), arguments)
        return
    function = to_object(call.get("function"), f"{path}.function")
    name = to_text(function.get("name"), f"{path}.function.name")
    arguments = read_arguments(function.get("arguments"), f"{path}.function.arguments", turns.notes)
    turns.add_call(call_id, registry.flat_name("function", name), arguments)


def _add_reasoning(message: Mapping[str, Any], path: str, turns: Turns) -> None:
    """Sealed reasoning as this gateway gave it out; else the text, which chat clients keep more often."""
    details = to_list(message.get("reasoning_details"), f"{path}.reasoning_details")
    for entry in details:
        if not isinstance(entry, dict):
            continue
        text, data = entry.get("text") or entry.get("summary"), entry.get("data")
        if isinstance(data, str) and data:
            turns.add_redacted(data)
        elif isinstance(text, str):
            signature = entry.get("signature")
            turns.add_thinking(text, signature if isinstance(signature, str) else None)
    if not details:
        text = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(text, str):
            turns.add_thinking(text)
