"""Benefit of the prompt cache: a hit compared with a miss at a given latency of the upstream, and with bare forwarding.

One gateway with an embedded Redis is used in three ways: with `use`, where all but the first request are hits; with
`refresh`, where all are misses that are stored; and without the header, which shows the cost of a cache for requests
that do not use it. CPU is that of the gateway and its Redis together. Hits and misses are compared on a few
connections, so that no request waits for another.
"""

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

from redis import Redis

from bench.cases import question, write_body
from bench.load import Report, Shape
from bench.measure import Machine, machine
from bench.report import machine_line, table
from bench.targets import BARE, CLIENT_KEY, PATH, Recipe, Target, gateway_recipe, running, running_stage

UPSTREAM_MS = 500
MEMORY_ENTRIES = 2000
SHAPES = {"one": 1, "small": 16}
LATE_CONNECTIONS = 4

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """`way`: use, refresh or none for the gateway, plain for one without a cache, or the name of another target."""

    round: int
    case: str
    way: str
    report: Report


@dataclass(frozen=True, slots=True)
class CacheCosts:
    """`entry_bytes`: of the server's memory for one stored answer of `answer_bytes` as JSON."""

    machine: Machine
    upstream_ms: int
    entry_bytes: float
    answer_bytes: int
    runs: list[Run] = field(default_factory=list)

    def middle(self, case: str, way: str, name: str) -> float:
        found: list[float] = [getattr(run.report, name) for run in self.runs if (run.case, run.way) == (case, way)]
        return median(found)


def measure(rounds: int, seconds: float, say: Say) -> CacheCosts:
    """Raises StartError, CompilerError."""
    cached = gateway_recipe("cached", GATEWAY_CACHE_REDIS_URL="embedded", XDG_STATE_HOME="$dir")
    with (
        running_stage() as stage,
        running(BARE, stage) as bare,
        running(gateway_recipe("plain"), stage) as plain,
        running(cached, stage) as target,
    ):
        write_body(target.directory / "bodies" / "late.json", question(f"plain-1-f{UPSTREAM_MS}"))
        say(f"cached: memory of {MEMORY_ENTRIES} entries")
        entry, answer = _memory_of_entries(target)
        costs = CacheCosts(machine(), UPSTREAM_MS, entry, answer)
        ways = {"bare": bare, "plain": plain, **{way: asking(target, way) for way in ("none", "use", "refresh")}}
        for number in range(rounds):
            for case, connections in SHAPES.items():
                for way in ("bare", "plain", "none", "use"):
                    say(f"round {number + 1}: {case}, {way}")
                    shape = Shape(connections, seconds, 0.5, expect='"message"')
                    costs.runs.append(Run(number, case, way, ways[way].load("small", shape)))
            for way in ("refresh", "use"):
                say(f"round {number + 1}: an upstream that takes {UPSTREAM_MS} ms, {way}")
                shape = Shape(
                    LATE_CONNECTIONS, max(seconds, 6 * UPSTREAM_MS / 1000), 2 * UPSTREAM_MS / 1000, expect='"message"'
                )
                costs.runs.append(Run(number, "late", way, ways[way].load("late", shape)))
    return costs


def asking(target: Target, way: str) -> Target:
    """The same target, asked with that word in the header."""
    header = () if way == "none" else (f"x-gateway-cache: {way}",)
    recipe: Recipe = target.recipe
    return replace(target, recipe=replace(recipe, headers=(*recipe.headers, *header)))


def render(costs: CacheCosts) -> str:
    cpu = {
        case: {way: costs.middle(case, way, "answer_cpu") for way in ("bare", "plain", "none", "use")}
        for case in SHAPES
    }
    latency = {
        way: [costs.middle("late", way, name) for name in ("latency_p50", "latency_p99")] for way in ("refresh", "use")
    }
    rows = [
        [
            f"{case}, {connections} connection(s)",
            *(f"{cpu[case][way]:.0f}" for way in ("bare", "plain", "none", "use")),
            f"{cpu[case]['use'] / cpu[case]['bare']:.2f} ×",
            f"{costs.middle(case, 'bare', 'latency_p50'):.0f}",
            f"{costs.middle(case, 'use', 'latency_p50'):.0f}",
        ]
        for case, connections in SHAPES.items()
    ]
    heads = ["case", "bare CPU µs", "no cache", "not asked", "hit", "hit / bare", "bare p50 µs", "hit p50 µs"]
    late = [[way, f"{p50 / 1000:.2f}", f"{p99 / 1000:.2f}"] for way, (p50, p99) in latency.items()]
    faster = [100 * (1 - latency["use"][at] / latency["refresh"][at]) for at in range(2)]
    return "\n\n".join(
        [
            machine_line(costs.machine),
            table(heads, rows),
            table([f"upstream takes {costs.upstream_ms} ms, {LATE_CONNECTIONS} connections", "p50 ms", "p99 ms"], late),
            f"A hit is {faster[0]:.2f} % faster than a miss at p50, {faster[1]:.2f} % at p99.",
            f"An entry takes {costs.entry_bytes:.0f} bytes of Redis, for {costs.answer_bytes} bytes of JSON.",
        ]
    )


def faults(costs: CacheCosts) -> list[str]:
    return [f"{run.case}, {run.way}: bad answers {run.report.statuses}" for run in costs.runs if not run.report.sound]


def _memory_of_entries(target: Target) -> tuple[float, int]:
    """Bytes of Redis for an entry, and of the JSON that it holds."""
    server = Redis(unix_socket_path=str(target.directory / "0" / "dragoman" / "server.sock"))
    headers = {"x-api-key": CLIENT_KEY, "x-gateway-cache": "use", "content-type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", target.ports[0], timeout=10)
    before, size = _used(server), 0
    for number in range(MEMORY_ENTRIES):
        connection.request("POST", PATH, json.dumps(question("plain-1", text=f"question {number}")), headers)
        size = len(connection.getresponse().read())
    connection.close()
    entries = (_used(server) - before) / MEMORY_ENTRIES
    server.close()
    return entries, size


def _used(server: Redis) -> int:
    info = server.info("memory")
    assert isinstance(info, dict)
    return int(info["used_memory"])
