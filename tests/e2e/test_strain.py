"""Clients that leave or stall, upstreams that never end, and a process that receives SIGTERM."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import COMMENT, Hold, stream_script
from gateway.telemetry.counters import SETTLE_SECONDS
from tests.cli.conftest import dragoman
from tests.e2e.conftest import KEY, START_SECONDS, Live, Process, front_end, serving
from tests.e2e.raw import open_raw, read_until
from tests.e2e.test_streams import ASK, chunk
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("body", "script", "seen"),
    [
        pytest.param({"stream": True, "model": "sim/silent"}, None, None, id="before the upstream's header"),
        pytest.param({"stream": True}, stream_script(COMMENT, Hold()), None, id="before the first content"),
        pytest.param({"stream": True}, stream_script(chunk("some"), Hold()), b"some", id="in the middle of the stream"),
        pytest.param({"model": "sim/silent"}, None, None, id="while a JSON answer is awaited"),
    ],
)
@pytest.mark.covers("Streams · a client that leaves frees its upstream within a second")
async def test_a_client_that_leaves_frees_its_upstream_within_a_second(
    live: Live, body: dict[str, Any], script: Any, seen: bytes | None
) -> None:
    if script is not None:
        live.simulator.script(script)
    reader, writer = await open_raw(live, {**ASK, **body})
    record = await live.simulator.received()
    if seen is not None:
        await read_until(reader, seen)
    writer.close()
    async with asyncio.timeout(1.0):
        await record.closed.wait()
    assert record.closed_by_client


async def test_a_client_that_leaves_while_the_gateway_connects_ends_the_attempt(simulator: Simulator) -> None:
    """The upstream's listen queue is full, so that connecting hangs until a connection is accepted."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api/v1"
        async with serving(simulator, upstream_url=url) as live:
            before = await left_clients(live)
            _, writer = await open_raw(live, {**ASK, "model": "only/here"})
            for _ in range(20):  # turns of the loop, which a busy machine may hold up for longer than any one sleep
                await asyncio.sleep(0.01)
            writer.close()
            async with asyncio.timeout(5.0):  # a second is enough on an idle machine
                await another_left(live, before)


async def test_an_upstream_that_refuses_connections_is_a_502(simulator: Simulator) -> None:
    url = f"http://127.0.0.1:{free_port()}/api/v1"
    async with (
        serving(simulator, upstream_url=url, max_attempts=1) as live,
        aiohttp.ClientSession() as session,
        session.post(live.url + "/v1/messages", json=ASK, headers={"x-api-key": KEY}) as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["type"]) == (502, "api_error")


async def left_clients(live: Live) -> float:
    """Return the number of exchanges that their clients left, of all models, since labels are bounded."""
    async with aiohttp.ClientSession() as session:
        metrics = await (await session.get(live.admin_url + "/metrics")).text()
    lines = [line for line in metrics.splitlines() if line.startswith("gateway_exchanges_total") and '"499"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def another_left(live: Live, before: float) -> None:
    while True:
        if await left_clients(live) > before:
            return
        await asyncio.sleep(0.02)


@pytest.mark.covers("Streams · a client that does not read costs no memory")
async def test_a_client_that_never_reads_holds_the_upstream_back(simulator: Simulator) -> None:
    """The upstream would send without end; what it got rid of stays bounded by the buffers in between."""
    piece = b"data: " + orjson.dumps(chunk("x" * 60_000)) + b"\n\n"
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):  # the list of models
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        try:
            while sent < 200_000_000:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with serving(simulator, upstream_url=f"http://127.0.0.1:{port}/v1", stalled_client_timeout=1.0) as live:
        reader, writer = await open_raw(live, {**ASK, "stream": True})
        before = -1
        async with asyncio.timeout(10):
            while before != sent or sent == 0:
                before = sent
                await asyncio.sleep(0.3)
        assert sent < 40_000_000
        async with asyncio.timeout(5):  # the stalled client is cut off, and the upstream with it
            await reader.read(100_000_000)
        writer.close()
    server.close()
    await server.wait_closed()


