"""A gate: when calls may start, how many at once, and what one worker learns from another."""

from workers.gate import BREAK_AFTER, CROWDED, FIRST_BREAK, MAX_BREAK, PAUSE, Gate, Seen, Shut, State, Ticket
from workers.retry import ACCOUNT_DELAY, Trouble

SLOTS = 16


def full_gate(calls: int = SLOTS, now: float = 0.0) -> tuple[Gate, list[Ticket]]:
    gate = Gate(SLOTS)
    return gate, [gate.enter(now) for _ in range(calls)]


def broken_gate(now: float = 1.0) -> Gate:
    gate, tickets = full_gate(BREAK_AFTER)
    for ticket in tickets:
        gate.failed(ticket, Trouble.FAILURE, None, now)
    for ticket in tickets:
        gate.leave(ticket, succeeded=False)
    assert gate.state is State.BROKEN
    return gate


def test_an_open_gate_lets_as_many_in_as_the_worker_has_slots() -> None:
    gate, _ = full_gate(SLOTS - 1)
    assert gate.wait(0.0) == 0
    gate.enter(0.0)
    assert gate.wait(0.0) == CROWDED


# Pressure


def test_a_429_pauses_the_gate_as_long_as_it_says() -> None:
    gate, tickets = full_gate()
    assert gate.failed(tickets[0], Trouble.PRESSURE, 30.0, now=1.0) == Shut(30.0, broken=False)
    assert gate.wait(2.0) == 29.0
    for ticket in tickets:
        gate.leave(ticket, succeeded=False)
    assert gate.wait(31.0) == 0
    assert gate.state is State.OPEN


def test_a_429_that_does_not_say_pauses_it_shortly() -> None:
    gate, tickets = full_gate()
    assert gate.failed(tickets[0], Trouble.PRESSURE, None, now=1.0) == Shut(PAUSE, broken=False)


def test_the_window_is_halved_once_for_all_calls_that_were_under_way() -> None:
    gate, tickets = full_gate()
    for ticket in tickets[:3]:
        gate.failed(ticket, Trouble.PRESSURE, 1.0, now=1.0)
    assert gate.window == SLOTS / 2
    assert gate.wait(5.0) == CROWDED  # 16 are still in
    assert gate.failed(tickets[4], Trouble.PRESSURE, 1.0, now=5.0) is None
    assert gate.window == SLOTS / 2


def test_a_call_begun_after_the_incident_halves_it_again_and_never_below_one() -> None:
    gate, tickets = full_gate()
    gate.failed(tickets[0], Trouble.PRESSURE, None, now=1.0)
    for ticket in tickets:
        gate.leave(ticket, succeeded=False)
    for now in (10.0, 20.0, 30.0):
        assert gate.wait(now) == 0
        ticket = gate.enter(now)
        gate.failed(ticket, Trouble.PRESSURE, None, now + 1)
        gate.leave(ticket, succeeded=False)
    assert gate.window == 1
    assert gate.wait(40.0) == 0


def test_a_longer_time_told_later_extends_the_pause() -> None:
    gate, tickets = full_gate()
    gate.failed(tickets[0], Trouble.PRESSURE, 2.0, now=1.0)
    assert gate.failed(tickets[1], Trouble.PRESSURE, 1.0, now=1.5) is None
    assert gate.failed(tickets[2], Trouble.PRESSURE, 10.0, now=2.0) == Shut(10.0, broken=False)
    assert gate.wait(2.0) == 10.0


def test_a_window_of_successes_widens_it_by_one() -> None:
    gate, tickets = full_gate()
    gate.failed(tickets[0], Trouble.PRESSURE, None, now=1.0)
    for ticket in tickets:
        gate.leave(ticket, succeeded=True)  # begun before the incident: says nothing
    assert gate.window == 8
    for _ in range(8):
        gate.leave(gate.enter(5.0), succeeded=True)
    assert 8.9 < gate.window < 9.1


# Broken


def test_failures_in_a_row_break_it() -> None:
    gate, tickets = full_gate()
    for ticket in tickets[: BREAK_AFTER - 1]:
        assert gate.failed(ticket, Trouble.FAILURE, None, now=1.0) is None
    assert gate.failed(tickets[BREAK_AFTER], Trouble.FAILURE, None, now=1.0) == Shut(FIRST_BREAK, broken=True)
    assert gate.wait(1.0) == FIRST_BREAK
    assert gate.failed(tickets[-1], Trouble.FAILURE, None, now=1.0) is None


