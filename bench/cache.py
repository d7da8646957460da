"""The prompt cache measured over HTTP: a front end and a Redis of their own, the upstream stand-in, and the bare proxy.

How much sooner a hit is there than a miss, at an upstream's latency that the figure names; what a hit costs beside
forwarding, and what it costs to miss; what an entry takes in Redis. Every answer is checked for the outcome it should
have had, by the gateway's own count of calls upstream.
"""

import http.client
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.batch_stage import Client, params, running_redis
from bench.batches import Bench, Measured
from bench.cases import VOCABULARY
from bench.load import Report, Shape, end_load, start_load
from bench.measure import machine
from bench.targets import BARE, CLIENT_KEY, PATH, Stage, Target, gateway_recipe, running, running_stage

INSTANT = "plain-1"
SLOW = "plain-1-f200"
SLOW_MS = 200
STREAM = "stream-200"
ENTRIES = 10_000
ANSWER_DELTAS = 100  # of eleven characters

Say = Callable[[str], None]


def measure(names: list[str], share: float, say: Say) -> Measured:
    """Each case on processes of its own. Raises StartError, CompilerError."""
    measured = Measured(machine())
    for name in names:
        with running_stage() as stage, running_redis(stage.directory) as redis:
            settings = {"GATEWAY_REDIS_URL": redis.url, "GATEWAY_SECRET": "bench:secret"}
            with running(gateway_recipe(**settings), stage) as target:
                CASES[name](Bench(stage, redis, Client(target), share, measured, say, name))
    return measured


def sooner(bench: Bench) -> None:
    """On one connection, so that no request waits for another. A refresh asks the upstream every time, and stores."""
    for model, said, expect in ((SLOW, "JSON", '"message"'), ("stream-20-f200", "stream", "message_stop")):
        body = write(bench, model, stream=said == "stream")
        shape = shaped(bench, 1, 8.0, expect)
        miss = load(bench, body, shape, "refresh", calls=True)
        hit = load(bench, body, shape, "use", calls=False)
        case = f"{said}, upstream of {SLOW_MS} ms"
        for name, report in (("miss", miss), ("hit", hit)):
            bench.found(f"{case}: {name}, p50", report.latency_p50 / 1000, "ms")
            bench.found(f"{case}: {name}, p99", report.latency_p99 / 1000, "ms")
        bench.found(f"{case}: sooner, p50", 100 * (1 - hit.latency_p50 / miss.latency_p50), "%", at_least=99)
        bench.found(f"{case}: sooner, p99", 100 * (1 - hit.latency_p99 / miss.latency_p99), "%")


