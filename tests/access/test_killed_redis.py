"""Redis is killed in the middle of limits, budgets, keys and spending; and the same on a Cluster of three nodes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.access.records import Allowance, Budget, KeyRecord, RateLimits
from gateway.access.reservation import Grant, Need, Used
from gateway.access.spend import SpendStore
from gateway.errors import BudgetSpent, RateLimited, StoreAway, Unauthenticated, Unavailable
from gateway.redis.connections import queue_client
from gateway.redis.embedded import wheel_binary
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from tests.access.test_admission import ACTOR, admission_on, admitted, key_with, store_on
from tests.chaos.processes import Server
from tests.redis.nodes import running_cluster
from tests.redis.servers import open_server


@pytest.fixture
async def killable() -> AsyncIterator[Server]:
    async with open_server() as one:
        yield one


@pytest.fixture
async def server(killable: Server) -> AsyncIterator[RedisServer]:
    async with killable.client() as redis:
        yield RedisServer(redis, Keys("killed:"))


async def test_limit_is_exact_after_redis_was_killed(killable: Server, server: RedisServer) -> None:
    context = await key_with(server, RateLimits(concurrency=5))
    several = [await admission_on(server) for _ in range(2)]
    for admission in several:
        await admission.directory.ensure_cached(context.key_id)
        await admission.look()
        await admission.look()
    held = [await admitted(several[0], context) for _ in range(3)]
    await killable.kill()
    # Each of two processes has its half of the five.
    away = [await admitted(several[1], context) for _ in range(4)]
    assert [type(one) for one in away] == [Grant, Grant, RateLimited, RateLimited]
    await killable.start()
    fresh = await admission_on(server)
    after = [await admitted(fresh, context) for _ in range(3)]
    assert [type(one) for one in after] == [Grant, Grant, RateLimited]
    for admission, grants in ((several[0], held), (several[1], away[:2]), (fresh, after[:2])):
        for grant in grants:
            assert isinstance(grant, Grant)
            admission.settle(grant, Used(0, 0, 0, {}, ""))
        await admission.ledger.flush()
    [running] = await server.pipeline([("HGET", server.keys.scope(f"key:{context.key_id}"), "running")])
    assert running == b"0"


async def test_budget_keeps_its_reservations_when_redis_is_killed(killable: Server, server: RedisServer) -> None:
    context = await key_with(server, RateLimits(), Budget(100))
    admission = await admission_on(server)
    grant = await admitted(admission, context, Need(60, 60))
    assert isinstance(grant, Grant)
    await killable.kill()
    admission.settle(grant, Used(40, 5, 5, {"id": "r1"}, "red||k|m|p"))
    await admission.ledger.flush()
    await killable.start()
    fresh = await admission_on(server)
    assert isinstance(await admitted(fresh, context, Need(60, 60)), RateLimited)  # 60 are still held
    await admission.ledger.flush()
    [state] = await server.pipeline([("HGETALL", server.keys.scope(f"key:{context.key_id}"))])
    assert (state[b"month/UTC:spent"], state[b"month/UTC:held"]) == (b"40", b"0")
    assert isinstance(await admitted(fresh, context, Need(61, 61)), BudgetSpent)
    assert isinstance(await admitted(fresh, context, Need(60, 60)), Grant)


async def test_known_keys_are_accepted_while_redis_is_killed_and_others_get_503(
    killable: Server, server: RedisServer
) -> None:
    store = store_on(server)
    made, key = await store.create_key(KeyRecord("", "known", "red"), ACTOR)
    admission = await admission_on(server)
    _, other = await store.create_key(KeyRecord("", "other", "blue"), ACTOR)
    await admission.directory.authenticate(key, None)
    await killable.kill()
    assert (await admission.directory.authenticate(key, None)).tenant == "red"
    with pytest.raises(Unavailable):
        await admission.directory.authenticate(other, None)
    with pytest.raises(StoreAway):
        await store.update_key(made.id, ACTOR, status="inactive")
    await killable.start()
    admission.directory.silence = SilenceLimit(20)  # the outage is over
    await store.update_key(made.id, ACTOR, status="inactive")
    await admission.directory.refresh()
    with pytest.raises(Unauthenticated):
        await admission.directory.authenticate(key, None)
    assert (await admission.directory.authenticate(other, None)).tenant == "blue"
    assert (await store.verify_audit())[0] is None


async def spent(server: RedisServer) -> int:
    today = datetime.now(UTC).date()
    rows = await SpendStore(server).by_day(today - timedelta(days=1), today + timedelta(days=1), ("tenant",))
    return sum(row.cost for row in rows)


async def test_use_that_is_settled_while_redis_is_killed_is_reported_once(
    killable: Server, server: RedisServer
) -> None:
    admission = await admission_on(server)
    for number in range(300):
        admission.settle(Grant(f"r{number}", 0), Used(1, 5, 5, {"id": f"r{number}"}, "red||k|m|p"))
        if number == 100:
            await admission.ledger.flush()
            await killable.kill()
        if number in (150, 200):
            await admission.ledger.flush()
    await killable.start()
    for _ in range(2):
        await admission.ledger.flush()
    assert await spent(server) == 300


async def test_limits_budgets_keys_and_spending_on_a_cluster_of_three() -> None:
    binary = wheel_binary()
    assert binary is not None
    async with running_cluster(binary) as nodes:
        redis = queue_client(f"redis+cluster://127.0.0.1:{nodes[0].port}")
        server = RedisServer(redis, Keys("cluster:"))
        context = await key_with(server, RateLimits(requests=30), Budget(100))
        several = [await admission_on(server) for _ in range(4)]
        for admission in several:
            await admission.directory.ensure_cached(context.key_id)

        async def work(number: int) -> int:
            admission = several[number % 4]
            grant = await admitted(admission, context, Need(4, 4))
            if not isinstance(grant, Grant):
                return 0
            admission.settle(grant, Used(3, 1, 1, {"id": f"r{number}"}, f"red||{context.key_id}|m|p"))
            await admission.ledger.flush()
            return 3

        done = await asyncio.gather(*(work(number) for number in range(60)))
        accepted = len([one for one in done if one])
        assert (sum(done), accepted <= 31) == (3 * accepted, True)
        assert accepted >= 25  # of 30, as many as fit into the budget at once
        [state] = await server.pipeline([("HGETALL", server.keys.scope(f"key:{context.key_id}"))])
        assert (int(state[b"month/UTC:spent"]), state[b"month/UTC:held"]) == (3 * accepted, b"0")
        several[0].settle(Grant("free", 0), Used(7, 1, 1, {"id": "free"}, "red||k|m|p"))
        await several[0].ledger.flush()
        assert await spent(server) == 3 * accepted + 7
        store = store_on(server)
        await store.set_allowance("tenant:red", Allowance(RateLimits(requests=1)), ACTOR)
        assert (await store.verify_audit())[0] is None
        await redis.aclose()
