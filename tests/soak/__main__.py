"""`python -m tests.soak`: a million small requests, 50,000 streams and 200,000 batch items, in four quarters, over two
front ends and two workers. Memory and file descriptors must be flat, and every counter equal to the load's own count.

The load behaves as an SDK does: an answer that asks for another try is counted, and the request is sent again, so a
slow machine makes the run longer and changes no sum. `--share 50` sends a fiftieth of each, in about a minute.
`--pauses N` stops each server for seven seconds, N times in turn, which has the same effect; then only the counters are
judged, since pools grow. Balancer, Redis and Prometheus are those of `make cluster`.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from statistics import median
from typing import Any

import aiohttp

from gateway.process.tasks import end
from gateway.telemetry.process_metrics import read_process
from tests.cluster.cluster import CLIENT_KEY, Cluster, running
from tests.cluster.programs import MissingProgram
from tests.support.series import samples_of

REQUESTS, STREAMS, ITEMS = 1_000_000, 50_000, 200_000
QUARTERS = 4
AT_ONCE = 32
BATCH_ITEMS = 5_000
SAMPLE_SECONDS = 1.0
MOST_SHOWN = 10
RETRY_SECONDS = 0.5
# Answers after which the SDKs send a request again.
TRY_AGAIN = (408, 429, 500, 502, 503, 504, 529)
# Longer than a call to Redis may take, and than a worker's lease.
PAUSE_SECONDS = 7.0
# Of the memory in the last quarter, as a share of that in the second: the first one fills caches.
MAX_GROWTH = 1.03
# Pools and log buffers breathe.
MAX_MORE_DESCRIPTORS = 8
# A short run's quarters are too short for a ratio of 3 %: allocators take memory in steps of this size.
STEP_BYTES = 4 * 1024 * 1024
RESULTS = ("succeeded", "errored", "duplicate", "late")
STATUSES = (200, *TRY_AGAIN)
BODY = {"model": "sim/echo", "max_tokens": 16, "messages": [{"role": "user", "content": "one two three"}]}
MESSAGES = "/v1/messages"
HEADERS = {"x-api-key": CLIENT_KEY, "anthropic-version": "2023-06-01"}


@dataclass(slots=True)
class Counts:
    """Counts of the load itself.

    `answers` are those of front ends to POST /v1/messages, by status, `again` the answers that asked for another try.
    """

    requests: int = 0
    streams: int = 0
    items: int = 0
    without_front_end: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def problems(self) -> list[str]:
        return [f"{wrong} ({count} times)" for wrong, count in self.wrong.most_common(MOST_SHOWN)]


@dataclass(slots=True)
class Watched:
    """Memory and descriptors of one process, by quarter."""

    name: str
    pid: int
    bytes: list[list[float]] = field(default_factory=lambda: [[] for _ in range(QUARTERS)])
    descriptors: list[list[float]] = field(default_factory=lambda: [[] for _ in range(QUARTERS)])

    def look(self, quarter: int) -> None:
        figures = read_process(self.pid)
        if figures is not None:
            self.bytes[quarter].append(figures[0])
            self.descriptors[quarter].append(figures[2])

    def problems(self) -> list[str]:
        second, last = median(self.bytes[1]), median(self.bytes[-1])
        found = []
        if last > max(MAX_GROWTH * second, second + STEP_BYTES):
            found.append(f"{self.name}: {last / 1e6:.1f} MB in the last quarter, {second / 1e6:.1f} MB in the second")
        more = median(self.descriptors[-1]) - median(self.descriptors[1])
        if more > MAX_MORE_DESCRIPTORS:
            found.append(f"{self.name}: {more:.0f} more file descriptors in the last quarter than in the second")
        return found

    def __str__(self) -> str:
        sizes = ", ".join([f"{median(quarter) / 1e6:.1f}" for quarter in self.bytes])
        numbers = ", ".join([f"{median(quarter):.0f}" for quarter in self.descriptors])
        return f"  {self.name:<9} {sizes} MB; {numbers} descriptors"


async def send(
    session: aiohttp.ClientSession, counts: Counts, method: str, path: str, body: Any = None
) -> tuple[int, bytes]:
    """Send a request until an answer does not ask for another try. The balancer takes out front ends that are late with
    its health check, and then has none."""
    headers = {"idempotency-key": uuid.uuid4().hex}
    while True:
        async with session.request(method, path, json=body, headers=headers) as answer:
            read = await answer.read()
        if answer.content_type == "text/html":  # the balancer's own
            if answer.status != 503:  # the front end may have been asked
                counts.wrong[f"{method} {path}: the balancer answered with {answer.status}"] += 1
            counts.without_front_end += 1
        else:
            if path == MESSAGES:
                counts.answers[answer.status] += 1
            if answer.status not in TRY_AGAIN:
                return answer.status, read
            counts.again[f"{method} {path.rpartition('/msgbatch_')[0] or path}: {answer.status} {reason_in(read)}"] += 1
        await asyncio.sleep(max(RETRY_SECONDS, float(answer.headers.get("retry-after", 0))))


def reason_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return repr(body[:100])


async def ask(session: aiohttp.ClientSession, counts: Counts, amount: int, *, stream: bool) -> None:
    """One of AT_ONCE clients: sends requests one after the other."""
    for _ in range(amount):
        status, body = await send(session, counts, "POST", MESSAGES, {**BODY, "stream": stream})
        good = status == 200 and (b"message_stop" in body if stream else b'"stop_reason"' in body)
        if not good:
            counts.wrong[f"status {status}: {reason_in(body)}"] += 1
        elif stream:
            counts.streams += 1
        else:
            counts.requests += 1


async def send_batch(session: aiohttp.ClientSession, counts: Counts, amount: int) -> None:
    """Create a batch, wait for its end, and delete it."""
    requests = [{"custom_id": f"item-{number}", "params": BODY} for number in range(amount)]
    path = f"{MESSAGES}/batches"
    status, body = await send(session, counts, "POST", path, {"requests": requests})
    if status != 200:
        counts.wrong[f"no batch was created, status {status}: {reason_in(body)}"] += 1
        return
    batch = json.loads(body)
    while batch["processing_status"] != "ended":
        await asyncio.sleep(0.2)
        status, body = await send(session, counts, "GET", f"{path}/{batch['id']}")
        if status != 200:
            counts.wrong[f"status {status} for the state of a batch: {reason_in(body)}"] += 1
            return
        batch = json.loads(body)
    if batch["request_counts"]["succeeded"] != amount:
        counts.wrong[f"batch of {amount} items: {batch['request_counts']}"] += 1
    counts.items += batch["request_counts"]["succeeded"]
    await send(session, counts, "DELETE", f"{path}/{batch['id']}")


async def pause_in_turn(pids: list[int], pauses: int) -> None:
    """Stop each process for a while, as a starved one stands still."""
    for pid in islice(cycle(pids), pauses * len(pids)):
        await asyncio.sleep(PAUSE_SECONDS)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)


async def quarter(session: aiohttp.ClientSession, counts: Counts, share: int) -> None:
    """A quarter of the load: requests and streams from AT_ONCE clients, and batches beside them."""

    def each(whole: int) -> int:
        return max(1, whole // share // QUARTERS // AT_ONCE)

    async def batches() -> None:
        left = ITEMS // share // QUARTERS
        while left > 0:
            await send_batch(session, counts, min(left, BATCH_ITEMS))
            left -= BATCH_ITEMS

    async with asyncio.TaskGroup() as group:
        group.create_task(batches())
        for _ in range(AT_ONCE):
            group.create_task(ask(session, counts, each(REQUESTS), stream=False))
            group.create_task(ask(session, counts, each(STREAMS), stream=True))


async def watch(processes: list[Watched], at: list[int]) -> None:
    while True:
        for process in processes:
            process.look(at[0])
        await asyncio.sleep(SAMPLE_SECONDS)


async def scraped(cluster: Cluster, role: str) -> dict[str, float]:
    """The sums of the samples of all processes of a role."""
    sums: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:
        for name in cluster.named(role):
            async with session.get(f"http://127.0.0.1:{cluster.posts[name].admin_port}/metrics") as answer:
                for series, value in samples_of(await answer.text()).items():
                    sums[series] = sums.get(series, 0.0) + value
    return sums


async def reckon(cluster: Cluster, counts: Counts) -> list[str]:
    """Compare the counters with the load's own count."""
    fronts, workers = await scraped(cluster, "front"), await scraped(cluster, "worker")
    labels = 'model="sim/echo",status="200",stream='
    results = {kind: workers[f'gateway_batch_results_total{{result="{kind}"}}'] for kind in RESULTS}
    # An item that lost its lease is called again, and the second result is discarded.
    unkept = results["duplicate"] + results["late"]
    rows = (
        *((f"replies {status}", fronts.get(reply_series(status), 0), counts.answers[status]) for status in STATUSES),
        ("requests", fronts[f'gateway_exchanges_total{{{labels}"false",upstream="simulator"}}'], counts.requests),
        ("streams", fronts[f'gateway_exchanges_total{{{labels}"true",upstream="simulator"}}'], counts.streams),
        ("items", results["succeeded"], counts.items),
        (
            "batch exchanges",
            workers[f'gateway_exchanges_total{{{labels}"false",upstream="simulator"}}'],
            counts.items + unkept,
        ),
        ("open exchanges", sum([fronts[f'gateway_exchanges_open{{stream="{one}"}}'] for one in ("true", "false")]), 0),
        ("dropped log lines", fronts["gateway_log_lines_dropped_total"], 0),
    )
    if unkept:
        print(f"{unkept:.0f} items were answered twice, and the second result not kept")  # noqa: T201
    return [
        f"{name}: the counter is at {counted:.0f}, the load's count at {own:.0f}"
        for name, counted, own in rows
        if counted != own
    ]


