"""A month of requests, with a front end for each day that has its clock: the reports equal the upstream's bill."""

from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from gateway.access.spend import SpendStore
from gateway.redis.server import RedisServer
from tests.chaos.processes import front_process
from tests.chaos.world import World, http_item, require, until
from tests.support.billing import KEYS, MODELS, SECOND, BilledUpstream, billed_upstream, reports_of, spend

DAYS = 30  # of which the small run tries six
REQUESTS = 100  # a day
ITEMS = 5  # of a batch each day
HOURS = 24


async def spend_a_month(world: World, scale: int) -> str:
    """The sums of all reports are the bill, also after clients that left, failures and batches."""
    seen: Counter[str] = Counter()
    server, today = RedisServer(world.redis), datetime.now(UTC).date()
    async with billed_upstream(world.chance) as upstream:
        keys = ",".join(f"{tenant}:{key}" for tenant, key in KEYS.items())
        own = {**two_upstreams(world.server.folder, upstream.url), "GATEWAY_KEYS": keys, "GATEWAY_AUTH": "keys"}
        for day in range(1 - DAYS, 1) if scale > 1 else (1 - DAYS, -20, -10, -9, -1, 0):
            seen += await spend_a_day(world, upstream, {**world.variables, **own}, day)
        first = today - timedelta(days=DAYS)
        sums = await reports_of(server, first, today)
        [late] = await server.pipeline([("ZCARD", server.keys.access.late)])
        wrong = upstream.differences([one async for one in SpendStore(server).entries()])
    require(any(name.endswith(SECOND) for name in seen), "no request was answered by the second upstream")
    require(late == 0, f"{late} costs are not corrected")
    require(not wrong, f"{len(wrong)} generations are not booked as they were billed: {', '.join(wrong[:10])}")
    require(set(sums.values()) == {upstream.total}, f"the bill is {upstream.total} nano-dollars, the reports: {sums}")
    return f"${upstream.total / 10**9:.9f} in every report, {upstream.calls} calls, {dict(seen)}"


def two_upstreams(folder: Path, url: str) -> dict[str, str]:
    """Return the variables of processes that ask a second upstream, with the same bill, when the first one fails."""
    file = folder / "gateway.toml"
    row = f'url = "{url}", key = "k", vendor = "openrouter"'
    upstreams = f"[upstreams]\nfirst = {{ {row} }}\n{SECOND} = {{ {row} }}\n"
    file.write_text(f'{upstreams}[routes]\n"*" = ["first", "{SECOND}"]\n')
    unset = dict.fromkeys(("GATEWAY_UPSTREAM_URL", "GATEWAY_UPSTREAM_API_KEY", "GATEWAY_UPSTREAM_FLAVOR"), "")
    return {**unset, "GATEWAY_CONFIG": str(file)}


async def spend_a_day(world: World, upstream: BilledUpstream, variables: dict[str, str], day: int) -> Counter[str]:
    """`day`: 0 for today, -1 for yesterday."""
    server = RedisServer(world.redis)
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(front_process(variables, hours=HOURS * day))
        seen = await spend(front.url, REQUESTS, world.chance)
        if day % 10 == 0:
            await world.hire(1, hours=HOURS * day, **two_upstreams(world.server.folder, upstream.url))
            await run_batch(front.url, world)
            for name in list(world.workers):
                await world.dismiss(name)

        async def is_corrected() -> bool:
            return not (await server.pipeline([("ZCARD", server.keys.access.late)]))[0]

        if day == 0:  # on other days the front end of the next one asks for the costs that are due
            await until(is_corrected, "costs of streams that clients have left")
    return seen


async def run_batch(url: str, world: World) -> None:
    tenant = world.chance.choice(sorted(KEYS))
    requests = [http_item(number, f"{tenant}/{number}") for number in range(ITEMS)]
    for one in requests:
        one["params"]["model"] = world.chance.choice(MODELS)
    async with aiohttp.ClientSession(url, headers={"x-api-key": KEYS[tenant]}) as session:
        async with session.post("/v1/messages/batches", json={"requests": requests}) as answer:
            path = f"/v1/messages/batches/{(await answer.json())['id']}"

        async def is_over() -> bool:
            async with session.get(path) as answer:
                return bool((await answer.json())["processing_status"] == "ended")

        await until(is_over, "the batch")
