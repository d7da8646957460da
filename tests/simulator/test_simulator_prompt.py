"""The simulator's reading of a request, its refusals, and the values it invents for a schema."""

from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.simulator.prompt import Tool, is_asked_for, to_prompt
from gateway.simulator.sample import FILLER, MAX_DEPTH, to_sample

USER = {"role": "user", "content": "Hello"}
REMINDER = "<system-reminder>\nToday is a day.\n</system-reminder>"


def call_of(identifier: str, arguments: str = "{}", name: str = "go") -> dict[str, Any]:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def assistant(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def result(identifier: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def function(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        pytest.param([USER], "Hello", id="a string is taken as it is"),
        pytest.param(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": REMINDER},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                        {"type": "text", "text": "List the files"},
                        {"type": "text", "text": REMINDER},
                    ],
                },
                {"role": "system", "content": "An inline system message"},
            ],
            "List the files",
            id="reminders, images and a system message after it do not count as what the user said",
        ),
        pytest.param(
            [USER, assistant(call_of("a")), result("a", "done"), {"role": "user", "content": REMINDER}],
            "Hello",
            id="a message of reminders alone leaves the last one that said something",
        ),
        pytest.param([{"role": "user", "content": REMINDER}], REMINDER, id="reminders are better than nothing"),
        pytest.param([{"role": "system", "content": "Be brief"}], "", id="no user said anything"),
    ],
)
def test_the_last_user_text_is_what_the_user_said_last(messages: list[dict[str, Any]], text: str) -> None:
    assert to_prompt({"messages": messages}).text == text


@pytest.mark.parametrize(
    ("later", "results"),
    [
        pytest.param([], (), id="no result yet"),
        pytest.param([result("a", "four")], ("four",), id="a result as a string"),
        pytest.param(
            [
                result("a", [{"type": "text", "text": "four"}]),
                result("b", "five"),
                {"role": "user", "content": REMINDER},
            ],
            ("four", "five"),
            id="several results as parts, before a reminder",
        ),
        pytest.param(
            [result("a", "four"), {"role": "assistant", "content": "It is four."}, USER],
            (),
            id="a result that was already answered",
        ),
    ],
)
def test_results_are_those_since_the_model_last_spoke(later: list[dict[str, Any]], results: tuple[str, ...]) -> None:
    assert to_prompt({"messages": [USER, assistant(call_of("a"), call_of("b")), *later]}).results == results


def test_replayed_details_and_calls_are_those_of_the_models_last_message() -> None:
    old, new = {"type": "reasoning.text", "text": "old"}, {"type": "reasoning.text", "text": "new"}
    messages = [
        USER,
        assistant(call_of("a"), reasoning_details=[old]),
        result("a", ""),
        assistant(call_of("b"), reasoning_details=[new]),
        result("b", ""),
    ]
    prompt = to_prompt({"messages": messages})
    assert prompt.replayed == (new,)
    assert prompt.called == ("b",)


TWO_TOOLS = [function("first", type="object"), {"type": "openrouter:web_search"}, function("second")]


@pytest.mark.parametrize(
    ("choice", "names", "required"),
    [
        pytest.param(None, ["first", "second"], False, id="no choice offers all functions, and no server tool"),
        pytest.param("auto", ["first", "second"], False, id="auto is the same"),
        pytest.param("none", [], False, id="none offers none"),
        pytest.param("required", ["first", "second"], True, id="required wants any"),
        pytest.param(
            {"type": "function", "function": {"name": "second"}},
            ["second"],
            True,
            id="a named function is the only one",
        ),
    ],
)
def test_the_tool_choice_decides_what_may_be_called(choice: Any, names: list[str], required: bool) -> None:
    prompt = to_prompt({"messages": [USER], "tools": TWO_TOOLS, "tool_choice": choice})
    assert [tool.name for tool in prompt.tools] == names
    assert prompt.tool_required is required


def test_the_prompt_is_estimated_from_messages_and_tools_alone() -> None:
    alone = to_prompt({"messages": [USER]}).tokens
    assert to_prompt({"messages": [USER], "model": "a/b", "stream": True}).tokens == alone
    assert to_prompt({"messages": [USER], "tools": TWO_TOOLS}).tokens > alone
    assert to_prompt({"messages": [{"role": "user", "content": "Hello" + "four" * 100}]}).tokens == alone + 100


