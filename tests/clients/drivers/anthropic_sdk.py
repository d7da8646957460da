"""The official Python SDK as a whole program: each of its helpers against one server.

    anthropic_sdk.py BASE_URL KEY ROLES

ROLES is JSON: {"text": [model, prompt], "tool": …}. A check needs the roles it names and is skipped without them, or
if `known` lists it, the checks that this upstream fails by itself. One line for each check that failed, then
`N passed, N failed, N skipped`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
from anthropic import AsyncAnthropic, beta_async_tool
from pydantic import BaseModel

BASE, KEY, ROLES = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
LENGTH = 800
THINKING = {"type": "enabled", "budget_tokens": 1024}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather in a city", "input_schema": SCHEMA}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PATIENCE = 60.0

client = AsyncAnthropic(api_key=KEY, base_url=BASE, max_retries=0, timeout=PATIENCE)
CHECKS: list[tuple[tuple[str, ...], Callable[[], Awaitable[None]]]] = []


def check(*roles: str) -> Callable[[Callable[[], Awaitable[None]]], None]:
    return lambda function: CHECKS.append((roles, function))


def asked(role: str, **fields: Any) -> dict[str, Any]:
    model, prompt = ROLES[role]
    return {"model": model, "max_tokens": LENGTH, "messages": [{"role": "user", "content": prompt}], **fields}


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message: Any) -> list[Any]:
    return [block for block in message.content if block.type == "tool_use"]


def results_of(message: Any) -> dict[str, Any]:
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "It is warm."} for call in calls_of(message)]
    return {"role": "user", "content": results}


async def refused(call: Awaitable[Any], status: int, kind: str) -> anthropic.APIStatusError:
    try:
        await call
    except anthropic.APIStatusError as error:
        assert (error.status_code, error.body["error"]["type"]) == (status, kind), error
        assert error.request_id, "no request id"
        return error
    raise AssertionError(f"no error {status}")


@check("text")
async def create() -> None:
    message = await client.messages.create(**asked("text"))
    assert text_of(message) and message.stop_reason == "end_turn", message
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0, message.usage
    assert message.id.startswith("msg_") and message._request_id.startswith("req_")


@check("text")
async def create_without_asyncio() -> None:
    blocking = anthropic.Anthropic(api_key=KEY, base_url=BASE, max_retries=0, timeout=PATIENCE)
    message = await asyncio.to_thread(lambda: blocking.messages.create(**asked("text")))
    assert text_of(message)
    blocking.close()


@check("text")
async def create_streamed() -> None:
    kinds = [event.type async for event in await client.messages.create(**asked("text"), stream=True)]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop"), kinds


@check("text")
async def stream_helper_of_text() -> None:
    async with client.messages.stream(**asked("text")) as stream:
        said = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
        assert stream.request_id.startswith("req_")
    assert said == text_of(message) != "" and message.usage.output_tokens > 0


@check("tool")
async def stream_helper_of_events() -> None:
    async with client.messages.stream(**asked("tool", tools=[WEATHER])) as stream:
        events = [event async for event in stream]
        message = await stream.get_final_message()
    assert {"input_json", "content_block_stop", "message_stop"} <= {event.type for event in events}
    assert [event.snapshot for event in events if event.type == "input_json"][-1] == calls_of(message)[0].input


@check("text")
async def stream_snapshot_and_early_close() -> None:
    async with client.messages.stream(**asked("text")) as stream:
        async for event in stream:
            if event.type == "text":
                break
        assert stream.current_message_snapshot.role == "assistant"
    assert text_of(await client.messages.create(**asked("text")))


@check("text")
async def raw_responses() -> None:
    raw = await client.messages.with_raw_response.create(**asked("text"))
    assert raw.status_code == 200 and raw.headers["request-id"] and text_of(await raw.parse())
    raw = await client.messages.with_raw_response.create(**asked("text"), stream=True)
    assert [event.type async for event in await raw.parse()][-1] == "message_stop"
    async with client.messages.with_streaming_response.create(**asked("text"), stream=True) as response:
        lines = [line async for line in response.iter_lines()]
    assert lines[0] == "event: message_start"


@check("tool")
async def tool_loop() -> None:
    request = asked("tool", tools=[WEATHER])
    message = await client.messages.create(**request)
    (call,) = calls_of(message)
    assert message.stop_reason == "tool_use" and isinstance(call.input["city"], str), message
    turns = [*request["messages"], {"role": "assistant", "content": message.content}, results_of(message)]
    answer = await client.messages.create(**{**request, "messages": turns})
    assert answer.stop_reason == "end_turn" and text_of(answer), answer


@check("two")
async def parallel_calls() -> None:
    async with client.messages.stream(**asked("two", tools=[WEATHER])) as stream:
        message = await stream.get_final_message()
    first, second = calls_of(message)
    assert first.id != second.id and isinstance(second.input, dict)


@check("tool")
async def tool_choices() -> None:
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        assert calls_of(await client.messages.create(**asked("tool", tools=[WEATHER], tool_choice=choice))), choice


@check("text")
async def no_tool_is_called_where_none_may_be() -> None:
    message = await client.messages.create(**asked("text", tools=[WEATHER], tool_choice={"type": "none"}))
    assert not calls_of(message) and message.stop_reason == "end_turn", message


@check("thinking")
async def thinking_and_its_return() -> None:
    request = asked("thinking", thinking=THINKING, max_tokens=3000)
    async with client.messages.stream(**request) as stream:
        kinds = {event.type async for event in stream}
        message = await stream.get_final_message()
    assert message.content[0].type == "thinking" and message.content[0].signature, message
    assert {"thinking", "signature"} <= kinds, kinds
    turns = [
        *request["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Go on"},
    ]
    assert (await client.messages.create(**{**request, "messages": turns})).content


@check("thinking_tool")
async def thinking_before_a_call_and_its_return() -> None:
    request = asked("thinking_tool", thinking=THINKING, tools=[WEATHER], max_tokens=3000)
    message = await client.messages.create(**request)
    assert [message.content[0].type, message.stop_reason] == ["thinking", "tool_use"], message
    turns = [*request["messages"], {"role": "assistant", "content": message.content}, results_of(message)]
    assert (await client.messages.create(**{**request, "messages": turns})).stop_reason == "end_turn"


@check("text")
async def thinking_off_adaptive_and_effort() -> None:
    for fields in ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "adaptive"}, "max_tokens": 3000}):
        assert (await client.messages.create(**{**asked("text"), **fields})).content, fields
    assert (await client.messages.create(**asked("text", output_config={"effort": "low"}))).content


class City(BaseModel):
    city: str


@check("schema")
async def parsed_output() -> None:
    message = await client.messages.parse(**asked("schema"), output_format=City)
    assert isinstance(message.parsed_output, City), message
    async with client.messages.stream(**asked("schema"), output_format=City) as stream:
        message = await stream.get_final_message()
    assert isinstance(message.parsed_output, City), message
    message = await client.beta.messages.parse(**asked("schema"), output_format=City)
    assert isinstance(message.parsed_output, City), message


@check("tool")
async def tool_runner() -> None:
    cities = []

    @beta_async_tool
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        cities.append(city)
        return "warm"

    runner = client.beta.messages.tool_runner(**asked("tool"), tools=[get_weather], max_iterations=3)
    message = await runner.until_done()
    assert cities and message.stop_reason == "end_turn", message


@check("tool")
async def tool_runner_streamed() -> None:
    results = []

    @beta_async_tool
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        results.append(city)
        raise ValueError(f"no weather in {city}")

    async for stream in client.beta.messages.tool_runner(
        **asked("tool"), tools=[get_weather], max_iterations=3, stream=True
    ):
        message = await stream.get_final_message()
    assert results and message.stop_reason == "end_turn", message


@check("text")
async def beta_namespace() -> None:
    message = await client.beta.messages.create(**asked("text"), betas=["interleaved-thinking-2025-05-14"])
    assert text_of(message)
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    async with client.beta.messages.stream(
        **asked("text"), betas=["context-management-2025-06-27"], context_management=edits
    ) as stream:
        assert text_of(await stream.get_final_message())
    counted = await client.beta.messages.count_tokens(
        model=ROLES["text"][0], messages=asked("text")["messages"], betas=["token-counting-2024-11-01"]
    )
    assert counted.input_tokens > 0
    assert (await client.beta.models.list()).data


@check("text")
async def count_tokens() -> None:
    model, messages = ROLES["text"][0], asked("text")["messages"]
    alone = await client.messages.count_tokens(model=model, messages=messages)
    with_tools = await client.messages.count_tokens(model=model, messages=messages, system="Be brief.", tools=[WEATHER])
    assert 0 < alone.input_tokens < with_tools.input_tokens


@check("text")
async def models() -> None:
    listed = [model async for model in client.models.list(limit=3)]
    names = [model.id for model in listed]
    assert names and len(set(names)) == len(names) and listed[0].type == "model" and listed[0].display_name
    assert (await client.models.retrieve(names[-1])).id == names[-1]
    await refused(client.models.retrieve("no-such-model"), 404, "not_found_error")


async def ended(batch_id: str, batches: Any) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        batch = await batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch
        await asyncio.sleep(0.2)
    raise AssertionError("the batch does not end")


@check("text", "tool")
async def batches() -> None:
    items = {"text": asked("text"), "tool": asked("tool", tools=[WEATHER]), "wrong": asked("text", temperature=5)}
    requests = [{"custom_id": name, "params": parameters} for name, parameters in items.items()]
    batch = await client.messages.batches.create(requests=requests)
    batch = await ended(batch.id, client.messages.batches)
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (2, 1), batch
    results = {entry.custom_id: entry.result async for entry in await client.messages.batches.results(batch.id)}
    assert text_of(results["text"].message) and results["tool"].message.stop_reason == "tool_use", results
    assert results["wrong"].error.error.type == "invalid_request_error", results
    assert batch.id in [listed.id async for listed in client.messages.batches.list(limit=20)]
    assert (await client.messages.batches.delete(batch.id)).type == "message_batch_deleted"
    await refused(client.messages.batches.retrieve(batch.id), 404, "not_found_error")


@check("refusal", "overflow", "length")
async def batches_with_odd_answers() -> None:
    requests = [{"custom_id": role, "params": asked(role)} for role in ("refusal", "overflow", "length")]
    batch = await client.beta.messages.batches.create(requests=requests)
    batch = await ended(batch.id, client.beta.messages.batches)
    results = {entry.custom_id: entry.result async for entry in await client.beta.messages.batches.results(batch.id)}
    assert results["refusal"].message.stop_reason == "refusal", results["refusal"]
    assert results["length"].message.stop_reason == "max_tokens", results["length"]
    assert "prompt is too long" in results["overflow"].error.error.message, results["overflow"]


@check("slow")
async def batches_are_canceled() -> None:
    requests = [{"custom_id": str(number), "params": asked("slow")} for number in range(300)]
    batch = await client.messages.batches.create(requests=requests)
    assert (await client.messages.batches.cancel(batch.id)).processing_status in ("canceling", "ended")
    batch = await ended(batch.id, client.messages.batches)
    kinds = {entry.result.type async for entry in await client.messages.batches.results(batch.id)}
    assert "canceled" in kinds, kinds


@check("text")
async def wrong_requests() -> None:
    wrong = {
        "max_tokens": {"max_tokens": -1},
        "messages": {"messages": []},
        "temperature": {"temperature": 3},
        "tools": {"tools": [{"name": "bad name", "input_schema": {"type": "object"}}]},
        "system": {"system": 5},
    }
    for word, fields in wrong.items():
        call = client.messages.create(**asked("text"), extra_body=fields)
        error = await refused(call, 400, "invalid_request_error")
        assert word in str(error), error


@check("text")
async def wrong_keys_and_paths() -> None:
    stranger = client.with_options(api_key="wrong")
    await refused(stranger.messages.create(**asked("text")), 401, "authentication_error")
    bearer = AsyncAnthropic(auth_token=KEY, api_key=None, base_url=BASE, timeout=PATIENCE)
    assert text_of(await bearer.messages.create(**asked("text")))
    await bearer.close()
    await refused(client.beta.files.list(), 404, "not_found_error")
    await refused(client.beta.skills.list(), 404, "not_found_error")


@check("limited")
async def retries() -> None:
    begun = time.monotonic()
    await refused(client.with_options(max_retries=1).messages.create(**asked("limited")), 429, "rate_limit_error")
    assert time.monotonic() - begun > 0.4, "it did not wait"


@check("broken")
async def error_within_a_stream() -> None:
    try:
        async with client.messages.stream(**asked("broken")) as stream:
            await stream.get_final_message()
    except anthropic.APIStatusError as error:
        assert error.body["error"]["type"] in ("api_error", "overloaded_error"), error
    else:
        raise AssertionError("no error")


@check("silent")
async def timeouts() -> None:
    try:
        await client.with_options(timeout=0.7).messages.create(**asked("silent"))
    except anthropic.APITimeoutError:
        return
    raise AssertionError("no timeout")


@check("overflow")
async def long_prompts() -> None:
    error = await refused(client.messages.create(**asked("overflow")), 400, "invalid_request_error")
    assert "prompt is too long" in str(error), error


@check("refusal")
async def refusals() -> None:
    async with client.messages.stream(**asked("refusal")) as stream:
        assert (await stream.get_final_message()).stop_reason == "refusal"


@check("length")
async def length_limit() -> None:
    message = await client.messages.create(**asked("length", max_tokens=5))
    assert message.stop_reason == "max_tokens", message


@check("stop")
async def stop_sequences() -> None:
    message = await client.messages.create(**asked("stop", stop_sequences=ROLES["stop_sequences"]))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", ROLES["stop_sequences"][0]), message


@check("text")
async def other_fields() -> None:
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    fields = {"system": system, "metadata": {"user_id": "u" * 200}}
    message = await client.messages.create(**asked("text", **fields), extra_headers={"x-other": "1"})
    assert message.content
    turns = [*asked("text")["messages"], {"role": "assistant", "content": "Hello"}]
    assert (await client.messages.create(**{**asked("text"), "messages": turns})).stop_reason


@check("media")
async def media() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hello."}}
    content = [image, document, {"type": "text", "text": "Look."}]
    message = await client.messages.create(**{**asked("media"), "messages": [{"role": "user", "content": content}]})
    assert message.content


@check("text")
async def many_at_once() -> None:
    messages = await asyncio.gather(*(client.messages.create(**asked("text")) for _ in range(8)))
    assert len({message.id for message in messages}) == 8


async def main() -> int:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for roles, function in CHECKS:
        if function.__name__ in ROLES.get("known", ()) or not all(role in ROLES for role in roles):
            counts["skipped"] += 1
            continue
        try:
            await asyncio.wait_for(function(), 2 * PATIENCE)
        except Exception as error:  # noqa: BLE001 - a check may fail in any way
            counts["failed"] += 1
            print(f"FAIL {function.__name__}: {type(error).__name__} {str(error)[:400]}", flush=True)
        else:
            counts["passed"] += 1
    await client.close()
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
