"""Message Batches over HTTP, by the official SDK: everything but the work itself, which tests/workers covers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import orjson
import pytest

from gateway.errors import Unavailable
from gateway.redis.connections import queue_client
from gateway.redis.embedded import EmbeddedServer
from gateway.redis.keys import Keys
from gateway.simulator.loopback import Simulator
from gateway.web.api.batches import to_spend_cap
from tests.e2e.conftest import KEY, Live, serving

OTHER_KEY = "other-key-0123456789"


@pytest.fixture
async def live_batches(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Live]:
    async with EmbeddedServer(tmp_path) as server:
        keys = f"tests:{KEY},others:{OTHER_KEY}"
        async with serving(simulator, redis_url=server.url, keys=keys, public_url="https://gateway.example/") as live:
            yield live


def item(custom_id: str, **params: Any) -> Any:
    asked = {"model": "sim/echo", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    return {"custom_id": custom_id, "params": {**asked, **params}}


@pytest.mark.covers("Batches · create, list, retrieve, cancel, delete, results with the SDK")
async def test_a_batch_is_created_shown_listed_canceled_and_deleted(live_batches: Live) -> None:
    batches = live_batches.client().messages.batches
    created = await batches.create(requests=[item(f"item-{number}") for number in range(3)])
    assert created.processing_status == "in_progress"
    assert created.request_counts.processing == 3
    assert (created.ended_at, created.results_url, created.archived_at, created.cancel_initiated_at) == (None,) * 4
    assert (created.expires_at - created.created_at).total_seconds() == 86_400
    assert (await batches.retrieve(created.id)).id == created.id
    second = await batches.create(requests=[item("other")])
    assert [batch.id async for batch in batches.list(limit=1)] == [second.id, created.id]
    with pytest.raises(anthropic.BadRequestError, match="Cancel it first"):
        await batches.delete(created.id)
    canceled = await batches.cancel(created.id)
    assert canceled.processing_status == "ended"  # nothing was in flight
    assert canceled.request_counts.canceled == 3
    assert canceled.results_url == f"https://gateway.example/v1/messages/batches/{created.id}/results"
    assert (await batches.cancel(created.id)).processing_status == "ended"
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        answer = await session.get(f"{live_batches.url}/v1/messages/batches/{created.id}/results")
        lines = [orjson.loads(line) for line in (await answer.read()).splitlines()]
    assert lines == [{"custom_id": f"item-{number}", "result": {"type": "canceled"}} for number in range(3)]
    assert (await batches.delete(created.id)).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        await batches.retrieve(created.id)


async def test_a_front_end_starts_without_its_redis_and_takes_batches_once_it_is_there(
    simulator: Simulator, tmp_path: Path
) -> None:
    async with EmbeddedServer(tmp_path) as server:
        url = server.url
    async with serving(simulator, redis_url=url) as live:
        client = live.client()
        answer = await client.messages.create(**item("")["params"])
        assert answer.content
        with pytest.raises(anthropic.InternalServerError, match="cannot be reached"):
            await client.messages.batches.create(requests=[item("early")])
        async with EmbeddedServer(tmp_path):
            created = await client.messages.batches.create(requests=[item("late")])
            assert created.request_counts.processing == 1


async def test_without_a_configured_secret_a_front_end_waits_for_redis_to_start(
    simulator: Simulator, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        async with serving(simulator, redis_url=f"unix://{tmp_path}/nobody.sock", secret=None):
            raise AssertionError("it started")


@pytest.mark.covers("Batches · other tenants find nothing")
async def test_another_tenant_finds_nothing(live_batches: Live) -> None:
    created = await live_batches.client().messages.batches.create(requests=[item("a")])
    others = live_batches.client(api_key=OTHER_KEY).messages.batches
    for call in (others.retrieve, others.cancel, others.delete, others.results):
        with pytest.raises(anthropic.NotFoundError) as caught:
            await call(created.id)
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await call("msgbatch_doesnotexist")
        assert str(caught.value).replace(caught.value.request_id or "", "") == str(unknown.value).replace(
            unknown.value.request_id or "", ""
        )
    assert [batch async for batch in others.list()] == []


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        pytest.param({"requests": []}, 400, "requests", id="no items"),
        pytest.param({}, 400, "requests", id="no list"),
        pytest.param({"requests": [item("a"), item("a")]}, 400, "requests.1.custom_id", id="a custom_id twice"),
        pytest.param({"requests": [item("not ok!")]}, 400, "requests.0.custom_id", id="a bad custom_id"),
        pytest.param({"requests": [{"custom_id": "a"}]}, 400, "requests.0", id="no params"),
        pytest.param(b'{"requests": [{"custom_id":', 400, "JSON", id="half a body"),
        pytest.param(b"[" * 100_000, 400, "", id="nothing but brackets"),
    ],
)
async def test_a_bad_envelope_is_refused_at_once_and_leaves_nothing(
    live_batches: Live, body: Any, status: int, message: str
) -> None:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        answer = await session.post(f"{live_batches.url}/v1/messages/batches", data=data)
        assert answer.status == status
        error = (await answer.json())["error"]
        assert error["type"] == "invalid_request_error"
        assert message in error["message"]
        listed = await (await session.get(f"{live_batches.url}/v1/messages/batches")).json()
    assert listed == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_bad_params_are_taken_since_the_worker_judges_them(live_batches: Live) -> None:
    created = await live_batches.client().messages.batches.create(requests=[item("a", max_tokens="many")])
    assert created.request_counts.processing == 1


async def test_a_cut_off_upload_leaves_nothing(live_batches: Live) -> None:
    body = orjson.dumps({"requests": [item(f"item-{number}") for number in range(500)]})
    host, port = live_batches.url.removeprefix("http://").split(":")
    for cut in (len(body) // 3, len(body) - 1):
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/messages/batches HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:cut])
        await writer.drain()
        writer.close()
    assert [batch async for batch in live_batches.client().messages.batches.list()] == []


async def test_an_idempotency_key_gives_the_same_batch_again(live_batches: Live) -> None:
    batches = live_batches.client().messages.batches
    options: Any = {"extra_headers": {"idempotency-key": "k-1"}}
    first = await batches.create(requests=[item("a")], **options)
    again = await batches.create(requests=[item("a")], **options)
    assert first.id == again.id
    with pytest.raises(anthropic.ConflictError):
        await batches.create(requests=[item("b")], **options)


async def test_a_priority_counts_across_tenants_for_the_keys_that_may(simulator: Simulator, tmp_path: Path) -> None:
    keys = f"tests:{KEY},others:{OTHER_KEY}"
    async with EmbeddedServer(tmp_path) as server:
        async with serving(simulator, redis_url=server.url, keys=keys, batch_priority_keys=("others",)) as live:
            for key in (KEY, OTHER_KEY):
                batches = live.client(api_key=key).messages.batches
                await batches.create(requests=[item("a")], extra_headers={"x-gateway-priority": "high"})
        client = queue_client(server.url)
        records = (await client.hgetall(Keys().scheduler.records)).values()
        await client.aclose()
    assert sorted(record.split()[:2] for record in records) == [[b"1", b"tests"], [b"2", b"others"]]


def test_a_spend_cap_is_kept_in_micro_dollars() -> None:
    assert [to_spend_cap(cap) for cap in (None, "0", "2.50", "0.000001")] == [None, 0, 2_500_000, 1]


@pytest.mark.parametrize("cap", ["", "free", "-1", "1e3", "2.50 USD", "0x10", "inf"])
async def test_a_spend_cap_must_be_an_amount_of_money(live_batches: Live, cap: str) -> None:
    batches = live_batches.client().messages.batches
    with pytest.raises(anthropic.BadRequestError, match="x-gateway-spend-cap"):
        await batches.create(requests=[item("a")], extra_headers={"x-gateway-spend-cap": cap})


@pytest.mark.covers("Batches · paths of older clients")
async def test_the_old_paths_are_served(live_batches: Live) -> None:
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        created = await session.post(f"{live_batches.url}/v1/messages/batch", json={"requests": [item("a"), item("b")]})
        batch_id = (await created.json())["id"]
        status = await session.get(f"{live_batches.url}/v1/messages/batch/{batch_id}/status")
        assert (await status.json())["processing_status"] == "in_progress"
        assert (status.headers["x-gateway-batch-done"], status.headers["x-gateway-batch-total"]) == ("0", "2")
        bare = {"messages": [item("a")["params"]], "batch_id": "mine"}
        answer = await session.post(f"{live_batches.url}/v1/messages/batch", json=bare)
        assert (await answer.json())["request_counts"]["processing"] == 1
        assert answer.headers["x-gateway-ignored"] == "dropped:batch_id"
        assert (await session.post(f"{live_batches.url}/v1/messages/batches", json=bare)).status == 400


async def test_results_before_the_end_are_refused(live_batches: Live) -> None:
    created = await live_batches.client().messages.batches.create(requests=[item("a")])
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        answer = await session.get(f"{live_batches.url}/v1/messages/batches/{created.id}/results")
        assert (answer.status, (await answer.json())["error"]["type"]) == (400, "invalid_request_error")


async def test_without_redis_batches_say_so_and_live_traffic_works(live: Live) -> None:
    client = live.client()
    with pytest.raises(anthropic.InternalServerError, match="without Redis"):
        await client.messages.batches.create(requests=[item("a")])
    message = await client.messages.create(**item("a")["params"])
    assert message.content


async def test_keys_that_no_batch_has_are_named(live_batches: Live) -> None:
    body = {"requests": [item("a")], "metadata": {"a": 1}, "pri ority": 5}
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.post(f"{live_batches.url}/v1/messages/batches", json=body) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["x-gateway-ignored"] == "dropped:metadata, dropped:?"
