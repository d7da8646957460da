"""POST /v1/messages as clients use it: the official SDK, and plain HTTP where the SDK would not show the detail."""

import base64
import gzip
import json
from itertools import product
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest

from gateway.simulator.script import json_script
from tests.e2e.conftest import KEY, Live, front_end, serving
from tests.support.waiting import until

HELLO: dict[str, Any] = {"model": "sim/echo", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


async def post(live: Live, body: Any, path: str = "/v1/messages", **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and JSON of a plain HTTP request with a valid key."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + path, data=data, headers={"x-api-key": KEY, **headers}) as response,
    ):
        return response.status, response.headers, await response.json()


@pytest.mark.covers("Messages · request and answer with the official Python SDK")
async def test_the_sdk_gets_a_message(live: Live) -> None:
    message = await live.client().messages.create(**HELLO)
    assert message.content[0].type == "text"
    assert "simulator" in message.content[0].text
    assert "Hello" in message.content[0].text
    assert (message.model, message.stop_reason, message.role) == ("sim/echo", "end_turn", "assistant")
    assert message.id.startswith("msg_")
    assert message.usage.input_tokens > 0


@pytest.mark.parametrize("header", ["x-session-id", "x-claude-code-session-id"])
async def test_the_session_that_a_header_names_goes_upstream(live: Live, header: str) -> None:
    await live.client().messages.create(**HELLO, extra_headers={header: "s-1"})
    assert live.simulator.requests()[0].json["session_id"] == "s-1"


async def test_the_name_that_was_asked_for_is_echoed_and_the_slug_goes_upstream(live: Live) -> None:
    message = await live.client().messages.create(**{**HELLO, "model": "claude-opus-4-8-20260101"})
    assert message.model == "claude-opus-4-8-20260101"
    assert live.simulator.requests()[0].json["model"] == "anthropic/claude-opus-4.8"


async def test_every_part_of_a_coding_agents_request_reaches_the_upstream(live: Live) -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()},
    }
    await live.client().messages.create(
        model="sim/echo",
        max_tokens=1000,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        tools=[{"name": "read", "description": "Reads", "input_schema": schema}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        metadata={"user_id": "user-1"},
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "b", "a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": [
                    {"type": "text", "text": "no"}, image,
                ]},
                {"type": "text", "text": "go on"},
            ]},
        ],
    )  # fmt: skip
    body = live.simulator.requests()[0].json
    assert body["messages"][0] == {
        "role": "system",
        "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    }
    url = body["messages"][1]["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == PNG
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "read", "arguments": '{"path":"b","a":1}'}
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert body["messages"][3]["tool_call_id"] == "toolu_1"
    assert body["tools"][0]["function"]["parameters"] == schema
    assert (body["tool_choice"], body["parallel_tool_calls"], body["stop"], body["user"]) == (
        "required",
        False,
        ["END"],
        "user-1",
    )


async def test_a_large_request_and_a_large_image_pass(live: Live) -> None:
    picture = PNG + bytes(1_500_000)
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(picture).decode()},
    }
    text = "word " * 13_000
    content = [{"type": "text", "text": text}, image]
    message = await live.client().messages.create(**{**HELLO, "messages": [{"role": "user", "content": content}]})
    assert message.stop_reason in ("end_turn", "max_tokens")
    sent = live.simulator.requests()[0].json["messages"][0]["content"]
    assert sent[0]["text"] == text
    assert base64.b64decode(sent[1]["image_url"]["url"].partition(",")[2]) == picture


