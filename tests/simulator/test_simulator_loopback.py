"""The simulator as a test's upstream: scripts go first, requests are recorded, closed connections are noticed."""

import asyncio
import io
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from gateway.simulator.failures import error_script
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import (
    COMMENT,
    DONE,
    EVENT_STREAM,
    HangUp,
    Hold,
    Pause,
    Script,
    broken_off,
    json_script,
    paced,
    stream_script,
    trickled,
)
from gateway.simulator.server import MAX_BODY_BYTES, application
from tests.simulator.reading import Ask

PROMPT = {"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]}

# Longer than anything here takes: only a hang reaches it.
PATIENCE = 10.0


@asynccontextmanager
async def raw_client(
    simulator: Simulator, model: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that has sent a streaming prompt and may do with its socket as it likes."""
    reader, writer = await asyncio.open_connection(simulator.host, simulator.port)
    body = b'{"model":"%b","stream":true,"messages":[{"role":"user","content":"Hello"}]}' % model.encode()
    head = b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: upstream\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


# Scripts


async def test_scripts_are_used_once_each_in_order_and_then_the_models_answer(ask: Ask, simulator: Simulator) -> None:
    simulator.script(json_script({"first": 1}), error_script(503, "Second"))
    assert simulator.pending == 2
    assert (await ask("sim/echo")).json == {"first": 1}
    second = await ask("sim/echo")
    assert (second.status, second.json["error"]["message"], second.headers["Retry-After"]) == (503, "Second", "1")
    assert simulator.pending == 0
    assert (await ask("sim/echo")).json["object"] == "chat.completion"


async def test_a_script_answers_only_the_path_it_was_queued_for(
    ask: Ask, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    simulator.script(json_script({"data": []}), on="GET /models")
    simulator.script(json_script({"type": "message"}), on="POST /messages")
    assert (await ask("sim/echo")).json["object"] == "chat.completion"
    async with session.post(f"{simulator.url}/messages", json={}) as response:
        assert await response.json() == {"type": "message"}
    async with session.get(f"{simulator.url}/models") as response:
        assert await response.json() == {"data": []}
    assert simulator.pending == 0


async def test_a_stream_script_sends_chunks_comments_and_raw_pieces_as_they_are(ask: Ask, simulator: Simulator) -> None:
    simulator.script(stream_script(COMMENT, {"a": 1}, b"data: {brok", DONE, headers=(("X-Generation-Id", "gen-1"),)))
    reply = await ask("sim/echo")
    assert reply.body == b': OPENROUTER PROCESSING\n\ndata: {"a":1}\n\ndata: {brokdata: [DONE]\n\n'
    assert reply.headers["Content-Type"] == EVENT_STREAM[1]
    assert reply.headers["X-Generation-Id"] == "gen-1"
    assert reply.headers["Transfer-Encoding"] == "chunked"


async def test_a_script_may_repeat_a_header_and_have_no_body(ask: Ask, simulator: Simulator) -> None:
    simulator.script(Script((b"",), 299, (("X-One", "a"), ("X-One", "b"))))
    reply = await ask("sim/echo")
    assert (reply.status, reply.body) == (299, b"")
    assert [value for name, value in reply.headers.items() if name == "X-One"] == ["a", "b"]


async def test_a_script_without_steps_is_an_empty_answer(ask: Ask, simulator: Simulator) -> None:
    simulator.script(Script())
    reply = await ask("sim/echo")
    assert (reply.status, reply.body) == (200, b"")


async def test_a_piece_is_held_until_its_gate_opens(simulator: Simulator) -> None:
    gate = asyncio.Event()
    simulator.script(stream_script(b"before", Hold(gate), b"after"))
    async with raw_client(simulator, "sim/echo") as (reader, _writer):
        await reader.readuntil(b"before\r\n")
        record = await simulator.received()
        assert not record.finished.is_set()
        gate.set()
        await reader.readuntil(b"after\r\n0\r\n\r\n")
        await record.finished.wait()
        assert record.complete


async def test_an_empty_piece_sends_the_header_alone(simulator: Simulator) -> None:
    simulator.script(stream_script(b"", Hold()))
    async with raw_client(simulator, "sim/echo") as (reader, _writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_steps_before_the_first_piece_delay_the_header(simulator: Simulator) -> None:
    gate = asyncio.Event()
    simulator.script(stream_script(Hold(gate), HangUp()))
    async with raw_client(simulator, "sim/echo") as (reader, _writer):
        await simulator.received()
        gate.set()
        assert await reader.read() == b""


async def test_pauses_are_played_by_the_injected_sleep(ask: Ask, simulator: Simulator, pauses: list[float]) -> None:
    simulator.script(stream_script(Pause(1.5), b"x", Pause(60)))
    await ask("sim/echo")
    assert pauses == [1.5, 60]


async def test_hanging_up_ends_the_stream_without_its_last_chunk(simulator: Simulator) -> None:
    simulator.script(stream_script(b"half", HangUp(), b"never sent"))
    async with raw_client(simulator, "sim/echo") as (reader, _writer):
        assert (await reader.read()).endswith(b"\r\n\r\n4\r\nhalf\r\n")
        record = await simulator.received()
        await record.closed.wait()
        assert not record.closed_by_client
        assert not record.complete


async def test_hanging_up_with_a_reset_is_seen_as_one(simulator: Simulator) -> None:
    gate = asyncio.Event()
    simulator.script(stream_script(b"half", Hold(gate), HangUp(reset=True)))
    async with raw_client(simulator, "sim/echo") as (reader, _writer):
        await reader.readuntil(b"half\r\n")
        gate.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()


def test_a_broken_off_stream_keeps_its_first_half_and_a_single_piece_is_cut_within() -> None:
    stream = stream_script(b"a", b"b", b"c", b"d")
    assert broken_off(stream, HangUp()).steps == (b"a", b"b", HangUp())
    assert broken_off(Script((b"abcd",)), Hold()).steps == (b"ab", Hold())


def test_pacing_and_trickling_keep_every_byte_and_every_other_step() -> None:
    script = Script((b"ab", Hold(), b"c"), 201, (("A", "b"),))
    assert paced(script, 2) == Script((b"ab", Pause(2), Hold(), Pause(2), b"c"), 201, (("A", "b"),))
    trickle = trickled(script, 2)
    assert [step for step in trickle.steps if step != Pause(2)] == [b"a", b"b", Hold(), b"c"]
    assert (trickle.status, trickle.headers) == (201, (("A", "b"),))


# Records


async def test_a_record_holds_the_request_as_it_arrived(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    headers = {"X-Title": "Test", "Authorization": "Bearer k"}
    raw = b'{ "model": "sim/echo", "messages": [{"role": "user", "content": "H\xc3\xbc"}] }'
    url = f"{simulator.url}/chat/completions?a=b"
    async with session.post(url, data=raw, headers=headers) as response:
        await response.read()
    record = await simulator.received()
    assert (record.method, record.path, record.on) == ("POST", "/api/v1/chat/completions", "POST /chat/completions")
    assert record.query == {"a": "b"}
    assert record.headers["x-title"] == "Test"
    assert record.raw == raw
    assert record.json["messages"][0]["content"] == "Hü"
    assert list(simulator.records) == simulator.requests() == [record]


async def test_a_body_that_is_no_json_is_recorded_and_refused(
    simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    async with session.post(f"{simulator.url}/chat/completions", data=b"{") as response:
        assert response.status == 400
        assert (await response.json())["error"]["metadata"]["error_type"] == "invalid_request"
    assert (await simulator.received()).json is None


async def test_an_invalid_prompt_is_refused_with_its_place(ask: Ask) -> None:
    reply = await ask("sim/echo", messages=[{"role": "bogus"}])
    assert reply.status == 400
    assert "messages.0.role" in reply.json["error"]["message"]


async def test_waiting_for_a_request_returns_when_it_arrives_and_counts_only_its_path(
    ask: Ask, simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    waiting = asyncio.create_task(simulator.received(2))
    await ask("sim/text-1")
    async with session.get(f"{simulator.url}/key") as response:
        await response.read()
    assert not waiting.done()
    await ask("sim/text-2")
    assert (await waiting).json["model"] == "sim/text-2"
    assert (await simulator.received(on="GET /key")).raw == b""


async def test_a_kept_alive_connection_is_known_by_its_number(ask: Ask, simulator: Simulator) -> None:
    await ask("sim/echo")
    await ask("sim/echo")
    first, second = simulator.requests()
    assert first.connection is second.connection
    assert first.connection.number == 1
    assert first.complete
    assert not first.closed.is_set()
    assert first.closed_at is None


# Closing


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("sim/silent", id="before the header"),
        pytest.param("sim/silent-mid-stream", id="within the stream"),
        pytest.param("sim/echo", id="after the answer"),
    ],
)
@pytest.mark.parametrize("how", ["end of file", "abort", "reset"])
async def test_a_client_that_closes_is_noticed_at_once(simulator: Simulator, model: str, how: str) -> None:
    async with raw_client(simulator, model) as (reader, writer):
        record = await simulator.received()
        if model != "sim/silent":
            await reader.readuntil(b"\r\n\r\n")
        if model == "sim/echo":
            await record.finished.wait()
            await reader.readuntil(b"0\r\n\r\n")
        assert not record.closed.is_set()
        if how == "end of file":
            writer.close()
        else:
            if how == "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await record.closed.wait()
            await record.finished.wait()
    assert record.closed_by_client
    assert record.closed_at is not None
    assert record.closed_at >= record.received_at
    assert record.complete is (model == "sim/echo")


async def test_a_client_that_leaves_a_long_stream_ends_it(simulator: Simulator) -> None:
    gate = asyncio.Event()
    simulator.script(stream_script(b"first", *[b"x" * 65536, Pause(0)] * 2000, Hold(gate)))
    async with raw_client(simulator, "sim/echo") as (reader, writer):
        await reader.readuntil(b"first\r\n")
        record = await simulator.received()
        writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await record.closed.wait()
            await record.finished.wait()
    assert not record.complete


@pytest.mark.parametrize("model", ["sim/silent", "sim/silent-mid-stream"])
async def test_silence_ends_at_once_when_the_simulator_stops(model: str) -> None:
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as clients:
        async with Simulator() as simulator:
            await clients.enter_async_context(raw_client(simulator, model))
            record = await simulator.received()
        assert record.finished.is_set()
        assert record.closed.is_set()
        assert not record.closed_by_client
        assert not simulator.connections


async def test_a_client_that_does_not_read_cannot_keep_the_simulator_from_stopping() -> None:
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as clients:
        async with Simulator() as simulator:
            simulator.script(stream_script(b"x" * 2**25, Hold()))
            reader, _writer = await clients.enter_async_context(raw_client(simulator, "sim/echo"))
            await reader.readexactly(1)
            record = await simulator.received()
        assert record.closed.is_set()


async def test_a_stopped_simulator_is_off_its_port() -> None:
    async with Simulator() as simulator:
        port = simulator.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_simulator_may_be_given_its_port() -> None:
    async with Simulator() as first:
        port = first.port
    async with Simulator(port=port) as second:
        assert second.url == f"http://127.0.0.1:{port}/api/v1"


# The application


@pytest.mark.parametrize(
    ("authorization", "status", "complaint"),
    [
        pytest.param({}, 401, "No auth credentials found", id="no key"),
        pytest.param({"Authorization": "Bearer wrong"}, 401, "User not found.", id="a wrong key"),
        pytest.param({"x-api-key": "secret"}, 401, "No auth credentials found", id="the key in another header"),
        pytest.param({"Authorization": "Bearer secret"}, 200, None, id="the key"),
    ],
)
async def test_a_key_is_asked_for_when_one_was_set(
    session: aiohttp.ClientSession, authorization: dict[str, str], status: int, complaint: str | None
) -> None:
    async with Simulator(key="secret") as simulator:
        async with session.get(f"{simulator.url}/key", headers=authorization) as response:
            assert response.status == status
            body = await response.json()
        assert body.get("error", {}).get("message") == complaint
        assert len(simulator.requests("GET /key")) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nothing", 404, id="an unknown path"),
        pytest.param("POST", "/messages", 404, id="a dialect that the simulator does not speak"),
        pytest.param("GET", "/chat/completions", 405, id="a wrong method"),
        pytest.param("GET", "/models?limit=all", 400, id="a page size in words"),
    ],
)
async def test_unknown_paths_are_refused_in_the_shape_of_errors(
    simulator: Simulator, session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with session.request(method, simulator.url + path) as response:
        assert response.status == status
        assert (await response.json())["error"]["code"] == status


async def test_a_body_beyond_the_limit_is_refused(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    body = io.BytesIO(bytes(MAX_BODY_BYTES + 1))
    async with session.post(f"{simulator.url}/chat/completions", data=body) as response:
        assert response.status == 413
        assert (await response.json())["error"]["metadata"]["error_type"] == "payload_too_large"


async def test_the_catalogue_lists_simulated_models_and_guests_in_pages(
    simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    async def page(query: str) -> list[str]:
        async with session.get(f"{simulator.url}/models{query}") as response:
            return [entry["id"] for entry in (await response.json())["data"]]

    everything = await page("")
    assert {"sim/echo", "sim/stream-200-d10", "anthropic/claude-sonnet-5"} <= set(everything)
    assert await page("?offset=2&limit=3") == everything[2:5]
    assert await page("?offset=1000") == []


async def test_an_entry_has_what_a_capability_table_is_made_of(
    simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    async with session.get(f"{simulator.url}/models?limit=1") as response:
        (entry,) = (await response.json())["data"]
    assert entry["pricing"]["prompt"] == "0.000001"
    assert entry["pricing"]["completion"] == "0.000005"
    assert entry["context_length"] == entry["top_provider"]["context_length"] == 200_000
    assert "tools" in entry["supported_parameters"]
    assert entry["reasoning"]["supports_max_tokens"] is True
    assert entry["architecture"]["input_modalities"] == ["text", "image", "file"]


async def test_endpoints_and_key_are_answered(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{simulator.url}/models/anthropic/claude-sonnet-5/endpoints") as response:
        data = (await response.json())["data"]
    assert data["id"] == "anthropic/claude-sonnet-5"
    assert [endpoint["provider_name"] for endpoint in data["endpoints"]] == ["Simulator"]
    async with session.get(f"{simulator.url}/key") as response:
        assert (await response.json())["data"]["limit_remaining"] is None


async def test_a_mounted_application_answers_and_stops_at_once_with_an_answer_open(
    session: aiohttp.ClientSession,
) -> None:
    runner = web.AppRunner(application(), handler_cancellation=True, shutdown_timeout=60)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/chat/completions"
    async with session.post(url, json=PROMPT) as response:
        assert (await response.json())["provider"] == "Simulator"
    async with session.post(url, json={**PROMPT, "model": "sim/silent-mid-stream", "stream": True}) as response:
        await response.content.readany()
        async with asyncio.timeout(PATIENCE):
            await runner.cleanup()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
