"""Chat requests of clients as Messages requests."""

from typing import Any

import pytest

from gateway.dialects.clients.tools import MAX_NAME
from gateway.errors import InvalidRequest
from tests.dialects.clients.conversions import converted, messages_of

USER = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def call(call_id: str, name: str = "look", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: Any = "seen") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def allowed_tools(tools: list[Any], mode: str = "auto") -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_leading_instructions_become_the_system_prompt() -> None:
    asked = converted(
        {
            "messages": [
                {"role": "system", "content": "One."},
                {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
                USER,
            ]
        }
    )
    assert asked.request["system"] == "One.\n\nTwo."
    assert asked.request["messages"] == [{"role": "user", "content": "Hello"}]


def test_later_instructions_stand_behind_the_users_turn() -> None:
    told = messages_of(
        USER, {"role": "assistant", "content": "Hi"}, {"role": "developer", "content": "Be brief."}, USER, USER
    )
    assert [message["role"] for message in told] == ["user", "assistant", "user", "user", "system"]
    assert told[-1]["content"] == "Be brief."


def test_instructions_alone_become_the_users_message_with_a_note() -> None:
    asked = converted({"messages": [{"role": "system", "content": "Write a haiku."}]})
    assert asked.request["messages"] == [{"role": "user", "content": "Write a haiku."}]
    assert [note.text for note in asked.notes] == ["changed:messages"]


@pytest.mark.parametrize("content", ["", None, "absent"])
def test_assistant_content_beside_calls_may_be_empty_null_or_absent(content: str | None) -> None:
    said: dict[str, Any] = {"role": "assistant", "content": content, "tool_calls": [call("call_1")]}
    if content == "absent":
        del said["content"]
    told = messages_of(USER, said, result("call_1"))
    assert told[1]["content"] == [{"type": "tool_use", "id": "call_1", "name": "look", "input": {}}]


def test_results_of_parallel_calls_are_one_message_behind_the_calls() -> None:
    said = {"role": "assistant", "tool_calls": [call("call_1"), call("call_2")]}
    told = messages_of(USER, said, result("call_1"), USER, result("call_2", [{"type": "text", "text": "two"}]))
    assert [block["tool_use_id"] for block in told[2]["content"]] == ["call_1", "call_2"]
    assert told[2]["content"][1]["content"] == "two"
    assert told[3] == {"role": "user", "content": "Hello"}


def test_call_ids_that_messages_refuses_pair_calls_with_results() -> None:
    told = messages_of(
        USER, {"role": "assistant", "tool_calls": [call("functions.look:0")]}, result("functions.look:0")
    )
    assert told[1]["content"][0]["id"] == told[2]["content"][0]["tool_use_id"]


@pytest.mark.parametrize(
    ("arguments", "read", "notes"),
    [
        ("", {}, []),
        ('{"a": 1}', {"a": 1}, []),
        ('{"a": ', {"arguments": '{"a": '}, ["changed:messages.1.tool_calls.0.function.arguments"]),
        ("[1]", {"arguments": [1]}, ["changed:messages.1.tool_calls.0.function.arguments"]),
    ],
)
def test_arguments_that_are_no_object_are_kept_with_a_note(arguments: str, read: Any, notes: list[str]) -> None:
    said = {"role": "assistant", "tool_calls": [call("call_1", arguments=arguments)]}
    asked = converted({"messages": [USER, said, result("call_1")]})
    assert asked.request["messages"][1]["content"][0]["input"] == read
    assert [note.text for note in asked.notes] == notes


def test_sealed_reasoning_details_come_back_as_thinking() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig"},
        {"type": "reasoning.encrypted", "data": "gw2.x"},
    ]
    told = messages_of(USER, {"role": "assistant", "content": "Hi", "reasoning_details": details}, USER)
    assert told[1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "gw2.x"},
        {"type": "text", "text": "Hi"},
    ]


def test_plain_reasoning_comes_back_sealed_as_of_no_model() -> None:
    told = messages_of(USER, {"role": "assistant", "content": "Hi", "reasoning_content": "Hm."}, USER)
    thinking = told[1]["content"][0]
    assert thinking["thinking"] == "Hm."
    assert thinking["signature"].startswith("gw2.")