@pytest.mark.parametrize(
    ("request_body", "where"),
    [
        pytest.param([], 'specify "prompt" or "messages"', id="no object"),
        pytest.param({}, 'specify "prompt" or "messages"', id="no messages"),
        pytest.param({"messages": []}, 'specify "prompt" or "messages"', id="empty messages"),
        pytest.param({"messages": "Hello"}, "messages: expected an array", id="messages that are no array"),
        pytest.param({"messages": ["Hello"]}, "messages.0.role", id="a message that is no object"),
        pytest.param({"messages": [USER, {"role": "bogus"}]}, "messages.1.role", id="a role that does not exist"),
        pytest.param(
            {"messages": [{"role": "user", "content": 5}]}, "messages.0.content", id="content of another type"
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages.0.content.0",
            id="a block of another dialect",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0",
            id="an image part without its image",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]},
            "messages.0.content.0.text",
            id="a text part without text",
        ),
        pytest.param({"messages": [USER, result("a", "x")]}, "messages.1.tool_call_id", id="a result without a call"),
        pytest.param(
            {"messages": [USER, assistant(call_of("a")), result("b", "x")]},
            "messages.2.tool_call_id",
            id="a result of another call",
        ),
        pytest.param({"messages": [assistant(call_of("a", "{"))]}, "messages.0.tool_calls", id="arguments cut short"),
        pytest.param(
            {"messages": [assistant(call_of("a", "[]"))]}, "messages.0.tool_calls", id="arguments in an array"
        ),
        pytest.param(
            {"messages": [assistant(call_of("a", name="x" * 65))]}, "messages.0.tool_calls", id="a call's name too long"
        ),
        pytest.param(
            {"messages": [USER], "tools": [function("no spaces")]},
            "tools.0.function.name",
            id="a tool's name with spaces",
        ),
        pytest.param({"messages": [USER], "max_tokens": 0}, "max_tokens", id="no room to answer"),
        pytest.param({"messages": [USER], "max_completion_tokens": "9"}, "max_completion_tokens", id="room in words"),
    ],
)
def test_request_that_a_provider_would_refuse_is_refused_with_its_place(request_body: Any, where: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        to_prompt(request_body)
    assert where in raised.value.message


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        pytest.param("get_weather", "get_weather for Paris, please", True, id="an unmistakable name need only occur"),
        pytest.param("WebFetch", "try WebFetch on that", True, id="a hump makes it unmistakable"),
        pytest.param("get_weather", "get_weather_alerts, please", False, id="a longer name is another tool"),
        pytest.param("get_weather", "How is the weather?", False, id="a subject is no name"),
        pytest.param("Bash", "Use the Bash tool to run `ls`", True, id="use the X tool"),
        pytest.param("Bash", "call `bash` once", True, id="call X, in any case"),
        pytest.param("Read", "With the Read tool, look at it", True, id="the X tool"),
        pytest.param("Write", "Write a poem", False, id="a plain word at the start of a sentence asks for no tool"),
        pytest.param("Read", "Please read about the toolbox", False, id="a plain word in a sentence asks for no tool"),
        pytest.param("Read", "use Readability", False, id="a word that begins with the name"),
    ],
)
def test_a_tool_is_asked_for_by_name_and_not_by_accident(name: str, text: str, asked: bool) -> None:
    assert is_asked_for(Tool(name, {}), text) is asked


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param({"type": "string"}, FILLER, id="a string"),
        pytest.param({"type": "string", "maxLength": 3}, FILLER[:3], id="a short string"),
        pytest.param({"type": "string", "minLength": 12}, FILLER + "xxx", id="a long string"),
        pytest.param({"type": "string", "format": "date"}, "2026-01-01", id="a string with a format"),
        pytest.param({"type": "integer"}, 1, id="a number"),
        pytest.param({"type": "integer", "minimum": 7}, 7, id="a number from seven"),
        pytest.param({"type": "integer", "exclusiveMinimum": 7}, 8, id="a number above seven"),
        pytest.param({"type": "number", "maximum": 0.5}, 0.5, id="a number up to a half"),
        pytest.param({"type": "integer", "multipleOf": 5}, 5, id="a multiple of five"),
        pytest.param({"type": "boolean"}, False, id="a truth value"),
        pytest.param({"type": "null"}, None, id="null"),
        pytest.param({}, None, id="anything"),
        pytest.param(True, None, id="a schema that is no object"),
        pytest.param({"type": ["string", "null"]}, FILLER, id="the first of several types"),
        pytest.param({"enum": ["b", "a"]}, "b", id="the first of an enumeration"),
        pytest.param({"const": None}, None, id="a constant null"),
        pytest.param({"type": "integer", "default": 0}, 0, id="a default"),
        pytest.param({"type": "string", "examples": ["x"]}, "x", id="an example"),
        pytest.param({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1, id="the first alternative"),
        pytest.param({"type": "array", "items": {"type": "integer"}}, [], id="an array"),
        pytest.param({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1], id="an array of two"),
        pytest.param(
            {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]},
            {"a": 1},
            id="required properties only",
        ),
        pytest.param({"properties": {"a": {}}}, {}, id="an object that does not say so"),
        pytest.param(
            {"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"const": {"b": 2}}]},
            {"a": 1, "b": 2},
            id="all of two objects",
        ),
        pytest.param({"allOf": [{"type": "integer"}]}, 1, id="all of one number"),
        pytest.param({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, 1, id="a reference"),
        pytest.param({"$ref": "#/$defs/gone/away"}, None, id="a reference to nothing"),
        pytest.param({"$ref": "#/a/b", "a": 1}, None, id="a reference into a number"),
    ],
)
def test_a_sample_fits_its_schema(schema: Any, value: Any) -> None:
    assert to_sample(schema, iter(())) == value


def test_strings_take_the_users_words_in_order() -> None:
    properties = {name: {"type": "string"} for name in ("command", "description", "note")}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    sample = to_sample(schema, iter(["ls -l", "lists"]))
    assert sample == {"command": "ls -l", "description": "lists", "note": FILLER}


def test_a_schema_that_needs_itself_ends() -> None:
    schema = {"properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    sample, depth = to_sample(schema, iter(())), 0
    while sample:
        sample, depth = sample["next"], depth + 1
    assert depth <= MAX_DEPTH
