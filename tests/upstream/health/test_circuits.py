"""Circuits that processes share: one slows down, all do; one probes, the others wait. On a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.redis.connections import queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from gateway.upstream.health.circuit import FIRST_OPEN, OPEN_AFTER
from gateway.upstream.health.circuits import FRESH_SECONDS, MAX_CIRCUITS, Circuits, Permit, Rejected, names_of
from gateway.upstream.health.trouble import ACCOUNT_DELAY, Trouble
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import OPENROUTER
from tests.support.clock import Clock
from tests.support.redis_server import redis_server

UPSTREAM = Upstream("up", "http://upstream.example/v1")
SLOTS = 8
numbers = count()


def route(model: str = "m/one") -> Route:
    return Route(model, UPSTREAM, "chat", to_target(model, OPENROUTER))


@dataclass(slots=True)
class Bench:
    """Processes that share circuits; `clock` is that of all of them."""

    redis: Redis
    clock: Clock = field(default_factory=Clock)
    keys: Keys = field(default_factory=lambda: Keys(f"test{next(numbers)}:"))

    def process(self, slots: int = SLOTS) -> Circuits:
        return Circuits(RedisServer(self.redis, self.keys), slots, self.clock)

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

    async def fail(self, trouble: Trouble, retry_after: float | None = None) -> None:
        self.permit.failed(trouble, retry_after)
        await self.end()

    async def succeed(self) -> None:
        self.permit.accepted()
        self.permit.succeeded()
        await self.end()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


@pytest.fixture
async def bench(server_url: str) -> AsyncIterator[Bench]:
    client = queue_client(server_url)
    yield Bench(client)
    await client.aclose()


async def admitted(process: Circuits, model: str = "m/one", tenant: str = "acme", batch: str = "b") -> Call:
    scope = AsyncExitStack()
    return Call(await scope.enter_async_context(process.permit(route(model), tenant, batch)), scope)


async def rejected(process: Circuits, model: str = "m/one", tenant: str = "acme", batch: str = "b") -> float:
    with pytest.raises(Rejected) as caught:
        await admitted(process, model, tenant, batch)
    return caught.value.seconds


async def fail_often(process: Circuits, trouble: Trouble = Trouble.FAILURE, *source: str) -> None:
    """Enough failures to open the circuit of their source."""
    for call in [await admitted(process, *source) for _ in range(OPEN_AFTER)]:
        await call.fail(trouble)
    await process.share()


async def in_a_while(bench: Bench) -> int:
    return await RedisServer(bench.redis).now() + 20_000


BATCH = "up/m/one acme b"


@pytest.mark.covers("Routing · circuits shared by all processes")
async def test_a_pause_of_one_process_pauses_all(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await (await admitted(other)).end()
    await (await admitted(one)).fail(Trouble.PRESSURE, 30.0)
    await one.share()
    bench.clock.now += FRESH_SECONDS + 0.1
    assert 28 < await rejected(other) <= 30
    await bench.open_time_passes(BATCH)
    await admitted(other)


async def test_a_process_with_calls_in_flight_learns_of_a_pause_by_itself(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    held = await admitted(other)
    await (await admitted(one)).fail(Trouble.PRESSURE, 30.0)
    await one.share()
    await other.share()
    assert 29 < await rejected(other) <= 30
    await held.end()


async def test_a_new_process_reads_the_shared_state_before_its_first_call(bench: Bench) -> None:
    await fail_often(bench.process())
    assert await rejected(bench.process()) > 4


# What a failure concerns


async def test_failures_of_one_batch_stop_no_other_batch(bench: Bench) -> None:
    one = bench.process()
    await fail_often(one)
    await rejected(one)
    await admitted(one, batch="another")


@pytest.mark.parametrize("trouble", [trouble for trouble in Trouble if trouble is not Trouble.NONE])
async def test_failures_of_one_tenant_stop_no_other_tenant(bench: Bench, trouble: Trouble) -> None:
    one = bench.process()
    for batch in ("first", "second"):
        await fail_often(one, trouble, "m/one", "acme", batch)
    await rejected(one, batch="third")
    await admitted(one, tenant="another")


@pytest.mark.parametrize("trouble", [Trouble.FAILURE, Trouble.PRESSURE])
async def test_failures_of_several_tenants_stop_the_model_and_no_other(bench: Bench, trouble: Trouble) -> None:
    one = bench.process()
    for tenant in ("acme", "umbrella"):
        await fail_often(one, trouble, "m/one", tenant)
    await rejected(one, tenant="third")
    await admitted(one, "m/two", tenant="third")
    assert one.upstream_wait("up") == 0


@pytest.mark.parametrize("trouble", [Trouble.ACCOUNT, Trouble.UNREACHABLE])
async def test_account_or_network_failures_of_several_models_stop_the_upstream(bench: Bench, trouble: Trouble) -> None:
    one = bench.process()
    await fail_often(one, trouble, "m/one")
    assert one.upstream_wait("up") == 0
    await (await admitted(one, "m/two")).fail(trouble)
    assert one.upstream_wait("up") == FIRST_OPEN
    await rejected(one, "m/three", tenant="another")


async def test_a_failing_model_does_not_stop_an_upstream_that_serves_another(bench: Bench) -> None:
    one = bench.process()
    await (await admitted(one, "m/two", tenant="another")).succeed()
    for model in ("m/one", "m/three"):
        await fail_often(one, Trouble.ACCOUNT, model)
    assert one.upstream_wait("up") == 0
    await admitted(one, "m/two", tenant="another")


async def test_the_next_probe_of_an_upstream_is_not_of_the_batch_whose_probe_failed(bench: Bench) -> None:
    one = bench.process()
    for model in ("m/one", "m/two"):
        await fail_often(one, Trouble.ACCOUNT, model)
    for name in ("up", BATCH):
        await bench.open_time_passes(name)
    await (await admitted(one)).fail(Trouble.ACCOUNT)
    await one.share()
    bench.clock.now += FIRST_OPEN
    await bench.redis.hset(bench.keys.circuit("up"), "until", 1)
    assert await rejected(one) > FIRST_OPEN  # by the circuit of "m/one", opened for twice as long
    probe = await admitted(one, "m/one", "another")
    await probe.succeed()
    await admitted(one, "m/one", "another")


async def test_a_model_is_known_to_serve_others_for_a_minute(bench: Bench) -> None:
    one = bench.process()
    call = await admitted(one)
    assert not call.permit.model_serves_others()
    await (await admitted(one, tenant="another")).succeed()
    assert call.permit.model_serves_others()
    bench.clock.now += ACCOUNT_DELAY
    assert not call.permit.model_serves_others()


# Probes


async def test_one_process_probes_and_its_success_closes_the_circuit_for_all(bench: Bench) -> None:
    processes = [bench.process() for _ in range(4)]
    await fail_often(processes[0])
    for process in processes[1:]:
        await rejected(process)
    await bench.open_time_passes(BATCH)
    answers = await asyncio.gather(*(admitted(process) for process in processes), return_exceptions=True)
    [(prober, probe)] = [(p, a) for p, a in zip(processes, answers, strict=True) if isinstance(a, Call)]
    assert await rejected(prober) > 0  # a second probe by the same process is rejected too
    await probe.succeed()
    await prober.share()
    for process in processes:
        await process.share()
        await admitted(process)


async def test_a_failed_probe_opens_the_circuit_again_for_all(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await fail_often(one)
    await rejected(other)
    await bench.open_time_passes(BATCH)
    await (await admitted(one)).fail(Trouble.PRESSURE, 120.0)
    await one.share()
    await rejected(other)
    await other.share()
    assert await rejected(other) > 119


async def test_a_probe_without_a_result_makes_room_for_the_next(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await fail_often(one)
    await bench.open_time_passes(BATCH)
    await (await admitted(one)).end()
    await one.share()
    await other.share()
    await admitted(other)


async def test_a_call_stopped_by_a_wider_circuit_leaves_the_probe_to_the_next(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    for batch in ("first", "second"):
        await fail_often(one, Trouble.FAILURE, "m/one", "acme", batch)
    tenant, batch_circuit = "up/m/one acme", "up/m/one acme first"
    for name in (tenant, batch_circuit):
        await bench.open_time_passes(name)
    await bench.redis.hset(
        bench.keys.circuit(tenant), mapping={"probe": "a peer", "probe_until": await in_a_while(bench)}
    )
    await rejected(other, batch="first")
    await other.share()
    await bench.redis.hdel(bench.keys.circuit(tenant), "probe")
    await one.share()
    await admitted(one, batch="first")


async def test_a_circuit_closed_by_a_peer_is_found_closed_by_the_probe(bench: Bench) -> None:
    one, other = bench.process(), bench.process()
    await fail_often(one)
    await rejected(other)
    await bench.redis.delete(bench.keys.circuit(BATCH))
    bench.clock.now += 60
    await admitted(other)


# Room


async def test_a_batch_has_room_for_as_many_calls_as_the_window_allows(bench: Bench) -> None:
    one = bench.process()
    assert one.room([route()], "acme", "b") == (SLOTS, 0.0)
    calls = [await admitted(one) for _ in range(4)]
    assert one.room([route()], "acme", "b") == (SLOTS - 4, 0.0)
    await calls[0].fail(Trouble.PRESSURE, 3.0)
    assert one.room([route()], "acme", "b") == (0, 3.0)
    for call in calls[1:]:
        await call.end()
    bench.clock.now += 3.0
    assert one.room([route()], "acme", "b") == (2, 0.0)
    assert one.room([route()], "another", "b") == (SLOTS, 0.0)


async def test_a_batch_of_several_models_has_the_room_of_those_that_may_run(bench: Bench) -> None:
    one = bench.process()
    await fail_often(one)
    assert one.room([route(), route("m/two")], "acme", "b") == (SLOTS, 0.0)
    assert one.room([route()], "acme", "b") == (0, FIRST_OPEN)


# The shared state, and what a process remembers


async def test_the_shared_state_of_an_open_circuit_expires(bench: Bench) -> None:
    await fail_often(bench.process())
    assert 600_000 < await bench.redis.pttl(bench.keys.circuit(BATCH)) <= 605_000


async def test_after_the_clock_of_redis_was_set_back_no_circuit_waits_for_it(bench: Bench) -> None:
    await (await admitted(one := bench.process())).fail(Trouble.PRESSURE, 30.0)
    await one.share()
    key = bench.keys.circuit(BATCH)
    await bench.redis.hincrby(key, "until", 3600_000)  # as if it were an hour earlier
    await admitted(bench.process())
    await fail_often(one, Trouble.FAILURE, "m/two")
    key = bench.keys.circuit("up/m/two acme b")
    await bench.redis.hset(key, mapping={"until": 1, "probe": "of a process that ended", "probe_until": 10**15})
    await admitted(bench.process(), "m/two")


async def test_closed_circuits_are_forgotten_and_others_kept(bench: Bench) -> None:
    one = bench.process()
    await (await admitted(one)).fail(Trouble.PRESSURE, 300.0)
    held = await admitted(one, "m/held")
    for number in range(MAX_CIRCUITS):
        await (await admitted(one, f"m/{number}")).end()
        bench.clock.now += 0.1
    assert len(one._circuits) <= MAX_CIRCUITS
    assert await rejected(one) > 100
    await held.fail(Trouble.PRESSURE, 30.0)
    assert await rejected(one, "m/held") == 30


async def test_more_models_than_are_remembered_pass_while_their_calls_are_in_flight(bench: Bench) -> None:
    one = bench.process(slots=MAX_CIRCUITS)
    calls = [await admitted(one, f"m/{number}") for number in range(MAX_CIRCUITS // 3)]
    bench.clock.now += 60
    late = await admitted(one, "m/late")
    for call in [*calls, late]:
        await call.succeed()


def test_no_model_or_tenant_can_take_the_name_of_another_circuit() -> None:
    names = names_of(route("m/one acme"), ["b"])
    assert names == ["up", "up/m/one%20acme", "up/m/one%20acme b"]
    assert names_of(route("m/one"), ["acme b"])[-1] != names_of(route("m/one"), ["acme", "b"])[-1]


async def test_a_permit_without_circuits_reports_nothing(bench: Bench) -> None:
    permit = Permit(bench.process())
    permit.failed(Trouble.PRESSURE, 30.0)
    permit.accepted()
    assert not permit.model_serves_others()