def cost(bench: Bench) -> None:
    """Beside the bare proxy, which asks an instant upstream; in rounds, since the machine is not always as fast."""
    body = write(bench, INSTANT)
    many, one = shaped(bench, 16, 3.0), shaped(bench, 1, 3.0)
    with running(BARE, bench.stage) as bare:
        rounds = [one_round(bench, bare, body, many, one) for _ in range(3 if bench.share == 1 else 1)]
    middle = [sorted(column)[len(rounds) // 2] for column in zip(*rounds, strict=True)]
    forwarded, hit, missed, bypassed, bare_p50, hit_p50 = middle
    bench.found("bare forwarding, 16 connections: CPU", forwarded, "µs/request")
    bench.found("hit: CPU", hit, "µs/request")
    bench.found("miss, stored: CPU", missed, "µs/request")
    bench.found("without the cache: CPU", bypassed, "µs/request")
    bench.found("hit against bare: CPU", hit / forwarded, "×", at_most=0.6)
    bench.found("bare forwarding, 1 connection: p50", bare_p50 / 1000, "ms")
    bench.found("hit, 1 connection: p50", hit_p50 / 1000, "ms")
    bench.found("hit against bare: p50", hit_p50 / bare_p50, "×", at_most=0.75)


def one_round(bench: Bench, bare: Target, body: Path, many: Shape, one: Shape) -> tuple[float, ...]:
    """CPU of the bare proxy, of a hit, a miss and a request without the cache; p50 of the proxy and of a hit."""
    forwarded = sound(bare, body, many)
    missed = load(bench, body, many, "refresh", calls=True)
    hit = load(bench, body, many, "use", calls=False)
    bypassed = load(bench, body, many, "bypass", calls=True)
    alone = load(bench, body, one, "use", calls=False)
    return (
        forwarded.answer_cpu,
        hit.answer_cpu,
        missed.answer_cpu,
        bypassed.answer_cpu,
        sound(bare, body, one).latency_p50,
        alone.latency_p50,
    )


def memory(bench: Bench) -> None:
    """Different requests, each stored once; what Redis has in use before and after, over their number."""
    number, rng, words = bench.items(ENTRIES), random.Random(7), VOCABULARY.split()
    connection = bench.client.connect()
    ask(connection, json.dumps(params(INSTANT, "the first one pays for what is made once")).encode())
    before = bench.redis.traffic().memory
    model = f"stream-{ANSWER_DELTAS}"
    for at in range(number):
        text = " ".join((str(at), *rng.choices(words, k=300)))
        ask(connection, json.dumps(params(model, text)).encode())
    wait_for_entries(connection, number + 1)
    connection.close()
    used = bench.redis.traffic().memory - before
    bench.found(f"an answer of {ANSWER_DELTAS * 11} bytes to a prompt of 1.5 kB", used / number, "bytes/entry")


def ask(connection: http.client.HTTPConnection, body: bytes) -> None:
    headers = {"x-api-key": CLIENT_KEY, "content-type": "application/json", "x-gateway-cache": "use"}
    connection.request("POST", PATH, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200 or answer.headers["x-gateway-cache"] != "miss":
        raise RuntimeError(f"got {answer.status}, {answer.headers['x-gateway-cache']}: {said[:300]!r}")


def wait_for_entries(connection: http.client.HTTPConnection, number: int) -> None:
    """An answer is stored just after it has been delivered."""
    give_up = time.monotonic() + 10
    while True:
        connection.request("GET", f"{PATH}/cache/stats", headers={"x-api-key": CLIENT_KEY})
        there = json.loads(connection.getresponse().read())["cache_stats"]["total_entries"]
        if there == number:
            return
        if time.monotonic() > give_up:
            raise RuntimeError(f"{there} of {number} answers were stored")
        time.sleep(0.05)


def load(bench: Bench, body: Path, shape: Shape, cache: str, *, calls: bool) -> Report:
    """Raises RuntimeError unless every answer, or none of them, was the upstream's, as it should have been."""
    target = bench.client.target
    before = calls_upstream(bench.stage)
    report = sound(target, body, shape, f"x-gateway-cache: {cache}")
    called = calls_upstream(bench.stage) - before
    if (called < report.answers) if calls else called:
        raise RuntimeError(f"{cache}: {report.answers} answers by {called} calls")
    return report


def sound(target: Target, body: Path, shape: Shape, *headers: str) -> Report:
    sent = (*target.recipe.headers, *headers)
    report = end_load(start_load(target.ports, target.processes(), PATH, sent, body, shape))
    if not report.sound:
        raise RuntimeError(f"{target.name} answered badly: {report.statuses}")
    return report


def calls_upstream(stage: Stage) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=10)
    connection.request("GET", "/")
    said = connection.getresponse().read().decode()
    connection.close()
    return sum(int(said.split(f'"{kind}":')[1].split(",")[0]) for kind in ("requests",))


def write(bench: Bench, model: str, *, stream: bool = False) -> Path:
    path = bench.stage.directory / f"cache-{model}.json"
    path.write_text(json.dumps(params(model, "Say hello in three languages.") | {"stream": stream}))
    return path


def shaped(bench: Bench, connections: int, seconds: float, expect: str = '"message"') -> Shape:
    return Shape(connections, seconds if bench.share == 1 else 1.0, 0.5, expect=expect)


CASES: dict[str, Callable[[Bench], None]] = {"sooner": sooner, "cost": cost, "memory": memory}
