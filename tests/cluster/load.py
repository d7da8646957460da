"""Live traffic and batches at once, through the balancer, while steps are taken at the cluster; then the reckoning."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.cluster.batches import Batches
from tests.cluster.cluster import CLIENT_KEY, Cluster
from tests.cluster.live import Live

Say = Callable[[str], None]

# Items of the batch that lasts through all steps, and of those that keep coming.
SMALL_BATCH = 10


@dataclass(slots=True)
class Load:
    """`explained` are calls to the upstream, beyond one for each item, that kills of workers account for."""

    cluster: Cluster
    say: Say
    pause: float
    live: Live
    batches: Batches
    explained: int = 0
    failures: list[str] = field(default_factory=list)

    async def step(self, name: str, action: Callable[[], Awaitable[object]]) -> None:
        """One thing done to the cluster, and the traffic that saw it, until a pause after it."""
        before = (self.live.answered["JSON"], self.live.answered["streams"], self.live.retried, len(self.live.failures))
        self.live.phase, begun = name, time.monotonic()
        await action()
        took = time.monotonic() - begun
        await asyncio.sleep(self.pause)
        after = (self.live.answered["JSON"], self.live.answered["streams"], self.live.retried, len(self.live.failures))
        answered, streamed, retried, failed = (new - old for new, old in zip(after, before, strict=True))
        self.say(
            f"  {name:<28} {took:5.1f} s  {answered:>4} JSON {streamed:>4} streams"
            f"  {failed} failed  {retried} asked again"
        )

    async def restart(self, name: str) -> None:
        await self.step(f"SIGTERM {name}, start", lambda: self.cluster.restart(name))

    async def kill_front(self, name: str) -> None:
        self.live.kills.append(time.monotonic())
        await self.step(f"kill -9 {name}, start", lambda: self.cluster.kill(name))

    async def kill_worker(self, name: str) -> None:
        self.explained += self.cluster.slots
        await self.step(f"kill -9 {name}, start", lambda: self.cluster.kill(name))


@asynccontextmanager
async def under_load(cluster: Cluster, say: Say, name: str, *, items: int, pause: float) -> AsyncIterator[Load]:
    """Leaving it ends the live traffic, waits for all batches, checks all of it, and says what was found."""
    load = Load(cluster, say, pause, Live(cluster.url, CLIENT_KEY), Batches(cluster.url, CLIENT_KEY))
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(load.live.run(stop))
            await load.batches.submit(name, items)
            group.create_task(load.batches.keep_submitting(f"{name}-small", SMALL_BATCH, stop))
            group.create_task(load.batches.keep_polling(stop))
            try:
                yield load
            finally:
                stop.set()
        await load.batches.check_all()
        await reckon(load)
    finally:
        await load.batches.close()


async def reckon(load: Load) -> None:
    live, batches = load.live, load.batches
    load.say(
        f"  live     {live.answered['JSON']} JSON, {live.answered['streams']} streams; {len(live.failures)} failed,"
        f" {live.retried} asked again after a kill -9 of their front end; 99 % of JSON within {live.p99():.2f} s"
    )
    submitted = len(batches.submitted)
    load.say(
        f"  batches  {submitted} with {sum(batch.total for batch in batches.submitted)} items: {batches.items} results,"
        f" {batches.polls} polls; {batches.refused} batch calls refused while Redis was away, repeated"
    )
    calls = await load.cluster.calls()
    extra = sum(calls.values()) - batches.items
    load.say(f"  upstream {sum(calls.values())} calls for {batches.items} items; {load.explained} more are explained")
    load.failures += [*live.failures, *batches.wrong]
    if not live.answered["JSON"] or not live.answered["streams"]:
        load.failures.append("no live request was answered")
    if extra > load.explained:
        load.failures.append(f"{extra} calls more than items, {load.explained} are explained")
