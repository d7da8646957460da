"""The simulator's Messages and Responses: what they refuse, and conversations through the gateway in both dialects."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from gateway.messages.fold import fold_stream
from gateway.simulator.loopback import Simulator
from gateway.simulator.messages_api import to_count_script, to_message_script
from gateway.simulator.responses_api import to_response_script
from gateway.simulator.script import HangUp, Hold, Pause, Script
from tests.e2e.conftest import KEY, serving

TOOL = {"name": "get_time", "description": "The time.", "input_schema": {"type": "object", "properties": {}}}
MESSAGE: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 2000,
    "messages": [{"role": "user", "content": "Use get_time"}],
}
RESPONSE: dict[str, Any] = {"model": "gpt-5.6", "input": "Use get_time", "store": False}
FUNCTION = {"type": "function", "name": "get_time", "parameters": {"type": "object"}, "strict": False}


def message(**fields: Any) -> Script:
    return to_message_script(orjson.dumps({**MESSAGE, **fields}), frozenset(), 7, 1_790_000_000)


def response(**fields: Any) -> Script:
    return to_response_script(orjson.dumps({**RESPONSE, **fields}), 7, 1_790_000_000)


def body_of(script: Script) -> Any:
    return orjson.loads(b"".join(step for step in script.steps if isinstance(step, bytes)))


def events_of(script: Script) -> list[Any]:
    told = b"".join(step for step in script.steps if isinstance(step, bytes))
    return [orjson.loads(frame.partition(b"data: ")[2]) for frame in told.split(b"\n\n") if frame]


def test_message_has_thinking_a_call_and_the_same_events() -> None:
    fields = {"tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    whole = body_of(message(**fields))
    assert [block["type"] for block in whole["content"]] == ["thinking", "tool_use"]
    assert (whole["stop_reason"], whole["usage"]["output_tokens"] > 20) == ("tool_use", True)
    streamed = fold_stream(b"".join(step for step in message(**fields, stream=True).steps if isinstance(step, bytes)))
    assert streamed["content"] == whole["content"]
    assert streamed["stop_reason"] == "tool_use"


def turn(*blocks: Any) -> list[Any]:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Noon."}
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {}}
    assistant = {"role": "assistant", "content": [*blocks, call]}
    return [*MESSAGE["messages"], assistant, {"role": "user", "content": [result]}]


FORGED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"foo": 1}, "foo: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": turn(FORGED), "tools": [TOOL]}, "Invalid `signature` in `thinking` block"),
        (
            {"messages": turn(), "tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 1024}},
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
        ),
        ({"model": "sim/nothing"}, "is not a valid model ID"),
    ],
)
def test_messages_refuse_what_anthropic_refuses(fields: dict[str, Any], words: str) -> None:
    script = message(**fields)
    assert script.status == 400
    assert words in body_of(script)["error"]["message"]
    assert body_of(script)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("sim/error-429", 429, "rate_limit_error"),
        ("sim/error-529", 529, "overloaded_error"),
        ("sim/error-500", 500, "api_error"),
    ],
)
def test_messages_report_failures_in_anthropics_form(model: str, status: int, kind: str) -> None:
    script = message(model=model)
    assert (script.status, body_of(script)["error"]["type"]) == (status, kind)


def test_broken_json_is_refused_by_both() -> None:
    assert to_message_script(b"{", frozenset(), 1, 1).status == 400
    assert to_response_script(b"{", 1, 1).status == 400
    assert to_count_script(b"{", frozenset()).status == 400


def test_messages_are_counted_without_max_tokens() -> None:
    counted = {name: value for name, value in MESSAGE.items() if name != "max_tokens"}
    assert body_of(to_count_script(orjson.dumps(counted), frozenset()))["input_tokens"] > 0
    assert to_count_script(b'{"model":"a"}', frozenset()).status == 400


def test_slow_models_wait_before_their_message() -> None:
    script = message(model="sim/stream-20-d10", stream=True)
    assert script.steps[0] == Pause(0.2)
    assert events_of(script)[-1] == {"type": "message_stop"}


def test_response_has_encrypted_reasoning_a_call_and_numbered_events() -> None:
    fields = {"tools": [FUNCTION], "reasoning": {"effort": "high", "summary": "auto"}}
    whole = body_of(response(**fields))
    assert [item["type"] for item in whole["output"]] == ["reasoning", "function_call"]
    assert (whole["status"], whole["output"][0]["summary"][0]["type"]) == ("completed", "summary_text")
    events = events_of(response(**fields, stream=True))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert events[-1]["response"]["output"] == whole["output"]
    arguments = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(arguments) == whole["output"][1]["arguments"]


def test_response_is_incomplete_at_its_limit() -> None:
    whole = body_of(response(max_output_tokens=16, input="word " * 200))
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_text_of_a_custom_tool_is_its_input() -> None:
    whole = body_of(response(tools=[{"type": "custom", "name": "get_time"}], tool_choice="required"))
    assert [item["type"] for item in whole["output"]] == ["custom_tool_call"]


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2ln"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, "Unknown parameter: 'messages'."),
        ({"previous_response_id": "resp_1"}, "Previous response with id 'resp_1' not found."),
        ({"max_output_tokens": 5}, "integer below minimum value"),
        ({"reasoning": {"effort": "huge"}}, "Invalid value: 'huge'"),
        ({"tools": [{"type": "function", "function": {"name": "a"}}]}, "Missing required parameter: 'tools[0].name'."),
        ({"input": [REASONING, SAID]}, "The encrypted content for item rs_1 could not be verified."),
        ({"input": [REASONING]}, "was provided without its required following item"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "No tool call found"),
        ({"input": [{"type": "message", "role": "tool", "content": "x"}]}, "Invalid value: 'tool'"),
        ({"input": [{"role": "user", "content": [{"type": "image_url"}]}]}, "Invalid value: 'image_url'"),
        ({"input": [{"type": "nothing"}]}, "Invalid value: 'nothing'"),
        ({"input": [{"type": "message"}]}, "Missing or malformed parameter"),
    ],
)
def test_responses_refuse_what_openai_refuses(fields: dict[str, Any], words: str) -> None:
    script = response(**fields)
    assert script.status == 400
    assert words in body_of(script)["error"]["message"]


def test_responses_report_failures_in_openais_form() -> None:
    script = response(model="sim/error-500")
    assert (script.status, body_of(script)["error"]["type"]) == (500, "server_error")


def sound_steps(ask: Callable[..., Script]) -> list[bytes]:
    return [step for step in ask(model="sim/echo", stream=True).steps if isinstance(step, bytes)]


BROKEN = ("error-first", "error-mid-stream", "cut-off", "hang-up", "hang-up-early", "silent", "silent-mid-stream")


@pytest.mark.parametrize("ask", [message, response], ids=["Messages", "Responses"])
@pytest.mark.parametrize("model", BROKEN)
def test_broken_streams_break_in_their_own_api(ask: Callable[..., Script], model: str) -> None:
    sound = [step.replace(b"sim/echo", f"sim/{model}".encode()) for step in sound_steps(ask)]
    steps = ask(model=f"sim/{model}", stream=True).steps
    told = [step for step in steps if isinstance(step, bytes)]
    if model.startswith("error"):
        assert b"event: error\n" in told.pop()
    half = {"error-mid-stream", "cut-off", "hang-up", "silent-mid-stream"}
    assert told == (sound[: len(sound) // 2] if model in half else [])
    assert isinstance(steps[-1], {"hang": HangUp, "sile": Hold}.get(model[:4], bytes))


@pytest.mark.parametrize("ask", [message, response], ids=["Messages", "Responses"])
def test_broken_streams_are_errors_without_a_stream(ask: Callable[..., Script]) -> None:
    assert [ask(model=f"sim/{model}").status for model in BROKEN[:4]] == [529, 502, 200, 200]
    assert isinstance(ask(model="sim/hang-up").steps[-1], HangUp)


@pytest.mark.parametrize("ask", [message, response], ids=["Messages", "Responses"])
@pytest.mark.parametrize("model", ["crlf", "slow-bytes"])
def test_the_same_bytes_in_another_pace_or_with_other_line_ends(ask: Callable[..., Script], model: str) -> None:
    told = b"".join(step for step in ask(model=f"sim/{model}", stream=True).steps if isinstance(step, bytes))
    named = f"sim/{model}".encode()
    assert told.replace(b"\r\n", b"\n").replace(named, b"sim/echo") == b"".join(sound_steps(ask))


def test_response_in_any_json_is_an_object() -> None:
    (item,) = body_of(response(text={"format": {"type": "json_object"}}))["output"]
    assert orjson.loads(item["content"][0]["text"]) == {"answer": "simulated"}


def test_reasoning_of_a_call_has_to_come_back() -> None:
    first = body_of(response(model="sim/thinking-tool", tools=[FUNCTION]))["output"]
    call = first[-1]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Noon."}
    question = {"role": "user", "content": "Use get_time"}
    whole = response(model="sim/thinking-tool", tools=[FUNCTION], input=[question, *first, result])
    assert [item["type"] for item in body_of(whole)["output"]][-1] == "message"
    assert response(model="sim/thinking-tool", tools=[FUNCTION], input=[question, call, result]).status == 400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(other_apis=True) as running:
        yield running


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("dialect", "model", "vendor"),
    [("messages", "claude-sonnet-4-5", ""), ("responses", "gpt-5.6", "openai")],
)
async def test_conversation_with_thinking_and_a_call_goes_on_in_each_dialect(
    simulator: Simulator, dialect: str, model: str, vendor: str
) -> None:
    url = simulator.url.removesuffix("/api/v1") + f"/{vendor}/v1" if vendor else simulator.url
    settings = {"upstream_url": url, "upstream_flavor": vendor or "openrouter", "dialect": dialect}
    asked = {**MESSAGE, "model": model, "tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    async with serving(simulator, **settings) as live, aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:

        async def ask(stream: bool, **fields: Any) -> Any:
            request = {**asked, "stream": stream, **fields}
            async with session.post(live.url + "/v1/messages", json=request) as answer:
                told = await answer.read()
                assert answer.status == 200, told
                assert answer.headers["x-gateway-dialect"] == dialect
                assert "x-gateway-ignored" not in answer.headers
            return fold_stream(told) if stream else orjson.loads(told)

        for stream in (False, True):
            first = await ask(stream)
            # Without a summary, reasoning is encrypted only.
            assert [block["type"].removeprefix("redacted_") for block in first["content"]] == ["thinking", "tool_use"]
            result = {"type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": "Noon."}
            said = [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
            second = await ask(stream, messages=[*MESSAGE["messages"], *said])
            assert "Noon." in second["content"][-1]["text"]


@pytest.mark.asyncio(loop_scope="module")
async def test_vendors_without_an_api_do_not_have_its_path(simulator: Simulator) -> None:
    root = simulator.url.removesuffix("/api/v1")
    async with aiohttp.ClientSession() as session:
        for path, status in (("gemini/v1/messages", 404), ("moonshot/v1/messages", 200), ("mistral/v1/responses", 404)):
            async with session.post(f"{root}/{path}", json=MESSAGE) as answer:
                assert (path, answer.status) == (path, status)
