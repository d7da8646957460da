"""Tools on their way into a chat request: functions, typed tools, web tools, choices, and changes on the way."""

from dataclasses import replace
from typing import Any

import anthropic.types
import pytest

from gateway.errors import InvalidRequest
from gateway.messages.tools.client import to_client_function
from gateway.messages.tools.toolsets import BROWSER, COMPUTER, TOOLSETS
from gateway.upstream.models.target import Target
from tests.support.bodies import assistant, system, user
from tests.support.conversions import (
    CACHED,
    DEEPSEEK,
    GPT,
    HELLO,
    OPENAI,
    STRICT,
    chat_tool,
    convert,
    losses,
    text,
    tool,
    tool_result,
    tool_use,
)

SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}}


def tools_of(*tools: dict[str, Any], target: Target = DEEPSEEK, **fields: Any) -> list[Any]:
    return convert(target, tools=list(tools), **fields).body["tools"]


def function(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look", "parameters": SCHEMA, **more}}


FUNCTIONS = [
    pytest.param({"description": "Look."}, function(description="Look."), id="O11 description and schema, unchanged"),
    pytest.param({}, function(), id="O11 without a description"),
    pytest.param({"description": None, "type": None}, function(), id="O11 nulls say nothing"),
    pytest.param({"type": "custom", "description": ""}, function(description=""), id="O11 an empty description"),
    pytest.param({"strict": True}, function(strict=True), id="O13 strict"),
    pytest.param(
        {"strict": False, "description": "Look."}, function(description="Look.", strict=False), id="O13 not strict"
    ),
    pytest.param({"cache_control": CACHED}, {**function(), "cache_control": CACHED}, id="R21 a cache breakpoint"),
    pytest.param(
        {"eager_input_streaming": True},
        {**function(), "eager_input_streaming": True},
        id="eager streaming, on OpenRouter",
    ),
    pytest.param({"allowed_callers": ["direct"]}, function(), id="only the model calls it, as everywhere"),
]


@pytest.mark.parametrize(("more", "expected"), FUNCTIONS)
def test_a_tool_becomes_a_function(more: dict[str, Any], expected: dict[str, Any]) -> None:
    conversion = convert(tools=[{"name": "look", "input_schema": SCHEMA, **more}])
    assert conversion.body["tools"] == [expected]
    assert conversion.notes == ()


NOTED = [
    pytest.param(DEEPSEEK, {"input_examples": [{"a": 1}]}, [("dropped", "tools.1.input_examples")], id="examples"),
    pytest.param(
        DEEPSEEK,
        {"allowed_callers": ["code_execution_20260120"]},
        [("dropped", "tools.1.allowed_callers")],
        id="callers other than the model",
    ),
    pytest.param(DEEPSEEK, {"defer_loading": True}, [("emulated", "tools.1.defer_loading")], id="deferral"),
    pytest.param(
        STRICT,
        {"eager_input_streaming": True},
        [("dropped", "tools.1.eager_input_streaming")],
        id="eager streaming elsewhere",
    ),
]


@pytest.mark.parametrize(("target", "more", "expected"), NOTED)
def test_dropped_fields_of_a_tool_are_noted(target: Target, more: dict[str, Any], expected: list[Any]) -> None:
    conversion = convert(target, tools=[tool(), tool("second", **more)])
    assert conversion.body["tools"] == [chat_tool(), chat_tool("second")]
    assert losses(conversion) == expected


@pytest.mark.covers("Tools · all tools in their order")
def test_e01_every_tool_is_sent_in_order() -> None:
    names = [f"tool_{number}" for number in range(200)]
    assert [tool["function"]["name"] for tool in tools_of(*map(tool, names))] == names


OFFERED: dict[str, tuple[list[Any], str, Any]] = {
    "a toolset's member": (
        [{"type": "computer_toolset_20260801", "display_width_px": 9, "display_height_px": 9}],
        "key",
        {"type": "function", "function": {"name": "computer_key"}},
    ),
    "beside a toolset": (
        [tool(), {"type": "computer_toolset_20260801", "display_width_px": 9, "display_height_px": 9}],
        "look",
        {"type": "function", "function": {"name": "look"}},
    ),
}


@pytest.mark.parametrize("case", OFFERED)
def test_a_choice_names_what_is_offered_upstream(case: str) -> None:
    tools, name, expected = OFFERED[case]
    body: Any = convert(tools=tools, tool_choice={"type": "tool", "name": name}).body
    assert body["tool_choice"] == expected
    assert expected["function"]["name"] in [offered["function"]["name"] for offered in body["tools"]]


def test_a_choice_of_what_is_not_offered_is_refused() -> None:
    toolset = {"type": "computer_toolset_20260801", "display_width_px": 9, "display_height_px": 9}
    with pytest.raises(InvalidRequest, match="tool_choice: Tool 'zzz' not found"):
        convert(tools=[toolset], tool_choice={"type": "tool", "name": "zzz"})
    removal = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "look"}}
    with pytest.raises(InvalidRequest, match="tool_choice: Tool 'look' not found"):
        convert(
            tools=[tool(), tool("second")],
            tool_choice={"type": "tool", "name": "look"},
            messages=[HELLO, {"role": "system", "content": [removal]}],
        )


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ({"name": "c d!", "input_schema": SCHEMA}, "definition.name: String should match pattern"),
        ({"name": "c", "input_schema": {"type": "array"}}, "definition.input_schema.type: Input should be 'object'"),
    ],
)
def test_a_tool_that_is_added_on_the_way_is_checked_like_any_other(definition: Any, problem: str) -> None:
    addition = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}
    with pytest.raises(InvalidRequest, match=problem):
        convert(tools=[tool()], messages=[HELLO, {"role": "system", "content": [addition]}])


