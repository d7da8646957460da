"""The whole gateway as a Redis user with the documented rights, on keys that start with its own prefix."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.process.tasks import background
from gateway.redis.connections import queue_client
from gateway.simulator.loopback import Simulator
from tests.chaos.processes import Server
from tests.chaos.world import until
from tests.e2e.caching import ADMIN_KEY, manage, post
from tests.e2e.conftest import Live, serving, settings_for
from tests.e2e.test_batches import item
from tests.e2e.test_failover import has_ended
from tests.e2e.test_threads import begin, on
from tests.e2e.test_threads import post as post_turn
from tests.redis.nodes import running_cluster
from tests.redis.servers import open_server
from workers.wiring import open_worker

DOCUMENTED = re.search(
    r"^ACL SETUSER dragoman on >PASSWORD (.*)$",
    (Path(__file__).parents[2] / "docs/deployment.md").read_text(),
    re.MULTILINE,
)
PREFIX = "some-app:llm/"


def rights(*more: str) -> list[str]:
    assert DOCUMENTED is not None
    return [right.replace("~gw:*", f"~{PREFIX}*") for right in DOCUMENTED[1].split()] + list(more)


def url_of(server: Server) -> str:
    return server.url.replace("unix://", "unix://dragoman:secret@")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with open_server(appendfsync="everysec") as running:  # that fsync waits for
        async with running.client() as admin:
            await admin.execute_command("ACL", "SETUSER", "dragoman", "on", ">secret", *rights("+waitaof"))
        yield running


async def use_everything(live: Live, settings: Any) -> None:
    """Batches and their work, threads, the cache and what its operators do."""
    stop = asyncio.Event()
    batches = live.client().messages.batches
    async with open_worker(settings) as worker, background(worker.run(stop, 1.0)):
        created = await batches.create(requests=[item("a"), item("b")], extra_headers={"idempotency-key": "k"})
        await until(lambda: has_ended(live, created.id), "the batch's end")
        assert len([line async for line in await batches.results(created.id)]) == 2
        assert [batch.id async for batch in batches.list()] == [created.id]
        await batches.cancel((await batches.create(requests=[item("c")])).id)
        await batches.delete(created.id)
        await worker.monitor.look()
        assert worker.monitor.problem is None
        stop.set()
    first = await begin(live)
    assert (await post_turn(live, on(first)))[0] == 200
    for outcome in ("miss", "hit"):
        assert (await post(live, "words")).outcome == outcome
    for method, path in (("GET", "stats"), ("POST", "cleanup"), ("POST", "clear")):
        assert (await manage(live, method, f"/v1/messages/cache/{path}"))[0] == 200
    assert (await manage(live, "GET", "/cache/stats", key=ADMIN_KEY, admin=True))[0] == 200


@pytest.mark.covers("Operation · Redis rights and key prefixes")
async def test_the_documented_rights_are_enough_and_every_key_has_the_prefix(
    simulator: Simulator, server: Server
) -> None:
    changes = {"redis_url": url_of(server), "redis_prefix": PREFIX, "batch_durability": "fsync", "secret": None}
    changes |= {"admin_key": ADMIN_KEY, "cache_budget_seconds": 5}
    with capture_logs() as lines:
        async with serving(simulator, **changes) as live:
            await use_everything(live, settings_for(simulator, **changes))
    problems = [line for line in lines if line["log_level"] in ("warning", "error") and "redis" in line["event"]]
    assert problems == []
    async with server.client() as admin:
        names = [name.decode() async for name in admin.scan_iter()]
        refused = await admin.execute_command("ACL", "LOG")
    assert len(names) > 10
    assert [name for name in names if not name.startswith(PREFIX)] == []
    assert refused == []


async def test_two_gateways_with_different_prefixes_share_a_server(simulator: Simulator, server: Server) -> None:
    async with (
        serving(simulator, redis_url=server.url, redis_prefix="one:") as one,
        serving(simulator, redis_url=server.url, redis_prefix="two:") as two,
    ):
        created = await one.client().messages.batches.create(requests=[item("a")])
        assert [batch.id async for batch in two.client().messages.batches.list()] == []
        assert [batch.id async for batch in one.client().messages.batches.list()] == [created.id]


async def test_a_front_end_without_rights_to_its_prefix_says_so_at_start_and_serves(
    simulator: Simulator, server: Server
) -> None:
    with capture_logs() as lines:
        async with serving(simulator, redis_url=url_of(server)) as live:
            assert (await live.client().messages.create(**item("a")["params"])).content
    [line] = [line for line in lines if line["event"] == "redis_away" and "hint" in line]
    assert line["reason"].endswith("which start with gw: (GATEWAY_REDIS_PREFIX)")


async def test_on_a_cluster_the_documented_rights_are_enough_and_a_prefix_changes_no_slot(
    simulator: Simulator, server: Server
) -> None:
    async with running_cluster(server.binary) as nodes, asyncio.timeout(60):
        of_cluster = rights("+cluster", "+command", "+asking")
        for node in nodes:
            async with node.client() as admin:
                await admin.execute_command("ACL", "SETUSER", "dragoman", "on", ">secret", *of_cluster)
        url = f"redis+cluster://dragoman:secret@127.0.0.1:{nodes[0].port}"
        changes = {"redis_url": url, "redis_prefix": PREFIX, "admin_key": ADMIN_KEY, "cache_budget_seconds": 5}
        async with serving(simulator, **changes) as live:
            await use_everything(live, settings_for(simulator, **changes))
        client = queue_client(url)
        names = [name.decode() async for name in client.scan_iter()]
        await client.aclose()
        assert {name.startswith(PREFIX) for name in names} == {True}