@pytest.mark.covers("Thinking · signatures go back unchanged")
async def test_thinking_comes_back_with_its_signature_and_returns_to_the_upstream_unchanged(live: Live) -> None:
    client = live.client()
    asked: Any = {"role": "user", "content": "think"}
    tool: Any = {"name": "look", "input_schema": {"type": "object"}}
    first = await client.messages.create(
        model="sim/thinking-tool", max_tokens=4000, thinking={"type": "adaptive"}, messages=[asked], tools=[tool]
    )
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    thinking, call = first.content
    assert thinking.type == "thinking"
    assert thinking.signature
    assert call.type == "tool_use"
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "seen"}]}
    history: Any = [asked, {"role": "assistant", "content": [block.to_dict() for block in first.content]}, result]
    await client.messages.create(
        model="sim/thinking-tool", max_tokens=4000, thinking={"type": "adaptive"}, messages=history, tools=[tool]
    )
    replayed = live.simulator.requests()[1].json["messages"][1]
    assert "".join(entry.get("text") or "" for entry in replayed["reasoning_details"]) == thinking.thinking


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"x-api-key": KEY}, 200, id="x-api-key"),
        pytest.param({"authorization": f"Bearer {KEY}"}, 200, id="a bearer token"),
        pytest.param({"x-api-key": KEY, "authorization": "Bearer wrong"}, 200, id="x-api-key wins over a bearer token"),
        pytest.param(
            {"x-api-key": "wrong", "authorization": f"Bearer {KEY}"},
            401,
            id="a wrong x-api-key is not saved by a token",
        ),
        pytest.param({}, 401, id="no key"),
        pytest.param({"authorization": f"Basic {KEY}"}, 401, id="another scheme"),
    ],
)
async def test_keys(live: Live, headers: dict[str, str], status: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + "/v1/messages", json=HELLO, headers=headers) as response,
    ):
        body = await response.json()
        assert response.status == status
        if status == 401:
            assert body["error"]["type"] == "authentication_error"
            assert response.headers["x-should-retry"] == "false"
            assert KEY not in str(body)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/nothing", 404, "not_found_error"),
        ("PUT", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/", 404, "not_found_error"),
        ("GET", "/v1/models/no/such", 404, "not_found_error"),
        ("POST", "/v1/complete", 404, "not_found_error"),
    ],
)
async def test_every_error_comes_in_the_envelope(live: Live, method: str, path: str, status: int, kind: str) -> None:
    headers = {"x-api-key": KEY}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, live.url + path, headers=headers) as response,
    ):
        body = await response.json()
        assert (response.status, body["type"], body["error"]["type"]) == (status, "error", kind)
        assert body["request_id"] == response.headers["request-id"]
        assert body["request_id"].startswith("req_")
        assert ("allow" in response.headers) == (status == 405)
        assert response.headers["server"] == "dragoman"


async def test_an_expectation_that_cannot_be_met_is_refused_in_the_envelope(live: Live) -> None:
    headers = {"x-api-key": KEY, "expect": "the-unexpected"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + "/v1/messages", json=HELLO, headers=headers) as response,
    ):
        body = await response.json()
        assert (response.status, body["error"]["type"]) == (400, "invalid_request_error")
        assert body["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        pytest.param(b"{", {}, 400, "not valid JSON", id="half a JSON"),
        pytest.param(b"", {}, 400, "not valid JSON", id="nothing"),
        pytest.param(b"[]", {}, 400, "", id="a list"),
        pytest.param(b'{"a": NaN}', {}, 400, "not valid JSON", id="NaN"),
        pytest.param(b"x" * 70_000, {}, 413, "maximum size", id="too large"),
        pytest.param(gzip.compress(b"x" * 70_000), {"content-encoding": "gzip"}, 413, "after decoding", id="a bomb"),
        pytest.param(b"{}", {"content-encoding": "br"}, 415, "content-encoding", id="an unknown encoding"),
        pytest.param(b"{}", {"content-encoding": "gzip, gzip"}, 415, "content-encoding", id="stacked encodings"),
        pytest.param(b"{}", {"anthropic-version": "2020-01-01"}, 400, "anthropic-version", id="an unknown version"),
        pytest.param({**HELLO, "max_tokens": "x"}, {}, 400, "max_tokens: ", id="a wrong type"),
        pytest.param({"max_tokens": 1, "messages": []}, {}, 400, "model: Field required", id="no model"),
    ],
)  # fmt: skip
async def test_bad_requests(simulator: Any, body: Any, headers: dict[str, str], status: int, message: str) -> None:
    async with serving(simulator, max_body_bytes=65_536) as live:
        got, _, answer = await post(live, body, **headers)
    assert got == status
    assert message in answer["error"]["message"]
    assert simulator.requests() == []


def nested(levels: int) -> dict[str, Any]:
    return {} if levels == 1 else {"a": nested(levels - 1)}