LONG = "a" * 65
SHORTENED = "a" * 55 + "_635361c4"


@pytest.mark.covers("Tools · names longer than the upstream takes")
def test_o12_a_name_too_long_is_shortened_everywhere_and_can_be_restored() -> None:
    conversion = convert(
        tools=[tool(LONG), tool("b" * 64)],
        tool_choice={"type": "tool", "name": LONG},
        messages=[HELLO, assistant(tool_use(name=LONG)), user(tool_result())],
    )
    body: Any = conversion.body
    assert [tool["function"]["name"] for tool in body["tools"]] == [SHORTENED, "b" * 64]
    assert body["tool_choice"] == {"type": "function", "function": {"name": SHORTENED}}
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == SHORTENED
    assert conversion.tool_names == {SHORTENED: LONG}
    assert len(SHORTENED) == 64


def test_o12_names_with_one_beginning_stay_apart() -> None:
    names = [tool["function"]["name"] for tool in tools_of(tool(LONG + "1"), tool(LONG + "2"))]
    assert len(set(names)) == 2
    assert all(len(name) == 64 for name in names)


def test_o12_a_shorter_limit_of_the_upstream_is_kept() -> None:
    (shortened,) = tools_of(tool("a" * 33), target=replace(STRICT, tool_name_limit=32))
    assert len(shortened["function"]["name"]) == 32


def test_names_that_fit_are_not_listed() -> None:
    assert convert(tools=[tool()]).tool_names == {}


