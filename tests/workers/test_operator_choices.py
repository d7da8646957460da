"""Operators' choices of conversion apply to items of batches as to live requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from gateway.access.keyring import Keyring
from gateway.settings import load_settings
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, json_script, stream_script
from gateway.upstream.http.http_client import Transport
from gateway.wiring import build_exchange
from tests.support.streams import delta_chunk
from tests.workers.conftest import item, text_of
from tests.workers.test_execute import BATCH, work
from workers.execute import execute
from workers.wiring import to_patient_exchange

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


@asynccontextmanager
async def working(simulator: Simulator, **choices: str) -> AsyncIterator[Any]:
    """Run an item with these settings."""
    settings = load_settings(upstream_url=simulator.url, upstream_api_key="sk-canary", **choices)
    client = Transport()
    exchange = to_patient_exchange(build_exchange(settings, client, Keyring((("t", b"secret"),))))

    async def result_of(**params: Any) -> dict[str, Any]:
        outcome = await execute(exchange, BATCH, work(item(1, **params)), lambda _: None, turns=asyncio.Lock())
        result: dict[str, Any] = orjson.loads(outcome.line)["result"]
        return result

    yield result_of
    await client.close()


async def test_stop_sequences_are_matched_by_the_gateway(simulator: Simulator) -> None:
    simulator.script(stream_script(delta_chunk({"content": "One. S"}), delta_chunk({"content": "TOP two"}), Hold()))
    async with working(simulator, stop_sequences="gateway") as result_of:
        result = await result_of(stop_sequences=["END", "STOP"])
    assert text_of(result) == "One. "
    assert (result["message"]["stop_reason"], result["message"]["stop_sequence"]) == ("stop_sequence", "STOP")
    assert "stop" not in simulator.requests()[0].json


async def test_refused_strict_tools_are_tried_again_in_the_same_attempt_of_the_item(simulator: Simulator) -> None:
    refused = json_script({"error": {"message": "No endpoints found that can handle it", "code": 404}}, status=404)
    simulator.script(refused, stream_script(delta_chunk({"content": "whole"}), delta_chunk({}, finish_reason="stop")))
    async with working(simulator) as result_of:
        result = await result_of(tools=[{"name": "look", "input_schema": SCHEMA, "strict": True}])
    assert text_of(result) == "whole"
    assert ["strict" in one.json["tools"][0]["function"] for one in simulator.requests()] == [True, False]
