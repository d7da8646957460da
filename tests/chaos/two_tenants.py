"""Two tenants who ask one front end and leave at any moment of a call to Redis: neither ever gets the other's data."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp

from tests.chaos.processes import front_end
from tests.chaos.world import World, http_item, require

KEYS = {"red": "key-of-red-0123456789", "blue": "key-of-blue-0123456789"}
CLIENTS = 48
REQUESTS = 4000
CALLS = 10_000  # of Redis, at least
PROMPTS = 100  # of each tenant, and as many of both: most are asked again, and answered by the prompt cache
# Within this time a client leaves; an answer of the cache takes less.
LEAVES_WITHIN = 0.02
OF_CLIENTS_GONE = 0.5


@dataclass(slots=True)
class Tenants:
    """`foreign`: what a tenant got that it had not asked for, or that only the other one had."""

    url: str
    chance: random.Random
    session: aiohttp.ClientSession
    model: str = "m"
    prompts: int = PROMPTS
    seen: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)  # tenant and prompt
    batches: dict[str, set[str]] = field(default_factory=lambda: {tenant: set() for tenant in KEYS})

    async def ask(self, number: int) -> None:
        """Ask, or create a batch; half of the clients leave before the answer."""
        tenant = self.chance.choice(sorted(KEYS))
        leaves = self.chance.random() < OF_CLIENTS_GONE
        step = self.create if number % 20 == 0 else self.complete
        try:
            async with asyncio.timeout(self.chance.random() * LEAVES_WITHIN if leaves else None):
                await step(tenant, number)
            self.seen["answered"] += 1
        except TimeoutError:
            self.seen["gone"] += 1

    async def complete(self, tenant: str, number: int) -> None:
        mark = f"{self.chance.choice((tenant, 'both'))}/{self.chance.randrange(self.prompts)}"
        self.asked[tenant, mark] += 1
        fields = {"model": self.model, "max_tokens": 100, "stream": number % 2 == 0}
        body = {**http_item(0, mark)["params"], **fields}
        headers = {**headers_of(tenant), "x-gateway-cache": "use"}
        async with self.session.post(f"{self.url}/v1/messages", json=body, headers=headers) as answer:
            text, cache = await answer.text(), answer.headers.get("x-gateway-cache", "none")
        self.seen[cache] += 1
        is_first = self.asked[tenant, mark] == 1
        if answer.status != 200 or mark not in text or others_of(tenant, text) or (is_first and cache != "miss"):
            self.foreign.append(f"{mark} got {answer.status} {cache} {text[:300]}")

    async def create(self, tenant: str, number: int) -> None:
        body = {"requests": [http_item(0, f"{tenant}/{number}")]}
        url = f"{self.url}/v1/messages/batches"
        async with self.session.post(url, json=body, headers=headers_of(tenant)) as answer:
            self.batches[tenant].add((await answer.json())["id"])

    async def compare_lists(self) -> None:
        """Each tenant's list has its own batches, among them those that were answered, and none of the other."""
        listed = {tenant: await self.list_batches(tenant) for tenant in KEYS}
        for tenant, known in self.batches.items():
            if not known <= listed[tenant]:
                self.foreign.append(f"{tenant} misses {known - listed[tenant]}")
        self.foreign += [f"{one} is listed for both" for one in listed["red"] & listed["blue"]]

    async def list_batches(self, tenant: str) -> set[str]:
        url = f"{self.url}/v1/messages/batches?limit=1000"
        async with self.session.get(url, headers=headers_of(tenant)) as answer:
            return {one["id"] for one in (await answer.json())["data"]}

    async def run(self, requests: int) -> None:
        numbers = iter(range(requests))

        async def client() -> None:
            for number in numbers:
                await self.ask(number)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        await self.compare_lists()


def headers_of(tenant: str) -> dict[str, str]:
    return {"x-api-key": KEYS[tenant]}


def others_of(tenant: str, text: str) -> bool:
    return any(f"{other}/" in text for other in KEYS if other != tenant)


async def differ(world: World, scale: int) -> str:
    """Half of all clients leave while Redis is being asked; the others get their own answers only."""
    world.upstream.latency = (0.001, 0.01)
    async with AsyncExitStack() as stack:
        keys = ",".join(f"{tenant}:{key}" for tenant, key in KEYS.items())
        more = {
            "GATEWAY_AUTH": "keys",
            "GATEWAY_KEYS": keys,
            "GATEWAY_CACHE": "on",
            "GATEWAY_CONNECTIONS_PER_ADDRESS": "0",
        }
        upstream = {"GATEWAY_UPSTREAM_URL": world.upstream.url("live")}
        url = await stack.enter_async_context(front_end({**world.variables, **upstream, **more}))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        tenants = Tenants(url, world.chance, session)
        before = await calls_of(world)
        await tenants.run(REQUESTS * scale)
        calls = await calls_of(world) - before
    require(not tenants.foreign, f"{len(tenants.foreign)} wrong answers: {tenants.foreign[:3]}")
    require(calls >= CALLS * scale, f"only {calls} calls of Redis")
    require(tenants.seen["gone"] >= REQUESTS * scale // 5, f"few clients have left: {dict(tenants.seen)}")
    return f"{calls} calls of Redis, {dict(tenants.seen)}"


async def calls_of(world: World) -> int:
    return int((await world.redis.info("stats"))["total_commands_processed"])