def reply_series(status: int) -> str:
    return f'gateway_http_replies_total{{method="POST",route="/v1/messages",status="{status}"}}'


async def soak(share: int, pauses: int) -> list[str]:
    counts, at = Counts(), [0]
    async with running(slots=64, batch_seconds="0-0") as cluster:
        programs = {name: post.program for name, post in cluster.posts.items()}
        processes = [Watched(name, one.process.pid) for name, one in programs.items() if one and one.process]
        watching = asyncio.create_task(watch(processes, at))
        assert cluster.server.process is not None
        assert cluster.upstream.process is not None
        others = [cluster.server.process.pid, cluster.upstream.process.pid]
        servers = [*others, *cluster.pids("front"), *cluster.pids("worker")]
        pausing = asyncio.create_task(pause_in_turn(servers, pauses))
        connector = aiohttp.TCPConnector(limit=2 * AT_ONCE + 4)
        async with aiohttp.ClientSession(cluster.url, headers=HEADERS, connector=connector) as session:
            for number in range(QUARTERS):
                at[0], begun = number, time.monotonic()
                await quarter(session, counts, share)
                print(f"quarter {number + 1} of {QUARTERS}: {time.monotonic() - begun:.0f} s", flush=True)  # noqa: T201
        await end([watching, pausing])
        for process in processes:
            print(process)  # noqa: T201
        problems = counts.problems() + await reckon(cluster, counts)
    print(f"{counts.requests:,} requests, {counts.streams:,} streams, {counts.items:,} batch items")  # noqa: T201
    if counts.without_front_end:
        print(f"{counts.without_front_end:,} tries found no front end at the balancer")  # noqa: T201
    for reason, count in counts.again.most_common():
        print(f"{count:,} answers asked for another try: {reason}")  # noqa: T201
    return problems if pauses else problems + [problem for process in processes for problem in process.problems()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--share", type=int, default=1, help="send 1/N of the load")
    parser.add_argument("--pauses", type=int, default=0, help="stop each server N times for seven seconds")
    options = parser.parse_args()
    try:
        problems = asyncio.run(soak(options.share, options.pauses))
    except MissingProgram as error:
        sys.exit(f"{error}; the soak needs haproxy, redis-server and prometheus")
    for problem in problems:
        print(f"soak: {problem}", file=sys.stderr)  # noqa: T201
    good = "every counter agrees" if options.pauses else "all is flat, and every counter agrees"
    print("failed" if problems else good)  # noqa: T201
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
