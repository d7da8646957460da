"""Requests for higher budgets in the store, and the limits that it lists."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.access import increases
from gateway.access.increases import IncreaseRequest, IncreaseRequests
from gateway.access.keys import Pepper
from gateway.access.records import Allowance, Budget, KeyRecord, RateLimits
from gateway.access.store import AccessStore, Actor
from gateway.errors import InvalidRequest, NotFound, RateLimited
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from tests.support.redis_server import redis_server

ANN, OPS = Actor("user", "ann"), Actor("admin_key", "127.0.0.1")


@pytest.fixture
async def store() -> AsyncIterator[AccessStore]:
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        yield AccessStore(RedisServer(redis, Keys("increases:")), Pepper(b"s"), b"s", lambda: 100.0)


async def test_request_is_open_once_for_each_budget_until_it_is_resolved(store: AccessStore) -> None:
    requests, wanted = IncreaseRequests(store), IncreaseRequest("", "user:ann", "day", "Europe/Berlin", 5, "why")
    first = await requests.ask(wanted, ANN)
    assert (first.status, first.created_at, first.time_zone, first.reason) == ("pending", 100, "Europe/Berlin", "why")
    assert await requests.ask(wanted, ANN) == first
    assert (await requests.ask(IncreaseRequest("", "user:ann", "week"), ANN)).id != first.id
    assert (await requests.ask(IncreaseRequest("", "user:bob", "day"), ANN)).id != first.id
    done = await requests.resolve(first.id, "denied", OPS)
    assert (done.status, done.resolved_at, done.resolved_by) == ("denied", 100, ("admin_key", "127.0.0.1"))
    assert await requests.resolve(first.id, "denied", OPS) == done == (await requests.find(first.id))[0]
    with pytest.raises(InvalidRequest, match="is already denied"):
        await requests.resolve(first.id, "approved", OPS)
    assert (await requests.ask(wanted, ANN)).id != first.id
    assert len(await requests.all()) == 4
    with pytest.raises(NotFound):
        await requests.find("slir_none")
    assert (await store.verify_audit())[0] is None


async def test_number_of_open_requests_is_bounded(store: AccessStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(increases, "MAX_PENDING", 2)
    requests = IncreaseRequests(store)
    for user in ("ann", "bob"):
        await requests.ask(IncreaseRequest("", f"user:{user}", "day"), ANN)
    with pytest.raises(RateLimited):
        await requests.ask(IncreaseRequest("", "user:eve", "day"), ANN)
    assert (await requests.ask(IncreaseRequest("", "user:ann", "day"), ANN)).status == "pending"


async def test_limits_of_scopes_and_keys_are_listed_and_nothing_else(store: AccessStore) -> None:
    limited, budget = Allowance(RateLimits(5)), Allowance(budgets=(Budget(7, "day"),))
    await store.set_allowance("user:ann", limited, OPS)
    await store.set_allowance("user:bob", Allowance(), OPS)
    key, _ = await store.create_key(KeyRecord("", "ci", allowance=budget), OPS)
    await store.create_key(KeyRecord("", "free"), OPS)
    await IncreaseRequests(store).ask(IncreaseRequest("", "user:ann", "day"), ANN)
    assert await store.allowances() == {"user:ann": limited, f"key:{key.id}": budget}
    assert {one.name for one in await store.keys()} == {"ci", "free"}