@pytest.mark.covers("Chat clients · images and files")
def test_images_and_files_become_blocks() -> None:
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,iVBORw0KGgo=", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
    ]
    blocks = messages_of({"role": "user", "content": content})[0]["content"]
    assert [block["type"] for block in blocks] == ["text", "image", "image", "document", "document"]
    assert blocks[1]["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert blocks[1]["detail"] == "low"
    assert blocks[3]["title"] == "a.pdf"
    assert blocks[4]["source"] == {"type": "text", "media_type": "text/plain", "data": "hi"}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.covers("Chat clients · flat and nested tools")
def test_tools_are_taken_nested_and_flat(flat: bool) -> None:
    tool = {"type": "function", **FUNCTION["function"]} if flat else FUNCTION  # type: ignore[dict-item]
    asked = converted({"messages": [USER], "tools": [tool]})
    assert asked.request["tools"] == [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]


def test_custom_tool_becomes_a_function_with_one_string_and_its_grammar_in_the_description() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a+/"}}
    custom = {"type": "custom", "custom": {"name": "patch", "description": "Edit.", "format": grammar}}
    tool = converted({"messages": [USER], "tools": [custom]}).request["tools"][0]
    assert tool["input_schema"]["required"] == ["input"]
    assert "start: /a+/" in tool["description"]


@pytest.mark.covers("Chat clients · hosted tools", "noted")
def test_hosted_tools_are_left_out_with_a_note() -> None:
    asked = converted({"messages": [USER], "tools": [{"type": "web_search"}, FUNCTION]})
    assert len(asked.request["tools"]) == 1
    assert [note.text for note in asked.notes] == ["dropped:tools.0.web_search"]


def test_names_that_upstreams_refuse_are_replaced_and_restored() -> None:
    names = ["a.b/c", "x" * 80, "ok"]
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    asked = converted({"messages": [USER], "tools": tools})
    flat = [tool["name"] for tool in asked.request["tools"]]
    assert len(set(flat)) == 3
    assert all(len(name) <= MAX_NAME for name in flat)
    assert flat[2] == "ok"
    assert [asked.tools.find(name).name for name in flat] == names


@pytest.mark.covers("Chat clients · schemas with what strict servers refuse")
def test_schemas_lose_what_strict_upstreams_refuse_and_keep_properties_of_that_name() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "encrypted": {"type": "boolean", "encrypted": True},
            "count": {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1},
            "minimum": {"type": "integer", "minimum": 1},
        },
    }
    tools = [{"type": "function", "function": {"name": "look", "parameters": schema}}]
    read = converted({"messages": [USER], "tools": tools}).request["tools"][0]["input_schema"]
    assert read == {
        "type": "object",
        "properties": {
            "encrypted": {"type": "boolean"},
            "count": {"type": "integer"},
            "minimum": {"type": "integer", "minimum": 1},
        },
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        ("auto", True, None),
        ("required", None, {"type": "any"}),
        ("none", False, {"type": "none"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"type": "function", "function": {"name": "look"}}, None, {"type": "tool", "name": "look"}),
        ({"type": "function", "name": "look"}, None, {"type": "tool", "name": "look"}),
    ],
)
def test_tool_choice_and_parallel_calls(choice: Any, parallel: Any, expected: Any) -> None:
    body = {"messages": [USER], "tools": [FUNCTION], "tool_choice": choice, "parallel_tool_calls": parallel}
    assert converted(body).request.get("tool_choice") == expected


