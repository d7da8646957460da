"""Tools, and the choice among them: what can be offered, what is refused and in which words."""

from typing import Any, get_args

import pytest

from gateway.schemas.anthropic import ClientToolType, ServerToolType
from tests.support.bodies import body, check_unchanged, refusal, system, tool, user

TOOLS = {
    "a name with a space": (
        [tool("a b")],
        "tools.0.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "a name beyond bounds": (
        [tool("a" * 129)],
        "tools.0.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "no name": ([{"input_schema": {"type": "object"}}], "tools.0.name: Field required"),
    "no schema": ([tool(), {"name": "b"}], "tools.1.input_schema: Field required"),
    "a schema without type": ([tool(input_schema={})], "tools.0.input_schema.type: Field required"),
    "a schema of a list": (
        [tool(input_schema={"type": "array"})],
        "tools.0.input_schema.type: Input should be 'object'",
    ),
    "the same name twice": ([tool("a"), tool("b"), tool("a")], "tools: Tool names must be unique."),
    "a typed tool and a custom one of its name": (
        [tool("bash"), {"type": "bash_20250124", "name": "bash"}],
        "tools: Tool names must be unique.",
    ),
    "all deferred": (
        [tool("a", defer_loading=True), tool("b", defer_loading=True)],
        "At least one tool must have defer_loading=false. All tools cannot be deferred.",
    ),
    "a typed tool under another name": (
        [{"type": "text_editor_20250728", "name": "editor"}],
        "tools.0.name: Input should be 'str_replace_based_edit_tool'",
    ),
    "a typed tool without name": ([{"type": "web_search_20260318"}], "tools.0.name: Field required"),
    "a tool of OpenRouter's with an illegal name": (
        [{"type": "openrouter:Web"}],
        "tools.0.type: String should match pattern '^openrouter:[a-z0-9_]+$'",
    ),
    "a grammar tool without name": ([{"type": "custom", "custom": {}}], "tools.0.custom.name: Field required"),
    "a tool as text": (["bash"], "tools.0: Input should be a valid dictionary"),
    "too few uses": (
        [{"type": "web_search_20260318", "name": "web_search", "max_uses": 0}],
        "tools.0.max_uses: Input should be greater than or equal to 1",
    ),
}


@pytest.mark.parametrize(("tools", "message"), TOOLS.values(), ids=TOOLS.keys())
@pytest.mark.covers("Tools · schemas are checked")
def test_tools_that_cannot_be_offered_are_refused(tools: list[Any], message: str) -> None:
    assert refusal(body(tools=tools)) == message


@pytest.mark.parametrize("kind", ["web_search_19990101", 7, ["bash_20250124"]], ids=repr)
def test_an_unknown_tool_type_is_refused_by_name(kind: Any) -> None:
    message = refusal(body(tools=[{"type": kind, "name": "x"}]))
    quoted = kind if isinstance(kind, str) else type(kind).__name__
    assert message.startswith(f"tools.0: Input tag '{quoted}' found using 'type' does not match any of the expected")
    assert "'custom', 'bash_20241022'" in message


NAMES = {
    "bash": "bash",
    "text_editor_20241022": "str_replace_editor",
    "text_editor_20250124": "str_replace_editor",
    "text_editor": "str_replace_based_edit_tool",
    "memory": "memory",
    "computer_toolset": None,
    "browser_toolset": None,
    "computer": "computer",
    "web_search": "web_search",
    "web_fetch": "web_fetch",
    "code_execution": "code_execution",
    "tool_search_tool_regex": "tool_search_tool_regex",
    "tool_search_tool_bm25": "tool_search_tool_bm25",
    "advisor": "advisor",
    "mcp_toolset": None,
}


@pytest.mark.parametrize("kind", [*get_args(ClientToolType), *get_args(ServerToolType)])
def test_every_published_tool_type_is_accepted_under_its_published_name(kind: str) -> None:
    name = next(name for prefix, name in NAMES.items() if kind.startswith(prefix))
    typed_tool = {"type": kind} if name is None else {"type": kind, "name": name}
    check_unchanged(body(tools=[tool(), typed_tool]))


OTHER_TOOLS = {
    "a schema with references and alternatives": tool(
        input_schema={"type": "object", "anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"enum": [1, None]}}}
    ),
    "every option of a custom tool": tool(
        type="custom",
        description="d",
        strict=True,
        defer_loading=False,
        input_examples=[{"a": 1}],
        eager_input_streaming=True,
        allowed_callers=["direct"],
        cache_control={"type": "ephemeral", "ttl": "1h"},
    ),
    "a grammar tool of OpenAI's": {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
    "a server tool of OpenRouter's": {"type": "openrouter:datetime", "parameters": {}},
}


@pytest.mark.parametrize("offered", OTHER_TOOLS.values(), ids=OTHER_TOOLS.keys())
def test_other_tools_are_accepted(offered: dict[str, Any]) -> None:
    check_unchanged(body(tools=[offered]))


CHOICES = {
    "a tool that is not offered": (
        {"tools": [tool("get")], "tool_choice": {"type": "tool", "name": "put"}},
        "tool_choice: Tool 'put' not found in provided tools",
    ),
    "a tool of none": (
        {"tool_choice": {"type": "tool", "name": "put"}},
        "tool_choice: tool_choice may only be specified while providing tools.",
    ),
    "any of none": (
        {"tools": [], "tool_choice": {"type": "any"}},
        "tool_choice: tool_choice may only be specified while providing tools.",
    ),
    "an unknown kind": (
        {"tool_choice": {"type": "required"}},
        (
            "tool_choice: Input tag 'required' found using 'type' does not match any of the expected tags: "
            "'auto', 'any', 'tool', 'none'"
        ),
    ),
    "a choice without name": ({"tools": [tool()], "tool_choice": {"type": "tool"}}, "tool_choice.name: Field required"),
}


@pytest.mark.parametrize(("changes", "message"), CHOICES.values(), ids=CHOICES.keys())
def test_a_choice_that_cannot_be_made_is_refused(changes: dict[str, Any], message: str) -> None:
    assert refusal(body(**changes)) == message


ADDITION = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool("put")}}
REFERENCE = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "get"}}

