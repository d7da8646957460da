"""Claude Code at the end of a budget and of a rate limit: what it shows, and how often it asks."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import serving
from tests.servers import claude_code
from tests.servers.claude_code import Turn
from tests.servers.recorder import Exchange, recording
from tests.servers.registry import SERVERS
from tests.servers.report import CHOICE
from tests.servers.running import Running
from tests.support.redis_server import redis_server

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHOICE not in os.environ, reason="`make servers` runs it: it downloads Claude Code"),
    pytest.mark.skipif(claude_code.missing() is not None, reason=str(claude_code.missing())),
]

ADMIN = "admin-key-0123456789"
MODEL = "sim/text-3"
HELLO: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def limited(folder: Path, used: int, **limits: Any) -> AsyncIterator[tuple[Turn, list[Exchange]]]:
    """Run Claude Code with a key with these limits, after a number of earlier requests."""
    async with (
        redis_server() as url,
        Simulator() as simulator,
        serving(simulator, redis_url=url, keys=None, admin_key=ADMIN) as live,
        recording(Running(SERVERS["llama-cpp"], live.url, MODEL, "")) as (recorded, exchanges),
    ):
        async with (
            aiohttp.ClientSession(headers={"x-api-key": ADMIN}) as session,
            session.post(f"{live.admin_url}/v1/organizations/api_keys", json={"name": "cc", **limits}) as response,
        ):
            key = (await response.json())["key"]
        for _ in range(used):
            await live.client(api_key=key).messages.create(**HELLO)
        names = ("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL")
        variables = {"ANTHROPIC_BASE_URL": recorded.url, "ANTHROPIC_AUTH_TOKEN": key, **dict.fromkeys(names, MODEL)}
        async with claude_code.session(variables, folder) as program:
            turn = await program.turn("hi")
        yield turn, [one for one in exchanges if "messages" in one.body]


@pytest.mark.covers("Agents · Claude Code at the end of a budget and of a rate limit")
async def test_spent_budget_ends_the_turn_with_the_gateways_sentence_after_one_request(tmp_path: Path) -> None:
    async with limited(tmp_path, 0, budget={"amount_usd": "0.0001"}) as (turn, exchanges):
        assert turn.has_failed
        assert "The budget of key cc (tenant default), $0.0001 per month, has $0.0001 left" in turn.text
        assert "It is renewed on " in turn.text
        assert [one.status for one in exchanges] == [429]


async def test_rate_limit_is_waited_for_and_the_turn_succeeds(tmp_path: Path) -> None:
    async with limited(tmp_path, 12, limits={"requests_per_minute": 12}) as (turn, exchanges):
        assert not turn.has_failed, turn.result
        statuses = [one.status for one in exchanges]
        assert statuses[-1] == 200
        assert statuses.count(429) <= 2
