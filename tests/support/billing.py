"""An upstream that keeps a bill, and clients that cause costs: whole answers and streams, failures, clients that leave,
cached prompts. The gateway's own reports must show the same sum, to the nano-dollar.
"""

import asyncio
import io
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from gateway.access.spend import SpendStore
from gateway.cli.spend_export import write_entries
from gateway.redis.server import RedisServer

NANO = 1_000_000_000
KEYS = {"red": "key-of-red-0123456789", "blue": "key-of-blue-0123456789"}
MODELS = ("big", "small")
PROMPTS = 50
CLIENTS = 8
WRONG = 0.1  # of all calls: a failure that costs nothing
LEAVES = 0.15  # of all streams
HELD_SECONDS = 0.05
# Name of an upstream that is asked when the first one fails.
SECOND = "second"


@dataclass(slots=True)
class BilledUpstream:
    """`bill`: nano-dollars by generation, a third of its price for a stream that ended early."""

    chance: random.Random
    url: str = ""
    bill: Counter[str] = field(default_factory=Counter)
    calls: int = 0

    @property
    def total(self) -> int:
        return self.bill.total()

    def differences(self, entries: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return what the entries have of each generation, where that is not the bill."""
        booked: Counter[str] = Counter()
        for entry in entries:
            booked[entry.get("generation", "none")] += entry.get("cost", 0)
        names = sorted(self.bill.keys() | booked.keys())
        return [f"{one}: {booked[one]} of {self.bill[one]}" for one in names if booked[one] != self.bill[one]]

    async def complete(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.calls += 1
        if self.chance.random() < WRONG:
            return web.json_response({"error": {"message": "no"}}, status=self.chance.choice((429, 500, 503)))
        text = asked["messages"][-1]["content"]
        text = text if isinstance(text, str) else text[0]["text"]
        generation, cost = f"gen-{self.calls}", self.chance.randint(1, 30_000_000)
        if not asked.get("stream"):
            self.bill[generation] = cost
            message = {"role": "assistant", "content": "some"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = {"id": generation, "model": asked["model"], "choices": [choice], "usage": usage(cost)}
            return web.json_response(body)
        return await self._stream(request, generation, cost)

    async def _stream(self, request: web.Request, generation: str, cost: int) -> web.StreamResponse:
        self.bill[generation] = cost // 3
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk(generation, {"content": "some"}))
        await asyncio.sleep(HELD_SECONDS)
        await response.write(chunk(generation, {}, finish_reason="stop"))
        if request.transport is not None and not request.transport.is_closing():
            self.bill[generation] = cost
        await response.write(chunk(generation, None, usage=usage(cost)) + b"data: [DONE]\n\n")
        return response

    async def show_generation(self, request: web.Request) -> web.Response:
        cost = self.bill.get(request.query["id"])
        if cost is None:
            return web.json_response({"error": {"message": "not found"}}, status=404)
        data = {"id": request.query["id"], "total_cost": cost / NANO, "tokens_prompt": 9, "tokens_completion": 2}
        return web.json_response({"data": data})


def usage(cost: int) -> dict[str, Any]:
    return {"prompt_tokens": 9, "completion_tokens": 5, "cost": cost / NANO}


def chunk(generation: str, delta: dict[str, str] | None, finish_reason: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return b"data: " + orjson.dumps({"id": generation, "choices": choices, **more}) + b"\n\n"


@asynccontextmanager
async def billed_upstream(chance: random.Random) -> AsyncIterator[BilledUpstream]:
    upstream = BilledUpstream(chance)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream.complete)
    app.router.add_get("/v1/generation", upstream.show_generation)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield upstream
    finally:
        await runner.cleanup()


async def spend(url: str, number: int, chance: random.Random, leaves: float = LEAVES) -> Counter[str]:
    """Send `number` requests to a front end, and return the outcomes. `leaves`: share of streams that clients leave."""
    seen: Counter[str] = Counter()
    numbers = iter(range(number))

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            seen[await ask(session, url, chance, leaves)] += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return seen


async def ask(session: aiohttp.ClientSession, url: str, chance: random.Random, leaves: float) -> str:
    tenant, streams = chance.choice(sorted(KEYS)), chance.random() < 0.5
    prompt = f"{tenant}/{chance.randrange(PROMPTS)}"
    body = {"model": chance.choice(MODELS), "max_tokens": 50, "messages": [{"role": "user", "content": prompt}]}
    headers = {"x-api-key": KEYS[tenant], "x-session-id": f"session-{chance.randrange(5)}"}
    if chance.random() < 0.3:
        headers["x-gateway-cache"] = "use"
    async with session.post(f"{url}/v1/messages", json={**body, "stream": streams}, headers=headers) as answer:
        if streams and chance.random() < leaves:
            await answer.content.readuntil(b"content_block_delta")
            answer.close()
            return "left"
        await answer.read()
        outcome = answer.headers.get("x-gateway-cache", str(answer.status))
        return f"{outcome} by {SECOND}" if answer.headers.get("x-gateway-upstream") == SECOND else outcome


async def reports_of(server: RedisServer, first: date, last: date) -> dict[str, int]:
    """Return the sum of every report, in nano-dollars."""
    store, out = SpendStore(server), io.StringIO()
    await write_entries(store.entries(first, last), "jsonl", out)
    groups: dict[str, list[Any]] = {
        ",".join(by): await store.by_day(first, last, by)
        for by in (("tenant", "model"), ("day",), ("key", "provider"), ("user",))
    }
    groups["session,agent"] = await store.by_entries(("session", "agent"), first, last)
    sums = {name: sum(row.cost for row in rows) for name, rows in groups.items()}
    return {**sums, "entries": sum(orjson.loads(line).get("cost", 0) for line in out.getvalue().splitlines())}
