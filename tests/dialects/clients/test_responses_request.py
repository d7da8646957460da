"""Responses requests of clients as Messages requests."""

from typing import Any, get_args

import pytest
from openai.types.responses import ResponseIncludable

from gateway.context import Context
from gateway.dialects.clients.parameters import ClientAsking, ClientRequest
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.input import SUMMARIZE
from gateway.dialects.responses.client.request import to_messages_request
from gateway.dialects.responses.client.sealed import open_block, open_summary, seal_block, seal_summary
from gateway.errors import InvalidRequest
from gateway.messages.prompt import to_prompt
from tests.dialects.clients.conversions import ASKING, KEYRING

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
SPACE = {"type": "namespace", "name": "space", "tools": [FUNCTION]}
OTHER_SPACE = {"type": "namespace", "name": "other", "tools": [FUNCTION]}
CUSTOM = {
    "type": "custom",
    "name": "patch",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"},
}
SEARCH = {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}}
USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}


def converted(*items: dict[str, Any], **fields: Any) -> ClientRequest:
    asked, _ = to_messages_request({"model": "m", "input": list(items), **fields}, ASKING)
    to_prompt(asked.request, 100, Context("req_1"))
    return asked


def function_call(call_id: str, name: str = "look", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": name, "arguments": "{}", **fields}


def output(call_id: str, kind: str = "function_call_output", value: Any = "seen") -> dict[str, Any]:
    return {"type": kind, "call_id": call_id, "output": value}


def test_text_input_is_the_users_message() -> None:
    asked, _ = to_messages_request({"model": "m", "input": "Hello", "instructions": "Be brief."}, ASKING)
    assert asked.request["messages"] == [{"role": "user", "content": "Hello"}]
    assert asked.request["system"] == "Be brief."


@pytest.mark.covers("Responses clients · items without type and id")
def test_items_without_type_and_id_are_messages() -> None:
    items = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        USER,
    )
    asked = converted(*items)
    assert asked.request["system"] == "Be brief."
    assert [message["role"] for message in asked.request["messages"]] == ["user", "assistant", "user"]


@pytest.mark.covers("Responses clients · tools in tools, additional_tools and tool_search_output")
def test_tools_come_from_the_field_from_items_and_from_what_a_search_found() -> None:
    items = (
        {"type": "additional_tools", "role": "developer", "tools": [CUSTOM]},
        USER,
        {"type": "tool_search_call", "call_id": "call_1", "execution": "client", "arguments": {"query": "look"}},
        {"type": "tool_search_output", "call_id": "call_1", "tools": [SPACE]},
    )
    asked = converted(*items, tools=[FUNCTION, SEARCH])
    assert [tool["name"] for tool in asked.request["tools"]] == ["look", "tool_search", "patch", "space__look"]
    assert asked.request["messages"][-1]["content"][0]["content"] == "Found tools: space__look"


@pytest.mark.covers("Responses clients · namespaces")
def test_namespaces_are_flattened_and_restored() -> None:
    asked = converted(USER, tools=[FUNCTION, SPACE, OTHER_SPACE])
    found = [asked.tools.find(tool["name"]) for tool in asked.request["tools"]]
    assert [(tool.namespace, tool.name) for tool in found] == [(None, "look"), ("space", "look"), ("other", "look")]


def test_flat_name_that_another_tool_has_is_changed() -> None:
    plain = {**FUNCTION, "name": "space__look"}
    names = [tool["name"] for tool in converted(USER, tools=[plain, SPACE]).request["tools"]]
    assert len(set(names)) == 2


def test_calls_in_the_history_have_the_names_of_their_tools() -> None:
    items = (
        USER,
        function_call("call_1", namespace="space"),
        {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "*** Begin"},
        output("call_1"),
        output("call_2", "custom_tool_call_output", [{"type": "input_text", "text": "done"}]),
    )
    told = converted(*items, tools=[SPACE, CUSTOM]).request["messages"]
    assert [(block["name"], block["input"]) for block in told[1]["content"]] == [
        ("space__look", {}),
        ("patch", {"input": "*** Begin"}),
    ]
    assert [block["content"] for block in told[2]["content"]] == ["seen", "done"]