def test_a_success_in_between_keeps_it_open() -> None:
    gate, tickets = full_gate()
    for ticket in tickets:
        gate.failed(ticket, Trouble.FAILURE, None, now=1.0)
        gate.accepted(ticket)
    assert gate.state is State.OPEN


def test_an_account_that_is_refused_breaks_it_at_once() -> None:
    gate, tickets = full_gate()
    assert gate.failed(tickets[0], Trouble.ACCOUNT, None, now=1.0) == Shut(ACCOUNT_DELAY, broken=True)
    assert not gate.accepted(tickets[1])  # a call from before does not mean that there is credit again
    assert gate.state is State.BROKEN


def test_a_probe_that_fails_breaks_it_for_longer_up_to_a_minute() -> None:
    gate, now, waits = broken_gate(), 1.0, []
    for _ in range(6):
        now += gate.wait(now)
        probe = gate.enter(now, probe=True)
        gate.failed(probe, Trouble.FAILURE, None, now)
        gate.leave(probe, succeeded=False)
        waits.append(gate.wait(now))
    assert waits == [10.0, 20.0, 40.0, MAX_BREAK, MAX_BREAK, MAX_BREAK]


def test_a_probe_waits_as_long_as_the_upstream_says() -> None:
    gate = broken_gate()
    probe = gate.enter(10.0, probe=True)
    assert gate.failed(probe, Trouble.PRESSURE, 300.0, 10.0) == Shut(300.0, broken=True)


def test_a_probe_that_succeeds_opens_it_at_half_the_window() -> None:
    gate = broken_gate()
    probe = gate.enter(10.0, probe=True)
    assert gate.accepted(probe)
    assert (gate.state, gate.wait(10.0), gate.breaks) == (State.OPEN, 0.0, 0)
    assert gate.window == BREAK_AFTER / 2


def test_failures_of_an_incident_that_is_over_mean_nothing() -> None:
    gate, tickets = full_gate(BREAK_AFTER + 6)
    for ticket in tickets[:BREAK_AFTER]:
        gate.failed(ticket, Trouble.FAILURE, None, now=1.0)
    gate.accepted(gate.enter(10.0, probe=True))
    for ticket in tickets[BREAK_AFTER:]:
        assert gate.failed(ticket, Trouble.FAILURE, 20.0, now=120.0) is None
    assert (gate.state, gate.failures) == (State.OPEN, 0)


# Learning from others


def test_a_pause_elsewhere_pauses_and_halves_here() -> None:
    gate, _ = full_gate()
    gate.learn(Seen(left=4.0, broken=False, stamp=7), now=1.0)
    assert (gate.state, gate.wait(1.0), gate.window) == (State.PAUSED, 4.0, 8)


def test_the_same_incident_is_learnt_once() -> None:
    gate, tickets = full_gate()
    gate.learn(Seen(4.0, broken=False, stamp=7), now=1.0)
    gate.learn(Seen(3.0, broken=False, stamp=7), now=2.0)
    for ticket in tickets:
        gate.leave(ticket, succeeded=False)
    assert gate.wait(5.0) == 0
    gate.learn(Seen(-1.0, broken=False, stamp=7), now=6.0)
    assert (gate.state, gate.window) == (State.OPEN, 8)


def test_an_own_incident_is_not_learnt_back() -> None:
    gate, tickets = full_gate()
    gate.failed(tickets[0], Trouble.PRESSURE, 4.0, now=1.0)
    gate.stamp = 7  # as it was shared
    gate.learn(Seen(4.01, broken=False, stamp=7), now=1.0)
    assert gate.window == 8


def test_a_gate_found_broken_waits_for_a_probe_even_after_its_time() -> None:
    gate = Gate(SLOTS)
    gate.learn(Seen(left=-3.0, broken=True, stamp=7), now=1.0)
    assert gate.state is State.BROKEN


def test_a_gate_that_another_worker_opened_is_open() -> None:
    gate = Gate(SLOTS)
    gate.learn(Seen(60.0, broken=True, stamp=7), now=1.0)
    gate.learn(None, now=2.0)
    assert (gate.state, gate.wait(2.0)) == (State.OPEN, 0.0)


def test_a_break_that_nobody_knows_of_yet_stays() -> None:
    gate = broken_gate()
    gate.learn(None, now=2.0)
    assert gate.state is State.BROKEN
