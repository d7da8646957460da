"""The bound that is learned from the speed of streams, with a model of an engine that shares its speed fairly."""

import random
from dataclasses import dataclass, field

import pytest

from gateway.upstream.capacity.knee import FIRST_BOUND, FIRST_PAUSE, MAX_MODELS, Knee, Stream

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
    trials: list[bool] = field(default_factory=list)  # whether a trial is under way, at each step

    @property
    def in_flight(self) -> int:
        return len(self.live) + len(self.batch)

    def run(self, now: float) -> list[float]:
        """Generate for one step. Return the seconds of the batch's streams that ended."""
        speed = FULL_SPEED * min(1.0, self.knee / max(1, self.in_flight))
        self.slowest += [speed / FULL_SPEED] * len(self.live)
        self.live = [left - speed * STEP for left in self.live if left > speed * STEP]
        ended = [now + STEP - begun for left, begun in self.batch if left <= speed * STEP]
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
        for lasted in engine.run(now):
            knee.note("m", Stream(now, in_flight, TOKENS / lasted * chance.gauss(1, NOISE), lasted))
        if step % 10 == 9:
            knee.step(now)
        if now > seconds / 2:
            held.append(len(engine.batch))
            engine.trials.append(knee.allowed > knee.bound)
        else:
            engine.slowest.clear()
    return knee, sum(held) / len(held)


@pytest.mark.parametrize(
    ("true", "live", "least"),
    [(12, 0.5, 0.35), (40, 0.5, 0.5), (40, 0.05, 0.6), (150, 0.1, 0.6)],
    ids=["few calls", "half live", "hardly live", "many calls"],
)
@pytest.mark.covers("Routing · batches leave a server's full speed to live requests")
def test_batch_beside_live_requests_takes_most_of_what_they_leave_and_slows_them_little(
    true: int, live: float, least: float
) -> None:
    engine = Engine(true)
    knee, batch = run_beside(engine, live, 300)
    assert 0.75 * true <= knee.bound <= 1.15 * true
    assert sum(engine.slowest) / len(engine.slowest) > 0.98
    assert batch >= least * (1 - live) * true


def test_trials_take_little_of_the_time_once_they_confirm_the_bound() -> None:
    engine = Engine(64)
    knee, _ = run_beside(engine, 0.5, 1200)
    assert sum(engine.trials) < 0.02 * len(engine.trials)
    assert 0.9 * 64 <= knee.bound <= 1.1 * 64


def test_a_server_that_has_become_slower_is_tried_again_soon() -> None:
    knee = Knee(bound=40.0, _is_found=True, _judged=40.0, _pause=3000.0)
    for second in range(30):
        knee.note("m", Stream(second, 20, 60.0))
    for second in range(30, 60):
        knee.note("m", Stream(second, 36, 30.0))
        knee.step(second)
    assert knee.bound == pytest.approx(18)
    assert knee._pause == FIRST_PAUSE


def test_bound_does_not_grow_while_it_is_not_in_use() -> None:
    knee = Knee()
    for second in range(100):
        knee.note("m", Stream(second, 1, 60.0))
        knee.step(second)
    assert knee.bound == FIRST_BOUND


def test_bound_follows_from_slow_streams_which_are_not_taken_for_full_speed() -> None:
    knee = Knee()
    for second in range(30):
        knee.note("m", Stream(second, 4, 60.0))
    for second in range(30, 620):
        knee.note("m", Stream(second, 20, 30.0), is_bounded=False)
        knee.step(second)
    assert knee.bound == pytest.approx(10)  # half of the speed with 20 calls


def test_streams_that_began_before_a_change_do_not_count_for_it() -> None:
    knee = Knee()
    for second in range(40):
        knee.note("m", Stream(second, 5, 60.0))
        knee.step(second)
    bound = knee.bound
    for second in range(40, 43):
        knee.note("m", Stream(second, 100, 60.0, seconds=30.0))
        knee.step(second)
    assert bound == knee.bound == 5


def test_models_of_different_speeds_are_compared_with_themselves() -> None:
    knee = Knee()
    for second in range(100):
        knee.note("fast", Stream(second, 8, 100.0))
        knee.note("slow", Stream(second, 8, 10.0))
        knee.step(second)
    assert knee.bound > FIRST_BOUND


def test_speeds_are_kept_for_a_bounded_number_of_models() -> None:
    knee = Knee()
    for number in range(2 * MAX_MODELS):
        knee.note("often", Stream(number, 1, 60.0))
        knee.note(f"m{number}", Stream(number, 1, 60.0))
    assert len(knee._speeds) == MAX_MODELS
    assert len(knee._speeds["often"]._streams) == 2 * MAX_MODELS


def test_room_is_divided_between_the_processes_and_one_call_remains() -> None:
    knee = Knee(bound=40.0, _is_found=True, _judged=40.0)
    assert knee.room(live=0, processes=1) == 33
    assert knee.room(live=16, processes=2) == 8
    assert knee.room(live=100, processes=1) == 1


def test_batches_begin_with_a_few_calls_whatever_live_requests_take() -> None:
    assert Knee().room(live=100, processes=1) == 4
    assert Knee().room(live=100, processes=2) == 2
    assert Knee().room(live=100, processes=9) == 1
