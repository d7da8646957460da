"""Costs of broken-off streams, corrected once the upstream reports them: once, and in the period of the request."""

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.access.admission import Admission
from gateway.access.directory import Directory
from gateway.access.keys import ClientKeys
from gateway.access.records import NANO, Allowance, Budget, RateLimits
from gateway.access.reservation import Grant, Need, Used
from gateway.access.spend import SpendStore
from gateway.access.store import AccessStore, Actor
from gateway.context import Context
from gateway.exchange.accounting import to_late
from gateway.exchange.reconciliation import DELAYS, Reconciliation
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from gateway.upstream.routes.route import RouteRule, Upstream
from gateway.upstream.routes.table import RoutingTable
from tests.support.exchanges import ScriptedAnswer, ScriptedClient, chat_exchange
from tests.support.redis_server import redis_server

UPSTREAM = Upstream("openrouter", "http://upstream/api/v1", "sk-key", headers=(("authorization", "Bearer sk-key"),))
CONTEXT = Context("req_1", "red", user="ann")
ESTIMATE = Used(
    5 * NANO, 100, 40, {"id": "req_1", "tenant": "red", "generation": "gen-1/x", "cost": 5 * NANO}, "red|ann||m|p"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


class Bench:
    """An admission under a budget, and what the upstream answers about a generation."""

    def __init__(self, server: RedisServer) -> None:
        store = AccessStore(server, ClientKeys([], b"s").pepper, b"s")
        self.server, self.store = server, store
        directory = Directory(ClientKeys([], b"s"), store, silence=SilenceLimit(20))
        self.admission = Admission(directory, server)
        self.client = ScriptedClient([])
        exchange = chat_exchange(self.client, RoutingTable((UPSTREAM,), (RouteRule("*", ()),)))
        exchange.admission = self.admission
        self.now = time.time()
        self.late = Reconciliation(exchange, server, lambda: self.now)

    async def broken_off(self) -> Grant:
        await self.store.set_allowance("user:ann", Allowance(RateLimits(), (Budget(100 * NANO),)), Actor("cli", "t"))
        await self.admission.directory.refresh()
        grant = await self.admission.admit(CONTEXT, Need(9 * NANO, NANO))
        assert grant is not None
        self.admission.settle(grant, ESTIMATE)
        self.admission.ledger.correct_later(to_late(grant, ESTIMATE, UPSTREAM))
        await self.admission.ledger.flush()
        return grant

    def answers(self, *bodies: Any, status: int = 200) -> None:
        self.client.script += [ScriptedAnswer(status, orjson.dumps(body), "application/json") for body in bodies]

    async def spent(self) -> int:
        [value] = await self.server.pipeline([("HGET", self.server.keys.scope("user:ann"), "month/UTC:spent")])
        return int(value)

    async def waiting(self) -> list[tuple[bytes, float]]:
        [found] = await self.server.pipeline([("ZRANGE", self.server.keys.access.late, 0, -1, "WITHSCORES")])
        return [(name, float(score)) for name, score in zip(found[::2], found[1::2], strict=True)]


@pytest.fixture
async def bench(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    redis = Redis.from_url(redis_url, protocol=2)
    yield Bench(RedisServer(redis, Keys(f"{request.node.name}:")))
    await redis.aclose()


async def test_cost_is_asked_for_by_the_generations_id_once_it_is_due(bench: Bench) -> None:
    await bench.broken_off()
    await bench.late.correct_due()
    assert bench.client.calls == []
    bench.now += DELAYS[0] + 1
    bench.answers({"data": {"id": "gen-1/x", "total_cost": 3.25, "native_tokens_completion": 70}})
    await bench.late.correct_due()
    [call] = bench.client.calls
    assert call.url == "http://upstream/api/v1/generation?id=gen-1%2Fx"
    assert ("authorization", "Bearer sk-key") in call.headers
    assert await bench.spent() == 3_250_000_000
    entries = [entry async for entry in SpendStore(bench.server).entries()]
    assert [(one["id"], one.get("adjusts"), one["cost"]) for one in entries] == [
        ("req_1", None, 5 * NANO),
        ("req_1.late", "req_1", -1_750_000_000),
    ]
    assert await bench.waiting() == []


async def test_correction_counts_once_though_two_processes_ask(bench: Bench) -> None:
    await bench.broken_off()
    [(member, due)] = await bench.waiting()
    bench.now += DELAYS[0] + 1
    bench.answers({"data": {"total_cost": 6}}, {"data": {"total_cost": 6}})
    for _ in range(2):
        await bench.server.pipeline([("ZADD", bench.server.keys.access.late, due, member)])
        await bench.late.correct_due()
    assert len(bench.client.calls) == 2
    assert await bench.spent() == 6 * NANO


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(404, {"error": {"code": 404, "message": "not found"}}, id="not known yet"),
        pytest.param(200, {"data": None}, id="no data"),
        pytest.param(200, {"data": {"total_cost": None}}, id="no cost"),
        pytest.param(200, {"data": {"total_cost": -1}}, id="a negative cost"),
        pytest.param(200, [], id="no object"),
    ],
)
async def test_unknown_cost_is_asked_for_again_later_and_given_up_after_the_last_delay(
    bench: Bench, status: int, body: Any
) -> None:
    await bench.broken_off()
    for delay in DELAYS:
        bench.now += delay + 1
        bench.answers(body, status=status)
        await bench.late.correct_due()
    assert len(bench.client.calls) == len(DELAYS)
    assert await bench.waiting() == []
    assert await bench.spent() == 5 * NANO, "the estimate stays"


async def test_process_that_dies_while_it_asks_leaves_the_question_to_another(bench: Bench) -> None:
    await bench.broken_off()
    bench.now += DELAYS[0] + 1
    with pytest.raises(IndexError):  # the client has no answer, which ends this process's turn
        await bench.late.correct_due()
    [(_, due)] = await bench.waiting()
    assert due > bench.now
    bench.now = due + 1
    bench.answers({"data": {"total_cost": 1}})
    await bench.late.correct_due()
    assert await bench.spent() == NANO
