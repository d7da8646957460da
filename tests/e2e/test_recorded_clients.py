"""Recorded requests of coding agents and SDKs, each put to every strict simulated server: none is refused."""

from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.vendors.row import SimulatedVendor
from gateway.simulator.vendors.rows import ROWS
from tests.e2e.conftest import KEY, serving

REQUESTS = Path(__file__).parents[1] / "clients" / "requests"
RECORDED: dict[str, dict[str, Any]] = {
    path.stem: orjson.loads(path.read_bytes()) for path in sorted(REQUESTS.glob("*.json"))
}
# Its last item is sealed by the server that wrote it.
SEALED_ELSEWHERE = {"codex-after-compaction-trigger"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.covers("Agents · recorded requests of ten clients reach strict servers")
async def test_recorded_requests_reach_strict_servers(simulator: Simulator, row: SimulatedVendor) -> None:
    url = simulator.url.removesuffix("/api/v1") + f"/{row.name}/v1"
    refused: list[str] = []
    assert len(RECORDED) == 28
    async with (
        serving(simulator, upstream_url=url, upstream_flavor=row.name) as live,
        aiohttp.ClientSession() as session,
    ):
        for name, recorded in RECORDED.items():
            if name in SEALED_ELSEWHERE:
                continue
            body = {**recorded["body"], "model": row.models[0].id}
            async with session.post(live.url + recorded["path"], json=body, headers={"x-api-key": KEY}) as response:
                answer = await response.read()
            if response.status != 200 or b'"error":{' in answer:
                refused.append(f"{name}: {response.status} {answer[-300:]!r}")
    assert refused == []


async def test_a_summary_sealed_elsewhere_is_refused_by_name(simulator: Simulator) -> None:
    recorded = RECORDED["codex-after-compaction-trigger"]
    async with serving(simulator) as live, aiohttp.ClientSession() as session:
        body = {**recorded["body"], "model": "sim/echo"}
        async with session.post(live.url + recorded["path"], json=body, headers={"x-api-key": KEY}) as response:
            told = (await response.json())["error"]
    assert response.status == 400
    assert told["param"].endswith("encrypted_content")
