"""Message threads over real front ends and a real Redis: the official SDK with its default options, and plain HTTP."""

import asyncio
import logging
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.messages.fold import fold_events
from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, Script, json_script, stream_script
from tests.e2e.caching import info
from tests.e2e.conftest import KEY, Live, front_end, serving
from tests.e2e.raw import open_raw, parse_events, read_until
from tests.e2e.test_messages import HELLO
from tests.workers.proxy import RedisProxy

GUIDE = (Path(__file__).parent.parent.parent / "docs/threads.md").read_text()
OTHER_KEY = "other-key-0123456789"
CREATE = {"type": "create"}
TOOLS = [{"name": "get", "input_schema": {"type": "object"}}]
TURNS = 5


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with EmbeddedServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@asynccontextmanager
async def two_front_ends(simulator: Simulator, redis_url: str) -> AsyncIterator[tuple[Live, Live]]:
    """Start two front ends that share Redis and the upstream alone."""
    shared = {"redis_url": redis_url, "keys": f"tests:{KEY},others:{OTHER_KEY}", "max_attempts": 1}
    async with serving(simulator, **shared) as one, serving(simulator, **shared) as two:
        yield one, two


@pytest.fixture
async def fronts(simulator: Simulator, redis_url: str) -> AsyncIterator[tuple[Live, Live]]:
    async with two_front_ends(simulator, redis_url) as both:
        yield both


async def post(live: Live, thread: Any, words: str = "go on", *, key: str = KEY, **fields: Any) -> tuple[int, Any]:
    """Status and JSON of a plain request; the message's events for a stream."""
    body = {**HELLO, "messages": [{"role": "user", "content": words}], "thread": thread, **fields}
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + "/v1/messages", json=body, headers={"x-api-key": key}) as response,
    ):
        content = await response.read()
        if response.content_type == "text/event-stream":
            return response.status, parse_events(content)
        return response.status, orjson.loads(content)


async def begin(live: Live, **fields: Any) -> str:
    status, message = await post(live, CREATE, "begin", **fields)
    assert status == 200, message
    return str(message["id"])


async def insist(live: Live, thread: Any, passing: str, words: str = "go on") -> tuple[int, Any]:
    """Post, and repeat while the reply is a temporary refusal."""
    async with asyncio.timeout(20):
        while code_of(reply := await post(live, thread, words)) == (400, passing):
            pass
        return reply


def on(message_id: str) -> dict[str, str]:
    return {"type": "continue", "previous_message_id": message_id}


def code_of(reply: tuple[int, Any]) -> tuple[int, str | None]:
    status, body = reply
    return status, body["error"].get("details", {}).get("error_code") if status != 200 else None


def asked(simulator: Simulator) -> list[tuple[str, Any]]:
    """Roles and contents of the last request upstream."""
    return [(message["role"], message["content"]) for message in simulator.requests()[-1].json["messages"]]


# -- the official SDK


@anthropic.beta_async_tool
async def step(number: int) -> str:
    """Takes a step.

    Args:
        number: Which.
    """
    return f"step {number} is done"


def tool_turn(number: int, streamed: bool) -> Script:
    function = {"name": "step", "arguments": orjson.dumps({"number": number}).decode()}
    called = {"role": "assistant", "content": None, "tool_calls": [
        {"index": 0, "id": f"call_{number}", "type": "function", "function": function}]}  # fmt: skip
    return answer(called, "tool_calls", streamed)


def answer(message: dict[str, Any], finish_reason: str, streamed: bool) -> Script:
    if streamed:
        choice = {"index": 0, "delta": message, "finish_reason": finish_reason}
        return stream_script({"id": "g", "choices": [choice]}, b"data: [DONE]\n\n")
    return json_script({"id": "g", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})


def script_turns(simulator: Simulator, streamed: bool = False) -> None:
    """Four tool calls, one a turn, and a last word."""
    simulator.script(*(tool_turn(number, streamed) for number in range(1, TURNS)))
    simulator.script(answer({"role": "assistant", "content": "all done"}, "stop", streamed))