def test_the_functions_namespace_may_be_left_out() -> None:
    space = {**SPACE, "name": "functions"}
    told = converted(USER, function_call("call_1"), output("call_1"), tools=[space]).request
    assert told["messages"][1]["content"][0]["name"] == told["tools"][0]["name"]


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        ([{"type": "function", "name": "look"}], ["look"]),
        ([{"type": "function", "name": "look", "namespace": "space"}], ["space__look"]),
        ([{"type": "namespace", "name": "other"}], ["other__look", "other__hear"]),
        ([{"type": "function", "name": "hear"}], ["other__hear"]),
        ([{"type": "custom", "name": "patch"}, {"type": "tool_search"}], ["patch", "tool_search"]),
        ([{"type": "mcp", "server_label": "a"}, {"type": "function", "name": "look"}], ["look"]),
    ],
)
def test_allowed_tools_are_those_of_namespaces_too(allowed: list[Any], left: list[str]) -> None:
    other = {**OTHER_SPACE, "tools": [FUNCTION, {**FUNCTION, "name": "hear"}]}
    choice = {"type": "allowed_tools", "mode": "required", "tools": allowed}
    asked = converted(USER, tools=[FUNCTION, CUSTOM, SEARCH, SPACE, other, {"type": "mcp"}], tool_choice=choice)
    assert [tool["name"] for tool in asked.request["tools"]] == left
    assert asked.request["tool_choice"] == {"type": "any"}


def test_tool_of_a_namespace_is_chosen_without_it_unless_another_has_its_name() -> None:
    choice = {"type": "function", "name": "look"}
    assert converted(USER, tools=[SPACE], tool_choice=choice).request["tool_choice"]["name"] == "space__look"
    functions = {**SPACE, "name": "functions"}
    asked = converted(USER, tools=[SPACE, functions], tool_choice=choice)
    assert asked.request["tool_choice"]["name"] == "functions__look"
    with pytest.raises(InvalidRequest, match="Tool 'look' not found in provided tools"):
        converted(USER, tools=[SPACE, OTHER_SPACE], tool_choice=choice)


def test_first_tool_of_a_namespace_has_its_description() -> None:
    query = {"type": "custom", "name": "query", "description": "Runs SQL."}
    spaces = [
        {**SPACE, "description": "Eyes.", "tools": [FUNCTION, {**FUNCTION, "name": "hear"}]},
        {**OTHER_SPACE, "description": "A database.", "tools": [query]},
    ]
    for takes_grammars in (False, True):
        registry = ToolRegistry(takes_grammars)
        registry.declare_all(spaces, "tools")
        registry.declare_all(spaces[:1], "input.1.tools")
        told = {tool["name"]: tool.get("description") for tool in (each.get("custom", each) for each in registry.tools)}
        assert told == {
            "space__look": "All tools of space: Eyes.",
            "space__hear": None,
            "other__query": "All tools of other: A database.\n\nRuns SQL.",
        }
        assert not registry.notes


