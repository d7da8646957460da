"""Gates that workers share: one slows down, all do; one probes, the others wait. On a real server."""

import asyncio
from dataclasses import dataclass

import pytest

from gateway.redis.keys import Keys
from gateway.upstream.routing import Route, Upstream
from gateway.upstream.target import to_target
from tests.workers.conftest import Bench
from workers.gate import BREAK_AFTER
from workers.gates import MAX_GATES, Gates, Pass, Refusal
from workers.retry import Trouble

UPSTREAM = Upstream("up", "http://upstream.example/v1")
SLOTS = 8


def route(model: str = "m/one") -> Route:
    return Route(model, UPSTREAM, "chat", to_target(model, "openrouter"))


@dataclass(slots=True)
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def gates(bench: Bench, clock: Clock) -> Gates:
    return Gates(bench.server, SLOTS, clock)


async def admitted(one: Gates, model: str = "m/one") -> Pass:
    answer = await one.admit(route(model))
    assert isinstance(answer, Pass), answer
    return answer


async def refused(one: Gates, model: str = "m/one") -> float:
    answer = await one.admit(route(model))
    assert isinstance(answer, Refusal)
    return answer.seconds


async def break_off(one: Gates, trouble: Trouble = Trouble.FAILURE) -> None:
    passes = [await admitted(one) for _ in range(BREAK_AFTER)]
    for granted in passes:
        one.failed(granted, trouble, None)
        one.leave(granted, succeeded=False)
    await one.share()


async def shut_time_passes(bench: Bench, clock: Clock, name: str) -> None:
    """What is shut may be probed, here and at the server."""
    clock.now += 60
    await bench.redis.hset(Keys().breaker(name), "until", 1)


async def test_a_pause_of_one_worker_pauses_all(bench: Bench, clock: Clock) -> None:
    one, other = gates(bench, clock), gates(bench, clock)
    other.leave(await admitted(other), succeeded=True)
    one.failed(await admitted(one), Trouble.PRESSURE, 30.0)
    await one.share()
    await other.share()
    assert 29 < await refused(other) <= 30
    clock.now += 31
    await admitted(other)


async def test_a_new_worker_asks_before_its_first_call(bench: Bench, clock: Clock) -> None:
    await break_off(gates(bench, clock))
    assert await refused(gates(bench, clock)) > 4


async def test_pressure_on_one_model_is_not_felt_by_another(bench: Bench, clock: Clock) -> None:
    one = gates(bench, clock)
    one.failed(await admitted(one, "m/one"), Trouble.PRESSURE, 30.0)
    assert await refused(one, "m/one") == 30
    await admitted(one, "m/two")


@pytest.mark.parametrize("trouble", [Trouble.ACCOUNT, Trouble.UNREACHABLE])
async def test_no_account_or_no_way_there_shuts_the_whole_upstream(
    bench: Bench, clock: Clock, trouble: Trouble
) -> None:
    one = gates(bench, clock)
    await break_off(one, trouble)
    assert one.upstream_wait("up") > 0
    await refused(one, "m/two")


async def test_of_all_workers_one_probes_and_its_success_opens_for_all(bench: Bench, clock: Clock) -> None:
    workers = [gates(bench, clock) for _ in range(4)]
    await break_off(workers[0])
    for worker in workers[1:]:
        await refused(worker)
    await shut_time_passes(bench, clock, "up/m/one")
    answers = await asyncio.gather(*(worker.admit(route()) for worker in workers))
    assert sum(isinstance(answer, Pass) for answer in answers) == 1
    prober, probe = next((w, a) for w, a in zip(workers, answers, strict=True) if isinstance(a, Pass))
    assert await refused(prober) > 0  # a second one of its own neither
    prober.accepted(probe)
    prober.leave(probe, succeeded=True)
    await prober.share()
    for worker in workers:
        await worker.share()
        await admitted(worker)


async def test_a_probe_that_fails_shuts_it_again_for_all(bench: Bench, clock: Clock) -> None:
    one, other = gates(bench, clock), gates(bench, clock)
    await break_off(one)
    await other.share()
    await shut_time_passes(bench, clock, "up/m/one")
    probe = await admitted(one)
    one.failed(probe, Trouble.PRESSURE, 120.0)
    one.leave(probe, succeeded=False)
    await one.share()
    await refused(other)
    await other.share()
    assert await refused(other) > 119


async def test_a_probe_that_never_got_as_far_leaves_the_next_its_chance(bench: Bench, clock: Clock) -> None:
    one, other = gates(bench, clock), gates(bench, clock)
    await break_off(one)
    await shut_time_passes(bench, clock, "up/m/one")
    one.leave(await admitted(one), succeeded=False)
    await one.share()
    await other.share()
    await admitted(other)


async def test_what_was_opened_while_nobody_looked_is_open(bench: Bench, clock: Clock) -> None:
    one, other = gates(bench, clock), gates(bench, clock)
    await break_off(one)
    await refused(other)
    await bench.redis.delete(Keys().breaker("up/m/one"))
    clock.now += 60
    await admitted(other)


async def test_a_shut_gate_passes_away_by_itself(bench: Bench, clock: Clock) -> None:
    await break_off(gates(bench, clock))
    assert 600_000 < await bench.redis.pttl(Keys().breaker("up/m/one")) <= 605_000


async def test_gates_that_say_nothing_are_forgotten_and_others_kept(bench: Bench, clock: Clock) -> None:
    one = gates(bench, clock)
    one.failed(await admitted(one), Trouble.PRESSURE, 30.0)
    for number in range(MAX_GATES + 10):
        one.leave(await admitted(one, f"m/{number}"), succeeded=True)
    assert len(one._gates) < MAX_GATES
    assert await refused(one) == 30


async def test_an_item_without_a_model_passes_no_gate(bench: Bench, clock: Clock) -> None:
    one = gates(bench, clock)
    one.failed(Pass(), Trouble.PRESSURE, 30.0)
    one.accepted(Pass())
    one.leave(Pass(), succeeded=False)