CHOICES = [
    pytest.param({"type": "auto"}, {"tool_choice": "auto"}, id="O14 auto"),
    pytest.param({"type": "any"}, {"tool_choice": "required"}, id="O14 any"),
    pytest.param({"type": "none"}, {"tool_choice": "none"}, id="O14 none"),
    pytest.param(
        {"type": "tool", "name": "look"},
        {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        id="O14 one tool",
    ),
    pytest.param(
        {"type": "any", "disable_parallel_tool_use": True},
        {"tool_choice": "required", "parallel_tool_calls": False},
        id="O17 one call at a time",
    ),
    pytest.param(
        {"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}, id="O17 as many as it likes"
    ),
    pytest.param(None, {}, id="O14 absent"),
]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
@pytest.mark.covers("Tools · tool_choice")
def test_the_choice_among_tools_is_mapped(choice: Any, expected: dict[str, Any]) -> None:
    body: Any = convert(tools=[tool()], tool_choice=choice).body
    assert {key: body[key] for key in ("tool_choice", "parallel_tool_calls") if key in body} == expected


@pytest.mark.parametrize("choice", [{"type": "auto", "disable_parallel_tool_use": True}, {"type": "none"}])
@pytest.mark.covers("Chat parameters · parallel_tool_calls")
def test_o17_without_tools_nothing_is_said_of_choosing(choice: dict[str, Any]) -> None:
    conversion = convert(tool_choice=choice)
    assert conversion.body.keys() == {"model", "messages", "max_tokens"}
    assert conversion.notes == ()


def test_a_forced_choice_that_has_lost_its_tools_is_noted() -> None:
    search = {"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25"}
    conversion = convert(tools=[search], tool_choice={"type": "any"})
    assert "tool_choice" not in conversion.body
    assert losses(conversion) == [("emulated", "tools.0"), ("dropped", "tool_choice")]


def test_o15_allowed_tools_reach_openai_as_they_are() -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert convert(OPENAI, tools=[tool()], openai={"tool_choice": allowed}).body["tool_choice"] == allowed


@pytest.mark.parametrize("openai", [OPENAI, GPT], ids=["OpenAI", "OpenRouter"])
def test_o12_o15_a_name_too_long_is_shortened_in_allowed_tools_as_well(openai: Target) -> None:
    named = {"type": "function", "function": {"name": LONG}}
    search = {"type": "openrouter:web_search"}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named, search, "x"]}}
    conversion = convert(openai, tools=[tool(LONG)], openai={"tool_choice": allowed})
    (function,) = [chat["function"]["name"] for chat in conversion.body["tools"]]
    assert len(function) == 64
    assert conversion.body["tool_choice"]["allowed_tools"] == {
        "mode": "auto",
        "tools": [{"type": "function", "function": {"name": function}}, search, "x"],
    }
    assert conversion.tool_names == {function: LONG}
    body = convert(openai, tools=[tool(LONG)], openai={"tool_choice": named}).body
    assert body["tool_choice"] == {"type": "function", "function": {"name": function}}


@pytest.mark.parametrize("odd", ["auto", {"type": "allowed_tools", "allowed_tools": 5}, {"function": {"name": 5}}, {}])
def test_a_choice_that_names_no_function_is_left_to_the_upstream(odd: Any) -> None:
    assert convert(OPENAI, tools=[tool()], openai={"tool_choice": odd}).body["tool_choice"] == odd


def test_a_choice_that_differs_from_an_override_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(tools=[tool()], tool_choice={"type": "any"}, openrouter={"tool_choice": "none"})
    assert caught.value.message == "tool_choice: conflicts with the tool_choice of chat; set only one of them"


# Typed client tools

BASH = {"type": "bash_20250124", "name": "bash"}
EDITOR = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
OLD_EDITOR = {"type": "text_editor_20250124", "name": "str_replace_editor"}
MEMORY = {"type": "memory_20250818", "name": "memory"}
SCREEN = {"display_width_px": 1024, "display_height_px": 768}
COMPUTER_TOOL = {"type": "computer_20251124", "name": "computer", "enable_zoom": True, **SCREEN}

EDITOR_KEYS = {"command", "path", "file_text", "old_str", "new_str", "insert_line", "view_range"}
CLICKS = {"action", "coordinate", "text"}
MOTIONS = {"start_coordinate", "scroll_direction", "scroll_amount", "duration"}

