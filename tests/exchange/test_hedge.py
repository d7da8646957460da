"""Routes with `hedge = true`: a second candidate is asked where first content is late, and one of the two answers."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import orjson
import pytest

from gateway.context import Context
from gateway.errors import GatewayError, UpstreamUnreachable
from gateway.exchange.exchange import Exchange
from gateway.exchange.hedge import MAX_TOKENS, MIN_TIMES, SHARE, Contender, FirstContents, Race
from gateway.exchange.plan import Plan
from gateway.messages.prompt import to_prompt
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.capacity.lane import LaneLimits
from gateway.upstream.capacity.lanes import LaneDemand
from gateway.upstream.http.client import Call
from gateway.upstream.models.prices import Price
from gateway.upstream.routes.route import Route, RouteRule
from tests.exchange.test_candidates import ANSWER, CONTEXT, FIRST, HELLO, SECOND
from tests.support.exchanges import ListSink, ScriptedAnswer, ScriptedClient, chat_exchange
from tests.support.live_calls import entered
from tests.support.waiting import until

RULE = RouteRule("*", (), hedge=True)
PRICE = Price(input=0.01, output=0.02, cache_read=0.0, cache_write=0.01, request=0.0)
ROUTES = tuple(replace(one, rule=RULE, target=replace(one.target, price=PRICE)) for one in (FIRST, SECOND))
HEAD = b'data: {"choices":[{"index":0,"delta":{"content":"hel"}}]}\n\n'
CUT = ScriptedAnswer(200, HEAD)


@dataclass(slots=True)
class HeldAnswer:
    """An answer with a body that comes once a gate opens. `ended`: it was read, or its call was cancelled."""

    answer: ScriptedAnswer
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: bool = False
    status: int = 200
    has_ended: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": "text/event-stream"}

    async def pump(self, receive: Callable[[bytes], None]) -> None:
        self.asked.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        finally:
            self.ended.set()
        await self.answer.pump(receive)

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


@dataclass(slots=True)
class Upstreams:
    """One answer of each upstream, by its host."""

    answers: dict[str, HeldAnswer | GatewayError]
    calls: list[str] = field(default_factory=list)

    async def open(self, call: Call) -> HeldAnswer:
        host = call.url.split("/")[2]
        self.calls.append(host)
        answer = self.answers[host]
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def close(self) -> None: ...


@dataclass(slots=True)
class OpenedSink(ListSink):
    """A client with a committed reply."""

    @property
    def committed(self) -> bool:
        return True


def exchange_of(client: Upstreams | ScriptedClient, *, times: int = MIN_TIMES) -> Exchange:
    """Return an exchange that has a hedge left, and has seen `times` calls of almost zero seconds."""
    exchange = chat_exchange(client, None)  # type: ignore[arg-type]
    for _ in range(times):
        exchange.hedges.note(ROUTES[0], 0.001)
    exchange.hedges._left[RULE.pattern] = 1.0
    return exchange


def plan_of(
    exchange: Exchange, routes: tuple[Route, ...] = ROUTES, context: Context = CONTEXT, **fields: object
) -> Plan:
    body = {**HELLO, **fields}
    prompt = to_prompt(body, len(orjson.dumps(body)), context)
    return exchange.plan(context, prompt, UsageRecord(context), routes)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("winner", ["first", "second"])
@pytest.mark.covers("Routing · hedging late requests")
async def test_first_content_of_two_calls_answers_and_the_other_call_is_cancelled(winner: str, stream: bool) -> None:
    answers = {"first": HeldAnswer(ANSWER), "second": HeldAnswer(ANSWER)}
    loser = "second" if winner == "first" else "first"
    exchange, sink = exchange_of(Upstreams(dict(answers))), OpenedSink()
    plan = plan_of(exchange, stream=stream)
    asking = asyncio.ensure_future(exchange.stream(plan, sink) if stream else exchange.answer(plan))
    async with asyncio.timeout(5):
        await answers["first"].asked.wait()
        await answers["second"].asked.wait()
        answers[winner].gate.set()
        await answers[loser].ended.wait()
        assert answers[loser].was_cancelled
        answered = await asking
    text = b"".join(sink.pieces).decode() if stream else answered.message["content"][0]["text"]  # type: ignore[union-attr]
    assert text.count("hello") == 1
    assert plan.route.upstream.name == winner
    record = plan.record
    assert (record.upstream, record.attempts, record.status) == (winner, 2, 200)
    assert [(one.upstream, one.outcome) for one in record.attempted] == [(loser, "hedged"), (winner, "200")]
    assert record.hedge_cost == pytest.approx(PRICE.input * plan.reply.input_estimate)
    assert record.cost is None
    assert (record.input_tokens, record.output_tokens) == (1, 1)
    assert all(health.in_flight == 0 for route in ROUTES for health in exchange.circuits.pair_of(route))
    assert exchange.circuits.pair_of(ROUTES[0])[0].failures == 0


async def test_one_call_is_made_where_content_is_not_late() -> None:
    client = ScriptedClient([ANSWER])
    exchange = exchange_of(client)
    for _ in range(MIN_TIMES):
        exchange.hedges.note(ROUTES[0], 60.0)
    await exchange.answer(plan := plan_of(exchange))
    assert (len(client.calls), plan.record.attempts, plan.record.hedge_cost) == (1, 1, 0.0)


async def test_failure_of_one_call_leaves_the_request_to_the_other() -> None:
    first = HeldAnswer(ANSWER)
    exchange = exchange_of(Upstreams({"first": first, "second": UpstreamUnreachable("refused")}))
    plan = plan_of(exchange)
    asking = asyncio.ensure_future(exchange.answer(plan))
    async with asyncio.timeout(5):
        await first.asked.wait()
        await until(lambda: exchange.circuits.pair_of(ROUTES[1])[0].failures > 0, every=0)
        first.gate.set()
        await asking
    assert [(one.upstream, one.outcome) for one in plan.record.attempted] == [
        ("second", "unreachable"),
        ("first", "200"),
    ]
    assert plan.record.hedge_cost == 0.0


async def test_failure_of_both_calls_counts_as_two_calls_of_the_walk() -> None:
    first = HeldAnswer(CUT)
    client = Upstreams({"first": first, "second": UpstreamUnreachable("refused")})
    exchange = exchange_of(client)
    plan = plan_of(exchange)
    asking = asyncio.ensure_future(exchange.answer(plan))
    async with asyncio.timeout(5):
        await first.asked.wait()
        await until(lambda: len(client.calls) == 2, every=0)
        first.gate.set()
        with pytest.raises(GatewayError):
            await asking
    assert len(client.calls) <= 3


async def test_client_that_leaves_cancels_both_calls() -> None:
    answers = {"first": HeldAnswer(ANSWER), "second": HeldAnswer(ANSWER)}
    exchange = exchange_of(Upstreams(dict(answers)))
    asking = asyncio.ensure_future(exchange.answer(plan := plan_of(exchange)))
    async with asyncio.timeout(5):
        for one in answers.values():
            await one.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert all(one.was_cancelled for one in answers.values())
    assert plan.record.status == 499
    assert all(health.in_flight == 0 for route in ROUTES for health in exchange.circuits.pair_of(route))


def test_route_has_a_hedge_for_each_fifty_calls() -> None:
    exchange = exchange_of(ScriptedClient([]), times=0)
    exchange.hedges._left.clear()
    hedges = 0
    for _ in range(1000):
        exchange.hedges.delay(plan_of(exchange))
        hedges += exchange.hedges.take(ROUTES[0])
    assert hedges == SHARE * 1000


@pytest.mark.parametrize(
    ("context", "fields", "times"),
    [
        pytest.param(replace(CONTEXT, priority="batch"), {}, MIN_TIMES, id="item of a batch"),
        pytest.param(CONTEXT, {"max_tokens": 0}, MIN_TIMES, id="request that only fills the upstream's cache"),
        pytest.param(
            CONTEXT,
            {"messages": [{"role": "user", "content": "word " * (2 * MAX_TOKENS)}]},
            MIN_TIMES,
            id="long prompt",
        ),
        pytest.param(CONTEXT, {}, MIN_TIMES - 1, id="candidate with few calls so far"),
    ],
)
def test_request_that_is_not_hedged(context: Context, fields: dict[str, object], times: int) -> None:
    exchange = exchange_of(ScriptedClient([]), times=times)
    plan = plan_of(exchange, context=context, **fields)
    plan.record.attempts = 1
    assert exchange.hedges.delay(plan) is None


def test_request_is_hedged_after_the_98th_percentile_of_the_last_ten_minutes() -> None:
    times = FirstContents()
    for number in range(1, 1001):
        times.add(0.0, number / 100)
    assert times.late_after(500.0) == pytest.approx(9.8)
    assert times.late_after(601.0) is None


@pytest.mark.parametrize("why", ["open circuit", "full second candidate", "full first candidate", "no retries left"])
async def test_hedges_are_the_first_calls_that_are_not_made_under_load(why: str) -> None:
    first = HeldAnswer(ANSWER)
    client = Upstreams({"first": first, "second": UpstreamUnreachable("refused")})
    exchange, limits = exchange_of(client), LaneLimits(concurrency=1)
    full = {"full first candidate": 0, "full second candidate": 1}.get(why)
    routes = [
        replace(one, upstream=replace(one.upstream, limits=limits)) if place == full else one
        for place, one in enumerate(ROUTES)
    ]
    async with AsyncExitStack() as stack:
        if why == "full second candidate":
            demand = LaneDemand(1, is_batch=False, waits=False, used=lambda: 1)
            await stack.enter_async_context(entered(exchange.circuits.call(routes[1], alone=False, demand=demand)))
        elif why == "open circuit":
            exchange.circuits.pair_of(routes[1])[0].open(exchange.clock())
        elif why == "no retries left":
            while exchange.circuits.allows_retry(routes[1]):
                await stack.enter_async_context(entered(exchange.circuits.call(routes[1], alone=False, is_retry=True)))
        await ask_held(exchange, tuple(routes), first)
    assert client.calls == ["first"]


async def ask_held(exchange: Exchange, routes: tuple[Route, ...], first: HeldAnswer) -> None:
    """Ask, and let the first candidate answer long after a hedge would have been made."""
    asking = asyncio.ensure_future(exchange.answer(plan_of(exchange, routes)))
    async with asyncio.timeout(5):
        await first.asked.wait()
        await asyncio.sleep(0.05)  # fifty times the delay
        first.gate.set()
        await asking


@pytest.mark.parametrize("winner", ["first", "second"])
async def test_calls_of_a_hedged_request_are_freed_without_the_collector(winner: str) -> None:
    answers = {"first": HeldAnswer(ANSWER), "second": HeldAnswer(ANSWER)}
    exchange = exchange_of(Upstreams(dict(answers)))
    gc.collect()
    gc.disable()
    try:
        asking = asyncio.ensure_future(exchange.answer(plan_of(exchange)))
        async with asyncio.timeout(5):
            await answers["second"].asked.wait()
            answers[winner].gate.set()
            await asking
        del asking
        await asyncio.sleep(0)
        assert [one for one in gc.get_objects() if isinstance(one, Contender | Race)] == []
    finally:
        gc.enable()
