"""Items of a client's `input` as turns of a Messages request."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.dialects.clients.content import to_blocks, to_texts
from gateway.dialects.clients.fields import to_list, to_object, to_text
from gateway.dialects.clients.tools import ToolKind, ToolRegistry, name_of
from gateway.dialects.clients.turns import Turns, read_arguments
from gateway.dialects.responses.client.sealed import open_block, open_summary
from gateway.errors import InvalidRequest, shorten
from gateway.messages.notes import Note

TRIGGER: Final = "compaction_trigger"
# Items that declare tools in the middle of the conversation: Codex' code mode, and what its tool search has found.
TOOL_SOURCES: Final = ("additional_tools", "tool_search_output")
SUMMARIZE: Final = (
    "Summarize this conversation, so that another model can continue the work from your summary alone. Include the "
    "user's requests and preferences, decisions and their reasons, files and commands that matter, the current state, "
    "and what remains to be done. Answer with the summary only, without calling a tool."
)
SUMMARY_FOLLOWS: Final = "The conversation so far was replaced by this summary of it:\n\n"
FOREIGN: Final = "sealed reasoning of another provider cannot be used here"
UNKNOWN: Final = "the gateway knows no such item"
SERVER_SEARCH: Final = "a search that OpenAI's server has run; the tools that it found are offered"
# Of an image that the gateway passes on by its address.
LINK: Final = re.compile("https?://")
NOT_STORED: Final = "items are not stored here; send the whole conversation"


def to_items(value: object) -> list[dict[str, Any]]:
    """Return the items of `input`; text is one message of the user. Raises InvalidRequest for other forms."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list):
        raise InvalidRequest("input: Input should be a string or an array of items")
    return [to_object(item, f"input.{index}") for index, item in enumerate(value)]


def declare_tools(items: Sequence[Mapping[str, Any]], registry: ToolRegistry) -> None:
    """Add the tools that stand among the items."""
    for index, item in enumerate(items):
        if item.get("type") in TOOL_SOURCES:
            registry.declare_all(item.get("tools"), f"input.{index}.tools")


def add_items(items: Sequence[Mapping[str, Any]], turns: Turns, registry: ToolRegistry) -> None:
    """Add the conversation. Items of unknown types are noted, the first of each type."""
    unknown: set[str] = set()
    for index, item in enumerate(items):
        path = f"input.{index}"
        kind = item.get("type") or ("message" if "role" in item else None)
        add = READERS.get(kind) if isinstance(kind, str) else None
        if add is not None:
            add(item, path, turns, registry)
        elif not isinstance(kind, str):
            raise InvalidRequest(f"{path}.type: Field required")
        elif kind == "item_reference":
            raise InvalidRequest(f"{path}: {NOT_STORED}")
        elif kind not in unknown and kind not in TOOL_SOURCES:
            unknown.add(kind)
            turns.notes.append(Note("dropped", path, UNKNOWN))


def _add_message(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    del registry
    content, place = item.get("content"), f"{path}.content"
    match item.get("role"):
        case "system" | "developer":
            turns.add_instructions(to_texts(content, place))
        case "user":
            turns.add_user(to_blocks(content, place), path)
        case "assistant":
            turns.add_assistant(to_blocks(content, place))
        case role:
            raise InvalidRequest(
                f"{path}.role: {shorten(str(role))!r} is not a role; use one of assistant, developer, system, user"
            )


def _add_reasoning(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    """Sealed reasoning as it was; without a seal, the text of the summary."""
    del registry
    sealed = item.get("encrypted_content")
    block = open_block(sealed) if isinstance(sealed, str) else None
    if block is not None:
        turns.add_assistant([block])
        return
    if sealed:
        turns.notes.append(Note("dropped", f"{path}.encrypted_content", FOREIGN))
        return
    parts = [*to_list(item.get("content"), f"{path}.content"), *to_list(item.get("summary"), f"{path}.summary")]
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    turns.add_thinking("\n\n".join(texts))


def _add_function_call(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    arguments = read_arguments(item.get("arguments"), f"{path}.arguments", turns.notes)
    is_search = item.get("type") == "tool_search_call"
    if is_search and item.get("call_id") is None:
        turns.notes.append(Note("dropped", path, SERVER_SEARCH))
        return
    name = "tool_search" if is_search else to_text(item.get("name"), f"{path}.name")
    _add_call(
        item,
        path,
        turns,
        registry.flat_name("tool_search" if is_search else "function", name, _space(item, path)),
        arguments,
    )


def _add_custom_call(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    kind: ToolKind = "custom"
    name = registry.flat_name(kind, to_text(item.get("name"), f"{path}.name"), _space(item, path))
    _add_call(item, path, turns, name, {"input": to_text(item.get("input"), f"{path}.input")})


def _add_call(item: Mapping[str, Any], path: str, turns: Turns, name: str, arguments: dict[str, Any]) -> None:
    turns.add_call(to_text(item.get("call_id"), f"{path}.call_id"), name, arguments)


def _space(item: Mapping[str, Any], path: str) -> str | None:
    namespace = item.get("namespace")
    return to_text(namespace, f"{path}.namespace") if namespace is not None else None


def _add_output(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    del registry
    content = to_blocks(item.get("output"), f"{path}.output")
    turns.add_result(to_text(item.get("call_id"), f"{path}.call_id"), content)


def _add_found_tools(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    """Give the model the names of the tools that a search has found, as its result, and add the tools to the others."""
    if not isinstance(item.get("call_id"), str):
        return
    found = ToolRegistry()
    found.declare_all(item.get("tools"), f"{path}.tools")
    names = [registry.flat_name("function", tool.name, tool.namespace) for tool in map(found.find, _names(found))]
    text = "Found tools: " + ", ".join(names) if names else "No tools were found."
    turns.add_result(item["call_id"], [{"type": "text", "text": text}])


def _names(registry: ToolRegistry) -> list[str]:
    return [name_of(tool) for tool in registry.tools]


def _add_summary(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    del registry
    summary = open_summary(to_text(item.get("encrypted_content"), f"{path}.encrypted_content"))
    if summary is None:
        raise InvalidRequest(f"{path}.encrypted_content: this summary was not written by this gateway")
    turns.add_user([{"type": "text", "text": SUMMARY_FOLLOWS + summary}], path)


def _add_trigger(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    del item, registry
    turns.add_user([{"type": "text", "text": SUMMARIZE}], path)


def _add_image(item: Mapping[str, Any], path: str, turns: Turns, registry: ToolRegistry) -> None:
    del registry
    result = to_text(item.get("result") or "", f"{path}.result")
    if result:
        url = result if LINK.match(result) else f"data:image/png;base64,{result}"
        turns.add_assistant(to_blocks([{"type": "input_image", "image_url": url}], f"{path}.result"))


READERS: Final[dict[str, Callable[[Mapping[str, Any], str, Turns, ToolRegistry], None]]] = {
    "message": _add_message,
    "reasoning": _add_reasoning,
    "function_call": _add_function_call,
    "tool_search_call": _add_function_call,
    "custom_tool_call": _add_custom_call,
    "function_call_output": _add_output,
    "custom_tool_call_output": _add_output,
    "tool_search_output": _add_found_tools,
    "compaction": _add_summary,
    "image_generation_call": _add_image,
    TRIGGER: _add_trigger,
}