TYPED = [
    pytest.param(BASH, {"command", "restart"}, [], None, id="bash"),
    pytest.param({"type": "bash_20241022", "name": "bash"}, {"command", "restart"}, [], None, id="bash of 2024"),
    pytest.param(
        EDITOR,
        EDITOR_KEYS | {"insert_text"},
        ["command", "path"],
        ["view", "create", "str_replace", "insert"],
        id="the editor, which inserts insert_text",
    ),
    pytest.param(
        {**EDITOR, "type": "text_editor_20250429"},
        EDITOR_KEYS | {"insert_text"},
        ["command", "path"],
        ["view", "create", "str_replace", "insert"],
        id="the first editor that cannot undo",
    ),
    pytest.param(
        OLD_EDITOR,
        EDITOR_KEYS,
        ["command", "path"],
        ["view", "create", "str_replace", "insert", "undo_edit"],
        id="the older editor, which can undo",
    ),
    pytest.param(
        MEMORY,
        EDITOR_KEYS | {"insert_text", "old_path", "new_path"},
        ["command"],
        ["view", "create", "str_replace", "insert", "delete", "rename"],
        id="memory",
    ),
    pytest.param(
        {"type": "computer_20241022", "name": "computer", **SCREEN},
        CLICKS,
        ["action"],
        [
            "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click",
            "screenshot", "cursor_position",
        ],
        id="the computer of 2024",
    ),
    pytest.param(
        COMPUTER_TOOL,
        CLICKS | MOTIONS | {"region"},
        ["action"],
        [
            "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click",
            "screenshot", "cursor_position", "left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait",
            "triple_click", "zoom",
        ],
        id="the computer with zoom",
    ),
    pytest.param(
        {"type": "computer_20250124", "name": "computer", **SCREEN},
        CLICKS | MOTIONS,
        ["action"],
        [
            "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click",
            "screenshot", "cursor_position", "left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait",
            "triple_click",
        ],
        id="the computer without zoom",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "parameters", "required", "commands"), TYPED)
@pytest.mark.covers("Tools · Anthropic's typed tools and toolsets")
def test_a_typed_tool_becomes_a_function_of_its_name_with_a_schema(
    typed: dict[str, Any], parameters: set[str], required: list[str], commands: list[str] | None
) -> None:
    conversion = convert(STRICT, tools=[typed])
    (chat,) = conversion.body["tools"]
    schema = chat["function"]["parameters"]
    assert chat["type"] == "function"
    assert chat["function"]["name"] == typed["name"]
    assert chat["function"]["description"]
    assert schema["type"] == "object"
    assert set(schema["properties"]) == parameters
    assert schema.get("required", []) == required
    if commands is not None:
        assert schema["properties"][required[0]]["enum"] == commands
    assert conversion.notes == ()


def integers(count: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer"}, "minItems": count, "maxItems": count}


STRING, INTEGER = {"type": "string"}, {"type": "integer"}

# What clients' own code expects of each parameter, less the commands above.
SHAPES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("action", "command", "text"), STRING),
    **dict.fromkeys(("path", "old_path", "new_path", "file_text", "old_str", "new_str", "insert_text"), STRING),
    **dict.fromkeys(("insert_line", "scroll_amount"), INTEGER),
    **dict.fromkeys(("coordinate", "start_coordinate", "view_range"), integers(2)),
    "region": integers(4),
    "restart": {"type": "boolean"},
    "duration": {"type": "number"},
    "scroll_direction": {"type": "string", "enum": ["up", "down", "left", "right"]},
}


@pytest.mark.parametrize("typed", [pytest.param(row.values[0], id=row.id) for row in TYPED])
def test_a_typed_tools_parameters_have_the_shapes_that_clients_expect(typed: dict[str, Any]) -> None:
    (chat,) = tools_of(typed)
    for name, parameter in chat["function"]["parameters"]["properties"].items():
        told = {"description", "enum"} if name in ("action", "command") else {"description"}
        assert {key: value for key, value in parameter.items() if key not in told} == SHAPES[name], name


def test_each_parameter_of_a_tool_has_its_description() -> None:
    """A memory's command and a scroll's direction are exempt, since their values explain themselves."""
    for chat in tools_of(BASH, EDITOR, MEMORY, COMPUTER_TOOL):
        properties = chat["function"]["parameters"]["properties"].items()
        told = [parameter.get("description") for name, parameter in properties if name != "scroll_direction"]
        told = told[1:] if chat["function"]["name"] == "memory" else told
        assert all(told)
        assert len(set(told)) == len(told)


