"""Speed-up of two front ends over one, and two or four workers over one. All on this machine's cores, so that a figure
says what the whole host does, balancer, load and upstream included.
"""

import asyncio
import time

from bench.cases import write_bodies
from bench.load import Report, Shape, end_load, start_load
from bench.programs import CompilerError
from bench.targets import running_stage
from tests.cluster.batches import Batches
from tests.cluster.cluster import CLIENT_KEY, Cluster, running
from tests.cluster.load import Say

# A small question, where balancer and load generator take as much CPU as a front end does, and a coding agent's 67 kB,
# where they do not: with two cores for all of them, only the latter has room to show a second front end.
BODIES = ("small", "code")
CONNECTIONS = 16
SECONDS = 5.0
SLOTS = 32
ITEM_SECONDS = 0.5
# Items for each worker: ten seconds of work.
ITEMS = round(10 * SLOTS / ITEM_SECONDS)


async def throughput(say: Say) -> list[str]:
    failures = []
    try:
        for number in (1, 2):
            failures += await front_ends(say, number)
    except CompilerError as error:
        failures.append(f"front ends were not measured: {error}")
    for number in (1, 2, 4):
        failures += await workers(say, number)
    return failures


async def front_ends(say: Say, number: int) -> list[str]:
    """JSON requests, as fast as they are answered, from the bench's load generator, and to its upstream."""
    failures = []
    with running_stage() as stage:
        upstream = f"http://127.0.0.1:{stage.port}/api/v1"
        async with running(fronts=number, workers=0, upstream_url=upstream) as cluster:
            write_bodies(cluster.folder / "bodies")
            for body in BODIES:
                found = await answers(cluster, body)
                busy = found.cpu_seconds / found.seconds / number
                say(
                    f"  {number} front end{'s' * (number > 1):1}, {body:<5}: {found.answer_rate:5.0f} answers/s,"
                    f" p50 {found.latency_p50 / 1000:.1f} ms, p99 {found.latency_p99 / 1000:.1f} ms;"
                    f" {found.answer_cpu:.0f} us of CPU an answer, each {busy:.0%} busy"
                )
                if not found.sound:
                    failures.append(f"{number} front ends, {body}: {found.bad} bad answers of {found.answers}")
    return failures


async def answers(cluster: Cluster, body: str) -> Report:
    process = start_load(
        [cluster.balancer.port],
        cluster.pids("front"),
        "/v1/messages",
        (f"x-api-key: {CLIENT_KEY}", "anthropic-version: 2023-06-01"),
        cluster.folder / f"bodies/{body}.json",
        Shape(CONNECTIONS, SECONDS, warm=1.0, expect='"message"'),
    )
    return await asyncio.to_thread(end_load, process)


async def workers(say: Say, number: int) -> list[str]:
    """One batch, from its submission to its end, when every item takes the upstream half a second."""
    async with running(workers=number, slots=SLOTS, batch_seconds=f"{ITEM_SECONDS}-{ITEM_SECONDS}") as cluster:
        batches = Batches(cluster.url, CLIENT_KEY)
        try:
            begun = time.monotonic()
            batch = await batches.submit("throughput", ITEMS * number)
            await batches.ended(batch)
            seconds = time.monotonic() - begun
            await batches.check_all()
        finally:
            await batches.close()
    rate = batch.total / seconds
    say(
        f"  {number} worker{'s' * (number > 1):1}: {batch.total:>5} items in {seconds:5.1f} s, {rate:4.0f}/s of at most"
        f" {number * SLOTS / ITEM_SECONDS:.0f}/s; one after the other: {batch.total * ITEM_SECONDS:.0f} s"
        f" ({1 - seconds / (batch.total * ITEM_SECONDS):.1%} less time)"
    )
    return batches.wrong
