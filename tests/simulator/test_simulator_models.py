"""Each model of the simulator over a real socket: it does what its name says."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.simulator.behaviours import BANNER, QUOTED_CHARACTERS, THOUGHT
from gateway.simulator.loopback import Simulator
from gateway.simulator.models import MODELS
from gateway.simulator.shapes import to_encrypted, to_thinking
from tests.simulator.reading import Ask, Reply, chunks_of, deltas_of, events_of, joined_calls, joined_text

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
USE_IT = "Use get_weather for `Paris`"

# Models that keep the connection from ending properly have a separate test.
ENDLESS = {"silent", "silent-mid-stream"}
CUT = {"hang-up", "hang-up-early"}


def after_the_call(reply: Reply, result: str = "Sunny, 21 °C", **changes: Any) -> list[dict[str, Any]]:
    """The conversation once the client has run the calls of a JSON reply."""
    message = reply.json["choices"][0]["message"] | changes
    results = [{"role": "tool", "tool_call_id": call["id"], "content": result} for call in message["tool_calls"]]
    return [{"role": "user", "content": USE_IT}, message, *results]


# Sound answers


async def test_an_echo_says_what_it_is_and_repeats_the_users_text(ask: Ask) -> None:
    reply = await ask("sim/echo", "What is two and two?")
    message = reply.json["choices"][0]["message"]
    assert message["content"] == f"{BANNER} Your last message was:\n\nWhat is two and two?"
    assert reply.json["choices"][0]["finish_reason"] == "stop"
    assert reply.json["model"] == "sim/echo"


async def test_a_streamed_echo_says_the_same_with_the_same_usage(ask: Ask) -> None:
    whole, streamed = await ask("sim/echo"), await ask("sim/echo", stream=True)
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    assert joined_text(streamed.body) == whole.json["choices"][0]["message"]["content"]
    assert chunks_of(streamed.body)[-1]["usage"] == whole.json["usage"]


async def test_a_stream_has_comments_first_and_within_and_ends_with_done(ask: Ask) -> None:
    events = events_of((await ask("sim/echo", stream=True)).body)
    assert events[:2] == [": OPENROUTER PROCESSING"] * 2
    assert events[-3] == ": OPENROUTER PROCESSING"
    assert events[-1] == "[DONE]"


async def test_generations_are_numbered_dated_and_named_in_a_header(ask: Ask) -> None:
    first, second = await ask("sim/echo"), await ask("sim/echo", stream=True)
    assert first.json["id"] == first.headers["X-Generation-Id"] == "gen-1790000000-sim000001"
    assert {chunk["id"] for chunk in chunks_of(second.body)} == {second.headers["X-Generation-Id"]}
    assert second.headers["X-Generation-Id"] == "gen-1790000000-sim000002"
    assert first.json["created"] == 1_790_000_000


async def test_a_long_prompt_is_quoted_in_part(ask: Ask) -> None:
    content = (await ask("sim/echo", "x" * (QUOTED_CHARACTERS + 7))).json["choices"][0]["message"]["content"]
    assert content.endswith("x … (7 more characters)")


@pytest.mark.parametrize("count", [0, 1, 200])
async def test_text_is_that_many_tokens_in_as_many_deltas(ask: Ask, count: int) -> None:
    reply = await ask(f"sim/text-{count}", stream=True)
    assert chunks_of(reply.body)[-1]["usage"]["completion_tokens"] == count
    assert sum(delta["content"] != "" for delta in deltas_of(reply.body)) == count


async def test_a_paced_stream_pauses_between_its_deltas(ask: Ask, pauses: list[float]) -> None:
    reply = await ask("sim/stream-20-d15", stream=True)
    assert joined_text(reply.body) == joined_text((await ask("sim/text-20", stream=True)).body)
    assert len(pauses) >= 20
    assert set(pauses) == {0.015}


async def test_a_paced_answer_in_json_takes_the_same_time_at_once(ask: Ask, pauses: list[float]) -> None:
    await ask("sim/stream-20-d15")
    assert pauses == [pytest.approx(0.3)]


async def test_thinking_comes_signed_before_the_text(ask: Ask) -> None:
    whole, streamed = await ask("sim/thinking"), await ask("sim/thinking", stream=True)
    message = whole.json["choices"][0]["message"]
    assert message["reasoning_details"] == [to_thinking(THOUGHT)]
    assert joined_text(streamed.body, "reasoning") == message["reasoning"] == THOUGHT
    assert joined_text(streamed.body) == message["content"]
    assert whole.json["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize(
    ("model", "count"),
    [
        pytest.param("sim/tool", 1, id="one call"),
        pytest.param("sim/tools-parallel", 2, id="two calls in turn"),
        pytest.param("sim/tools-interleaved", 2, id="two calls at once"),
        pytest.param("sim/thinking-tool", 1, id="a call after thinking"),
        pytest.param("sim/encrypted", 1, id="a call with an encrypted signature"),
        pytest.param("sim/tool-whole", 1, id="a call in one chunk"),
        pytest.param("sim/tool-stop", 1, id="a call that ends with stop"),
    ],
)
async def test_calls_have_arguments_that_fit_and_end_with_their_results(ask: Ask, model: str, count: int) -> None:
    tools = [WEATHER, CLOCK]
    whole = await ask(model, USE_IT, tools=tools)
    calls = whole.json["choices"][0]["message"]["tool_calls"]
    expected = [("get_weather", {"city": "Paris"}), ("get_time", {})][:count]
    assert [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls] == expected
    streamed = await ask(model, USE_IT, tools=tools, stream=True)
    streamed_calls = joined_calls(deltas_of(streamed.body)).values()
    assert [(name, json.loads(arguments)) for _, name, arguments in streamed_calls] == expected
    assert len({identifier for identifier, _, _ in streamed_calls}) == count

    end = await ask(model, messages=after_the_call(whole), tools=tools)
    assert end.json["choices"][0]["finish_reason"] == "stop"
    assert end.json["choices"][0]["message"]["content"].endswith("\n\n".join(["Sunny, 21 °C"] * count))


async def test_interleaved_fragments_alternate(ask: Ask) -> None:
    reply = await ask("sim/tools-interleaved", USE_IT, tools=[WEATHER], stream=True)
    indexes = [delta["tool_calls"][0]["index"] for delta in deltas_of(reply.body) if "tool_calls" in delta]
    assert indexes == [0, 1] * (len(indexes) // 2)
    assert len(indexes) > 4


async def test_parallel_fragments_come_one_call_after_the_other(ask: Ask) -> None:
    reply = await ask("sim/tools-parallel", USE_IT, tools=[WEATHER], stream=True)
    indexes = [delta["tool_calls"][0]["index"] for delta in deltas_of(reply.body) if "tool_calls" in delta]
    assert indexes == sorted(indexes)
    assert set(indexes) == {0, 1}


async def test_a_client_may_forbid_parallel_calls(ask: Ask) -> None:
    reply = await ask("sim/tools-parallel", USE_IT, tools=[WEATHER], parallel_tool_calls=False)
    assert len(reply.json["choices"][0]["message"]["tool_calls"]) == 1


async def test_without_tools_a_tool_model_says_so(ask: Ask) -> None:
    message = (await ask("sim/tool", USE_IT)).json["choices"][0]["message"]
    assert "none was offered" in message["content"]
    assert "tool_calls" not in message


@pytest.mark.parametrize(
    ("model", "changes", "complaint"),
    [
        pytest.param("sim/thinking-tool", {}, None, id="thinking as it was passes"),
        pytest.param(
            "sim/thinking-tool",
            {"reasoning_details": [{**to_thinking(THOUGHT), "text": ""}]},
            None,
            id="a signature without its text passes",
        ),
        pytest.param(
            "sim/thinking-tool",
            {"reasoning_details": [{**to_thinking(THOUGHT), "text": "Else"}]},
            "Invalid `signature`",
            id="changed thinking is refused",
        ),
        pytest.param(
            "sim/thinking-tool",
            {"reasoning_details": [{**to_thinking(THOUGHT), "signature": None}]},
            "Invalid `signature`",
            id="unsigned thinking is refused",
        ),
        pytest.param(
            "sim/thinking-tool", {"reasoning_details": None}, "Expected `thinking`", id="lost thinking is refused"
        ),
        pytest.param("sim/encrypted", {}, None, id="an encrypted signature as it was passes"),
        pytest.param(
            "sim/encrypted",
            {"reasoning_details": [to_encrypted("toolu_other")]},
            "Corrupted thought signature",
            id="a signature of another call is refused",
        ),
        pytest.param(
            "sim/encrypted", {"reasoning_details": None}, "missing a thought_signature", id="a lost one is refused"
        ),
    ],
)
async def test_thinking_must_come_back_as_it_was(ask: Ask, model: str, changes: Any, complaint: str | None) -> None:
    messages = after_the_call(await ask(model, USE_IT, tools=[WEATHER]), **changes)
    reply = await ask(model, messages=messages, tools=[WEATHER])
    if complaint is None:
        assert reply.status == 200
    else:
        assert reply.status == 400
        assert complaint in reply.json["error"]["message"]


async def test_a_length_stop_and_a_refusal_say_so(ask: Ask) -> None:
    length = (await ask("sim/length")).json["choices"][0]
    assert (length["finish_reason"], length["native_finish_reason"]) == ("length", "max_tokens")
    refusal = (await ask("sim/refusal")).json["choices"][0]
    assert (refusal["finish_reason"], refusal["native_finish_reason"]) == ("content_filter", "refusal")
    assert refusal["message"]["content"] is None
    streamed = await ask("sim/refusal", stream=True)
    assert joined_text(streamed.body, "refusal") == refusal["message"]["refusal"] != ""


# Names of other models


@pytest.mark.parametrize(
    ("text", "more", "called"),
    [
        pytest.param(USE_IT, {}, "get_weather", id="a text that names a tool calls it"),
        pytest.param("What time is it? get_time", {}, "get_time", id="the named one, not the first"),
        pytest.param("Hello", {}, None, id="a text that names none is echoed"),
        pytest.param(USE_IT, {"tool_choice": "none"}, None, id="a forbidden call is not made"),
        pytest.param("Hello", {"tool_choice": "required"}, "get_weather", id="a required call is made unasked"),
        pytest.param(
            "Hello",
            {"tool_choice": {"type": "function", "function": {"name": "get_time"}}},
            "get_time",
            id="a forced tool is called",
        ),
    ],
)
async def test_any_other_model_echoes_or_calls_the_tool_it_is_asked_to(
    ask: Ask, text: str, more: dict[str, Any], called: str | None
) -> None:
    reply = await ask("anthropic/claude-sonnet-5", text, tools=[WEATHER, CLOCK], **more)
    assert reply.json["model"] == "anthropic/claude-sonnet-5"
    message = reply.json["choices"][0]["message"]
    assert [call["function"]["name"] for call in message.get("tool_calls", ())] == ([called] if called else [])


async def test_a_loop_that_an_agent_runs_ends_with_the_result_quoted(ask: Ask) -> None:
    tools = [WEATHER, CLOCK]
    first = await ask("anthropic/claude-sonnet-5", USE_IT, tools=tools)
    reminder = {"role": "user", "content": "<system-reminder>Use get_weather sparingly.</system-reminder>"}
    second = await ask("anthropic/claude-sonnet-5", messages=[*after_the_call(first), reminder], tools=tools)
    message = second.json["choices"][0]["message"]
    assert message["content"].startswith(BANNER)
    assert message["content"].endswith("Sunny, 21 °C")
    assert "tool_calls" not in message


async def test_a_structured_output_fits_its_schema(ask: Ask) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    reply = await ask("openai/gpt-5.6", response_format=response_format)
    assert json.loads(reply.json["choices"][0]["message"]["content"]) == {"sum": 1}


async def test_an_answer_in_any_json_is_an_object(ask: Ask) -> None:
    reply = await ask("openai/gpt-5.6", response_format={"type": "json_object"})
    assert json.loads(reply.json["choices"][0]["message"]["content"]) == {"answer": "simulated"}


@pytest.mark.parametrize(
    ("more", "content", "finish", "native"),
    [
        pytest.param({}, "one two six ten one ", "stop", "end_turn", id="no bound"),
        pytest.param({"max_tokens": 2}, "one two ", "length", "max_tokens", id="max_tokens cuts"),
        pytest.param({"max_completion_tokens": 1}, "one ", "length", "max_tokens", id="max_completion_tokens cuts"),
        pytest.param({"max_tokens": 5}, "one two six ten one ", "stop", "end_turn", id="just enough room cuts nothing"),
        pytest.param({"stop": "six"}, "one two ", "stop", "stop_sequence", id="a stop sequence cuts before itself"),
        pytest.param({"stop": ["ten", "two"]}, "one ", "stop", "stop_sequence", id="the first to occur cuts"),
        pytest.param({"stop": ["zero"]}, "one two six ten one ", "stop", "end_turn", id="one that does not occur"),
    ],
)
async def test_text_keeps_within_what_the_request_allows(
    ask: Ask, more: dict[str, Any], content: str, finish: str, native: str
) -> None:
    choice = (await ask("sim/text-5", **more)).json["choices"][0]
    assert choice["message"]["content"] == content
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (finish, native)


# Faults


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 408, 412, 413, 418, 422, 429, 500, 502, 503, 504, 524, 529]
)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_an_error_model_answers_with_its_status(ask: Ask, status: int, stream: bool) -> None:
    reply = await ask(f"sim/error-{status}", stream=stream)
    assert reply.status == reply.json["error"]["code"] == status
    assert ("Retry-After" in reply.headers) is (status in {429, 503})


@pytest.mark.parametrize(
    ("model", "status", "error_type"),
    [
        pytest.param("sim/overflow", 400, "context_length_exceeded", id="too long"),
        pytest.param("sim/moderated", 403, "content_policy_violation", id="flagged"),
    ],
)
async def test_refused_prompts_have_their_error_type(ask: Ask, model: str, status: int, error_type: str) -> None:
    reply = await ask(model)
    assert reply.status == status
    assert reply.json["error"]["metadata"]["error_type"] == error_type


async def test_an_unavailable_model_has_the_newest_form(ask: Ask) -> None:
    reply = await ask("sim/unavailable")
    assert reply.status == reply.json["error"]["http_status"] == 503
    assert reply.json["error"]["availability"]["requested_models"] == ["sim/unavailable"]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_an_error_may_come_with_200(ask: Ask, stream: bool) -> None:
    reply = await ask("sim/error-in-200", stream=stream)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json["error"]["code"] == 502


async def test_an_error_may_be_all_that_a_stream_says(ask: Ask) -> None:
    (chunk,) = chunks_of((await ask("sim/error-first", stream=True)).body)
    assert chunk["error"]["code"] == 529
    assert (await ask("sim/error-first")).json["error"]["code"] == 502


async def test_an_error_may_end_a_stream_that_has_begun(ask: Ask) -> None:
    whole = (await ask("sim/echo")).json["choices"][0]["message"]["content"]
    body = (await ask("sim/error-mid-stream", stream=True)).body
    assert 0 < len(joined_text(body)) < len(whole)
    assert whole.startswith(joined_text(body))
    last = chunks_of(body)[-1]
    assert last["choices"][0]["finish_reason"] == "error"
    assert last["error"]["code"] == 502
    assert "[DONE]" not in events_of(body)


async def test_a_failed_choice_in_json_keeps_half_its_text_and_carries_the_error(ask: Ask) -> None:
    (choice,) = (await ask("sim/error-mid-stream")).json["choices"]
    assert choice["finish_reason"] == "error"
    assert choice["error"]["code"] == 502
    assert BANNER.startswith(choice["message"]["content"][: len(BANNER)])


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_hanging_up_leaves_half_an_answer(ask: Ask, stream: bool) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask("sim/hang-up", stream=stream)


async def test_hanging_up_early_leaves_none(ask: Ask) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask("sim/hang-up-early")


async def test_a_cut_off_stream_ends_without_finish_usage_and_done(ask: Ask) -> None:
    body = (await ask("sim/cut-off", stream=True)).body
    assert joined_text(body)
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks_of(body)} == {None}
    assert not any("usage" in chunk for chunk in chunks_of(body))
    assert "[DONE]" not in events_of(body)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_slow_bytes_come_one_at_a_time_and_are_the_echo(
    ask: Ask, simulator: Simulator, session: aiohttp.ClientSession, pauses: list[float], stream: bool
) -> None:
    reply = await ask("sim/slow-bytes", stream=stream)
    assert len(pauses) == len(reply.body) - 1
    text = joined_text(reply.body) if stream else reply.json["choices"][0]["message"]["content"]
    assert text.startswith(BANNER)


async def test_crlf_streams_have_no_space_after_the_colon(ask: Ask) -> None:
    body = (await ask("sim/crlf", stream=True)).body
    assert body.count(b"\n") == body.count(b"\r\n") > 0
    assert b"data: " not in body
    assert body.endswith(b"data:[DONE]\r\n\r\n")
    plain = body.replace(b"\r\n", b"\n").replace(b"data:", b"data: ")
    assert joined_text(plain).startswith(BANNER)


async def test_late_usage_comes_after_one_finish_on_a_chunk_without_choices(ask: Ask) -> None:
    chunks = chunks_of((await ask("sim/late-usage", stream=True)).body)
    assert [len(chunk["choices"]) for chunk in chunks[-2:]] == [1, 0]
    finished = [chunk for chunk in chunks[:-1] if chunk["choices"][0]["finish_reason"]]
    assert finished == [chunks[-2]]
    assert chunks[-1]["usage"]["total_tokens"] > 0


async def test_no_usage_is_in_neither_form(ask: Ask) -> None:
    assert "usage" not in (await ask("sim/no-usage")).json
    chunks = chunks_of((await ask("sim/no-usage", stream=True)).body)
    assert not any("usage" in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_page_may_come_in_place_of_an_answer(ask: Ask) -> None:
    reply = await ask("sim/html-200", stream=True)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    assert b"<html>" in reply.body


async def test_a_whole_call_comes_in_one_chunk_with_finish_and_usage(ask: Ask) -> None:
    (chunk,) = chunks_of((await ask("sim/tool-whole", USE_IT, tools=[WEATHER], stream=True)).body)
    assert chunk["choices"][0]["finish_reason"] == "tool_calls"
    assert chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == '{"city":"Paris"}'
    assert chunk["usage"]["total_tokens"] > 0


async def test_a_call_may_end_with_stop(ask: Ask) -> None:
    reply = await ask("sim/tool-stop", USE_IT, tools=[WEATHER])
    assert reply.json["choices"][0]["finish_reason"] == "stop"
    assert reply.json["choices"][0]["message"]["tool_calls"]


async def test_arguments_may_lack_their_end(ask: Ask) -> None:
    reply = await ask("sim/tool-bad-json", USE_IT, tools=[WEATHER], stream=True)
    ((_, _, arguments),) = joined_calls(deltas_of(reply.body)).values()
    assert arguments == '{"city":"Paris"'


@pytest.mark.parametrize(
    ("model", "identifier"),
    [pytest.param("sim/tools-same-id", "call_0", id="the same"), pytest.param("sim/tools-no-id", "", id="empty")],
)
async def test_ids_of_two_calls_may_be_useless(ask: Ask, model: str, identifier: str) -> None:
    reply = await ask(model, USE_IT, tools=[WEATHER, CLOCK], stream=True)
    assert [call[0] for call in joined_calls(deltas_of(reply.body)).values()] == [identifier] * 2


async def test_thinking_may_have_another_name(ask: Ask) -> None:
    reply = await ask("sim/reasoning-content", stream=True)
    assert joined_text(reply.body, "reasoning_content") == THOUGHT
    assert not any("reasoning_details" in delta for delta in deltas_of(reply.body))
    message = (await ask("sim/reasoning-content")).json["choices"][0]["message"]
    assert message["reasoning_content"] == THOUGHT


async def test_thinking_may_stand_in_the_text(ask: Ask) -> None:
    content = (await ask("sim/think-tags")).json["choices"][0]["message"]["content"]
    assert content.startswith(f"<think>\n{THOUGHT}\n</think>\n\n{BANNER}")


# The table


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("example", sorted({model.example for model in MODELS} - ENDLESS - CUT))
async def test_every_model_answers_with_and_without_tools(ask: Ask, example: str, stream: bool) -> None:
    for tools in ([], [WEATHER]):
        reply = await ask(f"sim/{example}", USE_IT, tools=tools, stream=stream)
        assert reply.status == 200 or "error" in reply.json
        assert reply.body


def test_every_model_is_tested_by_its_name() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    untested = {model.example for model in MODELS if f"sim/{model.pattern.partition('(')[0].rstrip('-')}" not in text}
    assert untested == ENDLESS


@pytest.mark.parametrize("name", ["sim/unheard-of", "sim/", "sim/text-", "sim/text-1000000", "sim/error-200"])
async def test_an_unknown_simulated_model_is_refused_with_the_known_ones(ask: Ask, name: str) -> None:
    reply = await ask(name)
    assert reply.status == 400
    assert f"{name} is not a valid model ID" in reply.json["error"]["message"]
    assert all(model.example in reply.json["error"]["message"] for model in MODELS)
