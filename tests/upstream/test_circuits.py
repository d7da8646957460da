"""Circuits that processes share: one slows down, all do; one probes, the others wait. On a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.batches.server import BatchServer
from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.upstream.circuit import OPEN_AFTER
from gateway.upstream.circuits import MAX_CIRCUITS, Circuits, Permit, Rejected
from gateway.upstream.routing import Route, Upstream
from gateway.upstream.target import to_target
from gateway.upstream.trouble import Trouble
from tests.support.redis_server import redis_server

UPSTREAM = Upstream("up", "http://upstream.example/v1")
SLOTS = 8
numbers = count()


def route(model: str = "m/one") -> Route:
    return Route(model, UPSTREAM, "chat", to_target(model, "openrouter"))


@dataclass(slots=True)
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Bench:
    """Processes that share circuits; `clock` is that of all of them."""

    redis: Redis
    clock: Clock = field(default_factory=Clock)
    keys: Keys = field(default_factory=lambda: Keys(f"test{next(numbers)}:"))

    def process(self) -> Circuits:
        return Circuits(BatchServer(self.redis, self.keys), SLOTS, self.clock)

    async def open_time_passes(self, name: str) -> None:
        """The circuit may be probed, here and at the server."""
        self.clock.now += 60
        await self.redis.hset(self.keys.circuit(name), "until", 1)


@dataclass(slots=True)
class Call:
    permit: Permit
    scope: AsyncExitStack

    async def end(self) -> None:
        await self.scope.aclose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


@pytest.fixture
async def bench(server_url: str) -> AsyncIterator[Bench]:
    client = queue_client(server_url)
    yield Bench(client)
    await client.aclose()


async def admitted(process: Circuits, model: str = "m/one") -> Call:
    scope = AsyncExitStack()
    return Call(await scope.enter_async_context(process.permit(route(model))), scope)


async def rejected(process: Circuits, model: str = "m/one") -> float:
    with pytest.raises(Rejected) as caught:
        await admitted(process, model)
    return caught.value.seconds


async def open_circuit(process: Circuits, trouble: Trouble = Trouble.FAILURE) -> None:
    calls = [await admitted(process) for _ in range(OPEN_AFTER)]
    for call in calls:
        call.permit.failed(trouble, None)
        await call.end()
    await process.share()


async def test_a_pause_of_one_process_pauses_all(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await (await admitted(other)).end()
    (await admitted(one)).permit.failed(Trouble.PRESSURE, 30.0)
    await one.share()
    await other.share()
    assert 29 < await rejected(other) <= 30
    bench.clock.now += 31
    await admitted(other)


async def test_a_new_process_reads_the_shared_state_before_its_first_call(bench: Bench) -> None:
    await open_circuit(bench.process())
    assert await rejected(bench.process()) > 4


async def test_pressure_on_one_model_does_not_pause_another(bench: Bench) -> None:
    one = bench.process()
    (await admitted(one, "m/one")).permit.failed(Trouble.PRESSURE, 30.0)
    assert await rejected(one, "m/one") == 30
    await admitted(one, "m/two")


@pytest.mark.parametrize("trouble", [Trouble.ACCOUNT, Trouble.UNREACHABLE])
async def test_an_account_or_network_failure_opens_the_circuit_of_the_upstream(bench: Bench, trouble: Trouble) -> None:
    one = bench.process()
    await open_circuit(one, trouble)
    assert one.upstream_wait("up") > 0
    await rejected(one, "m/two")


async def test_one_process_probes_and_its_success_closes_the_circuit_for_all(bench: Bench) -> None:
    processes = [bench.process() for _ in range(4)]
    await open_circuit(processes[0])
    for process in processes[1:]:
        await rejected(process)
    await bench.open_time_passes("up/m/one")
    answers = await asyncio.gather(*(admitted(process) for process in processes), return_exceptions=True)
    [(prober, probe)] = [(p, a) for p, a in zip(processes, answers, strict=True) if isinstance(a, Call)]
    assert await rejected(prober) > 0  # a second one of its own neither
    probe.permit.accepted()
    probe.permit.succeeded()
    await probe.end()
    await prober.share()
    for process in processes:
        await process.share()
        await admitted(process)


async def test_a_failed_probe_opens_the_circuit_again_for_all(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await open_circuit(one)
    await other.share()
    await bench.open_time_passes("up/m/one")
    probe = await admitted(one)
    probe.permit.failed(Trouble.PRESSURE, 120.0)
    await probe.end()
    await one.share()
    await rejected(other)
    await other.share()
    assert await rejected(other) > 119


async def test_a_probe_without_a_result_makes_room_for_the_next(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await open_circuit(one)
    await bench.open_time_passes("up/m/one")
    await (await admitted(one)).end()
    await one.share()
    await other.share()
    await admitted(other)


async def test_a_circuit_closed_by_a_peer_is_found_closed_by_the_probe(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await open_circuit(one)
    await rejected(other)
    await bench.redis.delete(bench.keys.circuit("up/m/one"))
    bench.clock.now += 60
    await admitted(other)


async def test_the_shared_state_of_an_open_circuit_expires(bench: Bench) -> None:
    await open_circuit(bench.process())
    assert 600_000 < await bench.redis.pttl(bench.keys.circuit("up/m/one")) <= 605_000


async def test_closed_circuits_are_forgotten_and_others_kept(bench: Bench) -> None:
    one = bench.process()
    (await admitted(one)).permit.failed(Trouble.PRESSURE, 30.0)
    for number in range(MAX_CIRCUITS + 10):
        await (await admitted(one, f"m/{number}")).end()
    assert len(one._circuits) < MAX_CIRCUITS
    assert await rejected(one) == 30


async def test_a_permit_without_circuits_reports_nothing(bench: Bench) -> None:
    permit = Permit(bench.process())
    permit.failed(Trouble.PRESSURE, 30.0)
    permit.accepted()