@pytest.mark.covers("Chat clients · allowed_tools")
def test_allowed_tools_leave_the_others_out() -> None:
    other = {"type": "function", "function": {"name": "hear"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [other]}}
    asked = converted({"messages": [USER], "tools": [FUNCTION, other], "tool_choice": choice})
    assert [tool["name"] for tool in asked.request["tools"]] == ["hear"]
    assert asked.request["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("sometimes", "tool_choice: Input should be one of any, auto, none, required or an object"),
        ({"type": "function", "function": {"name": "hear"}}, "tool_choice: Tool 'hear' not found in provided tools"),
        ({"type": "function"}, "tool_choice: a tool is chosen by its name"),
        ({"type": "allowed_tools"}, "tool_choice.tools: Input should be an array"),
        (allowed_tools(["look"]), "tool_choice.allowed_tools.tools.0: Input should be an object"),
        (allowed_tools([], "never"), "tool_choice.allowed_tools.mode: Input should be one of auto, required"),
        (
            allowed_tools([{"type": "function", "function": {"name": "hear"}}]),
            "tool_choice.allowed_tools.tools.0: Tool 'hear' not found in provided tools",
        ),
    ],
)
@pytest.mark.parametrize("tools", [[FUNCTION], []])
def test_choice_that_is_not_possible_is_refused(tools: list[Any], choice: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        converted({"messages": [USER], "tools": tools, "tool_choice": choice})
    assert refused.value.message == message


def test_choice_without_tools_is_left_out() -> None:
    assert "tool_choice" not in converted({"messages": [USER], "tool_choice": "auto"}).request


@pytest.mark.parametrize(
    ("tools", "choice"), [([], "required"), ([FUNCTION], allowed_tools([], "required")), ([{"type": "mcp"}], "any")]
)
def test_forced_call_without_a_tool_to_call_is_noted(tools: list[Any], choice: Any) -> None:
    asked = converted({"messages": [USER], "tools": tools, "tool_choice": choice})
    assert not asked.request.keys() & {"tools", "tool_choice"}
    assert asked.notes[-1].text == "dropped:tool_choice"


@pytest.mark.covers("Chat clients · Responses' input in place of messages")
def test_responses_input_is_taken_in_place_of_messages() -> None:
    items = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "seen"},
    ]
    tools = [
        {"type": "function", "name": "look", "parameters": {"type": "object"}},
        {"type": "custom", "name": "patch"},
    ]
    request = converted({"input": items, "tools": tools, "reasoning": {"effort": "low"}}).request
    assert request["system"] == "Be brief."
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "user"]
    assert [tool["name"] for tool in request["tools"]] == ["look", "patch"]
    assert request["reasoning"] == {"effort": "low"}


def test_length_is_left_to_the_upstream_unless_the_client_sets_it() -> None:
    assert converted({"messages": [USER]}).has_default_length
    asked = converted({"messages": [USER], "max_completion_tokens": 7, "max_tokens": 9})
    assert (asked.request["max_tokens"], asked.has_default_length) == (7, False)


@pytest.mark.parametrize(
    ("tier", "sent", "notes"),
    [
        ("auto", None, []),
        ("flex", "flex", []),
        ("fast", "priority", []),
        ("ultrafast", None, ["dropped:service_tier"]),
        (["fast"], None, ["dropped:service_tier"]),
    ],
)
def test_service_tier_is_named_as_upstreams_name_it(tier: Any, sent: str | None, notes: list[str]) -> None:
    asked = converted({"messages": [USER], "service_tier": tier})
    assert asked.request.get("service_tier") == sent
    assert [note.text for note in asked.notes] == notes


def test_parameters_reach_messages_by_their_names() -> None:
    asked = converted(
        {
            "messages": [USER],
            "temperature": 1.5,
            "top_p": 0.5,
            "stop": "END",
            "seed": 3,
            "reasoning_effort": "low",
            "user": "u",
            "store": True,
            "response_format": {"type": "json_object"},
            "service_tier": "flex",
            "novel": 1,
        }
    )
    request = asked.request
    assert request["openai"] == {"temperature": 1.5}
    assert (request["top_p"], request["stop_sequences"], request["seed"]) == (0.5, ["END"], 3)
    assert (request["reasoning_effort"], request["user"], request["service_tier"]) == ("low", "u", "flex")
    assert [note.text for note in asked.notes] == ["dropped:store", "dropped:novel"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n": 2}, "n"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": ["text", "hologram"]}, "modalities"),
        ({"modalities": [["text"]]}, "modalities"),
        ({"thinking": "high"}, "thinking"),
        ({"enable_thinking": "yes"}, "enable_thinking"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"truncation": "sometimes"}, "truncation"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"messages": None}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages.0.tool_calls.0.function"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "messages.0.content.0",
        ),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.name"),
        ({"tools": [FUNCTION], "tool_choice": "sometimes"}, "tool_choice"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": [USER, ANSWER, {"role": "user", "content": " "}]}, "messages.2.content"),
        ({"messages": [USER, ANSWER, {"role": "user", "content": None}]}, "messages.2.content"),
    ],
)
def test_field_that_cannot_be_carried_over_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        converted({"messages": [USER], **body})
    assert refused.value.message.startswith(f"{field}: ")


