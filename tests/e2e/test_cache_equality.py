"""Which requests the prompt cache takes for equal, over a real Redis, and what each of their replies reports."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cache.key import VOLATILE
from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, Pause, Script, json_script
from tests.e2e.caching import calls, post
from tests.e2e.conftest import Live, serving

LISTED = {"data": [{"id": "sim/echo", "context_length": 32_000, "supported_parameters": ["tools", "temperature"]}]}
MODELS = "GET /models"


@pytest.fixture
async def redis_url(tmp_path: Path) -> AsyncIterator[str]:
    async with EmbeddedServer(tmp_path) as server:
        yield server.url


@pytest.fixture
async def front(simulator: Simulator, redis_url: str) -> AsyncIterator[Live]:
    async with serving(simulator, redis_url=redis_url, cache_budget_seconds=5) as live:
        yield live


def delayed(script: Script, *steps: Any) -> Script:
    return Script((*steps, *script.steps), script.status, script.headers)


async def test_the_second_of_two_equal_requests_after_a_start_is_a_hit(simulator: Simulator, redis_url: str) -> None:
    """The list of models comes late, and changes what is known of the model."""
    simulator.script(delayed(json_script(LISTED), Pause(0.3)), on=MODELS)
    async with serving(simulator, redis_url=redis_url, cache_budget_seconds=5) as live:
        first = await post(live, "hello")
        await live.client().models.list()
        second = await post(live, "hello")
    assert (first.outcome, second.outcome) == ("miss", "hit")
    assert first.headers["x-gateway-cache-key"] == second.headers["x-gateway-cache-key"]


async def test_a_list_that_does_not_come_delays_a_start_by_a_second_at_most(
    simulator: Simulator, redis_url: str
) -> None:
    simulator.script(delayed(json_script(LISTED), Hold()), on=MODELS)
    async with serving(simulator, redis_url=redis_url, cache_budget_seconds=5) as live:
        assert (await post(live, "hello")).status == 200


async def test_an_unknown_field_does_not_count_and_each_reply_names_its_own(front: Live) -> None:
    replies = [
        await post(front, "hello", unheard_of=1),
        await post(front, "hello", unheard_of=2, other=[]),
        await post(front, "hello"),
        await post(front, "hello", stream=True, another=True),
    ]
    assert [reply.outcome for reply in replies] == ["miss", "hit", "hit", "hit"]
    assert [reply.headers.get("x-gateway-ignored") for reply in replies] == [
        "dropped:unheard_of",
        "dropped:unheard_of, dropped:other",
        None,
        "dropped:another",
    ]
    assert calls(front.simulator) == 1


async def test_a_known_field_that_is_dropped_counts_and_is_named_by_a_hit_too(front: Live) -> None:
    replies = [await post(front, "hello", inference_geo=geo, unheard_of=1) for geo in ("us", "us", "eu")]
    assert [reply.outcome for reply in replies] == ["miss", "hit", "miss"]
    assert {reply.headers["x-gateway-ignored"] for reply in replies} == {"dropped:unheard_of, dropped:inference_geo"}


async def test_what_does_not_reach_the_model_neither_counts_nor_leaves_a_note(front: Live) -> None:
    fields: dict[str, Any] = {
        "metadata": {"user_id": "a"},
        "user": "a",
        "session_id": "a",
        "safety_identifier": "a",
        "trace": {"trace_id": "a"},
        "stream_options": {"include_usage": True},
        "diagnostics": {},
        "stream": True,
    }
    assert fields.keys() == VOLATILE
    first = await post(front, "hello", **fields)
    second = await post(front, "hello")
    assert (first.outcome, second.outcome) == ("miss", "hit")
    assert "x-gateway-ignored" not in second.headers