def tool_runner(client: anthropic.AsyncAnthropic, streamed: bool = False) -> Any:
    return client.beta.messages.tool_runner(
        model="some/model",
        max_tokens=1000,
        system="Take four steps.",
        tools=[step],
        messages=[{"role": "user", "content": "Begin."}],
        stream=streamed,
    )


def check_conversations(simulator: Simulator) -> None:
    """Each turn asked the upstream once, with the whole conversation, and nothing came twice or out of order."""
    requests = [record.json for record in simulator.requests()]
    assert len(requests) == TURNS
    for turn, request in enumerate(requests):
        roles = [message["role"] for message in request["messages"]]
        assert roles == ["system", "user"] + ["assistant", "tool"] * turn
        results = [message["content"] for message in request["messages"] if message["role"] == "tool"]
        assert results == [f"step {number} is done" for number in range(1, turn + 1)]
        assert [tool["function"]["name"] for tool in request["tools"]] == ["step"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.covers("Threads · held conversations go on at any front end")
async def test_a_tool_loop_over_two_processes_of_which_one_is_killed(
    simulator: Simulator, redis_url: str, caplog: pytest.LogCaptureFixture, streamed: bool
) -> None:
    """The SDK's default options; it sends each turn to the other process, and logs what it does beside threading."""
    caplog.set_level(logging.INFO, "anthropic")
    script_turns(simulator, streamed)
    variables = {"GATEWAY_REDIS_URL": redis_url}
    async with front_end(simulator, **variables) as (one, doomed), front_end(simulator, **variables) as (two, _):
        async with anthropic.AsyncAnthropic(base_url=one.url, api_key=KEY) as client:
            runner = tool_runner(client, streamed)
            turn = 0
            async for reply in runner:
                final = await reply.get_final_message() if streamed else reply
                turn += 1
                client.base_url = (one.url, two.url)[turn % 2]
                if turn == 3:
                    doomed.process.send_signal(signal.SIGKILL)
                    await doomed.process.wait()
                if turn >= 3:
                    client.base_url = two.url
        assert final.content[0].text == "all done"
    check_conversations(simulator)
    assert not [record for record in caplog.records if "threads" in record.name], "no replay, no turn without a thread"


@pytest.mark.covers("Threads · without Redis clients send the whole conversation")
async def test_without_redis_the_same_loop_runs_by_whole_conversations(live: Live) -> None:
    script_turns(live.simulator)
    messages = [message async for message in tool_runner(live.client())]
    assert messages[-1].content[0].text == "all done"
    check_conversations(live.simulator)


async def test_a_loop_that_comes_too_late_replays_its_conversation(
    fronts: tuple[Live, Live], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anthropic")
    script_turns(fronts[0].simulator)
    async for message in tool_runner(fronts[0].client()):
        if message.content[0].type == "tool_use" and message.content[0].input["number"] == 2:
            # Another client continues from this reply, so the loop's own turn comes too late.
            result = {"type": "tool_result", "tool_use_id": message.content[0].id, "content": "step 2 is done"}
            assert (await post(fronts[1], on(message.id), messages=[{"role": "user", "content": [result]}]))[0] == 200
    assert message.content[0].text == "all done"
    assert "reason=thread_already_continued" in caplog.text
    assert [role for role, _ in asked(fronts[0].simulator)] == ["system", "user"] + ["assistant", "tool"] * 3


# -- plain HTTP: what is asked upstream, and every error


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_continuation_elsewhere_asks_with_the_whole_conversation(
    fronts: tuple[Live, Live], streamed: bool
) -> None:
    one, two = fronts
    status, reply = await post(one, CREATE, "first", system="Be brief.", tools=TOOLS, stream=streamed)
    message = fold_events(reply) if streamed else reply
    said = message["content"][0]["text"]
    assert status == 200
    assert (await post(two, on(message["id"]), "second", stream=streamed))[0] == 200
    assert asked(one.simulator) == [("system", "Be brief."), ("user", "first"), ("assistant", said), ("user", "second")]
    assert one.simulator.requests()[-1].json["tools"][0]["function"]["name"] == "get"
    assert "thread" not in one.simulator.requests()[-1].json


async def test_what_is_held_counts_in_the_estimate_of_a_streams_beginning(fronts: tuple[Live, Live]) -> None:
    first = await begin(fronts[0], system="some words " * 1000)
    _, events = await post(fronts[1], on(first), stream=True)
    assert events[0]["message"]["usage"]["input_tokens"] > 1000


async def test_every_error_of_a_thread(fronts: tuple[Live, Live]) -> None:
    one, two = fronts
    first = await begin(one, system="Be brief.")
    for thread, fields, status, code in (
        (on("msg_000000000000000000000000"), {}, 404, "thread_not_found"),
        (on("no id at all"), {}, 404, "thread_not_found"),
        (on(first), {"key": OTHER_KEY}, 404, "thread_not_found"),
        (on(first), {"system": "Be long."}, 400, "thread_fingerprint_mismatch"),
        (on(first), {"tools": TOOLS}, 400, "thread_fingerprint_mismatch"),
        (on(first), {"output_config": {"effort": "low"}}, 400, "thread_fingerprint_mismatch"),
        (on(first), {"system": "Be brief."}, 400, None),
        (on(first), {"messages": []}, 400, None),
        (on(first), {"messages": [{"role": "user", "content": ""}]}, 400, None),
        (on(first), {"max_tokens": "x"}, 400, None),
        ({"type": "new"}, {}, 400, None),
        ({"type": "continue"}, {}, 400, None),
        ("create", {}, 400, None),
    ):  # fmt: skip
        assert code_of(await post(two, thread, **fields)) == (status, code), (thread, fields)
    assert (await post(two, on(first)))[0] == 200, "and none of them has touched the thread"
    assert code_of(await post(one, on(first))) == (400, "thread_already_continued")


@pytest.mark.parametrize("off", [{"threads": "off"}, {"redis_url": None}])
async def test_where_threads_are_off_the_documented_code_says_so(
    simulator: Simulator, redis_url: str, off: dict[str, Any]
) -> None:
    async with serving(simulator, **{"redis_url": redis_url, **off}) as live:
        for thread in (CREATE, on("msg_1")):
            assert code_of(await post(live, thread)) == (400, "thread_unsupported_request")
    assert simulator.requests() == []


async def test_tokens_are_counted_without_threads(fronts: tuple[Live, Live]) -> None:
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(fronts[0].url + "/v1/messages/count_tokens", json={**HELLO, "thread": CREATE}) as response,
    ):
        assert code_of((response.status, await response.json())) == (400, "thread_unsupported_request")


async def test_a_null_thread_is_none(fronts: tuple[Live, Live]) -> None:
    status, message = await post(fronts[0], None)
    assert status == 200
    assert code_of(await post(fronts[0], on(message["id"]))) == (404, "thread_not_found")


# -- one continuation at a time


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_second_continuation_on_another_front_end_is_refused(fronts: tuple[Live, Live], streamed: bool) -> None:
    one, two = fronts
    first = await begin(one)
    gate = asyncio.Event()
    said = answer({"role": "assistant", "content": "late"}, "stop", streamed)
    one.simulator.script(Script((Hold(gate), *said.steps), said.status, said.headers))
    async with asyncio.TaskGroup() as group:
        going = group.create_task(post(one, on(first), stream=streamed))
        await one.simulator.received(2)
        assert code_of(await post(two, on(first))) == (400, "thread_continue_in_flight")
        gate.set()
    status, reply = going.result()
    assert status == 200
    assert code_of(await post(two, on(first))) == (400, "thread_already_continued")
    message = fold_events(reply) if streamed else reply
    assert (await post(two, on(message["id"])))[0] == 200


FAILURES: tuple[dict[str, Any], ...] = (
    {"model": "sim/error-500"},
    {"model": "sim/error-400"},
    {"model": "sim/error-mid-stream", "stream": True},
    {"model": "sim/cut-off", "stream": True},
    {"model": "sim/hang-up"},
)


async def test_after_a_failure_the_same_turn_can_be_tried_again(fronts: tuple[Live, Live]) -> None:
    for failing in FAILURES:
        first = await begin(fronts[0])
        status, reply = await post(fronts[0], on(first), **failing)
        assert reply[-1]["type"] == "error" if failing.get("stream") else status >= 400, failing
        assert (await post(fronts[1], on(first), "again"))[0] == 200, failing
        assert [words for _, words in asked(fronts[0].simulator)][::2] == ["begin", "again"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_leaves_within_its_reply_can_try_again(fronts: tuple[Live, Live], streamed: bool) -> None:
    one, two = fronts
    first = await begin(one)
    begun = stream_script({"id": "g", "choices": [{"index": 0, "delta": {"content": "half"}}]}, Hold())
    one.simulator.script(begun if streamed else Script((Hold(),)))
    reader, writer = await open_raw(one, {**HELLO, "thread": on(first), "stream": streamed})
    record = await one.simulator.received(2)
    if streamed:
        await read_until(reader, b"half")
    writer.transport.abort()
    await record.finished.wait()
    assert (await insist(two, on(first), "thread_continue_in_flight"))[0] == 200


# -- Redis


async def test_without_redis_only_threads_are_refused_and_tool_loops_go_on(
    simulator: Simulator, redis_url: str
) -> None:
    async with RedisProxy(redis_url) as proxy, serving(simulator, redis_url=proxy.url) as live:
        script_turns(simulator)
        messages: list[Any] = []
        async for message in tool_runner(live.client()):
            messages.append(message)
            if len(messages) == 2:
                await proxy.cut()
                assert code_of(await post(live, on(message.id))) == (400, "thread_unsupported_request")
        assert messages[-1].content[0].text == "all done"
        check_conversations(simulator)
        assert (await live.client().messages.create(**HELLO)).stop_reason == "end_turn"
        await proxy.join()
        first = await begin(live)
        assert (await post(live, on(first)))[0] == 200


async def test_a_conversation_outlives_a_restart_of_redis(simulator: Simulator, tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server, two_front_ends(simulator, server.url) as (one, two):
        first = await begin(one, system="Be brief.")
        async with asyncio.timeout(10):  # a flush of the disk can hold up a write for two seconds
            while (await info(server.url))["aof_buffer_length"]:
                pass
        assert server._process is not None
        server._process.kill()
        assert (await insist(two, on(first), "thread_unsupported_request", "second"))[0] == 200
        assert [role for role, _ in asked(simulator)] == ["system", "user", "assistant", "user"]


async def test_what_is_stored_names_no_prompt_and_passes_away(fronts: tuple[Live, Live], redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    before = {name async for name in redis.scan_iter()}
    await begin(fronts[0], system="canary-4711 " * 100)
    names = {name async for name in redis.scan_iter()} - before
    lives = [await redis.ttl(name) for name in names if name.startswith(b"gw:th:{")]
    await redis.aclose()
    assert not [name for name in names if b"canary" in name]
    assert len(lives) == 2
    assert all(290 < life <= 300 for life in lives)


async def test_the_guides_example_runs(simulator: Simulator, redis_url: str) -> None:
    """It runs unchanged, except for the address and the shell's way to the reply's id."""
    bodies = re.findall(r"-d '(\{.*?\})'\)?\n", GUIDE, re.DOTALL)
    async with (
        serving(simulator, redis_url=redis_url, auth="off") as live,
        aiohttp.ClientSession(live.url, headers={"content-type": "application/json"}) as session,
    ):
        first = await (await session.post("/v1/messages", data=bodies[0])).json()
        second = re.sub(r"'\"\$\(.*\)\"'", first["id"], bodies[1])
        assert (await session.post("/v1/messages", data=second)).status == 200
    contents = [content for role, content in asked(simulator) if role != "assistant"]
    assert contents == ["Be brief.", "Hello", "And again"]


async def test_error_in_a_later_turn_counts_messages_from_that_turn(fronts: tuple[Live, Live]) -> None:
    one, two = fronts
    following = {"type": "continue", "previous_message_id": await begin(one)}
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "image", "source": 1}]}]
    status, error = await post(two, following, messages=messages)
    assert status == 400
    assert error["error"]["message"].startswith("messages.1.content.0")
    messages = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "none"}]}]
    status, error = await post(two, following, messages=messages)
    assert status == 400
    assert error["error"]["message"].startswith("messages.0.content.0")
