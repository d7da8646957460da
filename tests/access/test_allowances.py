"""A budget that is reset by hand has nothing spent; what runs meanwhile counts when it ends."""

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.access.allowances import allowance_of, allowances_in_force, key_scope, reset_budget
from gateway.access.keys import ClientKeys, FileAccess
from gateway.access.records import Allowance, Budget, KeyRecord, RateLimits
from gateway.access.reservation import Grant, Need, Used
from gateway.access.store import Conditions
from gateway.errors import BudgetSpent, InvalidRequest, NotFound
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from tests.access.test_admission import ACTOR, admission_on, admitted, key_with, settle, store_on
from tests.support.redis_server import redis_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as url, Redis.from_url(url, protocol=2) as redis:
        yield RedisServer(redis)


@pytest.mark.parametrize("budget", [Budget(100), Budget(100, "total"), Budget(100, "rolling", window=3600)])
@pytest.mark.covers("Access · budgets reset by hand")
async def test_reset_budget_can_be_spent_again_and_requests_in_flight_count(
    server: RedisServer, budget: Budget
) -> None:
    server = RedisServer(server.redis, Keys(f"{budget.period}:"))
    context = await key_with(server, RateLimits(), budget)
    admission, store, scope = await admission_on(server), store_on(server), f"key:{context.key_id}"
    await settle(admission, await admitted(admission, context, Need(60, 60)), Used(60, 0, 0, {}, ""))
    running = await admitted(admission, context, Need(40, 40))
    assert isinstance(running, Grant)
    admission.settle(running, Used(40, 0, 0, {}, ""))
    await admission.ledger.flush()
    assert isinstance(await admitted(admission, context, Need(10, 10)), BudgetSpent)
    assert await reset_budget(store, scope, budget, ACTOR) == 100
    held = await admitted(admission, context, Need(70, 70))
    assert isinstance(held, Grant)
    assert await reset_budget(store, scope, budget, ACTOR) == 0
    await settle(admission, held, Used(70, 0, 0, {}, ""))
    assert isinstance(await admitted(admission, context, Need(31, 31)), BudgetSpent)
    assert isinstance(await admitted(admission, context, Need(30, 30)), Grant)
    entries = [orjson.loads(entry) for entry in await store.audit()]
    reset = [one["details"] for one in entries if one["action"] == "budget_reset" and one["details"]["scope"] == scope]
    assert [one["spent"] for one in reset] == [100, 0]


@pytest.mark.parametrize("budget", [Budget(100, "total"), Budget(100, "rolling", window=7200)])
async def test_reset_that_is_sent_again_under_its_idempotency_key_is_made_once(
    server: RedisServer, budget: Budget
) -> None:
    server = RedisServer(server.redis, Keys(f"again-{budget.period}:"))
    context = await key_with(server, RateLimits(), budget)
    admission, store, scope = await admission_on(server), store_on(server), f"key:{context.key_id}"
    conditions = Conditions(mark=server.keys.access_outcome("one"), asked="reset")
    for spent in (60, 70):
        await settle(admission, await admitted(admission, context, Need(spent, spent)), Used(spent, 0, 0, {}, ""))
        await reset_budget(store, scope, budget, ACTOR, conditions)
    assert await store.spent([(scope, budget)]) == [70]
    assert [orjson.loads(one)["action"] for one in await store.audit()] == ["key_created", "budget_reset"]
    with pytest.raises(InvalidRequest, match="already used for another request"):
        await reset_budget(store, scope, budget, ACTOR, replace(conditions, asked="another"))


async def test_key_is_found_by_its_name_in_redis_or_the_file_and_a_user_under_a_rule(server: RedisServer) -> None:
    server = RedisServer(server.redis, Keys("names:"))
    context, store = await key_with(server, RateLimits()), store_on(server)
    file = KeyRecord("key_file_docs", "docs", allowance=Allowance(budgets=(Budget(5),)))
    rule = KeyRecord("rule_people", "people", per_user=True, allowance=Allowance(budgets=(Budget(7),)))
    configured = ClientKeys([], b"s", FileAccess(((file, "k", ""),), rules=(rule,)))
    for name, scope in (
        ("ci", f"key:{context.key_id}"),
        ("docs", "key:key_file_docs"),
        ("key_file_docs", "key:key_file_docs"),
        ("rule_people:ann", "key:rule_people:ann"),
    ):
        assert await key_scope(store, configured, name) == scope
    for unknown in ("dosc", "people", "rule_people", "docs:ann", "people:ann"):
        with pytest.raises(NotFound):
            await key_scope(store, configured, unknown)
    assert (await allowance_of(store, configured, "key:rule_people:ann"))[0] == rule.allowance
    assert await allowances_in_force(store, configured) == {"key:key_file_docs": file.allowance}