def to_deep(place: str, levels: int) -> dict[str, Any]:
    """A request long enough for its tokens to be counted as a sample, with something deep in one place."""
    deep = nested(levels)
    words = {"role": "user", "content": "some words " * 100}
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": deep if place == "input" else {}}
    answer: dict[str, Any] = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
    tool = {"name": "look", "input_schema": {"type": "object", "properties": deep if place == "schema" else {}}}
    turns = [words, {"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]}]
    body = {**HELLO, "messages": turns}
    body["tools"] = [tool | ({"mood": deep} if place == "unlisted" else {})]
    return body | ({"zeta": deep} if place == "unknown" else {})


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("cache", ["bypass", "use"])
async def test_deep_nesting_is_refused_or_left_out(live: Live, path: str, cache: str) -> None:
    for place, levels in product(("schema", "input", "unlisted", "unknown"), (80, 400, 900)):
        body = json.dumps(to_deep(place, levels)).encode()
        status, _, answer = await post(live, body, path, **{"x-gateway-cache": cache})
        if status == 200:
            assert place in ("unlisted", "unknown") or (place, levels) == ("input", 80)
        else:
            assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
            assert "nested more than 72 levels deep" in answer["error"]["message"]


async def test_a_gzipped_request_is_read(live: Live) -> None:
    status, _, _ = await post(live, gzip.compress(orjson.dumps(HELLO)), **{"content-encoding": "gzip"})
    assert status == 200


async def test_a_thread_is_refused_so_that_tool_runners_carry_on(live: Live) -> None:
    status, _, body = await post(live, {**HELLO, "thread": {"type": "create"}})
    assert status == 400
    assert body["error"]["details"]["error_code"] == "thread_unsupported_request"


@pytest.mark.covers("Tools · the SDK's tool runner")
async def test_the_sdks_tool_runner_finishes_with_its_default_options(live: Live) -> None:
    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Where.
        """
        return f"sunny in {city}"

    runner = live.client().beta.messages.tool_runner(
        model="sim/tool",
        max_tokens=1000,
        tools=[weather],
        messages=[{"role": "user", "content": "How is the weather?"}],
    )
    messages = [message async for message in runner]
    assert [message.stop_reason for message in messages] == ["tool_use", "end_turn"]
    assert "sunny in" in str(messages[-1].content[0])


async def final(live: Live, model: str) -> None:
    await live.client().messages.create(**{**HELLO, "model": model})


async def final_of_stream(live: Live, model: str) -> None:
    async with live.client().messages.stream(**{**HELLO, "model": model}) as events:
        await events.get_final_message()


@pytest.mark.parametrize(
    ("model", "error", "kind"),
    [
        ("sim/error-400", anthropic.BadRequestError, "invalid_request_error"),
        ("sim/error-403", anthropic.PermissionDeniedError, "permission_error"),
        ("sim/error-404", anthropic.NotFoundError, "not_found_error"),
        ("sim/error-413", anthropic.RequestTooLargeError, "request_too_large"),
        ("sim/error-422", anthropic.BadRequestError, "invalid_request_error"),
        ("sim/error-429", anthropic.RateLimitError, "rate_limit_error"),
        ("sim/error-500", anthropic.InternalServerError, "api_error"),
        ("sim/error-502", anthropic.InternalServerError, "api_error"),
        ("sim/error-503", anthropic.OverloadedError, "overloaded_error"),
        ("sim/error-504", anthropic.DeadlineExceededError, "timeout_error"),
        ("sim/error-529", anthropic.OverloadedError, "overloaded_error"),
        ("sim/error-in-200", anthropic.APIStatusError, None),
        ("sim/html-200", anthropic.InternalServerError, "api_error"),
        ("sim/hang-up", anthropic.InternalServerError, "api_error"),
        ("sim/hang-up-early", anthropic.InternalServerError, "api_error"),
        ("sim/overflow", anthropic.BadRequestError, "invalid_request_error"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.covers("Errors · the SDKs raise their own classes")
async def test_the_sdk_raises_the_class_of_each_failure(
    simulator: Any, model: str, error: type[Exception], kind: str | None, stream: bool
) -> None:
    async with serving(simulator, max_attempts=1) as live:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await (final_of_stream if stream else final)(live, model)
    if not stream:
        assert isinstance(caught.value, error)
    if kind is not None:
        assert caught.value.body["error"]["type"] == kind  # type: ignore[index, call-overload]
    if model == "sim/overflow":
        assert "prompt is too long: " in str(caught.value)


async def test_cut_off_tool_arguments_are_closed_and_said(live: Live) -> None:
    tool = {
        "name": "look",
        "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
    }
    status, headers, body = await post(live, {**HELLO, "model": "sim/tool-bad-json", "tools": [tool]})
    assert (status, body["stop_reason"]) == (200, "tool_use")
    assert body["content"][0]["input"] == {"at": "simulated"}
    assert "changed:content.0.input" in headers["x-gateway-ignored"]


@pytest.mark.parametrize("status", [401, 402])
@pytest.mark.covers("Errors · the operator's own account is not the client's fault")
async def test_the_operators_own_account_is_not_the_clients_fault(simulator: Any, status: int) -> None:
    async with serving(simulator) as live:
        got, headers, body = await post(live, {**HELLO, "model": f"sim/error-{status}"})
    assert (got, body["error"]["type"]) == ((500, "api_error") if status == 401 else (402, "billing_error"))
    assert headers["x-should-retry"] == "false"
    assert len(simulator.requests()) == 1


async def test_a_passing_failure_is_bridged_and_a_permanent_one_is_not_repeated(live: Live) -> None:
    live.simulator.script(json_script({"error": {"code": 502, "message": "broken"}}, status=502))
    status, _, _ = await post(live, HELLO)
    assert (status, len(live.simulator.requests())) == (200, 2)
    status, _, _ = await post(live, {**HELLO, "model": "sim/error-400"})
    assert (status, len(live.simulator.requests())) == (400, 3)


async def test_what_could_not_be_carried_over_is_said(live: Live) -> None:
    _, headers, _ = await post(live, {**HELLO, "inference_geo": "us", "no_such_field": 1})
    assert "no_such_field" in headers["x-gateway-ignored"]


@pytest.mark.parametrize(("level", "told"), [("info", False), ("debug", True)])
async def test_the_reason_of_a_note_is_logged_at_debug_level(simulator: Any, level: str, told: bool) -> None:
    async with front_end(simulator, GATEWAY_LOG_LEVEL=level) as (live, started):
        _, headers, _ = await post(live, {**HELLO, "no_such_field": 1})
        await until(lambda: any(line["event"] == "exchange_finished" for line in started.lines))
    lines = [line for line in started.lines if line["event"] == "conversion_noted"]
    expected = {"kind": "dropped", "field": "no_such_field", "reason": "no such field is known"}
    assert [{name: line[name] for name in expected} for line in lines] == ([expected] if told else [])
    assert all(line["request_id"] == headers["request-id"] for line in lines)


@pytest.mark.covers("Messages · max_tokens 0 warms the prompt")
async def test_max_tokens_zero_warms_the_prompt_and_shows_nothing(live: Live) -> None:
    message = await live.client().messages.create(**{**HELLO, "max_tokens": 0})
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert message.usage.input_tokens > 0
    assert live.simulator.requests()[0].json["max_tokens"] == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.covers("Messages · context_management")
async def test_edits_of_the_context_are_done_here_and_reported(live: Live, stream: bool) -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    messages: list[Any] = []
    for turn in range(3):
        messages.append({"role": "user", "content": f"ask {turn}"})
        messages.append({"role": "assistant", "content": [thought, {"type": "text", "text": "said"}]})
    messages.append({"role": "user", "content": "last"})
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}}]}
    asked: Any = {
        **HELLO,
        "messages": messages,
        "context_management": edits,
        "betas": ["context-management-2025-06-27"],
    }
    if stream:
        async with live.client().beta.messages.stream(**asked) as events:
            message = await events.get_final_message()
    else:
        message = await live.client().beta.messages.create(**asked)
    assert message.context_management is not None
    assert message.context_management.applied_edits[0].type == "clear_thinking_20251015"


@pytest.mark.covers("OpenRouter · model and provider that answered")
async def test_headers_name_model_and_provider(live: Live) -> None:
    _, headers, _ = await post(live, HELLO)
    assert headers["x-gateway-model"] == "sim/echo"
    assert headers["x-gateway-dialect"] == "chat"
    assert float(headers["x-gateway-cost"]) > 0
    assert headers["x-request-id"] == headers["request-id"]
    assert 0 <= float(headers["x-processing-time"]) < 60


@pytest.mark.covers("Models and tokens · GET /v1/models in pages, with aliases")
async def test_models_are_listed_in_pages_and_found_with_slashes(live: Live) -> None:
    client = live.client()
    ids = [model.id async for model in client.models.list(limit=7)]
    assert len(ids) == len(set(ids))
    assert {"big", "small", "sim/echo", "sim/thinking"} <= set(ids)
    assert (await client.models.retrieve("sim/echo")).id == "sim/echo"
    async with aiohttp.ClientSession() as session:
        raw = await session.get(live.url + "/v1/models/sim/echo", headers={"x-api-key": KEY})
        assert (await raw.json())["id"] == "sim/echo"
        for limit in ("0", "1001", "0010005", "000001" + "9" * 5000, "x", "1_0", "²"):
            refused = await session.get(live.url + f"/v1/models?limit={limit}", headers={"x-api-key": KEY})
            assert refused.status == 400


@pytest.mark.parametrize("path", ["/api/hello", "/", "/livez", "/readyz"])
@pytest.mark.covers("Operation · health and readiness")
async def test_probes_need_no_key(live: Live, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        for method in ("HEAD", "GET"):
            async with session.request(method, live.url + path, allow_redirects=False) as response:
                assert response.status == 200


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "json"])
async def test_a_limit_that_openai_refuses_for_is_an_answer_without_content(live: Live, streamed: bool) -> None:
    """Claude Code probes with max_tokens 1; a model that reasons cannot even start with that."""
    words = "Could not finish the message because max_tokens or model output limit was reached. Please try again."
    live.simulator.script(json_script({"error": {"message": words, "type": "invalid_request_error"}}, status=400))
    asked: Any = {**HELLO, "max_tokens": 1}
    if streamed:
        async with live.client().messages.stream(**asked) as events:
            message = await events.get_final_message()
    else:
        message = await live.client().messages.create(**asked)
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert message.usage.input_tokens > 0
    assert len(live.simulator.requests()) == 1
