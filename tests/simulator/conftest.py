"""A simulator on a loopback port with a fixed clock and no pauses, and a client that asks it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator

NOW = 1_790_000_000

Ask: TypeAlias = Callable[..., Awaitable["Reply"]]


class Reply:
    """A whole answer."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


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
    """`await ask("sim/echo", "Hello", stream=True, …)`: further names go into the request's body."""

    async def ask(model: str, text: str = "Hello there", **more: Any) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        async with session.post(f"{simulator.url}/chat/completions", json=body) as response:
            return Reply(response.status, response.headers, await response.read())

    return ask
