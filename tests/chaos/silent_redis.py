"""A Redis that is frozen, half a second late, or half open: no request waits for it for longer than 150 ms.

All requests use the prompt cache. They have a key with limits and a budget, and go to an upstream with limits.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import aiohttp

from gateway.access.key_text import new_key
from gateway.access.keys import Pepper
from gateway.access.records import NANO, Allowance, Budget, KeyRecord, RateLimits
from gateway.access.store import AccessStore, Actor
from gateway.redis.server import RedisServer
from tests.chaos.processes import front_end
from tests.chaos.world import World, http_item, require
from tests.workers.proxy import RedisProxy

HELD_SECONDS = 0.15
AT_ONCE = 4
SECONDS = 5.0
SECRET = "chaos-silent"
UPSTREAM = (
    '[upstreams]\nmain = {{ url = "{url}", key = "k", concurrency = 100, rpm = 1000000 }}\n[routes]\n"*" = "main"\n'
)


async def silence(world: World, scale: int) -> str:
    """Requests are answered as with a Redis that answers, 150 ms later at most; unknown keys get a 503 as fast."""
    world.upstream.latency = (0.005, 0.005)
    found: list[str] = []
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(RedisProxy(world.server.url))
        file = Path(stack.enter_context(TemporaryDirectory())) / "gateway.toml"
        file.write_text(UPSTREAM.format(url=world.upstream.url("live")))
        variables = {**world.variables, "GATEWAY_REDIS_URL": proxy.url, "GATEWAY_CONFIG": str(file)}
        variables |= {"GATEWAY_SECRET": f"t:{SECRET}", "GATEWAY_AUTH": "keys", "GATEWAY_CACHE": "on"}
        variables["GATEWAY_TRUSTED_PROXIES"] = "127.0.0.1/32"
        for name in ("GATEWAY_UPSTREAM_API_KEY", "GATEWAY_UPSTREAM_FLAVOR"):
            del variables[name]
        store = AccessStore(RedisServer(world.redis), Pepper(SECRET.encode()), SECRET.encode())
        limits = RateLimits(requests=1_000_000, concurrency=1000)
        record = KeyRecord("", "ci", "red", allowance=Allowance(limits, (Budget(1000 * NANO),)))
        _, key = await store.create_key(record, Actor("cli", "chaos"))
        url = await stack.enter_async_context(front_end(variables))
        client = await stack.enter_async_context(aiohttp.ClientSession(url))
        await waits(client, key, 1.0)
        usual = await waits(client, key, SECONDS)
        for name in ("frozen", "500 ms late", "half open"):
            if name == "frozen":
                await world.server.freeze()
            proxy.delay, proxy.is_silent = (0.5 if name == "500 ms late" else 0.0), name == "half open"
            seen = await waits(client, key, SECONDS * scale)
            held = max(seen) - median(usual)
            require(held <= HELD_SECONDS, f"{name}: a request was held for {1000 * held:.0f} ms")
            found.append(f"{name}: at most {1000 * held:+.0f} ms, half {1000 * (median(seen) - median(usual)):+.1f} ms")
            await world.server.thaw()
            proxy.delay, proxy.is_silent = 0.0, False
            await asyncio.sleep(3)
            await waits(client, key, 1.0)
    return f"usual {1000 * median(usual):.1f} ms; {'; '.join(found)}"


async def waits(client: aiohttp.ClientSession, key: str, seconds: float) -> list[float]:
    """Return the times of the answers to some clients that ask for `seconds`, one of them with unknown keys."""
    seen: list[float] = []
    ends_at = time.monotonic() + seconds

    async def ask(number: int) -> None:
        while time.monotonic() < ends_at:
            begun = time.monotonic()
            unknown = number == 0
            body = http_item(0, f"silent {number} {begun}")["params"]
            headers = {"x-api-key": new_key() if unknown else key}
            if unknown:  # each from another address, since one has few wrong keys
                headers["x-forwarded-for"] = f"10.{len(seen) >> 16}.{len(seen) >> 8 & 255}.{len(seen) & 255}"
            async with client.post("/v1/messages", json=body, headers=headers) as answer:
                text = await answer.text()
                require(answer.status in ((401, 503) if unknown else (200,)), f"{answer.status}: {text}")
            seen.append(time.monotonic() - begun)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(ask(number))
    return seen
