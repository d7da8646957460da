"""Secrets and prompts are in no name of a Redis key, no metric, no error body and no log line."""

import aiohttp
import orjson
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import serving
from tests.support.redis_server import redis_server

KEY = "client-canary-0123456789"
CANARIES = ("client-canary", "prompt-canary", "system-canary", "tool-canary", "header-canary", "sk-upstream-canary")
HEADERS = {
    "x-api-key": KEY,
    "x-gateway-cache": "use",
    "idempotency-key": "header-canary",
    "cookie": "session=header-canary",
    "x-forwarded-for": "header-canary",
}
TOOL = {"name": "look", "description": "tool-canary", "input_schema": {"type": "object", "properties": {}}}
ASK = {
    "max_tokens": 9,
    "system": "system-canary",
    "messages": [{"role": "user", "content": "prompt-canary"}],
    "tools": [TOOL],
}
MODELS = ("sim/text-3", "sim/error-400", "sim/error-mid-stream", "sim/hang-up")


async def test_secrets_and_prompts_are_in_no_key_name_metric_error_or_log_line(simulator: Simulator) -> None:
    async with (
        redis_server() as url,
        Redis.from_url(url, protocol=2) as redis,
        serving(simulator, redis_url=url, keys=f"tests:{KEY}", max_attempts=1, admin_key="admin-canary-0123") as live,
        aiohttp.ClientSession(live.url, headers=HEADERS) as client,
    ):
        shown: list[bytes] = []
        with capture_logs() as lines:
            for model in MODELS:
                for more in ({}, {"stream": True}, {"thread": {"type": "create"}}, {"max_tokens": "prompt-canary"}):
                    async with client.post("/v1/messages", json={**ASK, "model": model, **more}) as reply:
                        body = await reply.read()
                        shown += [body] if b'"error"' in body and "max_tokens" not in more else []
            batch = {"requests": [{"custom_id": "a", "params": {**ASK, "model": "sim/text-3"}}]}
            async with client.post("/v1/messages/batches", json=batch) as reply:
                assert reply.status == 200
        async with client.get(live.admin_url + "/metrics") as reply:
            shown.append(await reply.read())
        shown += [name async for name in redis.scan_iter("*")]
        shown.append(orjson.dumps(lines, default=str))
    assert len(shown) > 15
    told = [(canary, one) for one in shown for canary in (*CANARIES, "admin-canary") if canary.encode() in one]
    assert told == []