POSSIBLE_CHOICES = {
    "auto, without any tools": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    "none, without any tools": {"tool_choice": {"type": "none"}},
    "any": {"tools": [tool()], "tool_choice": {"type": "any"}},
    "one by name": {"tools": [tool("a"), tool("b")], "tool_choice": {"type": "tool", "name": "b"}},
    "a typed one": {
        "tools": [{"type": "bash_20250124", "name": "bash"}],
        "tool_choice": {"type": "tool", "name": "bash"},
    },
    "a grammar tool": {
        "tools": [{"type": "custom", "custom": {"name": "g"}}],
        "tool_choice": {"type": "tool", "name": "g"},
    },
    "a member of a toolset": {
        "tools": [{"type": "computer_toolset_20260801"}],
        "tool_choice": {"type": "tool", "name": "left_click"},
    },
    "one that the conversation has added": {
        "tools": [tool("get")],
        "tool_choice": {"type": "tool", "name": "put"},
        "messages": [user("a"), system(REFERENCE, ADDITION)],
    },
}


@pytest.mark.parametrize("changes", POSSIBLE_CHOICES.values(), ids=POSSIBLE_CHOICES.keys())
def test_a_choice_that_can_be_made_is_accepted(changes: dict[str, Any]) -> None:
    check_unchanged(body(**changes))


@pytest.mark.parametrize("config", ["off", ["off"], 5, True])
def test_settings_of_a_toolsets_member_are_an_object(config: Any) -> None:
    offered = {"type": "computer_toolset_20260801", "configs": {"zoom": config}}
    assert refusal(body(tools=[offered])) == "tools.0.configs.zoom: Input should be a valid dictionary"
