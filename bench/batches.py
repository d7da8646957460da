"""Message Batches measured over HTTP: a front end, a Redis and workers, and the upstream stand-in.

Creating: how fast, and with how much memory. Draining: items per second by workers, what each costs Redis, and the wall
time against the same requests sent one after the other. Beside others: a small batch behind a large one, and live
requests while a batch runs.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.batch_stage import (
    Client,
    PeakMemory,
    Redis,
    cpu_seconds,
    params,
    running_redis,
    running_workers,
    write_batch,
)
from bench.cases import VOCABULARY
from bench.load import Shape, end_load, start_load
from bench.measure import Machine, machine
from bench.report import machine_line, number, table
from bench.targets import PATH, Stage, Target, gateway_recipe, running, running_stage
from gateway.batches.queue import BatchQueue, ItemResult
from gateway.batches.server import BatchServer
from gateway.redis.connections import queue_client
from gateway.redis.server import RedisServer

INSTANT = "stream-3"
SLOW = "stream-3-f200"  # 200 ms before the first byte
SLOW_SECONDS = 0.2
CODE_SIZE = 2048
SLOTS = 64
MOST_ITEMS = 100_000  # of a batch
ANSWER_WORDS = 200

Say = Callable[[str], None]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; `goal` in words where there is one, `met` whether it holds."""

    case: str
    what: str
    value: float
    unit: str
    goal: str = ""
    met: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    machine: Machine
    figures: list[Figure] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(figure.met for figure in self.figures)


