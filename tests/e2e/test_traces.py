"""Traces from a client through front end, queue and worker to the upstream, as a collector receives them."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.simulator.failures import error_script
from gateway.simulator.loopback import Simulator
from tests.console.stage import Stage, staged, working
from tests.e2e.conftest import Live, serving
from tests.support.waiting import until

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
UNSAMPLED = f"00-{'c' * 32}-{'d' * 16}-00"
HELLO: dict[str, Any] = {
    "model": "sim/text-3",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "prompt-canary"}],
}


class Collector:
    """An OTLP/HTTP collector on a loopback port."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = ExportTraceServiceRequest.FromString(await request.read())
        for resource in body.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest_asyncio.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    found = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", found.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = "http://{}:{}".format(*runner.addresses[0][:2])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    yield found
    await runner.cleanup()


def attributes(span: Span) -> dict[str, Any]:
    found = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        found[one.key] = getattr(one.value, kind) if kind else None
    return found


async def ask(live: Live, *, stream: bool = False, **headers: str) -> None:
    client = live.client(default_headers=headers)
    raw = await client.messages.with_raw_response.create(**HELLO, stream=stream)
    if stream:
        async for _ in await raw.parse():
            pass


@pytest.mark.parametrize("stream", [False, True])
async def test_client_gateway_and_upstream_are_one_trace(
    simulator: Simulator, collector: Collector, stream: bool
) -> None:
    async with serving(simulator, trace_upstream="on") as live:
        await ask(live, stream=stream, traceparent=PARENT)
    [server] = collector.named("anthropic.messages.create")
    [call] = collector.named("chat sim/text-3")
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == ("a" * 32, "b" * 16)
    assert (server.kind, call.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert call.parent_span_id == server.span_id
    sent = simulator.requests()[0].headers["traceparent"]
    assert sent == f"00-{'a' * 32}-{call.span_id.hex()}-01"
    assert (
        server.start_time_unix_nano <= call.start_time_unix_nano < call.end_time_unix_nano <= server.end_time_unix_nano
    )
    found = attributes(server)
    assert found["gen_ai.request.stream" if stream else "gen_ai.request.max_tokens"] in (True, 50)
    assert found["gen_ai.usage.input_tokens"] > 0
    assert found["gen_ai.response.id"].startswith("msg_")
    assert "prompt-canary" not in str(collector.spans)


async def test_failure_is_exported_although_its_trace_is_not_sampled(
    simulator: Simulator, collector: Collector
) -> None:
    simulator.script(error_script(529))
    async with serving(simulator, max_attempts=1, trace_ratio=0) as live:
        client = live.client(default_headers={"traceparent": UNSAMPLED})
        with pytest.raises(anthropic.APIStatusError):
            await client.messages.create(**HELLO)
        await client.messages.create(**HELLO)
    [server] = collector.named("anthropic.messages.create")
    assert server.status.code == 2
    assert attributes(server)["error.type"] == "overloaded_error"
    assert "traceparent" not in simulator.requests()[0].headers


async def test_counting_tokens_is_traced_and_nothing_is_sent_without_a_collector(
    simulator: Simulator, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(simulator) as live:
        client = live.client(default_headers={"traceparent": PARENT})
        counted = await client.messages.count_tokens(model="sim/text-3", messages=HELLO["messages"])
    [span] = collector.named("anthropic.messages.count_tokens")
    assert attributes(span)["anthropic.message.count_tokens.input_tokens"] == counted.input_tokens
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with serving(simulator) as live:
        await ask(live, traceparent=PARENT)
    assert len(collector.spans) == 1


async def test_item_links_to_the_creation_of_its_batch(collector: Collector) -> None:
    async with staged(trace_ratio=1) as stage:
        batch = await stage.create_batch("acme", 1)
        async with working(stage, trace_ratio=1):
            await ended(stage, batch)
    [created] = collector.named("anthropic.messages.batches.create")
    assert attributes(created)["anthropic.message.batch.id"] == batch
    items = collector.named("dragoman.batch.item")
    for item in items:
        assert item.kind == Span.SPAN_KIND_CONSUMER
        assert item.trace_id != created.trace_id
        assert (item.links[0].trace_id, item.links[0].span_id) == (created.trace_id, created.span_id)
    assert [attributes(item)["dragoman.batch.custom_id"] for item in items] == ["item-0"]


async def ended(stage: Stage, batch: str) -> None:
    async def has_ended() -> bool:
        return bool((await stage.api("GET", f"/api/batches/{batch}"))[1]["status"] == "ended")

    await until(has_ended, seconds=30)
