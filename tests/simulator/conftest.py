"""A simulator on a loopback port with a fixed clock and no pauses, and a client that asks it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest
import uvloop

from gateway.simulator.loopback import Simulator
from tests.simulator.reading import Ask, Reply

NOW = 1_790_000_000


@pytest.fixture
def pauses() -> list[float]:
    """The seconds of every pause that the simulator would have made."""
    return []


@pytest.fixture
async def simulator(pauses: list[float]) -> AsyncIterator[Simulator]:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async with Simulator(clock=lambda: NOW, sleep=sleep) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def ask(simulator: Simulator, session: aiohttp.ClientSession) -> Ask:
    async def ask(model: str, text: str = "Hello there", **more: Any) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        async with session.post(f"{simulator.url}/chat/completions", json=body) as response:
            return Reply(response.status, response.headers, await response.read())

    return ask


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loops for a test. They differ in reporting a closed socket, which models do not depend on."""
    if item.path.name == "test_simulator_loopback.py":
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