@dataclass(slots=True)
class Bench:
    """The equipment of one case. `share` of the items is sent: 1, or less for a trial."""

    stage: Stage
    redis: Redis
    client: Client
    share: float
    measured: Measured
    say: Say
    case: str = ""

    def items(self, number: int) -> int:
        return max(20, round(number * self.share))

    def body(self, total: int, model: str, size: int = 0) -> Path:
        path = self.stage.directory / f"batch-{total}-{model}-{size}.json"
        return path if path.exists() else write_batch(path, total, model, size)

    def found(
        self, what: str, value: float, unit: str, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        goal, met = "", True
        if self.share == 1 and at_least is not None:
            goal, met = f"≥ {number(at_least)}", value >= at_least
        if self.share == 1 and at_most is not None:
            goal, met = f"≤ {number(at_most)}", value <= at_most
        self.measured.figures.append(Figure(self.case, what, value, unit, goal, met))
        self.say(f"  {self.case}: {what} {number(value)} {unit} {goal}{'' if met else '  MISSED'}")


def measure(names: list[str], share: float, say: Say) -> Measured:
    """Measure each case on its own processes. Raises StartError, CompilerError."""
    measured = Measured(machine())
    for name in names:
        durability = "fsync" if name == "fsync" else "process"
        with staged(durability) as (stage, redis, target):
            CASES[name](Bench(stage, redis, Client(target), share, measured, say, name))
    return measured


@contextmanager
def staged(durability: str) -> Iterator[tuple[Stage, Redis, Target]]:
    with running_stage() as stage, running_redis(stage.directory) as redis:
        settings = {"GATEWAY_REDIS_URL": redis.url, "GATEWAY_BATCH_DURABILITY": durability}
        with running(gateway_recipe(**settings, GATEWAY_SECRET="bench:secret"), stage) as target:
            yield stage, redis, target


# Creating a batch, and reading its results


def create(bench: Bench) -> None:
    """The batch of 10,000 is created four times: the first one pays for what is only made once."""
    small = bench.body(bench.items(10_000), INSTANT)
    seconds = min(created(bench, small)[0] for _ in range(4))
    bench.found("10,000 small requests", seconds, "s", at_most=2 if bench.case == "fsync" else 1)
    large = bench.body(bench.items(10_000), INSTANT, CODE_SIZE)
    seconds = min(created(bench, large)[0] for _ in range(2))
    bench.found("10,000 requests of 2 kB", seconds, "s", at_most=2 if bench.case == "fsync" else 1)


def create_and_read(bench: Bench) -> None:
    """100,000 requests in one batch, drained and read."""
    create(bench)
    total = bench.items(100_000)
    before = bench.redis.traffic().memory
    peak = PeakMemory(bench.client.target.roots[0])
    seconds, batch_id = timed(lambda: bench.client.create(bench.body(total, INSTANT, CODE_SIZE)))
    bench.found("100,000 requests of 2 kB", total / seconds, "items/s", at_least=10_000)
    bench.found("front end's memory rose by", peak.rise(), "MiB", at_most=64)
    bench.found("memory in Redis", (bench.redis.traffic().memory - before) / total, "bytes/item")
    with running_workers(2, bench.redis, bench.stage):
        seconds, batch = timed(lambda: bench.client.wait(batch_id))
    if batch["request_counts"]["succeeded"] != total:
        raise RuntimeError(f"not all succeeded: {batch['request_counts']}")
    bench.found("drained by 2 workers", total / seconds, "items/s")
    peak = PeakMemory(bench.client.target.roots[0])
    seconds, lines = timed(lambda: bench.client.result_lines(batch_id))
    if lines != total:
        raise RuntimeError(f"{lines} result lines for {total} requests")
    bench.found("results read", total / seconds, "lines/s", at_least=50_000)
    bench.found("front end's memory rose by, reading", peak.rise(), "MiB", at_most=16)


def created(bench: Bench, body: Path) -> tuple[float, str]:
    """Create and cancel at once."""
    seconds, batch_id = timed(lambda: bench.client.create(body))
    bench.client.cancel(batch_id)
    return seconds, batch_id


# Draining


def drain(bench: Bench) -> None:
    for workers in (1, 2, 4):
        drain_with(bench, workers, INSTANT, bench.items(20_000))
    for workers in (1, 2, 4):
        drain_with(bench, workers, SLOW, bench.items(2_000) * workers)


def queue(bench: Bench) -> None:
    """The queue by itself: claim, read, record; no conversion and no upstream."""
    total = bench.items(MOST_ITEMS)
    rng, words = random.Random(7), VOCABULARY.split()
    lines = [json.dumps({"text": " ".join(rng.choices(words, k=ANSWER_WORDS))}).encode() for _ in range(SLOTS)]
    for slots in (8, SLOTS):
        bench.client.create(bench.body(total, INSTANT, CODE_SIZE))
        seconds, ran = timed(partial(asyncio.run, run_queue(bench.redis.url, slots, lines)))
        if ran != total:
            raise RuntimeError(f"{ran} items came out of {total}")
        bench.found(f"{slots} at a time", total / seconds, "items/s", at_least=15_000 if slots == SLOTS else None)


async def run_queue(url: str, slots: int, lines: list[bytes]) -> int:
    """Return the number of recorded items."""
    async with queue_client(url) as redis:
        claiming, ran = BatchQueue(BatchServer(RedisServer(redis)), "bench"), 0
        while claims := await claiming.claim(slots):
            for claim in claims:
                leases = [work.lease for work in await claiming.items(claim)]
                results = [ItemResult(lease.index, True, lines[lease.index % len(lines)]) for lease in leases]
                ran += len(await claiming.done(claim.batch.id, results))
        return ran


def drain_with(bench: Bench, workers: int, model: str, total: int) -> None:
    name = f"{workers} worker{'s' * (workers > 1)}, {'instant upstream' if model == INSTANT else '200 ms upstream'}"
    body = bench.body(total, model)
    with running_workers(workers, bench.redis, bench.stage) as pids:
        cpu = cpu_seconds(pids)
        batch_id = bench.client.create(body)
        before, polls = bench.redis.traffic(), bench.client.polls
        seconds, _ = timed(lambda: bench.client.wait(batch_id))
        after, cpu = bench.redis.traffic(), cpu_seconds(pids) - cpu
    ideal = None if model == INSTANT else workers * SLOTS / SLOW_SECONDS
    bench.found(name, total / seconds, "items/s")
    if ideal:
        bench.found(f"{name}: of what its slots allow", 100 * total / seconds / ideal, "%")
    bench.found(f"{name}: workers' CPU", 1e6 * cpu / total, "µs/item")
    reads = after.reads - before.reads - (bench.client.polls - polls)
    bench.found(f"{name}: Redis round trips", reads / total, "per item", at_most=0.2)
    bench.found(f"{name}: Redis commands", (after.commands - before.commands) / total, "per item")
    bench.found(f"{name}: Redis traffic", (after.bytes - before.bytes) / total, "bytes/item")


def wall_time(bench: Bench) -> None:
    """Against the same requests sent one after the other on one connection."""
    total = bench.items(64)
    connection = bench.client.connect()
    one = json.dumps(params(SLOW, "7")).encode()

    def send_all() -> None:
        for _ in range(total):
            bench.client.message(connection, one)

    alone, _ = timed(send_all)
    connection.close()
    bench.found(f"{total} requests one after the other", alone, "s")
    for slots in (1, 2, 4, 8, 16, 64):
        with running_workers(1, bench.redis, bench.stage, slots):
            seconds, _ = timed(lambda: bench.client.wait(bench.client.create(bench.body(total, SLOW))))
        less = 100 * (1 - seconds / alone)
        bench.found(f"as a batch, {slots} in flight", seconds, "s")
        bench.found(f"as a batch, {slots} in flight: less", less, "%", at_least=70 if slots == 4 else None)


# Beside others


def fairness(bench: Bench) -> None:
    small, large = bench.body(10, SLOW), bench.body(bench.items(20_000), SLOW)
    with running_workers(2, bench.redis, bench.stage):
        alone, _ = timed(lambda: bench.client.wait(bench.client.create(small)))
        large_id = bench.client.create(large)
        time.sleep(1)
        behind, _ = timed(lambda: bench.client.wait(bench.client.create(small)))
        bench.client.cancel(large_id)
        bench.client.wait(large_id)
    bench.found("10 requests alone", alone, "s")
    bench.found("10 requests behind 20,000", behind, "s", at_most=2 * alone + 1)


def live(bench: Bench) -> None:
    """Live requests beside a worker with 64 calls in flight, on the same upstream and the same two cores."""
    quiet = live_p99(bench)
    bench.found("live p99 without a batch", quiet, "ms")
    for model, name in ((SLOW, "200 ms upstream"), (INSTANT, "instant upstream, as fast as it can")):
        batch_id = bench.client.create(bench.body(MOST_ITEMS if bench.share == 1 else 20_000, model))
        with running_workers(1, bench.redis, bench.stage):
            busy = live_p99(bench)
            bench.found(f"live p99 beside a batch, {name}", busy, "ms")
            if bench.client.has_ended(batch_id):
                raise RuntimeError("the batch ended before the live requests did")
            bench.client.cancel(batch_id)
            bench.client.wait(batch_id)


def live_p99(bench: Bench) -> float:
    """Milliseconds, of small requests over 4 connections to an upstream that takes 20 ms."""
    target = bench.client.target
    body = bench.stage.directory / "live.json"
    body.write_text(json.dumps(params("plain-1-f20", "hello")))
    shape = Shape(4, 6.0 if bench.share == 1 else 1.0, 1.0, expect='"message"')
    report = end_load(start_load(target.ports, target.processes(), PATH, target.recipe.headers, body, shape))
    if not report.sound:
        raise RuntimeError(f"live requests were answered badly: {report.statuses}")
    return report.latency_p99 / 1000


CASES: dict[str, Callable[[Bench], None]] = {
    "create": create_and_read,
    "fsync": create,
    "queue": queue,
    "drain": drain,
    "wall": wall_time,
    "fairness": fairness,
    "live": live,
}


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    begun = time.monotonic()
    result = work()
    return time.monotonic() - begun, result


def render(measured: Measured) -> str:
    rows = [
        [
            f"{figure.case}: {figure.what}",
            number(figure.value),
            figure.unit,
            figure.goal,
            "" if figure.met else "missed",
        ]
        for figure in measured.figures
    ]
    return machine_line(measured.machine) + "\n\n" + table(["batches", "value", "unit", "goal", ""], rows)
