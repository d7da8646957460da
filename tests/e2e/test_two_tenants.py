"""Clients of two tenants disconnect during calls to Redis. `python -m tests.chaos --fault 27` is the long form."""

import random

import aiohttp

from gateway.simulator.loopback import Simulator
from tests.chaos.two_tenants import KEYS, Tenants
from tests.e2e.conftest import serving

REQUESTS = 250


async def test_tenants_whose_clients_leave_at_any_moment_get_their_own_data_only(
    simulator: Simulator, redis_url: str
) -> None:
    keys = ",".join(f"{tenant}:{key}" for tenant, key in KEYS.items())
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        serving(simulator, keys=keys, redis_url=redis_url, redis_prefix="two:", connections_per_address=0) as live,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        tenants = Tenants(live.url, random.Random(27), session, model="sim/echo", prompts=30)
        await tenants.run(REQUESTS)
    assert tenants.foreign == []
    assert min(tenants.seen[outcome] for outcome in ("gone", "answered", "hit", "miss")) > 10
