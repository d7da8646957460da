"""Limits of an upstream, in one process and over several on a real server: the same cases for both."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.errors import GatewayError, StoreAway, UpstreamFull
from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.redis.silence import SilenceLimit
from gateway.upstream.capacity.lane import LaneCall, LaneLimits
from gateway.upstream.capacity.lanes import LEASE_SECONDS, NORMAL, LaneDemand, Lanes
from gateway.upstream.routes.route import Upstream
from tests.support.clock import Clock
from tests.support.redis_server import redis_server

LOW, HIGH = NORMAL - 1, NORMAL + 1
UPSTREAM = Upstream("up", "http://upstream.example/v1")
numbers = count()


@dataclass(slots=True)
class Fleet:
    """Processes with one limit; without Redis only one of them."""

    redis: Redis | None
    clock: Clock = field(default_factory=Clock)
    keys: Keys = field(default_factory=lambda: Keys(f"test{next(numbers)}:"))
    processes: list[Lanes] = field(default_factory=list)

    def __post_init__(self) -> None:
        server = None if self.redis is None else RedisServer(self.redis, self.keys)
        silence = SilenceLimit(20)
        self.processes = [Lanes(server, clock=self.clock, silence=silence) for _ in range(1 if server is None else 3)]

    async def begin(
        self, limits: LaneLimits, tokens: int = 10, *, is_batch: bool = False, priority: int = NORMAL
    ) -> LaneCall:
        """Begin a call at the next process."""
        self.processes.append(self.processes.pop(0))
        demand = LaneDemand(tokens, is_batch, False, lambda: tokens, priority)
        return await self.processes[0].enter(UPSTREAM, limits, demand)

    async def refused(
        self, limits: LaneLimits, tokens: int = 10, *, is_batch: bool = False, priority: int = NORMAL
    ) -> tuple[str, float]:
        """Return the limit that refuses a call, and the seconds to wait."""
        with pytest.raises(UpstreamFull) as caught:
            await self.begin(limits, tokens, is_batch=is_batch, priority=priority)
        assert caught.value.retry_after is not None
        return caught.value.message.partition(" that this gateway")[0], round(caught.value.retry_after, 1)

    async def end(self, call: LaneCall, used: int) -> None:
        for process in self.processes:
            if call.id.startswith(process._name):
                process.leave(call, used)
                if process.server is not None:
                    await process.send_ended()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, also for what is stored."""
        self.clock.now += seconds
        if self.redis is None:
            return
        keys = self.keys.lane("up")
        for key in (keys.calls, keys.tokens, keys.running, keys.batches):
            for member in await self.redis.zrange(key, 0, -1):
                assert isinstance(member, bytes)
                await self.redis.zincrby(key, -seconds * 1000, member)


def is_about(seconds: float, expected: float) -> bool:
    """Redis' own clock goes on meanwhile."""
    return expected - 8 < seconds <= expected + 0.2


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def url() -> AsyncIterator[str]:
    async with redis_server() as found:
        yield found


@pytest.fixture(params=["one process", "three processes"])
async def fleet(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Fleet]:
    if request.param == "one process":
        yield Fleet(None)
        return
    client = queue_client(url)
    yield Fleet(client)
    await client.aclose()


async def test_calls_at_once_are_limited_until_one_ends(fleet: Fleet) -> None:
    limits = LaneLimits(concurrency=3)
    calls = [await fleet.begin(limits) for _ in range(3)]
    assert await fleet.refused(limits) == ("up has reached the limit of 3 calls at once", 1.0)
    await fleet.end(calls[1], 0)
    await fleet.begin(limits)
    assert (await fleet.refused(limits))[1] == 1.0


async def test_calls_a_minute_are_limited_exactly(fleet: Fleet) -> None:
    limits = LaneLimits(rpm=4)
    for _ in range(4):
        await fleet.end(await fleet.begin(limits), 0)
        await fleet.pass_time(10)
    assert (await fleet.refused(limits))[0] == "up has reached the limit of 4 calls a minute"
    assert is_about((await fleet.refused(limits))[1], 20)
    await fleet.pass_time(21)
    await fleet.begin(limits)
    assert is_about((await fleet.refused(limits))[1], 9)


