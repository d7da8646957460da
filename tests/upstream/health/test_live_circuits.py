"""Circuits of live calls over several processes, and over live calls and batches, on a real server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.errors import (
    CircuitOpen,
    CredentialsRefused,
    GatewayError,
    RateLimited,
    StoreAway,
    UpstreamUnreachable,
    UpstreamWords,
)
from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.upstream.health.circuits import Circuits, Rejected, names_of
from gateway.upstream.health.live_circuits import MAX_LIVE_CIRCUITS, PROBE_BUDGET, LiveCircuits
from gateway.upstream.health.live_health import OPEN_AFTER, STALL_SECONDS, STALLED_CALLS
from gateway.upstream.health.trouble import Trouble
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import OPENROUTER
from tests.support.clock import Clock
from tests.support.live_calls import entered
from tests.support.redis_server import redis_server

ROUTE = Route("m/one", Upstream("up", "http://upstream.example/v1"), "chat", to_target("m/one", OPENROUTER))
GONE = UpstreamUnreachable("refused")
numbers = count()


@dataclass(slots=True)
class Fleet:
    """Front ends and workers on one Redis."""

    redis: Redis
    clock: Clock = field(default_factory=Clock)
    keys: Keys = field(default_factory=lambda: Keys(f"live{next(numbers)}:"))

    def front_end(self) -> LiveCircuits:
        return LiveCircuits(RedisServer(self.redis, self.keys), self.clock)

    def worker(self) -> Circuits:
        return Circuits(RedisServer(self.redis, self.keys), 8, self.clock)

    async def open_time_passes(self, name: str = "up") -> None:
        self.clock.now += 60
        await self.redis.hset(self.keys.circuit(name), "until", 1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def url() -> AsyncIterator[str]:
    async with redis_server() as found:
        yield found


@pytest.fixture
async def fleet(url: str) -> AsyncIterator[Fleet]:
    client = queue_client(url)
    yield Fleet(client)
    await client.aclose()


async def fail(circuits: LiveCircuits, error: GatewayError = GONE, times: int = OPEN_AFTER) -> None:
    for _ in range(times):
        call = circuits.call(ROUTE, alone=False)
        circuits.begin(call)
        circuits.failed(call, error)
        circuits.end(call)


async def exchange_news(*processes: LiveCircuits | Circuits) -> None:
    for process in processes:
        await process.share()


async def refused(circuits: LiveCircuits, *, alone: bool = False) -> float:
    with pytest.raises(CircuitOpen) as caught:
        async with entered(circuits.call(ROUTE, alone=alone)):
            pass
    assert caught.value.retry_after is not None
    return caught.value.retry_after


async def test_circuit_that_one_process_opens_is_open_in_all_and_closed_in_all(fleet: Fleet) -> None:
    first, second = fleet.front_end(), fleet.front_end()
    assert second.wait(ROUTE) == 0
    await fail(first)
    assert first.wait(ROUTE) > 0  # at once, without Redis
    await exchange_news(first, second)
    assert 0 < second.wait(ROUTE) <= 2
    await fleet.open_time_passes()
    async with entered(first.call(ROUTE, alone=False)):
        pass
    fleet.clock.now += 1
    await exchange_news(first, second)
    assert second.wait(ROUTE) == 0
    assert second.states() == []


async def test_one_of_all_processes_probes_and_a_failed_probe_keeps_the_circuit_open_in_all(fleet: Fleet) -> None:
    processes = [fleet.front_end() for _ in range(3)]
    for process in processes:
        process.wait(ROUTE)
    await fail(processes[0])
    await exchange_news(*processes)
    await fleet.open_time_passes()
    async with AsyncExitStack() as stack:
        probe = await stack.enter_async_context(entered(processes[1].call(ROUTE, alone=False)))
        for process in processes:
            assert 0 < await refused(process) <= 10
        processes[1].failed(probe, GONE)
    fleet.clock.now += 1
    await exchange_news(*processes, *processes)
    for process in processes:
        assert process.wait(ROUTE) > 0


async def test_busy_process_does_not_probe_beside_another_one(fleet: Fleet) -> None:
    """It could not read in time what Redis had answered."""
    first, second = fleet.front_end(), fleet.front_end()
    second.wait(ROUTE)
    await fail(first)
    await exchange_news(first, second)
    await fleet.open_time_passes()
    async with entered(first.call(ROUTE, alone=False)):
        asyncio.get_running_loop().call_soon(time.sleep, 2 * PROBE_BUDGET)
        assert await refused(second) > 0


async def test_answer_of_a_call_from_before_the_incident_does_not_close_the_circuit(fleet: Fleet) -> None:
    first = fleet.front_end()
    async with entered(first.call(ROUTE, alone=False)):
        fleet.clock.now += 1
        await fail(first)
    assert first.wait(ROUTE) > 0
    await first.share()
    assert await fleet.redis.exists(fleet.keys.circuit("up"))


async def test_stall_is_logged_and_shared_with_the_other_processes(fleet: Fleet) -> None:
    first, second = fleet.front_end(), fleet.front_end()
    second.wait(ROUTE)
    async with AsyncExitStack() as stack:
        for _ in range(STALLED_CALLS):
            await stack.enter_async_context(entered(first.call(ROUTE, alone=True)))
        fleet.clock.now += STALL_SECONDS
        with capture_logs() as lines:
            assert 0 < await refused(first, alone=True) <= 1  # also a lone candidate
            assert await refused(first) > 0
        assert [line["trouble"] for line in lines if line["event"] == "circuit_opened"] == ["stall"] * 2
        await exchange_news(first, second)
        assert second.wait(ROUTE) > 0
        second_alone = second.pair_of(ROUTE)[0].wait(fleet.clock.now, alone=True)
        assert second_alone == 0  # it has not stalled here


@pytest.mark.parametrize(
    ("words", "circuit"),
    [
        ("Incorrect API key provided", "up"),
        ("User not found", "up"),
        ("key not allowed to access model. This key can only access models=['a']. Tried to access m", "up/m"),
        ("key_model_access_denied", "up/m"),
        ("Your account is not subscribed to this model", "up/m"),
        ("The model `m` is not enabled for this key", "up/m"),
    ],
)
async def test_refused_key_opens_the_circuit_of_what_it_is_refused_for(fleet: Fleet, words: str, circuit: str) -> None:
    process = fleet.front_end()
    refused_key = CredentialsRefused("The upstream refused the gateway's own credentials.")
    refused_key.said = UpstreamWords(401, words)
    async with entered(process.call(ROUTE, alone=False)) as call:
        with capture_logs() as lines:
            process.failed(call, refused_key)
    (line,) = [line for line in lines if line["event"] == "circuit_opened"]
    assert (line["circuit"], line["cause"], line["upstream_status"]) == (
        names_of(ROUTE, ())[circuit == "up/m"],
        "credentials",
        401,
    )
    assert words not in str(line)


async def test_stall_of_a_batch_is_not_shared(fleet: Fleet) -> None:
    batch, live = fleet.front_end(), fleet.front_end()
    batch.tells_alone = False
    live.wait(ROUTE)
    async with AsyncExitStack() as stack:
        for _ in range(STALLED_CALLS):
            await stack.enter_async_context(entered(batch.call(ROUTE, alone=True)))
        fleet.clock.now += STALL_SECONDS
        await refused(batch)
        await exchange_news(batch, live)
    assert live.wait(ROUTE) == 0


async def test_pause_that_the_upstream_asks_for_is_shared_and_one_without_a_time_is_not(fleet: Fleet) -> None:
    first, second = fleet.front_end(), fleet.front_end()
    second.wait(ROUTE)
    await fail(first, RateLimited("slow down"), times=1)
    await exchange_news(first, second)
    assert (first.wait(ROUTE), second.wait(ROUTE)) == (1.0, 0.0)
    fleet.clock.now += 2
    await fail(first, RateLimited("slow down", retry_after=7.0), times=1)
    await exchange_news(first, second)
    assert 6 < second.wait(ROUTE) <= 7


async def test_live_calls_avoid_an_upstream_whose_circuit_batches_have_opened(fleet: Fleet) -> None:
    live, worker = fleet.front_end(), fleet.worker()
    live.wait(ROUTE)
    for number in range(OPEN_AFTER * 3):
        try:
            async with worker.permit(ROUTE, f"tenant{number % 3}", f"batch{number % 3}") as permit:
                permit.failed(Trouble.UNREACHABLE, None)
        except Rejected:
            break
    await exchange_news(worker, live)
    assert live.wait(ROUTE) > 0


async def test_batches_avoid_an_upstream_whose_circuit_live_calls_have_opened(fleet: Fleet) -> None:
    live, worker = fleet.front_end(), fleet.worker()
    await fail(live)
    await live.share()
    with pytest.raises(Rejected):
        async with worker.permit(ROUTE, "tenant", "batch"):
            pass


class Away(RedisServer):
    """A server that refuses, or never answers."""

    def __init__(self, redis: Redis, *, silent: bool) -> None:
        super().__init__(redis)
        self.silent = silent

    async def run(self, *_: object) -> object:
        if self.silent:
            await asyncio.Event().wait()
        raise StoreAway("away")


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "silent"])
async def test_each_process_keeps_its_own_circuits_while_redis_is_away(fleet: Fleet, silent: bool) -> None:
    circuits = fleet.front_end()
    circuits.server = Away(fleet.redis, silent=silent)
    async with asyncio.timeout(5):
        await fail(circuits)
        assert await refused(circuits) > 0
        fleet.clock.now += 60
        async with entered(circuits.call(ROUTE, alone=False)):  # the probe, without Redis' decision
            assert await refused(circuits) > 0
    assert circuits.wait(ROUTE) == 0


async def test_circuits_of_all_candidates_are_known_and_their_number_is_bounded() -> None:
    circuits = LiveCircuits()
    fallback = replace(ROUTE, target=to_target("m/two", OPENROUTER))
    assert circuits.are_free((ROUTE, fallback))
    assert [model for _, model, _ in circuits.gates([ROUTE.upstream])] == ["m/one", "m/two"]
    for number in range(MAX_LIVE_CIRCUITS + 10):  # models by other names for the same candidates, and for others
        circuits.are_free((replace(ROUTE, requested=f"asked/{number}"), fallback))
        circuits.wait(replace(ROUTE, target=to_target(f"sent/{number}", OPENROUTER)))
    assert len(circuits._models) <= MAX_LIVE_CIRCUITS
    assert len(list(circuits.gates([ROUTE.upstream]))) <= MAX_LIVE_CIRCUITS


async def test_candidates_are_looked_at_again_once_one_has_failed() -> None:
    circuits = LiveCircuits(clock=(clock := Clock()))
    assert circuits.are_free((ROUTE,))
    await fail(circuits)
    assert not circuits.are_free((ROUTE,))
    clock.now += 60
    with circuits.call(ROUTE, alone=False):
        pass
    clock.now += 1
    assert circuits.are_free((ROUTE,))


async def test_pause_of_a_model_that_is_not_asked_again_ends() -> None:
    circuits = LiveCircuits(clock=(clock := Clock()))
    await fail(circuits, RateLimited("slow down", retry_after=7.0), times=1)
    other = replace(ROUTE, requested="m/two", target=to_target("m/two", OPENROUTER))
    assert not circuits.are_free((other,))
    clock.now += 8
    assert circuits.are_free((other,))
