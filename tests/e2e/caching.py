"""Shared parts of the prompt cache's tests: front ends with a cache, requests that ask for it, held answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gateway.messages.fold import fold_events
from gateway.redis.connections import queue_client
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, Script, json_script, stream_script
from gateway.telemetry.metrics import CACHE_REQUESTS
from tests.e2e.conftest import KEY, Live, serving
from tests.e2e.raw import parse_events

OTHER_KEY = "other-key-0123456789"
ADMIN_KEY = "admin-key-0123456789"


@dataclass(frozen=True, slots=True)
class Reply:
    """`message` is folded from a stream's events, or the JSON; `said` its text."""

    status: int
    headers: Any
    message: Any
    raw: bytes

    @property
    def outcome(self) -> str:
        return str(self.headers["x-gateway-cache"])

    @property
    def said(self) -> str:
        return "".join(block.get("text", "") for block in self.message["content"])


@asynccontextmanager
async def caching(simulator: Simulator, url: str, number: int = 1, **changes: Any) -> AsyncIterator[list[Live]]:
    """Front ends that share Redis and the upstream, and know its catalogue; patient, as a busy machine may need it."""
    keys = f"tests:{KEY},others:{OTHER_KEY}"
    async with AsyncExitStack() as stack:
        settings = {"redis_url": url, "keys": keys, "max_attempts": 1, "admin_key": ADMIN_KEY}
        settings |= {"cache_budget_seconds": 5} | changes
        fronts = [await stack.enter_async_context(serving(simulator, **settings)) for _ in range(number)]
        for live in fronts:
            await live.client().models.list()
        yield fronts


def body(words: str, **fields: Any) -> dict[str, Any]:
    return {"model": "sim/echo", "max_tokens": 100, "messages": [{"role": "user", "content": words}], **fields}


async def post(live: Live, words: str, cache: str | None = "use", *, key: str = KEY, **fields: Any) -> Reply:
    headers = {"x-api-key": key, **({"x-gateway-cache": cache} if cache else {})}
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(live.url + "/v1/messages", json=body(words, **fields), headers=headers) as response,
    ):
        raw = await response.read()
        streamed = response.content_type == "text/event-stream"
        return Reply(response.status, response.headers, _told(raw) if streamed else orjson.loads(raw), raw)


def _told(raw: bytes) -> Any:
    events = parse_events(raw)
    return events[-1] if events[-1]["type"] == "error" else fold_events(events)


def calls(simulator: Simulator) -> int:
    return len(simulator.requests())


async def manage(
    live: Live, method: str, path: str, *, key: str | None = KEY, admin: bool = False
) -> tuple[int, dict[str, Any]]:
    headers = {"x-api-key": key} if key else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, (live.admin_url if admin else live.url) + path, headers=headers) as response,
    ):
        return response.status, await response.json()


async def stats(live: Live, key: str = KEY) -> dict[str, Any]:
    status, told = await manage(live, "GET", "/v1/messages/cache/stats", key=key)
    assert status == 200
    found: dict[str, Any] = told["cache_stats"]
    return found


def completion(text: str = "ok", **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "cost": 0.5}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}], "usage": usage}


def chunk(delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, **choice}]}


def held_stream(*gates: asyncio.Event) -> Script:
    """One word, then another one after each gate."""
    steps: list[Any] = [chunk({"role": "assistant", "content": "word "})]
    for gate in gates:
        steps += [Hold(gate), chunk({"content": "word "})]
    return stream_script(*steps, chunk({}, finish_reason="stop"), b"data: [DONE]\n\n")


def held_json(gate: asyncio.Event, answer: Any, status: int = 200) -> Script:
    script = json_script(answer, status=status)
    return Script((Hold(gate), *script.steps), status, script.headers)


def counted(outcome: str) -> float:
    return CACHE_REQUESTS.labels(outcome)._value.get()


async def info(url: str) -> dict[str, Any]:
    redis = queue_client(url)
    try:
        told: dict[str, Any] = await redis.info()
        return told
    finally:
        await redis.aclose()