async def test_a_stream_that_has_begun_holds_its_prompt_no_longer(simulator: Simulator) -> None:
    """Held, as text and as objects, it would be over two megabytes a stream."""
    turns = [{"role": role, "content": "word " * 200} for _ in range(500) for role in ("user", "assistant")]
    ask = {**ASK, "stream": True, "messages": [*turns, {"role": "user", "content": "Go on."}]}
    async with front_end(simulator) as (live, started):
        open_streams = []
        for number in range(44):
            simulator.script(stream_script(chunk("first"), Hold()))
            reader, writer = await open_raw(live, ask)
            await read_until(reader, b"first")
            open_streams.append(writer)
            if number == 3:
                before = resident_bytes(started.process.pid)
        assert resident_bytes(started.process.pid) - before < 40 * 1_000_000
        for writer in open_streams:
            writer.close()


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.covers("Operation · a stop signal lets streams finish")
async def test_a_stop_signal_lets_streams_finish_and_the_process_ends_well(
    simulator: Simulator, number: signal.Signals
) -> None:
    gate = asyncio.Event()
    simulator.script(
        stream_script(chunk("first"), Hold(gate), chunk("last", finish_reason="stop"), b"data: [DONE]\n\n")
    )
    async with front_end(simulator) as (live, started):
        reader, writer = await open_raw(live, {**ASK, "stream": True})
        await read_until(reader, b"first")
        started.process.send_signal(number)
        while True:
            try:
                _, extra = await asyncio.open_connection(*live.url.removeprefix("http://").split(":"))
            except ConnectionRefusedError:
                break
            extra.close()
            await asyncio.sleep(0.02)
        gate.set()
        rest = await read_until(reader, b"message_stop")
        assert b"last" in rest
        writer.close()
        async with asyncio.timeout(10):
            assert await started.process.wait() == 0


@pytest.mark.covers("Operation · one log line an exchange, without prompts")
async def test_a_process_logs_one_line_an_exchange_and_no_secrets_nor_prompts(simulator: Simulator) -> None:
    async with front_end(simulator) as (live, started):
        ask = {**ASK, "messages": [{"role": "user", "content": "prompt-canary"}], "system": "system-canary"}
        headers = {"x-api-key": KEY}
        async with aiohttp.ClientSession(headers=headers) as session:
            for model in ("sim/echo", "sim/error-400", "sim/error-mid-stream", "sim/hang-up-early"):
                for stream in (False, True):
                    answer = await session.post(
                        live.url + "/v1/messages", json={**ask, "model": model, "stream": stream}
                    )
                    body = await answer.text()
                    assert "sk-upstream-canary" not in body
                    assert simulator.url not in body
            metrics = await (await session.get(live.admin_url + "/metrics")).text()
        started.process.send_signal(signal.SIGTERM)
        await started.process.wait()
        await asyncio.sleep(0)
    exchanges = [line for line in started.lines if line["event"] == "exchange_finished"]
    assert len(exchanges) == 8
    assert [line["status"] for line in exchanges[:2]] == [200, 200]
    assert all(line["request_id"].startswith("req_") and line["tenant"] == "tests" for line in exchanges)
    for canary in (
        b"prompt-canary",
        b"system-canary",
        b"sk-upstream-canary",
        b"secret-canary",
        KEY.encode(),
        simulator.url.encode(),
    ):
        assert canary not in started.raw
        assert canary not in metrics.encode()
    assert 'gateway_exchanges_total{model="sim/echo",status="200",stream="true",upstream="openrouter"} 1.0' in metrics


@pytest.mark.covers("Operation · metrics of several processes are merged")
async def test_several_processes_share_a_port_and_merge_their_metrics(simulator: Simulator) -> None:
    port = free_port()
    async with front_end(simulator, "--processes", "2", GATEWAY_PORT=str(port)) as (live, started):
        async with aiohttp.ClientSession(headers={"x-api-key": KEY, "connection": "close"}) as session:
            async with asyncio.timeout(15):
                await ready(session, live.url)
            for _ in range(20):
                async with session.post(live.url + "/v1/messages", json=ASK) as answer:
                    assert answer.status == 200
            wanted = 'gateway_exchanges_total{model="sim/echo",status="200",stream="false",upstream="openrouter"} 20.0'
            async with asyncio.timeout(15):
                metrics = ""
                while wanted not in metrics:
                    await asyncio.sleep(SETTLE_SECONDS / 5)  # each process publishes its counts now and then
                    metrics = await (await session.get(live.admin_url + "/metrics")).text()
        started.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await started.process.wait() == 0


