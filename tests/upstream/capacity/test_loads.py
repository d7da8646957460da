"""Calls in flight at a server, as front ends and workers report them to one another, and the room that batches get."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import pytest

from gateway.context import Context
from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.capacity.knee import FIRST_BOUND, Knee
from gateway.upstream.capacity.lane import LaneLimits
from gateway.upstream.capacity.loads import LIVE_SECONDS, REPORT_SECONDS, Loads, is_measured
from gateway.upstream.health.live_circuits import LiveCircuits
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER
from tests.support.live_calls import entered
from tests.support.redis_server import redis_server

UPSTREAM = Upstream("box", "http://box.example/v1", vendor=COMPATIBLE)
ROUTE = Route("m", UPSTREAM, "chat", to_target("m", COMPATIBLE))


@dataclass(slots=True)
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Fleet:
    server: RedisServer
    stack: AsyncExitStack
    clock: Clock = field(default_factory=Clock)

    async def begin(self, loads: Loads) -> None:
        call = await self.stack.enter_async_context(entered(loads.circuits.call(ROUTE, alone=True)))
        call.note_header()

    async def process(self, calls: int, *, runs_batches: bool) -> Loads:
        """Return a front end or a worker with `calls` in flight, which it has reported."""
        loads = Loads(self.server, LiveCircuits(clock=self.clock), runs_batches, self.clock)
        for _ in range(calls):
            await self.begin(loads)
        await loads.share([UPSTREAM])
        return loads


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with redis_server() as url, AsyncExitStack() as stack:
        client = queue_client(url)
        stack.push_async_callback(client.aclose)
        yield Fleet(RedisServer(client, Keys("loads:")), stack)


def record_of(tokens: int, seconds: float) -> UsageRecord:
    record = UsageRecord(Context("req_1"), upstream="box", upstream_model="m", output_tokens=tokens)
    record.first_content_seconds, record.duration_seconds = 1.0, 1.0 + seconds
    return record


async def test_batches_take_what_live_requests_leave_below_the_bound_divided_between_workers(fleet: Fleet) -> None:
    alone = await fleet.process(1, runs_batches=True)
    assert alone.room_for_batch(UPSTREAM) is None  # without live requests there is nothing to leave room for
    await fleet.process(2, runs_batches=False)
    await alone.share([UPSTREAM])
    second = await fleet.process(1, runs_batches=True)
    for worker in (alone, second):
        await worker.share([UPSTREAM])
        worker._loads["box"].knee = Knee(bound=12.0, _is_found=True, _judged=12.0)
        assert worker.room_for_batch(UPSTREAM) == int((Knee(12.0, True).allowed - 2) / 2) - 1
    await fleet.process(20, runs_batches=False)
    await alone.share([UPSTREAM])
    assert alone.room_for_batch(UPSTREAM) == 0
    keys = fleet.server.keys.load("box")
    assert 0 < await fleet.server.redis.pttl(keys) <= REPORT_SECONDS * 1000


async def test_bound_holds_for_some_seconds_after_the_last_live_request(fleet: Fleet) -> None:
    front, worker = await fleet.process(0, runs_batches=False), await fleet.process(1, runs_batches=True)
    async with entered(front.circuits.call(ROUTE, alone=True)):
        await front.share([UPSTREAM])
        await worker.share([UPSTREAM])
    await front.share([UPSTREAM])
    await worker.share([UPSTREAM])
    fleet.clock.now += LIVE_SECONDS - 1
    assert worker.room_for_batch(UPSTREAM) is not None
    fleet.clock.now += 2
    assert worker.room_for_batch(UPSTREAM) is None


async def test_bound_grows_with_streams_of_full_speed_and_shrinks_with_slow_ones(fleet: Fleet) -> None:
    await fleet.process(1, runs_batches=False)
    worker = await fleet.process(8, runs_batches=True)
    bounds = []
    for seconds in (2.0, 4.0):
        await fleet.begin(worker)
        for _ in range(60):
            fleet.clock.now += 1
            worker.observe(record_of(100, seconds), [UPSTREAM])
            worker.observe(record_of(3, 0.5), [UPSTREAM])  # too short to count
            await worker.share([UPSTREAM])
        bounds.append(worker._loads["box"].knee.bound)
    assert bounds[0] > 1.2 * FIRST_BOUND
    assert bounds[1] < 0.9 * bounds[0]


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        pytest.param(UPSTREAM, True, id="server of the operator's"),
        pytest.param(replace(UPSTREAM, vendor=OPENROUTER), False, id="hosted vendor"),
        pytest.param(replace(UPSTREAM, limits=LaneLimits(concurrency=8)), False, id="configured number of calls"),
        pytest.param(replace(UPSTREAM, limits=LaneLimits(batch=0)), False, id="configured number of batches' calls"),
        pytest.param(replace(UPSTREAM, limits=LaneLimits(rpm=60)), True, id="configured calls a minute"),
    ],
)
def test_only_servers_without_a_configured_number_of_calls_are_measured(upstream: Upstream, expected: bool) -> None:
    assert is_measured(upstream) == expected
