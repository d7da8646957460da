"""The bound that is learned from the speed of streams, with a model of an engine that shares its speed fairly."""

import random
from dataclasses import dataclass, field

import pytest

from gateway.upstream.knee import FIRST_BOUND, Knee, Stream

STEP = 0.1
NOISE = 0.15  # of the speed of a stream, without load
TOKENS = 60
FULL_SPEED = 60.0  # tokens a second of one stream


@dataclass(slots=True)
class Engine:
    """Streams at full speed up to `knee` of them, and at its fair share beyond."""

    knee: int
    live: list[float] = field(default_factory=list)  # tokens that are left of each stream
    batch: list[tuple[float, float]] = field(default_factory=list)  # likewise, and when it began
    slowest: list[float] = field(default_factory=list)  # speed as live requests see it

    @property
    def in_flight(self) -> int:
        return len(self.live) + len(self.batch)

    def run(self, now: float) -> list[float]:
        """Generate for one step. Return the speeds of the batch's streams that ended."""
        speed = FULL_SPEED * min(1.0, self.knee / max(1, self.in_flight))
        self.slowest += [speed / FULL_SPEED] * len(self.live)
        self.live = [left - speed * STEP for left in self.live if left > speed * STEP]
        ended = [TOKENS / (now + STEP - begun) for left, begun in self.batch if left <= speed * STEP]
        self.batch = [(left - speed * STEP, begun) for left, begun in self.batch if left > speed * STEP]
        return ended


def run_beside(engine: Engine, live_load: float, seconds: float, seed: int = 1) -> tuple[Knee, float]:
    """Serve live requests with bursts, and an endless batch. Return the knee, and the batch's mean calls at the end."""
    knee, chance = Knee(), random.Random(seed)
    held: list[int] = []
    for step in range(round(seconds / STEP)):
        now = step * STEP
        burst = 1.4 if int(now / 20) % 2 else 0.6
        arrivals = live_load * engine.knee * burst * STEP * FULL_SPEED / TOKENS
        engine.live += [float(TOKENS)] * (int(arrivals) + (chance.random() < arrivals % 1))
        room = knee.room(len(engine.live), 1) - len(engine.batch)
        engine.batch += [(float(TOKENS), now)] * max(0, room)
        in_flight = engine.in_flight
        for speed in engine.run(now):
            knee.note("m", Stream(now, in_flight, speed * chance.gauss(1, NOISE)))
        if step % 10 == 9:
            knee.step(in_flight, len(engine.live), now)
        if now > seconds / 2:
            held.append(len(engine.batch))
        else:
            engine.slowest.clear()
    return knee, sum(held) / len(held)


@pytest.mark.parametrize(("true", "least"), [(12, 0.4), (40, 0.6)])
@pytest.mark.covers("Routing · batches leave a server's full speed to live requests")
def test_batch_beside_live_requests_takes_most_of_what_they_leave_and_slows_them_little(
    true: int, least: float
) -> None:
    engine = Engine(true)
    knee, batch = run_beside(engine, 0.5, 300)
    assert 0.75 * true <= knee.bound <= 1.35 * true
    assert sum(engine.slowest) / len(engine.slowest) > 0.98
    assert batch >= least * 0.5 * true  # of the half that live requests leave


def test_bound_does_not_grow_while_it_is_not_in_use() -> None:
    knee = Knee()
    for second in range(100):
        knee.note("m", Stream(second, 1, 60.0))
        knee.step(1, 1, second)
    assert knee.bound == FIRST_BOUND


def test_bound_shrinks_while_streams_are_slower_than_the_best_tenth_and_does_not_take_them_for_full_speed() -> None:
    knee = Knee()
    for second in range(20):
        knee.note("m", Stream(second, 4, 60.0))
    for second in range(20, 700):
        knee.note("m", Stream(second, 20, 30.0), is_bounded=False)
        knee.step(20, 0, second)
    assert knee.bound < FIRST_BOUND / 2


def test_models_of_different_speeds_are_compared_with_themselves() -> None:
    knee = Knee()
    for second in range(100):
        knee.note("fast", Stream(second, 8, 100.0))
        knee.note("slow", Stream(second, 8, 10.0))
        knee.step(8, 0, second)
    assert knee.bound > FIRST_BOUND


def test_what_is_left_is_divided_between_the_processes_and_one_call_remains() -> None:
    knee = Knee(bound=40.0)
    assert knee.room(live=0, processes=1) == 33
    assert knee.room(live=16, processes=2) == 8
    assert knee.room(live=100, processes=1) == 1
