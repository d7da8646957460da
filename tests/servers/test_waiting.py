"""Servers that are slow to begin: no free slot, a long prompt, a model that loads, a context that is full for now."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.cases import HELLO
from tests.servers.conftest import PATIENT, Servers, front_end, on_servers
from tests.servers.launch import Launch, llama_cpp
from tests.servers.recorder import recording
from tests.servers.registry import SERVERS
from tests.servers.running import Running, child_process, wait_until_answered
from tests.servers.upstream import holding
from tests.support.ports import free_port

pytestmark = PATIENT


@on_servers("llama-cpp")
async def test_a_stream_begins_while_the_server_has_no_free_slot(servers: Servers, name: str) -> None:
    server = servers.get(name)
    async with front_end(server, commit_seconds=0.3) as client, holding(server, 6):
        body = client.body(messages="hi", stream=True)
        async with asyncio.timeout(4), client.session.post(f"{client.url}/v1/messages", json=body) as response:
            assert b"message_start" in await response.content.readuntil(b"\n\n")


@on_servers("llama-cpp")
async def test_a_request_keeps_its_place_while_the_server_serves_others(servers: Servers, name: str) -> None:
    async with (
        recording(servers.get(name)) as (server, exchanges),
        front_end(server, commit_seconds=0.3, ping_seconds=0.5) as client,
    ):
        async with holding(servers.get(name), 2):
            body = client.body(messages="hi", stream=True)
            response = await client.session.post(f"{client.url}/v1/messages", json=body)
            waiting = [await response.content.readuntil(b"event: ping") for _ in range(4)]
        rest = await response.read()
    assert len(exchanges) == 1
    assert waiting[0].startswith(b"event: message_start")
    assert b"message_stop" in rest


@on_servers("llama-cpp")
async def test_comments_of_the_server_count_as_life_while_it_reads_a_long_prompt(servers: Servers, name: str) -> None:
    server = servers.get(name, slots=1, context=40_000, extra=("--set", "sse_ping_interval=1"))
    async with front_end(server, first_byte_timeout=2, max_attempts=1) as client:
        answer = await client.ask(messages="abcdefghij " * 3000, stream=True)  # 4 to 10 s on one core
    assert answer.text == HELLO, answer.describe()


@on_servers("llama-cpp")
async def test_a_request_while_the_model_loads_gets_a_retry_after(tmp_path: Path, name: str) -> None:
    with loading_server(tmp_path) as server:
        async with front_end(server) as client:
            answer = await client.ask(messages="hi")
    assert (answer.status, answer.error["type"]) == (529, "overloaded_error")
    assert float(answer.headers["retry-after"]) >= 1


@on_servers("llama-cpp")
async def test_a_context_that_is_full_for_all_slots_together_is_an_overload(servers: Servers, name: str) -> None:
    server = servers.get(name, slots=3, context=1500, pooled=True)
    async with front_end(server, max_attempts=1) as client:
        for stream in (False, True):
            asked = [client.ask(messages="#long", max_tokens=1400, stream=stream) for _ in range(3)]
            errors = [answer.error for answer in await asyncio.gather(*asked) if answer.error]
            assert {error["type"] for error in errors} == {"overloaded_error"}, errors


@contextmanager
def loading_server(folder: Path) -> Iterator[Running]:
    """A llama.cpp that loads its model without end: the model is a pipe without a writer."""
    server = SERVERS["llama-cpp"]
    launch = Launch(free_port(), folder)
    command = llama_cpp(launch)
    (folder / "scripted.gguf").unlink()
    os.mkfifo(folder / "scripted.gguf")
    url = f"http://127.0.0.1:{launch.port}"
    with child_process(command, folder / "log") as process:
        wait_until_answered(process, url + server.health, server.start_seconds, folder / "log", status=503)
        yield Running(server, url, "scripted", "none")
