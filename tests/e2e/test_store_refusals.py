"""A Redis that answers and refuses: 503 with `retry-after` over HTTP, no paid answer lost, the reason in the log."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.messages.fold import fold_events
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, Script
from tests.chaos.processes import Server
from tests.e2e.conftest import KEY, Live, serving
from tests.e2e.test_batches import item
from tests.e2e.test_threads import CREATE, answer, code_of, post
from tests.redis.servers import open_server

BATCHES = "/v1/messages/batches"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with open_server() as running:
        yield running


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Redis]:
    async with server.client() as client:
        yield client


async def request(live: Live, method: str, path: str, **options: Any) -> tuple[int, str | None, Any]:
    """Status, `retry-after` and JSON."""
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY}) as session,
        session.request(method, live.url + path, **options) as response,
    ):
        body = await response.json() if response.content_type == "application/json" else await response.read()
        return response.status, response.headers.get("retry-after"), body


async def refuse_writes(admin: Redis) -> None:
    await admin.config_set("min-replicas-to-write", 1)


async def be_a_replica(admin: Redis) -> None:
    await admin.execute_command("REPLICAOF", "127.0.0.1", "1")


async def be_a_replica_without_data(admin: Redis) -> None:
    await admin.config_set("replica-serve-stale-data", "no")
    await be_a_replica(admin)


async def forbid_scripts(admin: Redis) -> None:
    await admin.execute_command("ACL", "SETUSER", "default", "-@scripting", "-hgetall", "-set")


REFUSALS = (refuse_writes, be_a_replica, be_a_replica_without_data, forbid_scripts)


@pytest.mark.parametrize("refuse", REFUSALS)
async def test_batch_calls_get_503_with_retry_after_while_redis_refuses(
    simulator: Simulator, server: Server, admin: Redis, refuse: Any
) -> None:
    async with serving(simulator, redis_url=server.url) as live:
        running, ended = [
            f"{BATCHES}/{(await request(live, 'POST', BATCHES, json={'requests': [item('a')]}))[2]['id']}" for _ in "ab"
        ]
        assert (await request(live, "POST", f"{ended}/cancel"))[2]["processing_status"] == "ended"
        await refuse(admin)
        calls: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("POST", BATCHES, {"json": {"requests": [item("a")]}}),
            ("POST", f"{running}/cancel", {}),
            ("DELETE", ended, {}),
            ("GET", BATCHES, {}),
            ("GET", running, {}),
            ("GET", f"{ended}/results", {}),
        )
        for method, at, options in calls:
            status, retry_after, body = await request(live, method, at, **options)
            reads = method == "GET" and refuse in (refuse_writes, be_a_replica)
            if not (reads and status == 200):  # what only reads may still be served
                assert (status, retry_after, body["error"]["type"]) == (503, "2", "api_error"), (method, at)
        assert (await request(live, "POST", "/v1/messages", json=item("a")["params"]))[0] == 200


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("refuse", REFUSALS)
async def test_a_threads_finished_reply_is_delivered_though_redis_refuses_to_keep_it(
    simulator: Simulator, server: Server, admin: Redis, refuse: Any, streamed: bool
) -> None:
    async with serving(simulator, redis_url=server.url) as live:
        gate = asyncio.Event()
        script = answer({"role": "assistant", "content": "paid for"}, "stop", streamed)
        simulator.script(Script((Hold(gate), *script.steps), script.status, script.headers))
        async with asyncio.TaskGroup() as group:
            going = group.create_task(post(live, CREATE, stream=streamed))
            await simulator.received(1)
            await refuse(admin)
            gate.set()
        status, reply = going.result()
        message = fold_events(reply) if streamed else reply
        assert (status, message["content"][0]["text"]) == (200, "paid for")
        assert code_of(await post(live, {"type": "continue", "previous_message_id": message["id"]}))[0] in (400, 404)


@pytest.mark.parametrize("may_ask_info", [True, False])
@pytest.mark.parametrize("refuse", REFUSALS)
async def test_a_thread_that_cannot_be_created_is_refused_with_the_code_of_whole_conversations(
    simulator: Simulator, server: Server, admin: Redis, refuse: Any, may_ask_info: bool
) -> None:
    async with serving(simulator, redis_url=server.url) as live:
        await refuse(admin)
        if not may_ask_info:
            await admin.execute_command("ACL", "SETUSER", "default", "-info")
        assert code_of(await post(live, CREATE)) == (400, "thread_unsupported_request")


async def test_the_log_names_the_reason_of_a_503(simulator: Simulator, server: Server, admin: Redis) -> None:
    async with serving(simulator, redis_url=server.url) as live:
        await refuse_writes(admin)
        with capture_logs() as lines:
            assert (await request(live, "POST", BATCHES, json={"requests": [item("a")]}))[0] == 503
    [line] = [line for line in lines if line["event"] == "store_away"]
    assert line["route"] == BATCHES
    assert line["reason"] == "NOREPLICAS: the server has fewer replicas than its min-replicas-to-write"