def test_a_computers_screen_and_an_editors_limit_reach_the_model() -> None:
    computer, editor = tools_of(COMPUTER_TOOL, {**EDITOR, "max_characters": 5000})
    assert "1024 × 768" in computer["function"]["description"]
    assert "5000 characters" in editor["function"]["description"]


def test_a_typed_tool_keeps_its_options() -> None:
    (chat,) = tools_of({**BASH, "cache_control": CACHED, "strict": True})
    assert (chat["cache_control"], chat["function"]["strict"]) == (CACHED, True)


def test_making_one_tools_schema_leaves_the_next_ones_alone() -> None:
    with_zoom, without = tools_of(COMPUTER_TOOL), tools_of({**COMPUTER_TOOL, "enable_zoom": False})
    assert "zoom" in with_zoom[0]["function"]["parameters"]["properties"]["action"]["enum"]
    assert "zoom" not in without[0]["function"]["parameters"]["properties"]["action"]["enum"]


def test_a_computer_without_a_screen_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        tools_of({"type": "computer_20250124", "name": "computer", "display_width_px": 9})
    assert caught.value.message == "tools.0.display_height_px: Field required"


def test_an_unknown_type_is_no_client_tool() -> None:
    assert to_client_function({"type": "teleport_20990101"}) is None


# Toolsets

TOOLSET = {"type": "computer_toolset_20260801"}


def test_a_toolset_becomes_a_function_for_each_member_with_a_way_back() -> None:
    conversion = convert(tools=[TOOLSET, tool("screenshot")])
    assert {tool["type"] for tool in conversion.body["tools"]} == {"function"}
    names = [tool["function"]["name"] for tool in conversion.body["tools"]]
    assert names == [*(f"computer_{member}" for member in COMPUTER), "screenshot"]
    assert conversion.tool_names["computer_left_click"] == "left_click"
    assert conversion.toolsets["computer_left_click"] == "computer"
    assert "screenshot" not in conversion.tool_names


def test_a_members_schema_has_what_is_required() -> None:
    scroll = next(tool for tool in tools_of(TOOLSET) if tool["function"]["name"] == "computer_scroll")
    assert scroll["function"]["parameters"]["required"] == ["scroll_direction", "scroll_amount"]
    assert set(scroll["function"]["parameters"]["properties"]) == {
        "scroll_direction",
        "scroll_amount",
        "coordinate",
        "text",
    }


def test_members_that_are_switched_off_are_not_offered() -> None:
    configs = {member: {"enabled": False} for member in COMPUTER if member not in ("key", "zoom")}
    tools = tools_of({**TOOLSET, "configs": {**configs, "zoom": {"enabled": True}, "key": None}})
    assert [tool["function"]["name"] for tool in tools] == ["computer_key", "computer_zoom"]


def test_deferred_members_are_offered_from_the_start_unless_the_upstream_keeps_them() -> None:
    configs: dict[str, Any] = {member: {"defer_loading": True} for member in COMPUTER} | {"zoom": {"enabled": False}}
    conversion = convert(tools=[{**TOOLSET, "configs": configs}])
    assert losses(conversion) == [("emulated", "tools.0.configs.defer_loading")]
    conversion = convert(tools=[{**TOOLSET, "configs": configs}], deferred_tools={"protocol": "v1"})
    assert all(tool["defer_loading"] for tool in conversion.body["tools"])
    assert not losses(conversion)
    configs = {member: {"enabled": False, "defer_loading": True} for member in COMPUTER}
    assert not losses(convert(tools=[tool("a"), {**TOOLSET, "configs": configs}]))


def test_options_of_unknown_members_are_refused_and_those_for_all_noted() -> None:
    with pytest.raises(InvalidRequest, match=r"tools\.0\.configs\.teleport: Extra inputs are"):
        convert(tools=[{**TOOLSET, "configs": {"teleport": {"enabled": False}}}])
    conversion = convert(tools=[{**TOOLSET, "default_config": {"enabled": False}}])
    assert losses(conversion) == [("dropped", "tools.0.default_config")]


def test_a_toolsets_cache_breakpoint_goes_to_its_last_member() -> None:
    tools = tools_of({**TOOLSET, "cache_control": CACHED})
    assert [index for index, tool in enumerate(tools) if "cache_control" in tool] == [len(tools) - 1]


