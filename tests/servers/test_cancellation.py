"""A client that leaves frees the server behind."""

import aiohttp
import pytest

from tests.servers.conftest import PATIENT, Servers, front_end, on_servers
from tests.servers.upstream import becomes, holding

pytestmark = PATIENT

LONG = {"messages": "#long", "max_tokens": 7000}


@on_servers("llama-cpp vllm sglang")
async def test_a_stream_that_is_left_frees_the_server(servers: Servers, name: str) -> None:
    server = servers.get(name)
    async with front_end(server) as client:
        body = client.body(**LONG, stream=True)
        async with client.session.post(f"{client.url}/v1/messages", json=body) as response:
            await response.content.readuntil(b"content_block_delta")
            assert await becomes(server, 1, seconds=2)
        assert await becomes(server, 0, seconds=3)


@on_servers("llama-cpp vllm sglang")
async def test_a_json_request_that_is_left_frees_the_server_beside_a_running_stream(
    servers: Servers, name: str
) -> None:
    server = servers.get(name)
    async with front_end(server) as client, holding(server, 1):
        with pytest.raises(TimeoutError):
            await client.session.post(
                f"{client.url}/v1/messages", json=client.body(**LONG), timeout=aiohttp.ClientTimeout(total=0.5)
            )
        assert await becomes(server, 1, seconds=2)
