"""The spend reports agree with the upstream's bill. `python -m tests.chaos --fault month` simulates a month."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
from redis.asyncio import Redis

from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import serving
from tests.support.billing import KEYS, NANO, billed_upstream, reports_of, spend

REQUESTS = 160
TRIES = 100
ADMIN = "admin-key-0123456789"


async def cents(admin_url: str, path: str, first: date) -> Decimal:
    """Return the sum of a report of the Admin API."""
    query = {"starting_at": f"{first}T00:00:00Z", "limit": "31"}
    async with (
        aiohttp.ClientSession(headers={"x-api-key": ADMIN}) as session,
        session.get(f"{admin_url}/v1/organizations/{path}", params=query) as answer,
    ):
        buckets = (await answer.json())["data"]
    return sum((Decimal(row["amount"]) for bucket in buckets for row in bucket["results"]), Decimal(0))


async def test_reports_come_to_the_upstreams_bill_to_the_nano_dollar(simulator: Simulator, redis_url: str) -> None:
    chance, today = random.Random(5), datetime.now(UTC).date()
    keys = ",".join(f"{tenant}:{key}" for tenant, key in KEYS.items())
    async with billed_upstream(chance) as upstream, Redis.from_url(redis_url, protocol=2) as redis:
        server = RedisServer(redis, Keys("bill:"))
        changes: dict[str, Any] = {"keys": keys, "redis_url": redis_url, "redis_prefix": "bill:", "admin_key": ADMIN}
        async with serving(simulator, upstream_url=upstream.url, upstream_flavor="openrouter", **changes) as live:
            await spend(live.url, REQUESTS, chance, leaves=0.0)
            first, last = today - timedelta(days=1), today + timedelta(days=1)
            for _ in range(TRIES):
                sums = await reports_of(server, first, last)
                if set(sums.values()) == {upstream.total}:
                    break
                await asyncio.sleep(0.1)  # settlements are sent together
            found = await cents(live.admin_url, "cost_report", first)
    assert set(sums.values()) == {upstream.total}
    assert found == Decimal(upstream.total) / NANO * 100
