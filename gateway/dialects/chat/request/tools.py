"""The tools a model is offered, and how freely it may call them.

The client's own tools become functions with their schemas untouched; typed ones (bash, editor, computer …) get theirs
from `client` and `toolsets`. Web tools become OpenRouter's where that is the upstream. A tool that cannot be run
there is refused by name: offering it as a function that is never answered would be worse than a 400.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from gateway.access.keyring import Keyring
from gateway.dialects.chat.request.encode import to_shared_tools
from gateway.dialects.chat.request.scope import Scope, ToolNames
from gateway.dialects.chat.vocabulary import SERVER_TOOLS, TOOL_CHOICES
from gateway.errors import InvalidRequest, shorten
from gateway.messages.tools.client import to_client_function
from gateway.messages.tools.tool_cache import CachedTools, ChatTools
from gateway.messages.tools.toolsets import TOOLSETS, members
from gateway.schemas.anthropic import IS_GRAMMAR, CustomTool, ToolChoice, ToolParam, tool_kind
from gateway.schemas.openai import ChatTool, FunctionDefinition, FunctionTool, OtherTool
from gateway.upstream.models.target import Target, to_slug

# Fields of a tool that are no parameters upstream.
SERVER_TOOL_LABELS = frozenset({"type", "name"})


# Anthropic's rule for names of tools.
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
OBJECT = {"type": "object"}

# A tool and where the request declares it.
Offer: TypeAlias = tuple[str, ToolParam]


@dataclass(frozen=True, slots=True)
class ToolChange:
    """A `tool_addition` or `tool_removal` block met in the conversation."""

    kind: Literal["tool_addition", "tool_removal"]
    tool: Mapping[str, Any] = field(repr=False)
    path: str


def to_chat_tools(tools: Sequence[ToolParam], changes: Sequence[ToolChange], scope: Scope) -> list[ChatTool]:
    """The list as it stands at the end of the conversation."""
    if changes or scope.keeps_deferred or not isinstance(tools, CachedTools):
        return _to_chat_tools(tools, changes, scope)
    shared = tools.derive_for(scope.target, lambda: _to_shared(tools, scope.target, scope.keyring))
    return _to_chat_tools(tools, (), scope) if shared is None else shared


def _to_shared(tools: Sequence[ToolParam], target: Target, keyring: Keyring) -> ChatTools | None:
    """Return the list for all requests; None where its conversion also leaves notes or names to each request."""
    scope = Scope(target, keyring, ToolNames(target.tool_name_limit))
    chat_tools = _to_chat_tools(tools, (), scope)
    return None if scope.notes or scope.names.originals else to_shared_tools(chat_tools)


def _to_chat_tools(tools: Sequence[ToolParam], changes: Sequence[ToolChange], scope: Scope) -> list[ChatTool]:
    chat_tools: list[ChatTool] = []
    if changes:
        offered = _change([(f"tools.{index}", tool) for index, tool in enumerate(tools)], changes)
        scope.note("emulated", changes[0].path, "tools added and removed on the way are added and removed at the start")
        for path, tool in offered:
            _add_tool(chat_tools, tool, path, scope)
    else:
        limit = scope.target.tool_name_limit
        for index, tool in enumerate(tools):
            plain = _to_plain_function(tool, limit)
            if plain is not None:
                chat_tools.append(plain)
            else:
                _add_tool(chat_tools, tool, f"tools.{index}", scope)
    if scope.names.originals or changes:
        # A toolset's member may come out like a tool of the client's own; the model could not distinguish them.
        names: set[str] = set()
        for one in chat_tools:
            function = cast(Any, one).get("function")
            if function is None:
                continue
            if function["name"] in names:
                raise InvalidRequest(f"tools: Tool names must be unique; two would be called {function['name']!r}")
            names.add(function["name"])
    return chat_tools


def to_choice_fields(choice: ToolChoice | None, chat_tools: Sequence[ChatTool], scope: Scope) -> dict[str, Any]:
    """`tool_choice` and `parallel_tool_calls`, only where there are tools: without, upstreams answer 400."""
    if choice is None:
        return {}
    if not chat_tools:
        if choice["type"] not in ("auto", "none"):
            scope.note("dropped", "tool_choice", "there are no tools to choose from")
        return {}
    fields: dict[str, Any] = {}
    if choice["type"] == "tool":
        fields["tool_choice"] = _to_named_choice(choice["name"], chat_tools, scope)
    else:
        fields["tool_choice"] = TOOL_CHOICES[choice["type"]]
    if choice["type"] != "none" and choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
        if not scope.target.keeps_parallel:
            reason = "this upstream may call several tools at once all the same"
            scope.note("dropped", "tool_choice.disable_parallel_tool_use", reason)
    return fields


def _change(offered: Sequence[Offer], changes: Sequence[ToolChange]) -> list[Offer]:
    """Follow the changes in order; a tool that comes back does so at the end of the list."""
    declared = {_name(tool) or path: (path, tool) for path, tool in offered}
    result = dict(declared)
    for change in changes:
        tool, path = change.tool, f"{change.path}.tool"
        match tool.get("type"):
            case "tool_reference":
                name = str(tool.get("name"))
            case "tool_definition" if change.kind == "tool_addition":
                path += ".definition"
                definition = _checked(tool.get("definition"), path)
                name = _name(definition)
                declared[name] = path, definition
            case other:
                raise InvalidRequest(f"{path}.type: {other!r} cannot be changed on this upstream, only tools by name")
        if change.kind == "tool_removal":
            result.pop(name, None)
        elif name in declared:
            result[name] = declared[name]
        else:
            raise InvalidRequest(f"{path}.name: no tool named {name!r} is declared")
    return list(result.values())


def _name(tool: Any) -> str:
    """Toolsets, and tools of other APIs, have none; nothing can refer to those."""
    return cast(str, tool.get("name") or "")


def _checked(definition: Any, path: str) -> ToolParam:
    """Check the least that a definition needs: `tools` entries have been validated, this one has not."""
    if isinstance(definition, dict) and isinstance(definition.get("name"), str):
        is_custom = definition.get("type") in (None, "custom")
        if isinstance(definition.get("input_schema" if is_custom else "type"), dict if is_custom else str):
            if not TOOL_NAME.fullmatch(definition["name"]):
                raise InvalidRequest(f"{path}.name: String should match pattern '{TOOL_NAME.pattern}'")
            if definition.get("input_schema", OBJECT).get("type") != "object":
                raise InvalidRequest(f"{path}.input_schema.type: Input should be 'object'")
            return cast(ToolParam, definition)
    raise InvalidRequest(f"{path}: a tool needs a name, and an input_schema or a type")


def _add_tool(chat_tools: list[ChatTool], tool: Any, path: str, scope: Scope) -> None:
    kind: str = tool.get("type") or "custom"
    if kind == "custom" and tool_kind(tool) == IS_GRAMMAR:
        if scope.target.openrouter:
            raise InvalidRequest(f"{path}.type: tools with a grammar exist on OpenAI's API only")
        chat_tools.append(tool)
    elif kind == "custom":
        chat_tools.append(_to_function(tool, path, scope))
    elif kind in TOOLSETS:
        _add_members(chat_tools, tool, path, scope)
    elif kind.startswith("tool_search_tool"):
        scope.note("emulated", path, "every tool is offered from the start, so none needs to be searched for")
    elif kind.startswith("openrouter:"):
        if not scope.target.openrouter:
            raise InvalidRequest(f"{path}.type: the tool {kind!r} is OpenRouter's, and the upstream is another one")
        chat_tools.append(tool)
    else:
        chat_tools.append(_to_typed_tool(tool, path, scope))


def _to_plain_function(tool: Any, limit: int) -> FunctionTool | None:
    """The common case at a third of the cost: only name, description and schema."""
    if len(tool) != 3 or "input_schema" not in tool or not tool.get("description") or len(tool["name"]) > limit:
        return None
    function: FunctionDefinition = {
        "name": tool["name"],
        "description": tool["description"],
        "parameters": tool["input_schema"],
    }
    return {"type": "function", "function": function}


def _to_function(tool: CustomTool, path: str, scope: Scope) -> FunctionTool:
    name = scope.names.to_chat(tool["name"])
    function: FunctionDefinition
    if tool.get("description") is None:
        function = {"name": name, "parameters": tool["input_schema"]}
    else:
        function = {"name": name, "description": tool["description"] or "", "parameters": tool["input_schema"]}
    chat_tool: FunctionTool = {"type": "function", "function": function}
    if len(tool) > 2 + ("description" in tool):
        _carry_options(chat_tool, tool, path, scope)
    return chat_tool


def _carry_options(chat_tool: FunctionTool, tool: Mapping[str, Any], path: str, scope: Scope) -> None:
    scope.mark_cached(chat_tool, tool, path)
    strict = tool.get("strict")
    if strict is not None:
        chat_tool["function"]["strict"] = strict
    if tool.get("eager_input_streaming"):
        if scope.target.openrouter:
            chat_tool["eager_input_streaming"] = True
        else:
            scope.note("dropped", f"{path}.eager_input_streaming", "the upstream streams tool inputs in its own way")
    if tool.get("defer_loading"):
        _defer([chat_tool], path, scope)
    if tool.get("input_examples"):
        scope.note("dropped", f"{path}.input_examples", "functions have no field for examples")
    if any(caller != "direct" for caller in tool.get("allowed_callers") or ()):
        scope.note("dropped", f"{path}.allowed_callers", "only the model itself calls tools on this upstream")


def _defer(chat_tools: Sequence[FunctionTool], path: str, scope: Scope) -> None:
    if not scope.keeps_deferred:
        scope.note("emulated", f"{path}.defer_loading", "the tool is offered from the start")
        return
    for chat_tool in chat_tools:
        chat_tool["defer_loading"] = True


def _to_typed_tool(tool: Mapping[str, Any], path: str, scope: Scope) -> ChatTool:
    for needed in ("display_width_px", "display_height_px") if tool["type"].startswith("computer_") else ():
        if needed not in tool:
            raise InvalidRequest(f"{path}.{needed}: Field required")
    known = to_client_function(tool)
    if known is None:
        return _to_server_tool(tool, path, scope)
    description, schema = known
    name = scope.names.to_chat(tool["name"])
    chat_tool = cast(
        FunctionTool,
        {"type": "function", "function": {"name": name, "description": description, "parameters": schema}},
    )
    _carry_options(chat_tool, tool, path, scope)
    return chat_tool


def _add_members(chat_tools: list[ChatTool], tool: Any, path: str, scope: Scope) -> None:
    """A toolset's cache breakpoint ends the toolset, so it goes on its last member.

    Raises InvalidRequest for options of a member that the toolset does not have: it may be one to leave out.
    """
    toolset, table = TOOLSETS[tool["type"]]
    configs = tool.get("configs") or {}
    for name in configs.keys() - table.keys():
        raise InvalidRequest(f"{path}.configs.{shorten(name)}: Extra inputs are not permitted")
    if tool.get("default_config"):
        scope.note("dropped", f"{path}.default_config", "a toolset has options of its members only")
    member_tools: list[FunctionTool] = []
    for member, description, schema in members(tool):
        name = scope.names.to_chat(member, toolset)
        function = {"name": name, "description": description, "parameters": schema}
        member_tools.append(cast(FunctionTool, {"type": "function", "function": function}))
    if member_tools:
        scope.mark_cached(member_tools[-1], tool, path)
    if any((configs.get(member) or {}).get("defer_loading") for member, *_ in members(tool)):  # the same on all of them
        _defer(member_tools, f"{path}.configs", scope)
    chat_tools += member_tools


def _to_server_tool(tool: Mapping[str, Any], path: str, scope: Scope) -> OtherTool:
    family = tool["type"].rpartition("_")[0]
    if family not in SERVER_TOOLS or not scope.target.openrouter:
        raise InvalidRequest(f"{path}.type: the tool {tool['type']!r} runs at Anthropic and is not available here")
    chat_type, names = SERVER_TOOLS[family]
    parameters: dict[str, Any] = {}
    for key, value in tool.items():
        if key in SERVER_TOOL_LABELS or value is None or value is False:
            continue
        if key in names:
            parameters[names[key]] = to_slug(value) if key == "model" else value
        elif key != "allowed_callers" or value != ["direct"]:
            scope.note("dropped", f"{path}.{key}", f"{chat_type} has no such parameter")
    chat_tool: OtherTool = {"type": chat_type}
    if parameters:
        chat_tool["parameters"] = parameters
    return chat_tool


def _to_named_choice(name: str, chat_tools: Sequence[ChatTool], scope: Scope) -> dict[str, Any]:
    chat_type = SERVER_TOOLS.get(name, ("", {}))[0]
    if any(tool["type"] == chat_type for tool in chat_tools):
        return {"type": chat_type}
    if any(tool["type"] == "custom" and cast(Any, tool)["custom"]["name"] == name for tool in chat_tools):
        return {"type": "custom", "custom": {"name": name}}
    offered = [cast(Any, tool)["function"]["name"] for tool in chat_tools if "function" in tool]
    members = [chat for chat in scope.names.toolsets if scope.names.originals[chat] == name]
    chat_name = next((chat for chat in (scope.names.to_chat(name), *members) if chat in offered), None)
    if chat_name is None:
        raise InvalidRequest(f"tool_choice: Tool '{shorten(name)}' not found in the tools that can be offered")
    return {"type": "function", "function": {"name": chat_name}}
