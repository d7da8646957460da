"""The tools of a request: their names, what they take, and whether the choice among them can be made."""

from collections.abc import Sequence
from typing import Any

from gateway.errors import InvalidRequest, shorten
from gateway.messages.tools.tool_cache import CachedTools, derived
from gateway.schemas.anthropic import IS_CUSTOM, IS_GRAMMAR, PromptFields, tool_kind

# The name that a typed tool must have; toolsets have none.
NAMES_OF_TYPES = {
    "bash_20241022": "bash",
    "bash_20250124": "bash",
    "text_editor_20241022": "str_replace_editor",
    "text_editor_20250124": "str_replace_editor",
    "text_editor_20250429": "str_replace_based_edit_tool",
    "text_editor_20250728": "str_replace_based_edit_tool",
    "memory_20250818": "memory",
    "computer_20241022": "computer",
    "computer_20250124": "computer",
    "computer_20251124": "computer",
    "web_search_20250305": "web_search",
    "web_search_20260209": "web_search",
    "web_search_20260318": "web_search",
    "web_fetch_20250910": "web_fetch",
    "web_fetch_20260209": "web_fetch",
    "web_fetch_20260309": "web_fetch",
    "web_fetch_20260318": "web_fetch",
    "code_execution_20250522": "code_execution",
    "code_execution_20250825": "code_execution",
    "code_execution_20260120": "code_execution",
    "code_execution_20260521": "code_execution",
    "tool_search_tool_regex": "tool_search_tool_regex",
    "tool_search_tool_regex_20251119": "tool_search_tool_regex",
    "tool_search_tool_bm25": "tool_search_tool_bm25",
    "tool_search_tool_bm25_20251119": "tool_search_tool_bm25",
    "advisor_20260301": "advisor",
}


def check_tools(request: PromptFields) -> None:
    """Raises InvalidRequest for the first tool that is wrong, then for the list, then for the choice."""
    tools: Sequence[Any] = request.get("tools") or ()
    if tools or "tool_choice" in request:
        _check_choice(request, derived(_names, tools))


def is_checked(tools: object) -> bool:
    """Return whether a list comes from the cache and was checked by an earlier request."""
    return isinstance(tools, CachedTools) and tools.has_derived(_names)


def _names(tools: Sequence[Any]) -> tuple[str, ...]:
    """Raises InvalidRequest for the first tool that is wrong, then for the list."""
    names, all_deferred = [], bool(tools)
    for index, tool in enumerate(tools):
        # Most tools are custom ones, with nothing left to be checked.
        if tool.get("type") is None and tool["input_schema"].get("type") == "object":
            name = tool["name"]
        else:
            _check_tool(tool, f"tools.{index}")
            is_grammar = tool.get("type") == "custom" and tool_kind(tool) == IS_GRAMMAR
            name = tool["custom"]["name"] if is_grammar else tool.get("name")
        if name is not None:
            names.append(name)
        if not tool.get("defer_loading"):
            all_deferred = False
    if len(set(names)) != len(names):
        raise InvalidRequest("tools: Tool names must be unique.")
    if all_deferred:
        raise InvalidRequest("At least one tool must have defer_loading=false. All tools cannot be deferred.")
    return tuple(names)


def _check_tool(tool: dict[str, Any], path: str) -> None:
    if tool_kind(tool) == IS_CUSTOM:
        root = tool["input_schema"].get("type")
        if root != "object":
            problem = "Field required" if root is None else "Input should be 'object'"
            raise InvalidRequest(f"{path}.input_schema.type: {problem}")
    expected = NAMES_OF_TYPES.get(tool.get("type") or "custom")
    if expected is not None and tool.get("name") != expected:
        problem = f"Input should be '{expected}'" if "name" in tool else "Field required"
        raise InvalidRequest(f"{path}.name: {problem}")


def _check_choice(request: PromptFields, names: Sequence[str]) -> None:
    """Toolsets and MCP servers have no name, but members: with one of them, any name may be right."""
    choice = request.get("tool_choice")
    if choice is None or choice["type"] in ("auto", "none"):
        return
    tools = request.get("tools") or ()
    if not tools:
        raise InvalidRequest("tool_choice: tool_choice may only be specified while providing tools.")
    if choice["type"] != "tool" or choice["name"] in names or len(names) < len(tools):
        return
    # The conversation itself may define tools, in `tool_addition` blocks.
    contents: list[Any] = [message.get("content") for message in request["messages"]]
    additions = [
        block["tool"]
        for content in contents
        if isinstance(content, list)
        for block in content
        if block["type"] == "tool_addition"
    ]
    definitions = [addition.get("definition") for addition in additions]
    if choice["name"] not in [definition.get("name") for definition in definitions if isinstance(definition, dict)]:
        raise InvalidRequest(f"tool_choice: Tool '{shorten(choice['name'])}' not found in provided tools")
