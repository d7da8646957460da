"""Telemetry of clients through the gateway to the operator's collector."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from gateway.simulator.loopback import Simulator
from gateway.web.otlp import MAX_BODY_BYTES, MAX_WAITING
from tests.e2e.conftest import KEY, Live, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"x-api-key": KEY, "content-type": "application/json"}
PROTOBUF = {"authorization": f"Bearer {KEY}", "content-type": "application/x-protobuf", "content-encoding": "gzip"}
HEADERS = "authorization=Bearer%20of-the-collector, x-experiment=7"
WAIT_SECONDS = 20


@dataclass
class Sink:
    """A collector that keeps what it gets; while `open` is not set it does not answer."""

    url: str = ""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    received: asyncio.Queue[tuple[str, dict[str, str], bytes]] = field(default_factory=asyncio.Queue)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        await self.open.wait()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.put_nowait((request.path, headers, body))
        return web.Response()

    async def next(self) -> tuple[str, dict[str, str], bytes]:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.received.get()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink() -> AsyncIterator[Sink]:
    found = Sink()
    found.open.set()
    app = web.Application()
    app.router.add_post("/base/v1/{signal}", found.receive)
    # Bodies are kept as they were sent, compressed or not.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = "http://{}:{}/base/".format(*runner.addresses[0][:2])
    yield found
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(sink: Sink) -> AsyncIterator[Live]:
    async with Simulator() as simulator, serving(simulator, otlp_endpoint=sink.url, otlp_headers=HEADERS) as front:
        yield front


async def post(live: Live, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(f"{live.url}{path}", data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, await response.read(), response.content_type


@pytest.mark.parametrize("signal", ["metrics", "logs", "traces"])
async def test_export_reaches_the_collector_byte_for_byte_with_tenant_and_key(
    live: Live, sink: Sink, signal: str
) -> None:
    body = b'{"resource\\u0053pans": [ ]}\r\n'
    assert await post(live, f"/v1/{signal}", body, JSON) == (200, b"{}", "application/json")
    path, headers, received = await sink.next()
    assert (path, received) == (f"/base/v1/{signal}", body)
    assert headers["x-gateway-tenant"] == "tests"
    assert headers["x-gateway-key"]
    assert (headers["authorization"], headers["x-experiment"]) == ("Bearer of-the-collector", "7")
    assert KEY not in str(headers)


async def test_compressed_protobuf_is_passed_on_as_it_is(live: Live, sink: Sink) -> None:
    status, reply, kind = await post(live, "/v1/traces", b"\x1f\x8bnot really gzip", PROTOBUF)
    assert (status, reply, kind) == (200, b"", "application/x-protobuf")
    _, headers, received = await sink.next()
    assert (headers["content-encoding"], received) == ("gzip", b"\x1f\x8bnot really gzip")


@pytest.mark.parametrize(
    ("status", "headers", "size"),
    [
        (401, {"content-type": "application/json"}, 2),
        (400, {"x-api-key": KEY, "content-type": "text/plain"}, 2),
        (413, JSON, MAX_BODY_BYTES + 1),
    ],
)
async def test_wrong_export_is_refused(live: Live, status: int, headers: dict[str, str], size: int) -> None:
    assert (await post(live, "/v1/logs", b" " * size, headers))[0] == status


async def test_frozen_collector_delays_no_client_and_exports_beyond_the_queue_are_dropped(
    live: Live, sink: Sink
) -> None:
    sink.open.clear()
    async with aiohttp.ClientSession() as session:
        for _ in range(MAX_WAITING + 20):
            async with session.post(f"{live.url}/v1/logs", data=b"{}", headers=JSON) as response:
                assert response.status == 200
        async with session.get(f"{live.admin_url}/metrics") as response:
            metrics = await response.text()
    sink.open.set()
    [line] = [
        line
        for line in metrics.splitlines()
        if line.startswith('gateway_otlp_relayed_total{outcome="dropped",signal="logs"}')
    ]
    assert float(line.rpartition(" ")[2]) > 0


async def test_without_an_endpoint_the_paths_are_404() -> None:
    async with Simulator() as simulator, serving(simulator) as bare:
        status, body, _ = await post(bare, "/v1/traces", b"{}", JSON)
        assert (status, b"GATEWAY_OTLP_ENDPOINT" in body) == (404, True)


async def test_replies_name_the_tenant_as_workspace(live: Live) -> None:
    for stream in (False, True):
        raw = await live.client().messages.with_raw_response.create(
            model="sim/text-3", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        assert raw.headers["anthropic-workspace-id"] == "tests"
