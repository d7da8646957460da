"""A budget that four processes spend at once while Redis is killed and cut off and loses replies: it is never exceeded,
and each use is counted once.
"""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from gateway.access.admission import Admission
from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys
from gateway.access.records import Allowance, Budget, KeyRecord, RateLimits
from gateway.access.reservation import Need, Used
from gateway.access.store import AccessStore, Actor
from gateway.context import Context
from gateway.errors import BudgetSpent, GatewayError
from gateway.process.tasks import background
from gateway.redis.connections import queue_client
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from tests.chaos.world import World, require, until
from tests.workers.proxy import RedisProxy

AMOUNT = 8000
PROCESSES, CLIENTS = 4, 40
FAULTS = 8
OF_CLIENTS_GONE = 0.1
OF_REPLIES_LOST = 0.05


@dataclass(slots=True)
class Race:
    """`settled`: what all uses came to. `most`: the most that was ever spent and held."""

    world: World
    context: Context
    processes: list[Admission]
    outcomes: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    most: int = 0
    is_over: bool = False

    async def spend(self) -> None:
        """One client: ask until the budget is spent; a tenth leave while they are admitted."""
        chance = self.world.chance
        while not self.is_over:
            admission, want = chance.choice(self.processes), chance.randint(1, 30)
            admitting = asyncio.create_task(admission.admit(self.context, Need(want, min(want, 5))))
            if chance.random() < OF_CLIENTS_GONE:
                await asyncio.sleep(chance.random() * 0.004)
                admitting.cancel()
            await asyncio.wait({admitting})
            if admitting.cancelled():
                self.outcomes["gone"] += 1
                continue
            error = admitting.exception()
            if error is not None:
                self.outcomes[type(error).__name__] += 1
                if isinstance(error, BudgetSpent):
                    return
                await asyncio.sleep(0.02)
                continue
            grant = admitting.result()
            assert grant is not None
            self.outcomes["granted"] += 1
            await asyncio.sleep(chance.random() * 0.05)
            cost = chance.randint(0, grant.money)
            self.settled += cost
            admission.settle(grant, Used(cost, 1, 1, {}, ""))

    async def settle(self, admission: Admission) -> None:
        while not self.is_over:
            with suppress(GatewayError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await admission.ledger.settle_waiting()

    async def renew(self, admission: Admission) -> None:
        while not self.is_over:
            await asyncio.sleep(1.0)
            with suppress(GatewayError):
                await admission.renew()

    async def watch(self) -> None:
        while not self.is_over:
            with suppress(RedisError, OSError):
                self.most = max(self.most, sum(await self.figures("spent", "held")))
            await asyncio.sleep(0.005)

    async def figures(self, *names: str) -> list[int]:
        keys = RedisServer(self.world.redis).keys
        fields = [name if name == "running" else f"month/UTC:{name}" for name in names]
        return [int(one or 0) for one in await self.world.redis.hmget(keys.scope(f"key:{self.context.key_id}"), fields)]


async def race(world: World, scale: int) -> str:
    """Spent and held never exceed the amount. At the end all uses are spent, and no reservation is left."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(RedisProxy(world.server.url))
        allowance = Allowance(RateLimits(concurrency=CLIENTS), (Budget(AMOUNT * scale, "month"),))
        made, _ = await store_on(RedisServer(world.redis)).create_key(
            KeyRecord("", "ci", "red", allowance=allowance), Actor("cli", "chaos")
        )
        processes = []
        for _ in range(PROCESSES):
            client = queue_client(proxy.url)
            stack.push_async_callback(client.aclose)
            processes.append(await admission_on(RedisServer(client)))
        one = Race(world, Context("req", "red", made.id), processes)
        for admission in processes:
            await stack.enter_async_context(background(one.settle(admission)))
            await stack.enter_async_context(background(one.renew(admission)))
        await stack.enter_async_context(background(one.watch()))
        clients = [asyncio.create_task(one.spend()) for _ in range(CLIENTS)]
        for _ in range(FAULTS * scale):
            await asyncio.sleep(0.4)
            await hurt(world, proxy)
        async with asyncio.timeout(60 * scale):
            await asyncio.gather(*clients)
        for admission in processes:
            await until(lambda admission=admission: is_settled(admission), "the settlements")  # type: ignore[misc]
        one.is_over = True
        spent, held, running = await one.figures("spent", "held", "running")
        seen = dict(one.outcomes)
        require(one.most <= AMOUNT * scale, f"{one.most} of {AMOUNT * scale} were spent and held: {seen}")
        require(spent == one.settled, f"{spent} are counted of {one.settled}: {seen}")
        require((held, running) == (0, 0), f"{held} are held by {running} requests that have ended: {seen}")
    return f"{spent} of {AMOUNT * scale} spent, {seen}"


async def hurt(world: World, proxy: RedisProxy) -> None:
    match world.chance.choice(("killed", "cut off", "deaf")):
        case "killed":
            await world.server.kill()
            await asyncio.sleep(0.3)
            await world.server.start()
        case "cut off":
            await proxy.cut()
            await asyncio.sleep(0.3)
            await proxy.join()
        case _:
            proxy.loses = lambda: world.chance.random() < OF_REPLIES_LOST
            await asyncio.sleep(0.5)
            proxy.loses = lambda: False
    world.faults += 1


async def is_settled(admission: Admission) -> bool:
    with suppress(GatewayError):
        await admission.renew()
        await admission.ledger.flush()
    return not admission.ledger._waiting and not admission._uncertain


async def admission_on(server: RedisServer) -> Admission:
    """Return the admission of another front end, without an allowance for outages."""
    directory = Directory(ClientKeys([], b"s"), store_on(server), silence=SilenceLimit(0.3))
    await directory.refresh()
    admission = Admission(directory, server)
    admission.money.rule = "closed"
    return admission


def store_on(server: RedisServer) -> AccessStore:
    return AccessStore(server, ClientKeys([], b"s").pepper, b"s")
