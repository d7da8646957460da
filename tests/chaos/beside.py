"""Live requests beside an endless batch, at a server that both share: a front end, a worker and Redis as processes."""

import asyncio
import gc
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from tests.chaos.engine import TOKEN_SECONDS, TOKENS, engine
from tests.chaos.processes import front_end
from tests.chaos.world import World, http_item, require

KNEE = 64
LIVE = 0.5  # of the knee
BURST = 0.2  # share by which it rises and falls in turn
SECONDS = 90.0
TOLD_SECONDS = 15.0  # until a batch is under way, where the limit is configured
LEARNING = 260.0  # seconds until trials have confirmed the bound, and are rare
ITEMS = 40_000
# The aim for the p99 is 1.05 as well: on a host with other work, its own load makes up most of the rest.
MOST_MEDIAN = 1.05
MOST_P99 = 1.15
MOST_REFUSED = 0.005
LEAST_OF_FREE = 0.6


@dataclass(slots=True)
class Load:
    """Live requests at random times that do not depend on the answers. `seconds`: those of each answer."""

    url: str
    session: aiohttp.ClientSession
    seconds: list[float] = field(default_factory=list)
    refused: int = 0

    async def run(self, duration: float) -> None:
        loop, chance, pace = asyncio.get_running_loop(), random.Random(7), LIVE * KNEE / (TOKENS * TOKEN_SECONDS)
        due = begun = loop.time()
        async with asyncio.TaskGroup() as group:
            while due < begun + duration:
                await asyncio.sleep(max(0.0, due - loop.time()))
                group.create_task(self._ask())
                burst = BURST if int(due - begun) % 10 < 5 else -BURST
                due += chance.expovariate(pace * (1 + burst))

    async def _ask(self) -> None:
        begun = time.monotonic()
        body = http_item(0, "live")["params"] | {"stream": True}
        async with self.session.post(f"{self.url}/v1/messages", json=body) as answer:
            text = await answer.text()
            if answer.status == 529:
                self.refused += 1
                return
            require(
                answer.status == 200 and "message_stop" in text, f"a live request got {answer.status}: {text[-200:]}"
            )
        self.seconds.append(time.monotonic() - begun)

    def quantile(self, part: float) -> float:
        self.seconds.sort()
        return self.seconds[int(part * (len(self.seconds) - 1))]


async def live_beside_batch(world: World, scale: int) -> str:
    """Live requests are hardly slower beside a batch, whether the server's limit is configured or learned."""
    told = await beside(world, SECONDS * scale, f", concurrency = {KNEE}", TOLD_SECONDS)
    learned = await beside(world, SECONDS * scale, "", LEARNING * scale)
    return f"told: {told}; learned: {learned}"


async def beside(world: World, seconds: float, limits: str, learning: float) -> str:
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(engine(KNEE))
        directory = stack.enter_context(TemporaryDirectory(prefix="dragoman-"))
        file = Path(directory) / "gateway.toml"
        file.write_text(f'[upstreams]\nbox = {{ url = "{model.url}", vendor = "vllm"{limits} }}\n')
        variables = {name: value for name, value in world.variables.items() if "_UPSTREAM_" not in name}
        variables |= {"GATEWAY_CONFIG": str(file)}
        unset = {"GATEWAY_UPSTREAM_URL": "", "GATEWAY_UPSTREAM_API_KEY": "", "GATEWAY_UPSTREAM_FLAVOR": ""}
        url = await stack.enter_async_context(front_end(variables))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        alone = Load(url, session)
        await alone.run(seconds)
        await world.create(ITEMS)
        await world.hire(1, **variables, **unset)
        gc.collect()
        gc.freeze()  # a pause for the items that this process keeps would count as the server's
        await Load(url, session).run(learning)
        both, served = Load(url, session), model.served
        await both.run(seconds)
        items = model.served - served - len(both.seconds)
        for name in list(world.workers):
            await world.dismiss(name)
    free = (1 - LIVE) * KNEE * seconds / (TOKENS * TOKEN_SECONDS)
    median, p99 = (both.quantile(part) / alone.quantile(part) for part in (0.5, 0.99))
    found = f"median {median - 1:+.0%}, p99 {p99 - 1:+.0%}, {items / free:.0%} of what was free"
    refused = both.refused
    require(median <= MOST_MEDIAN and p99 <= MOST_P99, f"live requests became slower: {found}, {refused} refused")
    require(refused <= MOST_REFUSED * len(both.seconds), f"{refused} of {len(both.seconds)} were refused: {found}")
    require(items >= LEAST_OF_FREE * free, f"the batch was held back: {found}")
    return found
