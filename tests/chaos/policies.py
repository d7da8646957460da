"""The policies of failing over on real processes: four front ends, Redis, and a first upstream that fails in six ways.

The figures to keep are those of a simulation with the same load: 20 requests a second, first content after about a
second, ten minutes of fault. All ways are tried at once, each with a separate first upstream, and with requests to a
second one that is healthy.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import orjson
from aiohttp import web

from tests.chaos.processes import front_end
from tests.chaos.world import World, require

FRONT_ENDS = 4
RATE = 20.0  # requests a second, of each way
CALM_SECONDS = 8.0
FAULT_SECONDS = 60.0
AWAY_SECONDS = 20.0  # of these without Redis
PATIENCE = aiohttp.ClientTimeout(total=90)
MEDIAN, P99 = 0.5, 2.5  # seconds to the first content
TIMES = 2.0  # as many failed calls as simulated


@dataclass(slots=True)
class First:
    """The first upstream of one way. `calls` and `failed` are counted while the fault lasts."""

    fails: bool = False
    calls: int = 0
    failed: int = 0
    left: float = 0.0  # calls that it takes, where their rate is limited
    at: float = 0.0  # of that number, or when it began to flap


# From the first upstream, the seconds of a healthy call, the time, and chance: the seconds of the call, or its failure.
Fault = Callable[[First, float, float, random.Random], "float | str"]


def refuses(_first: First, _latency: float, _now: float, _chance: random.Random) -> float | str:
    return "abort"


def is_silent(_first: First, _latency: float, _now: float, _chance: random.Random) -> float | str:
    return "hold"


def is_busy(_first: First, latency: float, _now: float, chance: random.Random) -> float | str:
    return "503" if chance.random() < 0.3 else latency


def is_slow(_first: First, latency: float, _now: float, _chance: random.Random) -> float | str:
    return 8 * latency


def is_limited(first: First, latency: float, now: float, _chance: random.Random) -> float | str:
    """Take half of the rate, and as many at once as in a second."""
    first.left = min(RATE / 2, first.left + (now - first.at) * RATE / 2)
    first.at = now
    if first.left < 1:
        return "429"
    first.left -= 1
    return latency


def flaps(first: First, latency: float, now: float, _chance: random.Random) -> float | str:
    """Fail for 20 s, and work for 20 s."""
    first.at = first.at or now
    return latency if int((now - first.at) / 20) % 2 else "abort"


@dataclass(frozen=True, slots=True)
class Way:
    """`most`: failed calls in the simulation, of all, at any length of the fault."""

    fault: Fault
    share: float = 0.0
    most: int = 0


# Simulated: 12,000 requests in ten minutes.
WAYS = {
    "refuses": Way(refuses, most=43),
    "silent": Way(is_silent, most=172),
    "busy": Way(is_busy, share=0.256),
    "slow": Way(is_slow, share=0.048),
    "limited": Way(is_limited, share=0.0525),
    "flaps": Way(flaps, share=0.0343),
}


@dataclass(slots=True)
class Upstreams:
    """The second upstream, and a first one for each way."""

    chance: random.Random
    url: str = ""
    firsts: dict[str, First] = field(default_factory=lambda: {name: First() for name in WAYS})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        name, outcome = request.match_info["name"], latency_of(self.chance)
        first = self.firsts.get(name)
        if first is not None and first.fails:
            first.calls += 1
            found = WAYS[name].fault(first, outcome, time.monotonic(), self.chance)
            if isinstance(found, str):
                first.failed += 1
                return await fail(request, found)
            outcome = found
        await asyncio.sleep(outcome)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        choice = {"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        await response.write(b"data: " + orjson.dumps({"choices": [choice], "usage": usage}) + b"\n\ndata: [DONE]\n\n")
        return response


async def fail(request: web.Request, how: str) -> web.StreamResponse:
    match how:
        case "hold":
            await asyncio.Event().wait()
        case "abort":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
    return web.json_response({"error": {"message": "no", "code": int(how)}}, status=int(how))


def latency_of(chance: random.Random) -> float:
    """Return the seconds of a healthy call: about one in a hundred takes eight times as long."""
    seconds = chance.lognormvariate(log(MEDIAN), log(P99 / MEDIAN) / 2.33)
    return 8 * seconds if chance.random() < 0.01 else seconds


@asynccontextmanager
async def upstreams(chance: random.Random) -> AsyncIterator[Upstreams]:
    both = Upstreams(chance)
    app = web.Application()
    app.router.add_post("/{name}/v1/chat/completions", both.complete)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    both.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield both
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class Clients:
    """Requests for one way after another, to one front end after another; every second one is a stream."""

    urls: list[str]
    session: aiohttp.ClientSession
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)  # way, and what clients got
    asked: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = begun = loop.time()
        async with asyncio.TaskGroup() as group:
            while due < begun + seconds:
                await asyncio.sleep(max(0.0, due - loop.time()))
                for way in WAYS:
                    self._number += 1
                    group.create_task(self._ask(way, self._number))
                due += 1 / RATE

    async def _ask(self, way: str, number: int) -> None:
        self.asked[way] += 1
        body = {"model": way, "max_tokens": 5, "messages": [{"role": "user", "content": f"hi {number}"}]}
        body["stream"] = number % 4 < 2
        url = f"{self.urls[number % len(self.urls)]}/v1/messages"
        try:
            async with self.session.post(url, json=body, timeout=PATIENCE) as answer:
                text = await answer.text()
                is_whole = '"end_turn"' in text and "event: error" not in text
                outcome = "answer" if answer.status == 200 and is_whole else f"{answer.status} {text[-160:]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome = type(error).__name__
        self.seen[way, outcome] += 1


async def fail_over(world: World, scale: int) -> str:
    """No client sees an error, and no more calls fail than twice the simulated number."""
    async with AsyncExitStack() as stack:
        both = await stack.enter_async_context(upstreams(world.chance))
        file = Path(stack.enter_context(TemporaryDirectory(prefix="dragoman-"))) / "gateway.toml"
        lines = [f'{name} = {{ url = "{both.url}/{name}/v1", vendor = "compatible" }}' for name in (*WAYS, "second")]
        routes = [f'{name} = ["{name}", "second"]' for name in WAYS]
        file.write_text("\n".join(["[upstreams]", *lines, "[routes]", *routes]))
        variables = {name: value for name, value in world.variables.items() if "_UPSTREAM_" not in name}
        variables["GATEWAY_CONFIG"] = str(file)
        urls = [await stack.enter_async_context(front_end(variables)) for _ in range(FRONT_ENDS)]
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        clients = Clients(urls, session)
        await clients.run(CALM_SECONDS)
        for first in both.firsts.values():
            first.fails = True
        before = Counter(clients.asked)
        await clients.run(FAULT_SECONDS * scale)
        failed = {way: first.failed for way, first in both.firsts.items()}
        asked = {way: clients.asked[way] - before[way] for way in WAYS}
        await world.server.freeze()
        await clients.run(AWAY_SECONDS)
        await world.server.thaw()
    wrong = {key: count for key, count in clients.seen.items() if key[1] != "answer"}
    found = ", ".join(f"{way} {failed[way]} of {asked[way]}" for way in WAYS)
    require(not wrong, f"clients saw {wrong}; failed calls: {found}")
    for way, limits in WAYS.items():
        most = TIMES * (limits.most + limits.share * asked[way])
        require(failed[way] <= most, f"{way}: {failed[way]} failed calls, {most:.0f} at most; {found}")
    return f"{clients.seen.total()} answers; failed calls: {found}"
