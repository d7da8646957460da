"""Clients that go on while faults happen: live requests, and small batches, through a separate front end."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.chaos.processes import front_end
from tests.chaos.world import Violation, World, http_item, mark_of, require

ITEMS = 5  # of each batch
PATIENCE = aiohttp.ClientTimeout(total=60)


@dataclass(slots=True)
class Traffic:
    """Answers so far. Each live request must have one; a batch with an answered creation must exist for good.

    A creation that was not answered may have taken place all the same: it is as good as any.
    """

    url: str
    session: aiohttp.ClientSession
    acknowledged: list[str] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)  # creations by status
    waited: list[float] = field(default_factory=list)  # seconds for each live answer
    _number: int = 0

    async def submit(self) -> int:
        """Create one batch; the status of the answer. What fails by itself must say when to come again."""
        self._number += 1
        body = {"requests": [http_item(index, mark_of(f"http-{self._number}", index)) for index in range(ITEMS)]}
        try:
            async with self.session.post("/v1/messages/batches", json=body, timeout=PATIENCE) as answer:
                if answer.status == 200:
                    self.acknowledged.append((await answer.json())["id"])
                else:
                    self.refused[answer.status] += 1
                    require(answer.status in (503, 529), f"a batch got {answer.status}: {await answer.text()}")
                    require("retry-after" in answer.headers, f"a {answer.status} does not say when to come again")
                return answer.status
        except aiohttp.ClientError as error:
            raise Violation(f"the front end broke a connection: {error}") from error

    async def ask(self) -> None:
        """One live request."""
        begun = time.monotonic()
        async with self.session.post("/v1/messages", json=http_item(0, "live")["params"]) as answer:
            require(answer.status == 200, f"a live request got {answer.status}: {await answer.text()}")
        self.waited.append(time.monotonic() - begun)

    async def go_on(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.submit, 0.2, stop))
            group.create_task(self._repeat(self.ask, 0.05, stop))

    async def _repeat(self, step: Callable[[], Awaitable[object]], seconds: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await step()
            await asyncio.sleep(seconds)


@asynccontextmanager
async def front(world: World, **variables: str) -> AsyncIterator[Traffic]:
    """A front end, and a client that does nothing by itself."""
    live = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url("live"), **variables}
    async with front_end(live) as url, aiohttp.ClientSession(url) as session:
        yield Traffic(url, session)


@asynccontextmanager
async def traffic(world: World, **variables: str) -> AsyncIterator[Traffic]:
    """A front end, and a client that goes on until the context is left."""
    stop = asyncio.Event()
    async with front(world, **variables) as client, asyncio.TaskGroup() as group:
        group.create_task(client.go_on(stop))
        yield client
        stop.set()


async def check_acknowledged(world: World, client: Traffic) -> list[str]:
    """I5: wait for all batches that are there, acknowledged or not, and return their ids."""
    listed = [record.id for record in (await world.store.page(world.tenant, limit=1000)).records]
    lost = set(client.acknowledged) - set(listed)
    require(not lost, f"I5: acknowledged and lost: {lost}")
    for batch_id in listed:
        await world.ended(batch_id)
    return listed
