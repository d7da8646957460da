"""The number of calls at which the speed of streams begins to fall, and the mean number of calls in flight."""

import random

import pytest

from gateway.upstream.capacity.mean_calls import MAX_COUNTS, MeanCalls
from gateway.upstream.capacity.speed_curve import MAX_COUNT, SpeedCurve


def curve_of(knee: float, calls: range, noise: float, *, streams: int = 40, seed: int = 1) -> SpeedCurve:
    curve, chance = SpeedCurve(), random.Random(seed)
    for number in range(streams * len(calls)):
        one = calls[number % len(calls)]
        curve.add(one, min(1.0, knee / one) * chance.gauss(1, noise), at=float(number))
    return curve


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15, 0.3])
@pytest.mark.parametrize("knee", [10, 57, 300])
def test_knee_is_found_within_a_few_percent_whatever_the_noise(knee: int, noise: float) -> None:
    calls = range(knee // 2, round(1.5 * knee), max(1, knee // 20))
    assert curve_of(knee, calls, noise).knee() == pytest.approx(knee, rel=0.05)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15, 0.3])
def test_no_knee_is_found_where_all_streams_have_full_speed(noise: float) -> None:
    found = [curve_of(1000, range(20, 60, 2), noise, seed=seed).knee() for seed in range(20)]
    assert found == [None] * 20


def test_less_evidence_is_enough_for_a_knee_that_is_known() -> None:
    curve = curve_of(60, range(40, 63), 0.02)
    assert curve.knee() is None  # streams beyond it are slower by less than full speed is uncertain
    assert curve.knee(is_known=True) == pytest.approx(60, rel=0.02)


def test_a_class_follows_a_server_that_becomes_faster() -> None:
    curve = curve_of(50, range(40, 64), 0.05)
    for number in range(3 * MAX_COUNT):
        for calls in range(40, 64):
            curve.add(calls, 1.0, at=1000.0 + number)
    assert curve.knee(is_known=True) is None


def test_more_streams_are_needed_to_notice_less_and_where_speeds_vary_more() -> None:
    steady, varied = curve_of(1000, range(10, 20), 0.0), curve_of(1000, range(10, 20), 0.3)
    assert steady.reached(0.1) == steady.reached(0.3) == 19
    assert varied.reached(0.3) == 19 > varied.reached(0.1) > 10
    assert SpeedCurve().reached(0.3) == 0


def test_streams_beyond_a_number_or_before_a_time_are_forgotten() -> None:
    curve = SpeedCurve()
    for at, calls in enumerate((10, 20, 40)):
        curve.add(calls, 1.0, at=float(at))
    assert curve.last_beyond(15) == 2.0
    curve.forget(beyond=30)
    assert curve.last_beyond(15) == 1.0
    curve.forget(before=1.0)
    assert (curve.last_beyond(5), curve.last_beyond(20)) == (1.0, float("-inf"))


def test_mean_number_of_calls_counts_each_by_its_time() -> None:
    calls = MeanCalls()
    assert calls.between(0.0, 1.0) == 0
    for at, count in ((10.0, 4), (11.0, 8), (14.0, 2)):
        calls.note(at, count)
    assert calls.between(10.0, 14.0) == pytest.approx((4 + 3 * 8) / 4)
    assert calls.between(10.5, 12.0) == pytest.approx((0.5 * 4 + 8) / 1.5)
    assert calls.between(13.0, 16.0) == pytest.approx((8 + 2 * 2) / 3)
    assert calls.between(0.0, 11.0) == pytest.approx(4)  # as far as counts go back
    assert calls.between(0.0, 1.0) == 2


def test_mean_number_of_calls_keeps_the_last_counts_only() -> None:
    calls = MeanCalls()
    for second in range(10 * MAX_COUNTS):
        calls.note(float(second), second % 2)
    assert len(calls._times) < 2 * MAX_COUNTS
    assert calls.between(9.5 * MAX_COUNTS, 10 * MAX_COUNTS - 2.0) == pytest.approx(0.5, abs=0.01)
