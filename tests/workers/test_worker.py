"""A worker in this process: what it claims, gives back and leaves behind. The upstream is the simulator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.batches.splitter import Item
from gateway.errors import UpstreamUnreachable
from gateway.process.tasks import background
from gateway.redis.connections import queue_client
from gateway.simulator.failures import error_script
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import DONE, HangUp, Hold, Script, stream_script
from gateway.upstream.capacity.knee import Knee
from gateway.upstream.capacity.lane import LaneLimits
from gateway.upstream.capacity.loads import Loads
from gateway.upstream.health.circuit import OPEN_AFTER
from gateway.upstream.health.live_circuits import LiveCircuits
from gateway.upstream.http.http_client import Transport
from gateway.upstream.routes.route import Candidate, Route, RouteRule, Upstream
from gateway.upstream.routes.table import Routing, RoutingTable, one_upstream_table
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER
from gateway.upstream.vendors.vendor import Vendor
from tests.support.exchanges import chat_exchange
from tests.support.live_calls import entered
from tests.support.waiting import until
from tests.workers.conftest import Bench, item, said, text_of
from tests.workers.proxy import RedisProxy
from workers.in_flight import SMALL_ITEM, VALUE_WEIGHT, weight_of
from workers.retry import MAX_ATTEMPTS
from workers.wiring import build_worker, to_patient_exchange
from workers.worker import IDLE_SECONDS, Worker

DRAIN = 10.0


@asynccontextmanager
async def working(
    bench: Bench,
    *,
    slots: int = 8,
    lease: float = 60.0,
    drain: float = DRAIN,
    chance: float = 0.02,
    most_bytes: int = 1 << 25,
    second: str = "",
    limits: LaneLimits | None = None,
    vendor: Vendor = OPENROUTER,
) -> AsyncIterator[Worker]:
    """A worker at work; leaving the context stops it as SIGTERM does. `second`: the address of another candidate."""
    client = Transport()
    headers = (("content-type", "application/json"),)
    table = one_upstream_table(Upstream("sim", bench.simulator.url, "", vendor, headers, limits=limits))
    if second:
        both = (*table.upstreams, Upstream("other", second, headers=headers))
        table = RoutingTable(both, (RouteRule("*", (Candidate("sim"), Candidate("other"))),))
    exchange = to_patient_exchange(chat_exchange(client, table))
    worker, loops = build_worker(bench.server, exchange, slots, lease)
    worker.most_bytes = most_bytes
    worker.chance = worker.attempts.chance = lambda: chance
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop.run()) for loop in loops]
        async with background(exchange.heartbeat.run()):
            running = group.create_task(worker.run(stop, drain))
            yield worker
            stop.set()
            await running
        for task in tasks:
            task.cancel()
    await client.close()


def held_answer(gate: asyncio.Event) -> Script:
    said = {"choices": [{"index": 0, "delta": {"content": "at last"}}]}
    return stream_script(Hold(gate), said, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, DONE)


async def in_flight(bench: Bench, batch: Any) -> tuple[int, int]:
    """Leases, and items to be tried again."""
    keys = bench.keys(batch)
    return await bench.redis.zcard(keys.lease), await bench.redis.zcard(keys.retry)


async def given_back(bench: Bench, batch: Any, number: int) -> None:
    async def is_given_back() -> bool:
        return await in_flight(bench, batch) == (0, number)

    await until(is_given_back)


async def test_each_item_gets_its_own_answer(bench: Bench) -> None:
    batch = await bench.create([item(number) for number in range(50)])
    async with working(bench):
        record = await bench.ended(batch)
    assert (record.succeeded, record.errored) == (50, 0)
    results = await bench.results(batch)
    for number in range(50):
        assert said(number) in text_of(results[f"item-{number}"])
    assert len(bench.simulator.requests()) == 50


async def test_no_more_than_its_slots_are_in_flight(bench: Bench) -> None:
    gate = asyncio.Event()
    bench.simulator.script(*[held_answer(gate)] * 20)
    batch = await bench.create([item(number) for number in range(20)])
    async with working(bench, slots=4):
        await bench.simulator.received(4)
        assert await in_flight(bench, batch) == (4, 0)
        assert len(bench.simulator.requests()) == 4
        gate.set()
        assert (await bench.ended(batch)).succeeded == 20


@pytest.mark.covers("Batches · one bad item does not touch the others")
async def test_bad_items_are_errored_and_the_others_succeed(bench: Bench) -> None:
    items = [item(0), item(1, max_tokens="many"), item(2, model="sim/error-400"), item(3, model=None)]
    batch = await bench.create(items)
    async with working(bench):
        record = await bench.ended(batch)
    assert (record.succeeded, record.errored) == (1, 3)
    results = await bench.results(batch)
    kinds = [results[f"item-{number}"]["error"]["error"]["type"] for number in (1, 2, 3)]
    assert kinds == ["invalid_request_error"] * 3


async def test_a_failure_that_passes_is_tried_again(bench: Bench) -> None:
    bench.simulator.script(error_script(502), error_script(500))
    batch = await bench.create([item(0)])
    async with working(bench):
        record = await bench.ended(batch)
    assert record.succeeded == 1
    assert len(bench.simulator.requests()) == 3


async def test_call_beyond_the_time_of_an_item_is_postponed_as_a_timeout(bench: Bench) -> None:
    bench.simulator.script(held_answer(asyncio.Event()))
    batch = await bench.create([item(0)])
    with capture_logs() as lines:
        async with working(bench) as worker:
            await bench.simulator.received(1)
            [held] = worker.in_flight.all()
            assert held.call is not None
            held.call.reschedule(0.0)
            record = await bench.ended(batch)
    assert record.succeeded == 1
    assert [line["cause"] for line in lines if line["event"] == "item_postponed"] == ["timeout"]


@pytest.mark.covers("Batches · a busy upstream is asked less")
async def test_an_upstream_that_is_busy_is_asked_less_and_then_finishes_all(bench: Bench) -> None:
    bench.simulator.script(error_script(429), error_script(503), error_script(529))
    batch = await bench.create([item(number) for number in range(40)])
    async with working(bench, slots=4):
        record = await bench.ended(batch)
    assert (record.succeeded, record.errored) == (40, 0)
    times = [record.received_at for record in bench.simulator.requests()]
    assert times[4] - times[3] >= 0.9  # as Retry-After said


# What one batch, model or item meets delays no other.


@pytest.mark.parametrize("model", ["sim/error-402", "sim/error-401", "sim/error-429", "sim/error-500"])
async def test_a_batch_that_the_upstream_rejects_does_not_delay_another_tenants_batch(bench: Bench, model: str) -> None:
    rejected = await bench.create([item(number, model=model) for number in range(50)], tenant="a-poor")
    sound = await bench.create([item(number) for number in range(100)])
    async with working(bench, slots=4, chance=0.5):
        async with asyncio.timeout(20):
            assert (await bench.ended(sound)).succeeded == 100
    assert (await bench.read(rejected)).status == "in_progress"
    asked = sum(request.json["model"] == model for request in bench.simulator.requests())
    assert 1 <= asked <= OPEN_AFTER + 2 * 4


async def test_items_of_a_model_that_fails_do_not_delay_the_items_of_another_in_their_batch(bench: Bench) -> None:
    poor = [item(number, model="sim/error-402") for number in range(60)]
    batch = await bench.create([*poor, *(item(number) for number in range(60, 100))])
    async with working(bench, slots=4, chance=0.5):
        async with asyncio.timeout(20):
            await bench.recorded(batch, 40)


async def test_one_item_that_the_account_cannot_pay_for_is_an_error_once_others_are_served(bench: Bench) -> None:
    bench.simulator.script(error_script(402))
    batch = await bench.create([item(number) for number in range(10)])
    async with working(bench, slots=4, chance=0.0):
        await bench.recorded(batch, 9)
        keys = bench.keys(batch)
        [(index, _)] = await bench.redis.zrange(keys.retry, 0, -1, withscores=True)
        await bench.redis.hset(keys.tries, index, MAX_ATTEMPTS - 1)
        bench.simulator.script(error_script(402))
        await bench.redis.zadd(keys.retry, {index: 1})
        await bench.redis.zadd(bench.server.keys.scheduler.wake, {batch.id: 1})
        record = await bench.ended(batch)
    assert (record.succeeded, record.errored) == (9, 1)
    [error] = [result["error"]["error"] for result in (await bench.results(batch)).values() if "error" in result]
    assert error["type"] == "billing_error"


async def test_after_a_429_the_next_batch_soon_has_all_its_calls_at_once(bench: Bench) -> None:
    bench.simulator.script(error_script(429))
    first = await bench.create([item(number, model="sim/stream-2-d20") for number in range(32)])
    async with working(bench, slots=32, chance=0.5):
        await bench.ended(first)
        next_one = await bench.create([item(number, model="sim/stream-2-d50") for number in range(32)])
        begun = asyncio.get_running_loop().time()
        await bench.ended(next_one)
        took = asyncio.get_running_loop().time() - begun
    assert took < 1.5


@dataclass(slots=True)
class BrokenTable:
    """Resolves no model the first times."""

    table: RoutingTable
    failures: int

    def resolve(self, model: str) -> tuple[Route, ...]:
        self.failures -= 1
        if self.failures >= 0:
            raise KeyError(model)
        return self.table.resolve(model)


async def test_items_that_cannot_be_started_are_released_and_those_claimed_with_them(bench: Bench) -> None:
    """An unexpected error must not hold them until their leases end, nor count as a lost worker."""
    for number in range(3):
        await bench.create([item(number)], tenant=f"t{number}")
    async with working(bench, lease=60.0, chance=0.0) as worker:
        worker.routing = cast(Routing, BrokenTable(worker.routing.table, 1))
        records = [await bench.store.page(f"t{number}") for number in range(3)]
        async with asyncio.timeout(20):
            ended = [await bench.ended(page.records[0]) for page in records]
    assert [record.succeeded for record in ended] == [1, 1, 1]


async def test_what_waits_to_be_tried_again_holds_no_slot(bench: Bench) -> None:
    bench.simulator.script(error_script(502))
    batch = await bench.create([item(number) for number in range(5)])
    async with working(bench, slots=1, chance=0.5):
        await bench.recorded(batch, 4)
        record = await bench.ended(batch)
    assert record.succeeded == 5
    asked = [record.json["messages"][-1]["content"] for record in bench.simulator.requests()]
    assert asked[0] == asked[-1]


async def test_an_account_without_credit_stops_the_batch_and_no_item_is_errored(bench: Bench) -> None:
    bench.simulator.script(*[error_script(402)] * 100)
    batch = await bench.create([item(number) for number in range(100)])
    async with working(bench, slots=4) as worker:
        await bench.simulator.received(OPEN_AFTER)
        await until(lambda: worker.circuits.room([worker.routing.resolve("sim/echo")[0]], "acme", batch.id)[1] > 1)
        await until(lambda: not worker.in_flight)
    assert len(bench.simulator.requests()) < OPEN_AFTER + 4
    progress = await bench.store.progress(batch.id)
    assert progress is not None
    assert progress.errored == 0
    assert (await bench.read(batch)).status == "in_progress"


async def test_canceling_lets_what_is_in_flight_finish_and_begins_nothing(bench: Bench) -> None:
    gate = asyncio.Event()
    unanswered = Script((Hold(gate), HangUp()))  # a failure that would be tried again
    bench.simulator.script(*[held_answer(gate)] * 3, unanswered)
    batch = await bench.create([item(number) for number in range(20)])
    async with working(bench, slots=4):
        await bench.simulator.received(4)
        assert (await bench.store.cancel("acme", batch.id)).status == "canceling"
        gate.set()
        record = await bench.ended(batch)
    assert (record.rest, record.succeeded, record.errored, record.unrecorded) == ("canceled", 3, 0, 17)
    kinds = [result["type"] for result in (await bench.results(batch)).values()]
    assert (kinds.count("succeeded"), kinds.count("canceled")) == (3, 17)
    assert len(bench.simulator.requests()) == 4


async def test_a_stopping_worker_finishes_items_in_flight(bench: Bench) -> None:
    batch = await bench.create([item(number, model="sim/stream-5-d40") for number in range(20)])
    async with working(bench, slots=4):
        await bench.simulator.received(4)
    progress = await bench.store.progress(batch.id)
    assert progress is not None
    assert (progress.succeeded, progress.leased, progress.retrying) == (4, 0, 0)
    assert len(bench.simulator.requests()) == 4


async def test_what_does_not_finish_in_time_is_given_back_at_once_and_not_counted(bench: Bench) -> None:
    bench.simulator.script(*[Script((Hold(),))] * 4)
    batch = await bench.create([item(number) for number in range(4)])
    async with working(bench, slots=4, drain=0.05):
        await bench.simulator.received(4)
    assert await in_flight(bench, batch) == (0, 4)
    claims = await bench.queue().claim(10)
    assert [(lease.tries, lease.lost) for claim in claims for lease in claim.leases] == [(0, 0)] * 4
    closed = [record.closed.wait() for record in bench.simulator.requests()]
    await asyncio.wait_for(asyncio.gather(*closed), 5)


async def test_while_redis_is_away_results_are_kept_and_no_item_is_called_twice(bench: Bench) -> None:
    batch = await bench.create([item(number) for number in range(8)])
    gate = asyncio.Event()
    bench.simulator.script(*[held_answer(gate)] * 4)
    async with RedisProxy(bench.url) as proxy:
        behind = Bench(proxy.url, queue_client(proxy.url), bench.simulator)
        async with working(behind, slots=4) as worker:
            await bench.simulator.received(4)
            await proxy.cut()
            gate.set()
            for record in bench.simulator.requests():
                await record.finished.wait()
            await worker.attempts.recorder._arrived.wait()
            assert (await bench.store.progress(batch.id)).succeeded == 0  # type: ignore[union-attr]
            await proxy.join()
            record = await bench.ended(batch)
        await behind.redis.aclose()
    assert record.succeeded == 8
    assert len(bench.simulator.requests()) == 8


async def test_items_whose_lease_may_be_over_are_broken_off_and_given_back_when_redis_returns(bench: Bench) -> None:
    batch = await bench.create([item(0)])
    bench.simulator.script(Script((Hold(),)))
    async with RedisProxy(bench.url) as proxy:
        behind = Bench(proxy.url, queue_client(proxy.url), bench.simulator)
        async with working(behind, lease=1.0):
            call = await bench.simulator.received(1)
            await proxy.cut()
            await asyncio.wait_for(call.closed.wait(), 5)
            await proxy.join()
            record = await bench.ended(batch)
        await behind.redis.aclose()
    assert record.succeeded == 1
    assert len(bench.simulator.requests()) == 2


async def test_a_lease_that_somebody_else_took_ends_the_call(bench: Bench) -> None:
    bench.simulator.script(Script((Hold(),)))
    batch = await bench.create([item(0)])
    async with working(bench, lease=0.6):
        call = await bench.simulator.received(1)
        await bench.redis.hset(bench.keys(batch).own, "0", "another-fence")
        await asyncio.wait_for(call.closed.wait(), 5)
        await bench.redis.zadd(bench.keys(batch).lease, {"0": 1})
        record = await bench.ended(batch)
    assert record.succeeded == 1


async def test_an_item_that_was_lost_twice_runs_alone(bench: Bench) -> None:
    batch = await bench.create([item(number) for number in range(6)])
    keys = bench.keys(batch)
    await bench.redis.zadd(keys.suspect, {"3": 1})
    await bench.redis.hset(keys.lost, "3", "2 fence")
    gate = asyncio.Event()
    bench.simulator.script(held_answer(gate))
    async with working(bench, slots=4) as worker:
        first = await bench.simulator.received(1)
        assert said(3) in first.json["messages"][-1]["content"]
        assert worker._room() == 0
        assert await in_flight(bench, batch) == (1, 0)
        gate.set()
        assert (await bench.ended(batch)).succeeded == 6


async def test_a_busy_worker_lets_its_slots_run_empty_for_such_an_item(bench: Bench) -> None:
    batch = await bench.create([item(number) for number in range(6)])
    gate = asyncio.Event()
    bench.simulator.script(*[held_answer(gate)] * 2)
    async with working(bench, slots=2) as worker:
        await bench.simulator.received(2)
        await bench.redis.zadd(bench.keys(batch).suspect, {"5": 1})
        gate.set()
        assert (await bench.ended(batch)).succeeded == 6
        assert worker._awaited is None
    assert len(bench.simulator.requests()) == 6


@pytest.mark.parametrize("tenant", ["a", "z"])
async def test_an_item_that_must_run_alone_is_not_forgotten_beside_another_batch(bench: Bench, tenant: str) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    bench.simulator.script(held_answer(first), held_answer(second))
    other = await bench.create([item(number, model="sim/stream-2-d20") for number in range(1000)], tenant="other")
    async with working(bench, slots=2):
        await bench.simulator.received(2)
        suspect = await bench.create([item(0)], tenant=tenant)
        await bench.redis.zadd(bench.keys(suspect).suspect, {"0": 1})
        first.set()  # one after the other, so that the worker is never idle by chance
        await bench.recorded(other, 1)
        second.set()
        async with asyncio.timeout(10):
            assert (await bench.ended(suspect)).succeeded == 1


async def test_damaged_data_delays_its_batch_and_no_other(bench: Bench) -> None:
    broken = await bench.create([item(0)])
    sound = await bench.create([item(1)])
    await bench.redis.hset(bench.keys(broken).input, "0", b"z damaged")
    async with working(bench):
        assert (await bench.ended(sound)).succeeded == 1
        await given_back(bench, broken, 1)


@pytest.mark.parametrize("slots", [1, 3])
async def test_two_tenants_are_served_in_turn(bench: Bench, slots: int) -> None:
    large = await bench.create([item(number, model="sim/stream-2-d5") for number in range(60)])
    small = await bench.create([item(number, model="sim/stream-2-d5") for number in range(3)], tenant="small")
    async with working(bench, slots=slots):
        await bench.ended(small)
        progress = await bench.store.progress(large.id)
        assert progress is not None
        assert progress.pending > 30


# Large items


def large(number: int, size: int) -> Item:
    return item(number, messages=[{"role": "user", "content": "x" * size}])


async def test_no_more_bytes_are_in_flight_than_the_budget_and_smaller_items_go_on(bench: Bench) -> None:
    gate = asyncio.Event()
    bench.simulator.script(*[held_answer(gate)] * 2)
    heavy = await bench.create([large(number, 300_000) for number in range(6)], tenant="a-heavy")
    async with working(bench, slots=8, most_bytes=700_000) as worker:
        await bench.simulator.received(2)
        light = await bench.create([item(number) for number in range(20)])
        assert (await bench.ended(light)).succeeded == 20
        assert worker.in_flight.weight < 700_000
        assert await in_flight(bench, heavy) == (2, 0)
        gate.set()
        assert (await bench.ended(heavy)).succeeded == 6


def of_small_values(number: int, blocks: int) -> Item:
    return item(number, messages=[{"role": "user", "content": [{"type": "text", "text": "a"}] * blocks}])


async def test_items_of_small_values_count_for_the_memory_that_they_take(bench: Bench) -> None:
    gate = asyncio.Event()
    bench.simulator.script(held_answer(gate))
    batch = await bench.create([of_small_values(number, 5000) for number in range(3)])
    async with working(bench, slots=8, most_bytes=1_200_000) as worker:
        await bench.simulator.received(1)
        await asyncio.sleep(5 * IDLE_SECONDS)  # those that were claimed beside it are released by then, and stay so
        assert (len(worker.in_flight), (await in_flight(bench, batch))[0]) == (1, 1)
        assert worker.in_flight.weight == 15_006 * VALUE_WEIGHT
        gate.set()
        assert (await bench.ended(batch)).succeeded == 3
    assert worker.in_flight.weight == 0


@pytest.mark.parametrize(
    ("params", "weight"),
    [
        (b"[" * 100, 100),
        (b"[1," * SMALL_ITEM, 2 * SMALL_ITEM * VALUE_WEIGHT),
        (b'"' + b"[,{" * SMALL_ITEM + b'"', 3 * SMALL_ITEM + 2),
        (b"x" * SMALL_ITEM * 9, 9 * SMALL_ITEM),
    ],
    ids=["small", "values", "marks in a text", "text"],
)
def test_weight_of_params(params: bytes, weight: int) -> None:
    assert weight_of(params) == weight


async def test_an_item_larger_than_the_budget_runs_alone(bench: Bench) -> None:
    batch = await bench.create([large(0, 10), large(1, 90_000), large(2, 90_000), large(3, 10)])
    async with working(bench, slots=8, most_bytes=50_000, chance=0.0):
        assert (await bench.ended(batch)).succeeded == 4


async def test_large_items_at_the_end_of_a_batch_of_small_ones_are_read_one_by_one(bench: Bench) -> None:
    batch = await bench.create([*(item(number) for number in range(64)), *(large(n, 200_000) for n in range(64, 70))])
    async with working(bench, slots=70, most_bytes=450_000) as worker:
        most = 0
        while (await bench.read(batch)).status != "ended":
            most = max(most, worker.in_flight.weight)
    assert most <= 450_000
    assert (await bench.read(batch)).succeeded == 70


async def test_items_go_to_the_next_candidate_while_the_first_fails(bench: Bench) -> None:
    bench.simulator.script(*[error_script(503)] * 200)
    async with Simulator() as other, working(bench, second=other.url):
        batch = await bench.create([item(number) for number in range(40)])
        record = await bench.ended(batch)
        assert (record.succeeded, record.errored) == (40, 0)
        assert len(other.requests()) == 40
        assert len(bench.simulator.requests()) < 25


async def test_items_pass_over_a_candidate_whose_circuit_others_have_opened(bench: Bench) -> None:
    circuits = LiveCircuits(bench.server.server)
    async with Simulator() as other:
        front = RoutingTable((Upstream("sim", bench.simulator.url),), (RouteRule("*", (Candidate("sim"),)),))
        [route] = front.resolve("sim/echo")
        for _ in range(OPEN_AFTER):
            async with entered(circuits.call(route, alone=False)) as call:
                circuits.failed(call, UpstreamUnreachable("gone"))
        await circuits.share()
        async with working(bench, slots=2, second=other.url):
            batch = await bench.create([item(number) for number in range(10)])
            assert (await bench.ended(batch)).succeeded == 10
        assert len(other.requests()) >= 8


async def test_batch_takes_no_more_than_its_part_of_an_upstreams_calls_at_once(bench: Bench) -> None:
    gate = asyncio.Event()
    bench.simulator.script(*[held_answer(gate)] * 12)
    async with working(bench, slots=8, limits=LaneLimits(concurrency=4, batch=2)):
        batch = await bench.create([item(number) for number in range(12)])
        await bench.simulator.received(2)
        await asyncio.sleep(0.3)  # a third one would have been sent meanwhile
        assert len(bench.simulator.requests()) == 2
        gate.set()
        assert (await bench.ended(batch)).succeeded == 12


async def test_batch_whose_part_of_an_upstream_is_in_use_is_looked_at_a_few_times_a_second(bench: Bench) -> None:
    gate = asyncio.Event()
    bench.simulator.script(held_answer(gate), held_answer(gate))
    async with working(bench, slots=8, limits=LaneLimits(concurrency=4, batch=1)):
        batch = await bench.create([item(number) for number in range(2)])
        await bench.simulator.received(1)
        before = empty_claims()
        await asyncio.sleep(0.6)
        assert empty_claims() - before <= 0.6 / IDLE_SECONDS + 1
        gate.set()
        assert (await bench.ended(batch)).succeeded == 2


def empty_claims() -> float:
    return REGISTRY.get_sample_value("gateway_batch_claims_total", {"outcome": "empty"}) or 0.0


async def test_batch_keeps_below_the_learned_bound_beside_live_requests_of_a_front_end(bench: Bench) -> None:
    gate, circuits = asyncio.Event(), LiveCircuits()
    upstream = Upstream("sim", bench.simulator.url, vendor=COMPATIBLE)
    [route] = one_upstream_table(upstream).resolve("sim/echo")
    front = Loads(bench.server.server, circuits, runs_batches=False)
    bench.simulator.script(*[held_answer(gate)] * 40)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(entered(circuits.call(route, alone=True)))
        await front.share([upstream])
        async with working(bench, slots=20, vendor=COMPATIBLE) as worker:
            first = await bench.create([item(0)])
            await bench.simulator.received(1)
            await until_known(worker, upstream)
            batch = await bench.create([item(number) for number in range(20)])
            await asyncio.sleep(0.5)  # more would have been sent meanwhile
            assert len(bench.simulator.requests()) <= Knee().room(live=3, processes=1) < 20
            gate.set()
            for each in (first, batch):
                assert (await bench.ended(each)).errored == 0


async def until_known(worker: Worker, upstream: Upstream) -> None:
    """Wait until the worker has read the reports of front ends."""
    await until(lambda: worker.loads.room_for_batch(upstream) is not None)