async def test_tokens_a_minute_count_the_prompt_at_once_and_the_answer_at_its_end(fleet: Fleet) -> None:
    limits = LaneLimits(tpm=100)
    first = await fleet.begin(limits, 40)
    await fleet.begin(limits, 40)
    assert (await fleet.refused(limits, 30))[0] == "up has reached the limit of 100 tokens a minute"
    await fleet.end(first, 25)  # the estimate was too high
    await fleet.pass_time(30)
    third = await fleet.begin(limits, 30)
    assert is_about((await fleet.refused(limits, 30))[1], 30)
    await fleet.end(third, 90)
    await fleet.pass_time(31)
    assert is_about((await fleet.refused(limits, 30))[1], 29)  # 90 of the third call
    await fleet.begin(limits, 10)


async def test_prompt_above_a_minutes_tokens_is_never_served(fleet: Fleet) -> None:
    with pytest.raises(UpstreamFull, match=r"about 101 tokens; up takes 100 a minute") as caught:
        await fleet.begin(LaneLimits(tpm=100), 101)
    assert caught.value.should_retry is False


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        pytest.param(LaneLimits(concurrency=200), 180, id="a tenth is left to live requests"),
        pytest.param(LaneLimits(concurrency=16), 12, id="the root of a small number is left to live requests"),
        pytest.param(LaneLimits(concurrency=10, batch=2), 2, id="as many as the operator allows"),
        pytest.param(LaneLimits(concurrency=1), 1, id="one in any case"),
        pytest.param(LaneLimits(rpm=10), 9, id="calls a minute"),
    ],
)
async def test_batch_takes_its_part_and_live_requests_the_rest(fleet: Fleet, limits: LaneLimits, batches: int) -> None:
    for _ in range(batches):
        await fleet.begin(limits, is_batch=True)
    await fleet.refused(limits, is_batch=True)
    most = limits.concurrency or limits.rpm or 0
    for _ in range(most - batches):
        await fleet.begin(limits)
    await fleet.refused(limits)


async def test_batch_takes_nothing_of_a_part_of_zero(fleet: Fleet) -> None:
    assert (await fleet.refused(LaneLimits(concurrency=4, batch=0), is_batch=True))[1] == 1.0


async def test_live_requests_push_a_batch_back(fleet: Fleet) -> None:
    limits = LaneLimits(concurrency=10)
    for _ in range(5):
        await fleet.begin(limits)
    await fleet.begin(limits, is_batch=True)
    await fleet.refused(limits, is_batch=True)
    await fleet.begin(limits)


async def test_calls_of_a_process_that_died_end_with_their_lease(url: str) -> None:
    client = queue_client(url)
    fleet, limits = Fleet(client), LaneLimits(concurrency=2)
    alive, _ = await fleet.begin(limits), await fleet.begin(limits)
    await fleet.pass_time(LEASE_SECONDS / 2)
    await next(one for one in fleet.processes if alive.id.startswith(one._name)).renew()
    await fleet.pass_time(LEASE_SECONDS / 2 + 1)
    await fleet.begin(limits)
    await fleet.refused(limits)
    await client.aclose()


async def test_call_that_ends_lets_in_the_newest_that_waits() -> None:
    lanes, limits = Lanes(), LaneLimits(concurrency=20)
    calls = [await lanes.enter(UPSTREAM, limits, LaneDemand(1, False, True, lambda: 1)) for _ in range(20)]
    waiting: list[asyncio.Task[LaneCall]] = []
    for _ in range(2):
        waiting.append(asyncio.create_task(lanes.enter(UPSTREAM, limits, LaneDemand(1, False, True, lambda: 1))))
        await asyncio.sleep(0)
    with pytest.raises(UpstreamFull):  # a tenth of the calls may wait
        await lanes.enter(UPSTREAM, limits, LaneDemand(1, False, True, lambda: 1))
    lanes.leave(calls[0], 1)
    await waiting[1]
    assert not waiting[0].done()
    lanes.leave(calls[1], 1)
    await waiting[0]


