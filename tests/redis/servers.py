"""Redis servers that a test may configure, freeze and kill; those that the gateway starts allow none of it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.redis.embedded import wheel_binary
from tests.chaos.processes import Server


@asynccontextmanager
async def open_server(**options: str) -> AsyncIterator[Server]:
    """A separate server until the context ends. Options are those of redis.conf, `_` for `-`.

    It leaves writing to disk to the kernel. With `everysec` it would hold back what it has answered while an earlier
    write takes long, and lose that when it is killed (docs/batches.md): on a slow disk, tests would fail by chance.
    """
    named = os.environ.get("DRAGOMAN_TEST_SERVER")
    binary = Path(named) if named else wheel_binary()
    assert binary is not None, "there is no server's binary"
    server = Server(binary, "no", {name.replace("_", "-"): value for name, value in options.items()})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
