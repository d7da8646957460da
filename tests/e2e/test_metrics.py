"""A scrape shows requests that have just been answered."""

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway.simulator.script import EVENT_STREAM, Pause, Script, to_data
from gateway.telemetry.exchange_line import exchange_fields
from tests.e2e.conftest import KEY, Live
from tests.support.series import samples_of

PROMPT = {"model": "sim/echo", "max_tokens": 50, "messages": [{"role": "user", "content": "count to three"}]}
SECONDS = 0.4


async def scraped(live: Live) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"{live.admin_url}/metrics") as answer:
        return samples_of(await answer.text())


async def ask(live: Live, **changes: object) -> None:
    options = {"json": {**PROMPT, **changes}, "headers": {"x-api-key": KEY}}
    async with aiohttp.ClientSession() as session, session.post(f"{live.url}/v1/messages", **options) as answer:
        await answer.read()


async def test_first_content_counts_from_the_arrival_and_overhead_excludes_the_upstream(live: Live) -> None:
    chunk = to_data({"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]})
    steps = (Pause(SECONDS), b"", Pause(SECONDS), chunk + b"data: [DONE]\n\n")
    live.simulator.script(Script(steps, headers=(EVENT_STREAM,)))
    before = await scraped(live)
    await ask(live, stream=True)
    after = await scraped(live)

    def moved(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert moved('gateway_upstream_header_seconds_sum{upstream="openrouter"}') >= SECONDS
    assert moved('gateway_first_content_seconds_sum{model="sim/echo"}') >= 2 * SECONDS
    assert moved("gateway_overhead_seconds_count") == 1
    whole = moved('gateway_exchange_duration_seconds_sum{model="sim/echo",stream="true"}')
    assert moved("gateway_overhead_seconds_sum") <= whole - 2 * SECONDS + 0.01
    assert after['gateway_exchanges_open{stream="true"}'] == before['gateway_exchanges_open{stream="true"}']
    assert after['gateway_gate_open{model="sim/echo",upstream="openrouter"}'] == 1


async def test_open_connections_of_clients_are_counted(live: Live) -> None:
    address = urlsplit(live.url)
    async with AsyncExitStack() as stack:
        for _ in range(5):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            stack.callback(writer.close)
        async with asyncio.timeout(20):
            while (await scraped(live))["gateway_connections_open"] < 5:
                pass


async def test_a_tenant_s_tokens_and_cost_are_the_sums_of_its_log_lines(live: Live) -> None:
    kinds = {"input": "input_tokens", "output": "output_tokens", "cache_read": "cache_read_tokens"}
    before = await scraped(live)
    with capture_logs() as captured:
        for number in range(5):
            await ask(live, stream=number % 2 == 0)
    lines = [exchange_fields(line["record"]) for line in captured if line["event"] == "exchange_finished"]
    assert len(lines) == 5
    after = await scraped(live)
    for kind, field in kinds.items():
        name = f'gateway_usage_tokens_total{{kind="{kind}",model="sim/echo",tenant="tests"}}'
        assert after.get(name, 0) - before.get(name, 0) == sum(line[field] for line in lines)
    name = 'gateway_usage_cost_usd_total{model="sim/echo",tenant="tests"}'
    assert after[name] - before.get(name, 0) == pytest.approx(sum(line["cost"] for line in lines), abs=1e-6)
