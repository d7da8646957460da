"""The configuration of opencode, with a command that its users run."""

from typing import Any

import aiohttp

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import serving


async def shown(url: str, **headers: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/.well-known/opencode", headers=headers) as reply:
        assert reply.status == 200
        return dict(await reply.json())


async def test_configuration_needs_no_key_and_holds_nothing_of_the_request() -> None:
    async with Simulator() as simulator, serving(simulator) as live:
        found = await shown(live.url, Host="evil.example", X_Forwarded_Host="evil.example")
        assert found["auth"] == {"command": ["dragoman", "login", live.url], "env": "DRAGOMAN_API_KEY"}
        provider = found["config"]["provider"]["dragoman"]
        assert provider["options"] == {"baseURL": f"{live.url}/v1", "apiKey": "{env:DRAGOMAN_API_KEY}"}
        assert found["config"]["model"].removeprefix("dragoman/") in provider["models"]


async def test_configuration_has_the_public_address_and_the_names_of_routes() -> None:
    changes = {"public_url": "https://gateway.example.com/llm", "aliases": "fast=sim/text-3,slow=sim/tool"}
    async with Simulator() as simulator, serving(simulator, **changes) as live:
        found = await shown(live.url)
    assert found["auth"]["command"][-1] == "https://gateway.example.com/llm"
    assert {"fast", "slow"} <= found["config"]["provider"]["dragoman"]["models"].keys()
