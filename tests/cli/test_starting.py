"""Start, failed start and end of `serve`, `dev` and `version`, seen from outside as processes."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway import __version__
from gateway.cli.dev import needs_access, own_command, with_free_ports
from gateway.redis.embedded import EmbeddedServer
from gateway.settings import Settings, SettingsError
from gateway.simulator.loopback import Simulator
from tests.cli.conftest import dragoman
from tests.e2e.conftest import serving
from tests.redis.servers import open_server
from tests.support.ports import free_port

PORTS = {"GATEWAY_PORT": "0", "GATEWAY_ADMIN_PORT": "0", "GATEWAY_WORKER_ADMIN_PORT": "0"}
# A process takes a second to start, and half a minute on a machine that is busy with other tests.
SECONDS = 120.0


def test_dev_with_authentication_takes_the_keys_of_its_embedded_redis() -> None:
    assert list(needs_access(Settings(auth="keys"))) == []
    assert len(list(needs_access(Settings(host="0.0.0.0")))) == 1


@asynccontextmanager
async def started(*arguments: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, **PORTS, "GATEWAY_LOG_FORMAT": "json", **variables}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(SECONDS):
            await process.communicate()  # asyncio closes the pipes only once they are read to the end


async def test_a_redis_that_is_away_stops_the_start_in_one_line() -> None:
    variables = {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1", "GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k"}
    async with started("serve", **variables) as process:
        _, err = await process.communicate()
    assert process.returncode == 1
    [line] = err.decode().splitlines()
    assert line.startswith(
        "dragoman: GATEWAY_REDIS_URL: The gateway's store cannot be reached. Please try again (Error"
    )


async def test_a_redis_that_refuses_the_shared_secret_stops_the_start_in_one_line_with_the_reason() -> None:
    async with open_server(min_replicas_to_write="1") as server:
        variables = {"GATEWAY_REDIS_URL": server.url, "GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k"}
        async with started("serve", **variables) as process, asyncio.timeout(SECONDS):
            _, err = await process.communicate()
    assert process.returncode == 1
    [line] = err.decode().splitlines()
    assert line.startswith("dragoman: GATEWAY_REDIS_URL: The gateway's store cannot serve this now.")
    assert line.endswith("(NOREPLICAS: the server has fewer replicas than its min-replicas-to-write)")


async def test_a_shared_secret_that_is_there_is_used_though_redis_takes_no_writes() -> None:
    async with open_server() as server:
        variables = {"GATEWAY_REDIS_URL": server.url, "GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k"}
        for writes in ("0", "1"):
            async with server.client() as client:
                await client.config_set("min-replicas-to-write", writes)
            async with started("serve", **variables) as process, asyncio.timeout(SECONDS):
                assert process.stdout is not None
                while b'"event":"listening"' not in (line := await process.stdout.readline()):
                    assert line, "it ended before it listened"


async def test_the_worker_of_a_killed_dev_ends_too(state: Path) -> None:
    async with started("dev", XDG_STATE_HOME=str(state)) as process, asyncio.timeout(SECONDS):
        assert process.stdout is not None
        found = None
        while found is None:
            found = re.search(rb'"pid":(\d+),"event":"worker_started"', await process.stdout.readline())
        try:
            process.kill()
            await process.stdout.read()  # the worker's too: it ends with the last process that holds it
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(found[1]), signal.SIGKILL)
            async with EmbeddedServer(state / "dragoman"):
                pass  # adopts the server that was left behind, and stops it


async def test_a_server_named_for_the_simulator_is_the_upstream_of_dev_beside_any_other_setting(state: Path) -> None:
    variables = {"GATEWAY_SIMULATOR": "zai", "OPENROUTER_API_KEY": "k", "XDG_STATE_HOME": str(state)}
    tool = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
    body = {"model": "glm-5.2", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], "tools": [tool]}
    async with started("dev", **variables) as process, asyncio.timeout(SECONDS):
        assert process.stdout is not None
        while not (found := re.search(rb"Dragoman listens on (http://\S+)", await process.stdout.readline())):
            pass
        assert b"SIMULATOR that behaves like Z.ai" in await process.stdout.readline()
        async with (
            aiohttp.ClientSession() as session,
            session.post(found[1].decode() + "/v1/messages", json=body | {"tool_choice": {"type": "any"}}) as response,
        ):
            answer = await response.json()
            assert (response.status, response.headers["x-gateway-upstream"]) == (200, "simulator")
        assert response.headers["x-gateway-ignored"] == "dropped:tool_choice"  # Zhipu's API takes "auto" only
        assert answer["content"][-1]["type"] == "text"
        process.terminate()
        await process.communicate()


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


UNLISTENABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no host": ({"host": "no-such-host.invalid"}, "GATEWAY_HOST: cannot listen on no-such-host.invalid:0"),
    "another host's address": ({"admin_host": "192.0.2.1"}, "GATEWAY_ADMIN_HOST: cannot listen on 192.0.2.1:0"),
    "a port in use": ({"admin_port": "taken"}, "GATEWAY_ADMIN_PORT: cannot listen on 127.0.0.1:"),
}


@pytest.mark.parametrize("address", UNLISTENABLE)
async def test_an_address_that_a_front_end_cannot_listen_on_is_an_error_that_names_its_variable(address: str) -> None:
    changes, line = UNLISTENABLE[address]
    async with Simulator() as simulator:
        with taken_port() as taken:
            ports = {name: taken if value == "taken" else value for name, value in changes.items()}
            with pytest.raises(SettingsError) as raised:
                await AsyncExitStack().enter_async_context(serving(simulator, auth="off", **ports))
    [told] = str(raised.value).splitlines()
    assert told.startswith(line)


@pytest.mark.parametrize(
    ("command", "variables", "line"),
    [
        (("serve", "--processes", "2"), {"GATEWAY_PORT": "taken"}, "GATEWAY_PORT: cannot listen on 127.0.0.1:"),
        (("worker",), {"GATEWAY_WORKER_ADMIN_PORT": "taken"}, "GATEWAY_WORKER_ADMIN_PORT: cannot listen on 127.0.0.1:"),
        (("worker",), {"GATEWAY_ADMIN_HOST": "192.0.2.1"}, "GATEWAY_ADMIN_HOST: cannot listen on 192.0.2.1:0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
async def test_an_address_that_cannot_be_listened_on_ends_the_start_in_one_line_with_its_variable(
    command: tuple[str, ...], variables: dict[str, str], line: str
) -> None:
    with taken_port() as taken:
        ports = {name: taken if value == "taken" else value for name, value in variables.items()}
        fit = {"GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k", "GATEWAY_REDIS_URL": "redis://127.0.0.1:1"}
        if command[0] == "serve":
            del fit["GATEWAY_REDIS_URL"]
        async with started(*command, **{**fit, **ports}) as process, asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    assert process.returncode == 1
    [told] = err.decode().splitlines()
    assert told.startswith(f"dragoman: {line}")
    assert b'"listening"' not in out


async def test_processes_of_which_one_cannot_start_end_with_their_reason() -> None:
    variables = {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1", "GATEWAY_AUTH": "off", "OPENROUTER_API_KEY": "k"}
    async with started("serve", "--processes", "2", **{**variables, "GATEWAY_PORT": str(free_port())}) as process:
        out, err = await process.communicate()
    assert process.returncode == 1
    *reasons, last = err.decode().splitlines()
    assert {reason.partition(" (")[0] for reason in reasons} == {
        "dragoman: GATEWAY_REDIS_URL: The gateway's store cannot be reached. Please try again"
    }
    assert last == "dragoman: a process with status 1 ended before all 2 were ready"
    assert b'"listening"' not in out


async def test_a_worker_that_is_started_before_its_redis_waits_for_it() -> None:
    async with open_server() as server:
        async with server.client() as client:
            await client.config_set("min-replicas-to-write", "1")  # it refuses the shared secret, for now
        variables = {"GATEWAY_REDIS_URL": server.url, "OPENROUTER_API_KEY": "k"}
        async with started("worker", **variables) as process, asyncio.timeout(SECONDS):
            assert process.stdout is not None
            waiting = orjson.loads(await process.stdout.readline())
            assert waiting["event"] == "redis_away"
            assert "NOREPLICAS" in waiting["problem"]
            assert await probe(waiting["admin"], "livez") == (200, "ok")
            reason = "NOREPLICAS: the server has fewer replicas than its min-replicas-to-write"
            assert await probe(waiting["admin"], "readyz") == (503, f"redis: {reason}")
            async with server.client() as client:
                await client.config_set("min-replicas-to-write", "0")
            assert orjson.loads(await process.stdout.readline())["event"] == "worker_started"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_waits_for_redis_stops_on_a_signal(number: signal.Signals) -> None:
    variables = {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1", "OPENROUTER_API_KEY": "k"}
    async with started("worker", **variables) as process, asyncio.timeout(SECONDS):
        assert process.stdout is not None
        assert orjson.loads(await process.stdout.readline())["event"] == "redis_away"
        process.send_signal(number)
        assert await process.wait() == 0


async def probe(admin: str, name: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{admin}/{name}") as answer:
        return answer.status, (await answer.json())["status"]


async def test_the_version_is_printed() -> None:
    assert (await dragoman("version")).out == f"{__version__}\n"
    assert (await dragoman("version", "--json")).lines == [{"version": __version__, "commit": None}]


def test_dev_takes_the_next_free_ports_unless_they_were_set() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port, notes = busy.getsockname()[1], list[str]()
        settings = Settings.model_construct(
            host="127.0.0.1", admin_host="127.0.0.1", port=port, admin_port=port, worker_admin_port=port
        )
        settings.model_fields_set.clear()
        found = with_free_ports(settings, notes)
        ports = {found.port, found.admin_port, found.worker_admin_port}
        assert len(ports) == 3
        assert port not in ports
        assert notes[0] == f"port {port} is in use, so the port is {found.port}"
        settings.model_fields_set.add("port")
        assert with_free_ports(settings, []).port == port


@pytest.mark.parametrize(
    ("on_path", "started", "shown"),
    [
        (True, ".venv/bin/dragoman", "dragoman"),
        (False, ".venv/bin/dragoman", ".venv/bin/dragoman"),
        (False, "/opt/my tools/dragoman", "'/opt/my tools/dragoman'"),
        (False, "/srv/gateway/__main__.py", "dragoman"),
    ],
)
def test_the_command_that_is_suggested_can_be_typed(
    on_path: bool, started: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_path:
        (tmp_path / "dragoman").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_command(started) == shown