def test_images_of_an_earlier_answer_come_back() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    earlier = {"role": "assistant", "content": "Look:", "images": [image]}
    _, answer, _ = messages_of({"role": "user", "content": "draw"}, earlier, {"role": "user", "content": "again"})
    assert [block["type"] for block in answer["content"]] == ["text", "image"]


CONTROL = {"type": "ephemeral"}
BREAKPOINT = {"mode": "explicit", "ttl": "12h"}


def part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def test_cache_breakpoints_of_every_place_are_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = converted(
        {
            "messages": [
                {"role": "system", "content": [part("a", cache_control=CONTROL), part("b")]},
                {"role": "developer", "content": "c"},
                {"role": "user", "content": [part("d"), {**image, "prompt_cache_breakpoint": BREAKPOINT}]},
                {"role": "assistant", "content": "e", "cache_control": CONTROL, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "f", "cache_control": CONTROL},
                {"role": "system", "content": [part("g", prompt_cache_breakpoint=BREAKPOINT)]},
            ],
            "tools": [{"type": "function", "function": {"name": "look"}, "cache_control": CONTROL}],
        }
    ).request
    assert asked["system"] == [part("a", cache_control=CONTROL), part("b"), part("c")]
    user, assistant, result, system = asked["messages"]
    assert user["content"][1]["prompt_cache_breakpoint"] == BREAKPOINT
    assert assistant["content"][0]["cache_control"] == CONTROL
    assert result["content"][0]["content"] == [part("f", cache_control=CONTROL)]
    assert system["content"] == [part("g", prompt_cache_breakpoint=BREAKPOINT)]
    assert asked["tools"][0]["cache_control"] == CONTROL


def test_calls_of_the_form_before_tools_are_calls() -> None:
    function = {"name": "look", "arguments": '{"a":1}'}
    earlier = {"role": "assistant", "content": None, "function_call": function}
    result = {"role": "function", "name": "look", "content": "seen"}
    _, answer, seen = messages_of({"role": "user", "content": "hi"}, earlier, result)
    [call], [output] = answer["content"], seen["content"]
    assert (call["name"], call["input"], output["tool_use_id"]) == ("look", {"a": 1}, call["id"])


def test_parts_of_messages_that_nothing_takes_are_noted() -> None:
    named = {"role": "user", "content": "hi", "name": "bob"}
    spoken = {"role": "assistant", "content": "a", "audio": {"id": "audio_1"}}
    asked = converted({"messages": [named, spoken, {"role": "user", "content": "go"}]})
    assert [note.text for note in asked.notes] == ["dropped:messages.0.name", "dropped:messages.1.audio"]


def test_empty_message_that_is_not_needed_for_the_order_of_turns_is_noted() -> None:
    empty = {"role": "user", "content": ""}
    for messages in ([USER, empty], [USER, ANSWER, empty, USER], [USER, ANSWER, empty, ANSWER]):
        asked = converted({"messages": messages})
        assert [note.text for note in asked.notes] == [f"dropped:messages.{messages.index(empty)}"]


def test_second_declaration_of_a_tool_is_noted_where_it_differs() -> None:
    other = {"type": "function", "function": {**FUNCTION["function"], "description": "Other."}}
    asked = converted({"messages": [USER], "tools": [FUNCTION, FUNCTION, other]})
    assert [tool["description"] for tool in asked.request["tools"]] == ["Other."]
    assert [note.text for note in asked.notes] == ["changed:tools.2.name"]


@pytest.mark.parametrize("data", ["x", "iVBORw0KGgo", "é=="])
def test_image_that_is_not_base64_is_refused_by_its_place(data: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    with pytest.raises(InvalidRequest, match=r"messages\.0\.content\.0"):
        converted({"messages": [{"role": "user", "content": [image]}]})


def test_settings_of_responses_sent_to_chat_are_carried_or_noted() -> None:
    schema = {"name": "city", "schema": {"type": "object"}}
    asked = converted(
        {
            "input": [{"role": "user", "content": "hi"}],
            "text": {"verbosity": "low", "format": {"type": "json_schema", **schema}},
            "include": ["reasoning.encrypted_content", "web_search_call.results"],
            "truncation": "auto",
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    )
    assert asked.request["verbosity"] == "low"
    assert asked.request["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert [note.field for note in asked.notes] == ["include.1", "truncation", "stream_options.continuous_usage_stats"]