def test_a_toolset_without_members_leaves_the_tool_before_it_alone() -> None:
    configs = {member: {"enabled": False} for member in COMPUTER}
    assert tools_of(tool("a"), {**TOOLSET, "configs": configs, "cache_control": CACHED}) == [chat_tool("a")]


def test_a_members_earlier_call_goes_by_the_same_name() -> None:
    call = {**tool_use(name="left_click"), "toolset_name": "browser"}
    conversion = convert(
        tools=[{"type": "browser_toolset_20260801"}],
        messages=[HELLO, assistant(call), user({**tool_result(), "toolset_name": "browser"})],
    )
    assert conversion.body["messages"][1]["tool_calls"][0]["function"]["name"] == "browser_left_click"


@pytest.mark.parametrize("before", [[], [{"type": "openrouter:datetime"}]], ids=["alone", "behind a server's tool"])
def test_a_tool_that_a_member_would_be_mistaken_for_is_refused(before: list[Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tools_of(*before, TOOLSET, tool("computer_zoom"))
    assert caught.value.message == "tools: Tool names must be unique; two would be called 'computer_zoom'"


@pytest.mark.parametrize(("prefix", "table"), [("Computer", COMPUTER), ("Browser", BROWSER)])
def test_members_and_parameters_are_those_of_the_official_sdk(prefix: str, table: dict[str, Any]) -> None:
    configs = getattr(anthropic.types, f"{prefix}ToolsetConfigsParam")
    assert set(table) == set(configs.__annotations__)
    for member, (_, parameters) in table.items():
        name = "".join(part.capitalize() for part in member.split("_"))
        model = getattr(anthropic.types, f"{prefix}{name}Input")
        expected = {
            (field.alias or key) + ("" if field.is_required() else "?") for key, field in model.model_fields.items()
        }
        assert set(parameters) == expected, member


def test_every_toolset_of_the_api_is_known() -> None:
    assert set(TOOLSETS) == {"computer_toolset_20260801", "browser_toolset_20260801"}


# Tools that a server runs

LOCATION = {"type": "approximate", "city": "Zurich"}

SERVER_TOOLS = [
    pytest.param(
        {"type": "web_search_20250305", "name": "web_search"}, {"type": "openrouter:web_search"}, id="web search"
    ),
    pytest.param(
        {
            "type": "web_search_20260318",
            "name": "web_search",
            "max_uses": 3,
            "blocked_domains": ["x.example"],
            "allowed_domains": None,
            "user_location": LOCATION,
            "allowed_callers": ["direct"],
        },
        {
            "type": "openrouter:web_search",
            "parameters": {"max_uses": 3, "excluded_domains": ["x.example"], "user_location": LOCATION},
        },
        id="web search with its parameters",
    ),
    pytest.param(
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 1, "defer_loading": False},
        {"type": "openrouter:web_search", "parameters": {"max_uses": 1}},
        id="web search once, and nothing asked for by false",
    ),
    pytest.param(
        {
            "type": "web_fetch_20250910",
            "name": "web_fetch",
            "blocked_domains": ["x.example"],
            "allowed_domains": ["y.example"],
            "max_content_tokens": 9,
        },
        {
            "type": "openrouter:web_fetch",
            "parameters": {"blocked_domains": ["x.example"], "allowed_domains": ["y.example"], "max_content_tokens": 9},
        },
        id="web fetch",
    ),
    pytest.param(
        {"type": "web_fetch_20250910", "name": "web_fetch", "max_content_tokens": 0, "citations": None},
        {"type": "openrouter:web_fetch", "parameters": {"max_content_tokens": 0}},
        id="a limit of nothing",
    ),
    pytest.param(
        {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-5", "max_tokens": 9},
        {
            "type": "openrouter:advisor",
            "parameters": {"model": "anthropic/claude-opus-4.5", "max_completion_tokens": 9},
        },
        id="advisor",
    ),
    pytest.param({"type": "openrouter:datetime"}, {"type": "openrouter:datetime"}, id="R31 OpenRouter's own"),
]


@pytest.mark.parametrize(("server_tool", "expected"), SERVER_TOOLS)
@pytest.mark.covers("Tools · web search and other server tools through OpenRouter")
def test_a_server_tool_becomes_openrouters(server_tool: dict[str, Any], expected: dict[str, Any]) -> None:
    conversion = convert(tools=[server_tool])
    assert conversion.body["tools"] == [expected]
    assert conversion.notes == ()


def test_a_server_tool_can_be_chosen_by_name() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    body = convert(tools=[search], tool_choice={"type": "tool", "name": "web_search"}).body
    assert body["tool_choice"] == {"type": "openrouter:web_search"}


def test_a_function_may_be_called_as_a_server_tool_is() -> None:
    body = convert(tools=[tool("web_search")], tool_choice={"type": "tool", "name": "web_search"}).body
    assert body["tool_choice"] == {"type": "function", "function": {"name": "web_search"}}


def test_parameters_that_openrouters_tool_has_not_are_noted() -> None:
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch", "citations": {"enabled": True}, "cache_control": CACHED}
    assert losses(convert(tools=[fetch])) == [("dropped", "tools.0.citations"), ("dropped", "tools.0.cache_control")]


UNAVAILABLE = [
    pytest.param(
        DEEPSEEK,
        {"type": "code_execution_20250825", "name": "code_execution"},
        "tools.0.type: the tool 'code_execution_20250825' runs at Anthropic and is not available here",
        id="code execution",
    ),
    pytest.param(
        DEEPSEEK,
        {"type": "mcp_toolset", "mcp_server_name": "s"},
        "tools.0.type: the tool 'mcp_toolset' runs at Anthropic and is not available here",
        id="an MCP toolset",
    ),
    pytest.param(
        STRICT,
        {"type": "web_search_20250305", "name": "web_search"},
        "tools.0.type: the tool 'web_search_20250305' runs at Anthropic and is not available here",
        id="web search on an upstream that has none",
    ),
    pytest.param(
        STRICT,
        {"type": "openrouter:datetime"},
        "tools.0.type: the tool 'openrouter:datetime' is OpenRouter's, and the upstream is another one",
        id="a tool of OpenRouter's elsewhere",
    ),
    pytest.param(
        DEEPSEEK,
        {"type": "custom", "custom": {"name": "g"}},
        "tools.0.type: tools with a grammar exist on OpenAI's API only",
        id="O24 a grammar on OpenRouter",
    ),
]


@pytest.mark.parametrize(("target", "server_tool", "message"), UNAVAILABLE)
@pytest.mark.covers("Tools · server tools that nothing would run", "refused")
def test_a_tool_without_an_executor_is_refused_by_name(
    target: Target, server_tool: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(target, tools=[server_tool])
    assert caught.value.message == message


def test_o24_a_key_named_custom_makes_no_grammar_of_a_function() -> None:
    assert tools_of(tool(custom={"owner": "team"})) == [chat_tool()]


def test_o24_tools_with_a_grammar_reach_openai_as_they_are() -> None:
    grammars = [{"type": "custom", "custom": {"name": name, "format": {"type": "text"}}} for name in ("g", "h")]
    assert tools_of(*grammars, target=OPENAI) == grammars


@pytest.mark.covers("Tools · tool search and deferred tools")
def test_tool_search_is_emulated_by_offering_every_tool() -> None:
    search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    conversion = convert(tools=[search, tool("a"), tool("b", defer_loading=True)])
    assert conversion.body["tools"] == [chat_tool("a"), chat_tool("b")]
    assert losses(conversion) == [("emulated", "tools.0"), ("emulated", "tools.2.defer_loading")]


@pytest.mark.parametrize(
    "asked", [{"deferred_tools": {"protocol": "v1"}}, {"openrouter": {"deferred_tools": {"protocol": "v1"}}}]
)
@pytest.mark.covers("OpenRouter · deferred tools")
def test_r33_deferral_is_left_to_openrouter_when_the_request_asks_it_to_defer(asked: dict[str, Any]) -> None:
    conversion = convert(tools=[tool("a"), tool("b", defer_loading=True)], **asked)
    assert conversion.body["tools"] == [chat_tool("a"), chat_tool("b", defer_loading=True)]
    assert conversion.notes == ()


# Tools that come and go in the conversation


def change(kind: str, **reference: Any) -> dict[str, Any]:
    return {"type": kind, "tool": {"type": "tool_reference", **reference}}


def defined(definition: Any) -> dict[str, Any]:
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}


A, B = tool("a"), tool("b")

CHANGES = [
    pytest.param([change("tool_removal", name="a")], ["b"], id="one removed"),
    pytest.param(
        [change("tool_removal", name="a"), change("tool_addition", name="a")], ["b", "a"], id="one back again"
    ),
    pytest.param([change("tool_addition", name="b")], ["a", "b"], id="one added that is there"),
    pytest.param([defined(tool("c"))], ["a", "b", "c"], id="one defined"),
    pytest.param(
        [defined(tool("c")), change("tool_removal", name="c"), change("tool_addition", name="c")],
        ["a", "b", "c"],
        id="one defined, removed and added by name",
    ),
    pytest.param([change("tool_removal", name="unknown")], ["a", "b"], id="one removed that was never there"),
    pytest.param([defined(tool("a", description="New."))], ["a", "b"], id="one defined anew"),
    pytest.param([text("Note."), defined(BASH)], ["a", "b", "bash"], id="a typed one defined"),
]


@pytest.mark.parametrize(("blocks", "expected"), CHANGES)
def test_the_tools_offered_are_those_left_at_the_end(blocks: list[Any], expected: list[str]) -> None:
    conversion = convert(tools=[A, B], messages=[HELLO, system(*blocks)])
    assert [tool["function"]["name"] for tool in conversion.body["tools"]] == expected
    first = next(index for index, block in enumerate(blocks) if block["type"] != "text")
    assert losses(conversion) == [("emulated", f"messages.1.content.{first}")]


def test_a_message_with_changes_only_is_not_sent() -> None:
    assert convert(tools=[A, B], messages=[HELLO, system(change("tool_removal", name="a"))]).body["messages"] == [HELLO]


def test_tools_without_a_name_survive_a_change() -> None:
    advisors = [{"type": "openrouter:advisor", "parameters": {"name": name}} for name in ("x", "y")]
    tools = tools_of(*advisors, A, messages=[HELLO, system(change("tool_removal", name="a"))])
    assert tools == advisors


BAD_CHANGES = [
    pytest.param(
        change("tool_addition", name="c"), "messages.1.content.0.tool.name: no tool named 'c' is declared", id="unknown"
    ),
    pytest.param(
        {"type": "tool_removal", "tool": {"type": "mcp_toolset_reference", "server_name": "s"}},
        "messages.1.content.0.tool.type: 'mcp_toolset_reference' cannot be changed on this upstream, "
        "only tools by name",
        id="an MCP server's",
    ),
    pytest.param(
        {**defined(A), "type": "tool_removal"},
        "messages.1.content.0.tool.type: 'tool_definition' cannot be changed on this upstream, only tools by name",
        id="one removed by a definition",
    ),
    *(
        pytest.param(
            defined(definition),
            "messages.1.content.0.tool.definition: a tool needs a name, and an input_schema or a type",
            id=case,
        )
        for case, definition in {
            "no definition": None,
            "one without a name": {"input_schema": {}},
            "one without a schema": {"name": "c"},
            "a custom one without a schema": {"name": "c", "type": "custom"},
        }.items()
    ),
    pytest.param(
        defined({"type": "teleport_1", "name": "c"}),
        "messages.1.content.0.tool.definition.type: the tool 'teleport_1' runs at Anthropic and is not available here",
        id="of an unknown type",
    ),
]


@pytest.mark.parametrize(("block", "message"), BAD_CHANGES)
def test_a_change_that_cannot_be_made_is_refused_with_its_path(block: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(tools=[A], messages=[HELLO, system(block)])
    assert caught.value.message == message