class Away(RedisServer):
    """A server that does not answer, or refuses."""

    error: GatewayError | None = StoreAway("away")
    asked: int = 0

    async def run(self, *_: object) -> object:
        self.asked += 1
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        return None


@pytest.mark.parametrize("error", [StoreAway("away"), None], ids=["refuses", "silent"])
async def test_process_keeps_its_part_of_a_limit_while_redis_is_away(error: GatewayError | None) -> None:
    server, clock = Away(Redis()), Clock()
    server.error = error
    lanes, limits = Lanes(server, 0.5, clock, SilenceLimit(0.05, clock)), LaneLimits(concurrency=4)
    fleet = Fleet(None)
    fleet.processes = [lanes]
    for _ in range(2):
        await fleet.begin(limits)
    await fleet.refused(limits)
    assert server.asked == 1
    clock.now += 2
    await fleet.refused(limits)
    assert server.asked == 2


async def test_batch_that_was_refused_grows_again_from_its_calls_in_flight() -> None:
    clock = Clock()
    lanes = Lanes(clock=clock)
    upstream = replace(UPSTREAM, limits=LaneLimits(concurrency=100, batch=20))
    live, batch = (LaneDemand(1, is_batch, False, lambda: 1) for is_batch in (False, True))
    assert upstream.limits is not None
    for _ in range(85):
        await lanes.enter(upstream, upstream.limits, live)
    for _ in range(5):
        await lanes.enter(upstream, upstream.limits, batch)
    assert lanes.room_for_batch(upstream) == 15
    with pytest.raises(UpstreamFull):
        await lanes.enter(upstream, upstream.limits, batch)
    assert lanes.room_for_batch(upstream) == 0
    clock.now += 0.5
    assert lanes.room_for_batch(upstream) == 4
    clock.now += 60
    assert lanes.room_for_batch(upstream) == 15


async def test_batch_waits_while_redis_does_not_answer_about_limits() -> None:
    lanes, limits = Lanes(Away(Redis()), clock=Clock()), LaneLimits(concurrency=4)
    with pytest.raises(UpstreamFull) as refused:
        await lanes.enter(UPSTREAM, limits, LaneDemand(1, True, False, lambda: 1))
    assert refused.value.retry_after == 1
    await lanes.enter(UPSTREAM, limits, LaneDemand(1, False, False, lambda: 1))


async def test_calls_of_a_higher_priority_go_first_and_take_the_place_of_others() -> None:
    lanes, limits = Lanes(), LaneLimits(concurrency=20)

    def enter(priority: int) -> asyncio.Task[LaneCall]:
        return asyncio.create_task(lanes.enter(UPSTREAM, limits, LaneDemand(1, False, True, lambda: 1, priority)))

    calls = [await enter(HIGH) for _ in range(20)]
    normal, newer = enter(NORMAL), enter(NORMAL)
    await asyncio.sleep(0)
    high = enter(HIGH)
    with pytest.raises(UpstreamFull):
        await normal
    with pytest.raises(UpstreamFull):
        await enter(NORMAL)
    for call, waiting in zip(calls, (high, newer), strict=False):
        lanes.leave(call, 1)
        await waiting
    assert not any(lanes._queues.values())


async def test_calls_of_a_low_priority_leave_a_part_of_each_limit(fleet: Fleet) -> None:
    for limits, most in ((LaneLimits(concurrency=4), 2), (LaneLimits(rpm=20), 18), (LaneLimits(tpm=100), 9)):
        low = Fleet(fleet.redis)
        for _ in range(most):
            await low.begin(limits, priority=LOW)
        await low.refused(limits, priority=LOW)
        await low.begin(limits)