async def test_a_second_deployment_cannot_join_the_port_of_several_processes(simulator: Simulator) -> None:
    port = str(free_port())
    async with front_end(simulator, "--processes", "2", GATEWAY_PORT=port) as (live, _):
        environment = {**os.environ, "GATEWAY_PORT": port, "GATEWAY_ADMIN_PORT": "0", "GATEWAY_KEYS": "other:key"}
        environment["GATEWAY_UPSTREAM_URL"] = simulator.url
        command = (sys.executable, "-m", "gateway", "serve", "--processes", "2")
        second = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
        _, errors = await second.communicate()
        assert second.returncode == 1
        assert errors.decode() == f"dragoman: GATEWAY_PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"
        async with aiohttp.ClientSession(headers={"x-api-key": KEY, "connection": "close"}) as session:
            for _ in range(10):
                async with session.post(live.url + "/v1/messages", json=ASK) as answer:
                    assert answer.status == 200


async def test_a_parent_is_ready_while_any_of_its_processes_listens(simulator: Simulator) -> None:
    port = free_port()
    async with (
        front_end(simulator, "--processes", "2", GATEWAY_PORT=str(port)) as (live, started),
        aiohttp.ClientSession() as session,
        asyncio.timeout(START_SECONDS),
    ):

        async def status() -> tuple[int, str]:
            async with session.get(live.admin_url + "/readyz") as answer:
                return answer.status, (await answer.json())["status"]

        assert await status() == (200, "ready")
        children = await pids_of(started, 2)
        os.kill(children[0], signal.SIGKILL)
        assert await status() == (200, "ready")
        os.kill(children[1], signal.SIGKILL)
        for wanted in ((503, "no front end listens"), (200, "ready")):
            while True:
                if await status() == wanted:
                    break
                await asyncio.sleep(0.01)


async def pids_of(started: Process, count: int) -> list[int]:
    """Return the front ends of a parent. Its own line can be read before theirs."""
    while True:
        pids = [line["pid"] for line in started.lines if line["event"] == "front_end_started"]
        if len(pids) == count:
            return pids
        await asyncio.sleep(0.01)


async def ready(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with session.get(url + "/readyz") as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ((), {"GATEWAY_PORT": "nonsense"}, "GATEWAY_PORT"),
        ((), {"GATEWAY_KEYS": ""}, "GATEWAY_KEYS"),
        ((), {"GATEWAY_UPSTREAM_URL": "", "GATEWAY_UPSTREAM_API_KEY": ""}, "GATEWAY_UPSTREAM_URL"),
        (("--processes", "2"), {}, "GATEWAY_PORT"),
    ],
)
async def test_a_start_that_cannot_work_says_why(
    arguments: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    fit = {"GATEWAY_UPSTREAM_URL": "http://127.0.0.1:1/v1", "GATEWAY_KEYS": "a:b", "GATEWAY_PORT": "0"}
    ended = await dragoman("serve", *arguments, **{**fit, **variables})
    assert ended.status == 1
    assert message in ended.err


@pytest.mark.parametrize("model", ["sim/echo", "sim/hang-up", "sim/stream-200-d5"])
async def test_a_stream_that_is_over_is_freed_at_once(live: Live, model: str) -> None:
    """Garbage in rings waits for a full collection, which is rare on purpose: 7 KiB for each stream (2026-11)."""

    async def stream_and_leave() -> None:
        reader, writer = await open_raw(live, {**ASK, "model": model, "stream": True})
        await read_until(reader, b"content_block_delta")
        if model != "sim/stream-200-d5":
            await read_until(reader, b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        await live.simulator.requests()[-1].finished.wait()
        await asyncio.sleep(0.05)

    await stream_and_leave()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await stream_and_leave()
        gc.collect()
        left = {type(thing).__qualname__ for thing in gc.garbage if type(thing).__module__.startswith("gateway.")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert {
        name for name in left if name in ("Relay", "MessageStream", "EventReply", "SocketAnswer", "Watchdog")
    } == set()