def test_search_by_openais_server_is_noted_and_its_tools_are_offered() -> None:
    search = {"type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {"paths": ["space"]}}
    found = {"type": "tool_search_output", "call_id": None, "execution": "server", "tools": [SPACE]}
    asked = converted(USER, search, found, USER, tools=[{"type": "tool_search"}])
    assert [tool["name"] for tool in asked.request["tools"]] == ["space__look"]
    assert [note.text for note in asked.notes] == ["dropped:tools.0.tool_search", "dropped:input.1"]


@pytest.mark.covers("Responses clients · hosted tools and unknown items", "noted")
def test_hosted_tools_and_unknown_items_are_noted() -> None:
    items = (USER, {"type": "web_search_call", "id": "ws_1"}, {"type": "novel"}, USER)
    asked = converted(*items, tools=[{"type": "web_search", "external_web_access": True}, FUNCTION])
    assert [note.text for note in asked.notes] == ["dropped:tools.0.web_search", "dropped:input.1", "dropped:input.2"]


def test_sealed_reasoning_comes_back_as_it_was() -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    item = {"type": "reasoning", "summary": [], "content": None, "encrypted_content": seal_block(block)}
    assert converted(USER, item, USER).request["messages"][1]["content"] == [block]


def test_reasoning_without_a_seal_is_plain_and_a_foreign_seal_is_noted() -> None:
    plain = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    assert converted(USER, plain, USER).request["messages"][1]["content"][0]["thinking"] == "Hm."
    foreign = converted(USER, {**plain, "encrypted_content": "gAAAA"}, USER)
    assert [note.text for note in foreign.notes] == ["dropped:input.1.encrypted_content"]


@pytest.mark.parametrize(
    "sealed", ["", "gwr1.", "gwr1.!", "gwr1.e30", "gwc1.", "other", seal_block({"type": "thinking"})]
)
def test_damaged_seals_open_to_nothing(sealed: str) -> None:
    assert open_block(sealed) is None


def test_summary_survives_its_seal() -> None:
    assert open_summary(seal_summary("“Done” so far\n")) == "“Done” so far\n"
    assert open_summary("gAAAA") is None


def test_compaction_trigger_asks_for_a_summary_and_forbids_calls() -> None:
    asked, compacts = to_messages_request(
        {"model": "m", "input": [USER, {"type": "compaction_trigger"}], "tools": [FUNCTION]}, ASKING
    )
    assert compacts
    assert asked.request["messages"][-1]["content"] == SUMMARIZE
    assert asked.request["tool_choice"] == {"type": "none"}


def test_compaction_item_is_read_as_the_users_message() -> None:
    told = converted({"type": "compaction", "encrypted_content": seal_summary("All done.")}, USER).request["messages"]
    assert told[0]["content"].endswith("All done.")


def test_parameters_reach_messages_by_their_names() -> None:
    schema = {"type": "json_schema", "name": "out", "schema": {"type": "object"}, "strict": True}
    asked = converted(
        USER,
        max_output_tokens=9,
        reasoning={"effort": "low", "summary": "auto", "context": "all_turns"},
        text={"verbosity": "low", "format": schema},
        store=True,
        include=["reasoning.encrypted_content"],
        client_metadata={"a": "b"},
        prompt_cache_key="session",
        service_tier="flex",
        stream=True,
    )
    request = asked.request
    assert (request["max_tokens"], request["reasoning_effort"], request["verbosity"]) == (9, "low", "low")
    assert request["response_format"]["json_schema"] == {"name": "out", "schema": {"type": "object"}, "strict": True}
    assert (request["prompt_cache_key"], asked.session, request["stream"]) == ("session", "session", True)
    assert request["reasoning"] == {"summary": "auto", "context": "all_turns"}
    assert [note.text for note in asked.notes] == [
        "dropped:client_metadata",
        "dropped:store",
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": None}, "input"),
        ({"input": [7]}, "input.0"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": [{"content": "x"}]}, "input.0.type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input.0.call_id"),
        ({"input": [{"type": "compaction", "encrypted_content": "gAAAA"}]}, "input.0.encrypted_content"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [{"role": "user", "content": ""}]}, "input"),
        ({"input": [USER, {"role": "assistant", "content": "a"}, {"role": "user", "content": ""}]}, "input.2.content"),
        ({"input": [{"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}]}, "input"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"truncation": "sometimes"}, "truncation"),
    ],
)
def test_field_that_cannot_be_carried_over_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_messages_request({"model": "m", "input": "Hello", **fields}, ASKING)
    assert refused.value.message.startswith(f"{field}: ")


def test_background_false_and_null_references_ask_for_nothing() -> None:
    assert converted(USER, background=False, previous_response_id=None).notes == []


@pytest.mark.covers("Responses clients · custom tools with grammars")
def test_custom_tools_pass_where_the_upstream_holds_them_to_their_grammar() -> None:
    asking = ClientAsking(ASKING.target, KEYRING, takes_grammars=True)
    chosen = {"type": "custom", "name": "patch"}
    body = {"model": "m", "input": [USER], "tools": [CUSTOM, FUNCTION], "tool_choice": chosen}
    asked, _ = to_messages_request(body, asking)
    to_prompt(asked.request, 100, Context("req_1"))
    assert asked.request["tools"][0] == {"type": "custom", "custom": {"format": CUSTOM["format"], "name": "patch"}}
    assert asked.request["tool_choice"] == {"type": "tool", "name": "patch"}


def test_fields_that_reach_no_upstream_are_noted() -> None:
    tool = {
        **FUNCTION,
        "defer_loading": True,
        "async": True,
        "allowed_callers": ["programmatic"],
        "output_schema": {"a": 1},
    }
    asked = converted(USER, tools=[tool], include=["message.output_text.logprobs"], top_logprobs=2)
    fields = ["tools.0.allowed_callers", "tools.0.async", "tools.0.defer_loading", "tools.0.output_schema"]
    assert [note.field for note in asked.notes] == [*fields, "include.0", "top_logprobs"]
    assert "top_logprobs" not in asked.request


def test_parts_that_no_response_has_are_noted_where_they_are_to_be_included() -> None:
    included = [*get_args(ResponseIncludable), "something.new"]
    notes = converted(USER, include=included).notes
    absent = [index for index, name in enumerate(included) if name != "reasoning.encrypted_content"]
    assert [note.field for note in notes] == [f"include.{index}" for index in absent]
    assert [note.reason for note in notes if "knows no such" in note.reason] == ["the gateway knows no such part"]
    with pytest.raises(InvalidRequest, match=r"include\.0: Input should be a string"):
        converted(USER, include=[1])


def test_parts_of_settings_that_nothing_reads_are_noted() -> None:
    settings = {
        "reasoning": {"effort": "low", "new": 1, "off": None},
        "text": {"verbosity": "low", "new": 1},
        "stream_options": {"include_obfuscation": False, "new": 1},
    }
    notes = converted(USER, **settings).notes
    assert [note.field for note in notes] == ["reasoning.new", "text.new", "stream_options.new"]


def test_cache_breakpoints_of_instructions_and_results_are_kept() -> None:
    text = {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    result = output("c", value=[text])
    request = converted({"role": "system", "content": [text]}, USER, function_call("c"), result).request
    marked = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert request["system"] == request["messages"][2]["content"][0]["content"] == [marked]
