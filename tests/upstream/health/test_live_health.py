"""Health of a candidate: what opens its circuit, what closes it, and whom it lets through meanwhile."""

import pytest

from gateway.upstream.health.circuit import State
from gateway.upstream.health.live_health import LiveHealth


def fails(health: LiveHealth, now: float, times: int = 1) -> None:
    for _ in range(times):
        ticket = health.enter(now)
        health.note_failure(ticket, now)
        health.leave(ticket)


def succeeds(health: LiveHealth, now: float, times: int = 1) -> None:
    for _ in range(times):
        ticket = health.enter(now)
        health.note_success(ticket, now)
        health.leave(ticket)


def test_five_failures_in_a_row_open_the_circuit_and_four_do_not() -> None:
    health = LiveHealth()
    succeeds(health, 1.0, 100)
    fails(health, 2.0, 4)
    assert health.wait(2.0) == 0
    fails(health, 2.0)
    assert health.wait(2.0) == 2.0


def test_half_of_the_last_ten_seconds_opens_the_circuit() -> None:
    health = LiveHealth()
    for second in range(5):
        assert health.state is State.CLOSED
        succeeds(health, float(second))
        fails(health, float(second))
    assert health.state is State.OPEN
    calmer = LiveHealth()
    for second in range(30):
        fails(calmer, float(second))
        succeeds(calmer, float(second), 2)
    assert calmer.state is State.CLOSED


def test_one_call_probes_and_its_failure_doubles_the_time() -> None:
    health = LiveHealth()
    fails(health, 0.5, 5)
    now, waits = 0.5, []
    for _ in range(7):
        waits.append(health.wait(now))
        now += waits[-1]
        assert health.wait(now) == 0
        probe = health.enter(now)
        assert probe.probe
        assert health.wait(now) > 0
        assert health.note_failure(probe, now)
        health.leave(probe)
    assert waits == [2, 4, 8, 16, 30, 30, 30]
    now += health.wait(now)
    probe = health.enter(now)
    assert health.note_success(probe, now)
    assert health.wait(now) == 0


def test_probe_without_a_result_leaves_its_turn() -> None:
    health = LiveHealth()
    fails(health, 0.5, 5)
    health.leave(health.enter(3.0))
    assert health.wait(3.0) == 0


def test_results_of_calls_from_before_the_incident_are_ignored() -> None:
    health = LiveHealth()
    old = [health.enter(0.0) for _ in range(3)]
    fails(health, 0.5, 5)
    assert not health.note_success(old[0], 1.0)
    assert not health.note_failure(old[1], 1.0)
    assert health.state is State.OPEN


def test_stall_opens_the_circuit_before_a_timeout() -> None:
    health = LiveHealth()
    for _ in range(5):
        health.enter(10.0)
    assert health.wait(14.9) == 0
    assert health.wait(15.0) > 0
    assert health.stalled
    assert 0 < health.wait(15.0, alone=True) <= 1.0
    assert health.wait(16.0, alone=True) == 0


def test_lone_server_that_queues_calls_behind_a_long_answer_has_not_stalled() -> None:
    health = LiveHealth()
    health.note_header(health.enter(1.0))
    for _ in range(6):
        health.enter(10.0)
    assert health.wait(15.0, alone=True) == 0
    assert health.wait(15.0) > 0  # another candidate may have room


def test_calls_that_have_a_byte_or_an_upstream_that_serves_others_are_no_stall() -> None:
    health = LiveHealth()
    tickets = [health.enter(10.0) for _ in range(5)]
    health.note_header(tickets[0])
    assert health.wait(20.0) == 0
    busy = LiveHealth()
    for _ in range(5):
        busy.enter(10.0)
    succeeds(busy, 14.0)
    assert busy.wait(15.0) == 0


def test_lone_candidate_is_refused_for_a_stall_only() -> None:
    health = LiveHealth()
    fails(health, 0.5, 50)
    health.pause(0.5, 100.0)
    assert health.wait(0.6, alone=True) == 0


def test_pause_is_no_failure_and_ends_by_itself() -> None:
    health = LiveHealth()
    health.pause(1.0, 7.0)
    assert health.wait(2.0) == 6.0
    assert health.wait(8.0) == 0
    assert not health.enter(8.0).probe


@pytest.mark.parametrize(("calls", "retries"), [(0, 3), (100, 13)])
def test_retries_are_a_tenth_of_the_calls_and_three(calls: int, retries: int) -> None:
    health, made = LiveHealth(), 0
    succeeds(health, 1.0, calls)
    while health.allows_retry(1.0) and made < 100:
        health.leave(health.enter(1.0, retry=True))
        made += 1
    assert retries <= made <= retries + 2


def test_state_of_another_process_is_taken_over_once() -> None:
    health = LiveHealth()
    health.learn(5.0, 1, 100.0, is_open=True)
    assert health.wait(101.0) == 4.0
    health.close()
    health.learn(4.0, 1, 101.0, is_open=True)
    assert health.wait(101.0) == 0
    health.learn(3.0, 2, 101.0, is_open=False)
    assert health.wait(101.0) == 3.0
