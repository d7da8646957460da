"""A client of a gateway with one upstream that speaks each of the three dialects, under a model of that name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.app import running
from gateway.settings import load_settings
from tests.e2e.conftest import KEY

ROUTES = """
[upstreams]
chat = {{ url = "{url}", dialect = "chat" }}
messages = {{ url = "{url}", dialect = "messages" }}
responses = {{ url = "{url}", dialect = "responses" }}
[routes]
"chat" = "chat/m"
"gpt-oss" = "chat/openai/gpt-oss-20b"
"messages" = "messages/m"
"responses" = "responses/m"
"""


@asynccontextmanager
async def open_client(upstream_url: str, directory: Path) -> AsyncIterator[aiohttp.ClientSession]:
    path = directory / "gateway.toml"
    path.write_text(ROUTES.format(url=upstream_url))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY_CONFIG", str(path))
        settings = load_settings(port=0, admin_port=0, keys=f"tests:{KEY}", secret="t:secret", max_attempts=1)
    async with running(settings) as addresses:
        base = "http://{}:{}".format(*addresses.client)
        async with aiohttp.ClientSession(base, headers={"x-api-key": KEY}) as session:
            yield session
