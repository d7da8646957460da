"""A front end, a worker and a Redis with something to see: tenants, failures, batches and a month of spend.

`python -m tests.console` photographs every page of it; the tests click through it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import structlog
from redis.asyncio import Redis
from structlog.testing import ReturnLoggerFactory

from gateway.app import running
from gateway.redis.keys import Keys
from gateway.settings import load_settings
from gateway.simulator.failures import error_script
from gateway.simulator.loopback import Simulator
from tests.support.redis_server import redis_server
from workers.wiring import open_worker

ADMIN_KEY = "admin-key-0123456789"
VIEW_KEY = "viewer-key-0123456789"
TENANTS = {"acme": "key-of-acme-0123456789", "research": "key-of-research-0123456789"}
# Names that clients choose, and that a page must never read as markup.
HOSTILE = "<img src=x onerror=alert(1)>"
WAIT_SECONDS = 20.0


@dataclass(slots=True)
class Stage:
    url: str
    admin_url: str
    simulator: Simulator
    redis_url: str
    session: aiohttp.ClientSession

    async def ask(self, tenant: str, **changes: Any) -> int:
        body = {
            "model": "sim/text-3",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hi"}],
            **changes,
        }
        headers = {"x-api-key": TENANTS[tenant], "x-session-id": f"session-{tenant}"}
        async with self.session.post(f"{self.url}/v1/messages", json=body, headers=headers) as response:
            await response.read()
            return response.status

    async def fail(self, status: int, tenant: str = "acme", **changes: Any) -> int:
        self.simulator.script(error_script(status))
        return await self.ask(tenant, **changes)

    async def create_batch(self, tenant: str, items: int) -> str:
        requests = [
            {
                "custom_id": f"item-{number}",
                "params": {"model": "sim/text-3", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
            }
            for number in range(items)
        ]
        headers = {"x-api-key": TENANTS[tenant]}
        url = f"{self.url}/v1/messages/batches"
        async with self.session.post(url, json={"requests": requests}, headers=headers) as response:
            return str((await response.json())["id"])

    async def api(self, method: str, path: str, *, key: str = ADMIN_KEY, **options: Any) -> tuple[int, Any]:
        headers = {"x-api-key": key, **options.pop("headers", {})}
        async with self.session.request(method, self.admin_url + path, headers=headers, **options) as response:
            return response.status, await response.json()

    async def seen(self, count: int, query: str = "") -> list[dict[str, Any]]:
        """Wait until the console lists this many exchanges. Processes publish them once a second."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                _, found = await self.api("GET", f"/api/exchanges?limit=1000{query}")
                if len(found["data"]) >= count:
                    return list(found["data"])
                await asyncio.sleep(0.1)


@asynccontextmanager
async def staged(**changes: Any) -> AsyncIterator[Stage]:
    structlog.configure(logger_factory=ReturnLoggerFactory(), cache_logger_on_first_use=False)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator())
        redis_url = await stack.enter_async_context(redis_server())
        settings = load_settings(
            **{
                "port": 0,
                "admin_port": 0,
                "keys": ",".join(f"{tenant}:{key}" for tenant, key in TENANTS.items()),
                "secret": "t:secret",
                "upstream_url": simulator.url,
                "upstream_api_key": "sk-upstream-canary",
                "upstream_flavor": "openrouter",
                "redis_url": redis_url,
                "admin_key": ADMIN_KEY,
                "admin_view_key": VIEW_KEY,
                "max_attempts": 1,
                **changes,
            }
        )
        addresses = await stack.enter_async_context(running(settings))
        assert addresses.admin is not None
        client, admin = ("http://{}:{}".format(*address) for address in (addresses.client, addresses.admin))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Stage(client, admin, simulator, redis_url, session)


@asynccontextmanager
async def working(stage: Stage, **changes: Any) -> AsyncIterator[None]:
    """A worker beside the front end."""
    settings = load_settings(
        **{
            "secret": "t:secret",
            "upstream_url": stage.simulator.url,
            "upstream_flavor": "openrouter",
            "redis_url": stage.redis_url,
            **changes,
        }
    )
    stop = asyncio.Event()
    async with open_worker(settings) as worker:
        task = asyncio.create_task(worker.run(stop, 1.0))
        try:
            yield
        finally:
            stop.set()
            await task


async def tell_a_story(stage: Stage) -> None:
    """Traffic with something of everything, few enough exchanges to be listed in whole."""
    for number in range(12):
        await stage.ask(
            "acme" if number % 3 else "research", model=f"sim/text-{2 + number % 4}", stream=bool(number % 2)
        )
    await stage.fail(529)
    await stage.fail(529, "research")
    await stage.fail(502)
    await stage.fail(401)
    await stage.fail(429, "research", stream=True)
    await stage.ask("acme", model=HOSTILE)
    await stage.ask("acme", top_k=3, metadata={"user_id": "u-1"})


async def spend_a_month(redis_url: str) -> None:
    """Sums of thirty days, as settlements would have kept them."""
    keys, today = Keys(), datetime.now(UTC).date()
    async with Redis.from_url(redis_url) as server, server.pipeline(transaction=False) as redis:
        for ago in range(1, 30):
            day = (today - timedelta(days=ago)).isoformat()
            for place, (tenant, key, model) in enumerate(
                [
                    ("acme", "3f9a2c10", "claude-sonnet-5"),
                    ("acme", "3f9a2c10", "gpt-6-mini"),
                    ("research", "b71d5e02", "claude-opus-5"),
                    ("docs", "key_docsbot", "gpt-6-mini"),
                ]
            ):
                weight = (29 - ago) % 7 + 1 + place
                name = f"{tenant}||{key}|{model}|openrouter"
                for what, value in (
                    ("requests", 120 * weight),
                    ("input", 310_000 * weight),
                    ("output", 42_000 * weight),
                    ("cost", 700_000_000 * weight // (place + 1)),
                ):
                    redis.hset(keys.usage_sums(day), f"{name}|{what}", value)
        await redis.execute()


async def fill_quarter_hour(redis_url: str) -> None:
    """Counts of the last fifteen minutes, as busy processes would have left them."""
    keys, now = Keys(), int(time.time()) // 10 * 10
    async with Redis.from_url(redis_url) as server, server.pipeline(transaction=False) as redis:
        for number in range(1, 90):
            wave = 60 + 30 * (number % 13 > 6) + number % 5 * 7
            counts = {
                "live": wave,
                "batch": 20 + number % 9,
                "failed": 3 * (30 < number < 40),
                "f4": wave // 2,
                "f6": wave // 4,
                "f7": 3,
            }
            redis.hset(keys.activity(now - number * 10), mapping=counts)
            redis.expire(keys.activity(now - number * 10), 1200)
        await redis.execute()
