"""A circuit: when calls may start, how many at once, and what one process learns from another."""

from gateway.upstream.circuit import (
    CROWDED,
    FIRST_OPEN,
    MAX_OPEN,
    OPEN_AFTER,
    PAUSE,
    Circuit,
    Opened,
    PeerState,
    State,
    Ticket,
)
from gateway.upstream.trouble import ACCOUNT_DELAY, Trouble

SLOTS = 16


def busy_circuit(calls: int = SLOTS, now: float = 0.0) -> tuple[Circuit, list[Ticket]]:
    circuit = Circuit(SLOTS)
    return circuit, [circuit.enter(now) for _ in range(calls)]


def open_circuit(now: float = 1.0) -> Circuit:
    circuit, tickets = busy_circuit(OPEN_AFTER)
    for ticket in tickets:
        circuit.failed(ticket, Trouble.FAILURE, None, now)
    for ticket in tickets:
        circuit.leave(ticket, succeeded=False)
    assert circuit.state is State.OPEN
    return circuit


def test_a_closed_circuit_admits_as_many_calls_as_there_are_slots() -> None:
    circuit, _ = busy_circuit(SLOTS - 1)
    assert circuit.wait(0.0) == 0
    circuit.enter(0.0)
    assert circuit.wait(0.0) == CROWDED


# Pressure


def test_a_429_with_retry_after_pauses_the_circuit_for_that_long() -> None:
    circuit, tickets = busy_circuit()
    assert circuit.failed(tickets[0], Trouble.PRESSURE, 30.0, now=1.0) == Opened(30.0, State.PAUSED)
    assert circuit.wait(2.0) == 29.0
    for ticket in tickets:
        circuit.leave(ticket, succeeded=False)
    assert circuit.wait(31.0) == 0
    assert circuit.state is State.CLOSED


def test_a_429_without_retry_after_pauses_the_circuit_for_a_second() -> None:
    circuit, tickets = busy_circuit()
    assert circuit.failed(tickets[0], Trouble.PRESSURE, None, now=1.0) == Opened(PAUSE, State.PAUSED)


def test_429s_to_calls_of_one_incident_halve_the_window_once() -> None:
    circuit, tickets = busy_circuit()
    for ticket in tickets[:3]:
        circuit.failed(ticket, Trouble.PRESSURE, 1.0, now=1.0)
    assert circuit.window == SLOTS / 2
    assert circuit.wait(5.0) == CROWDED  # 16 calls are still in flight
    assert circuit.failed(tickets[4], Trouble.PRESSURE, 1.0, now=5.0) is None
    assert circuit.window == SLOTS / 2


def test_a_429_after_the_incident_halves_the_window_again_down_to_one() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], Trouble.PRESSURE, None, now=1.0)
    for ticket in tickets:
        circuit.leave(ticket, succeeded=False)
    for now in (10.0, 20.0, 30.0):
        assert circuit.wait(now) == 0
        ticket = circuit.enter(now)
        circuit.failed(ticket, Trouble.PRESSURE, None, now + 1)
        circuit.leave(ticket, succeeded=False)
    assert circuit.window == 1
    assert circuit.wait(40.0) == 0


def test_a_longer_retry_after_extends_the_pause() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], Trouble.PRESSURE, 2.0, now=1.0)
    assert circuit.failed(tickets[1], Trouble.PRESSURE, 1.0, now=1.5) is None
    assert circuit.failed(tickets[2], Trouble.PRESSURE, 10.0, now=2.0) == Opened(10.0, State.PAUSED)
    assert circuit.wait(2.0) == 10.0


def test_a_window_of_successes_widens_the_window_by_one() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], Trouble.PRESSURE, None, now=1.0)
    for ticket in tickets:
        circuit.leave(ticket, succeeded=True)  # they began before the incident
    assert circuit.window == 8
    for _ in range(8):
        circuit.leave(circuit.enter(5.0), succeeded=True)
    assert 8.9 < circuit.window < 9.1


# Open


def test_failures_in_a_row_open_the_circuit() -> None:
    circuit, tickets = busy_circuit()
    for ticket in tickets[: OPEN_AFTER - 1]:
        assert circuit.failed(ticket, Trouble.FAILURE, None, now=1.0) is None
    assert circuit.failed(tickets[OPEN_AFTER], Trouble.FAILURE, None, now=1.0) == Opened(FIRST_OPEN, State.OPEN)
    assert circuit.wait(1.0) == FIRST_OPEN
    assert circuit.failed(tickets[-1], Trouble.FAILURE, None, now=1.0) is None


def test_an_accepted_call_between_failures_keeps_the_circuit_closed() -> None:
    circuit, tickets = busy_circuit()
    for ticket in tickets:
        circuit.failed(ticket, Trouble.FAILURE, None, now=1.0)
        circuit.accepted(ticket)
    assert circuit.state is State.CLOSED


def test_a_refused_account_opens_the_circuit_at_once() -> None:
    circuit, tickets = busy_circuit()
    assert circuit.failed(tickets[0], Trouble.ACCOUNT, None, now=1.0) == Opened(ACCOUNT_DELAY, State.OPEN)
    assert not circuit.accepted(tickets[1])  # a call from before does not show that there is credit again
    assert circuit.state is State.OPEN


def test_each_failed_probe_doubles_the_open_time_up_to_a_minute() -> None:
    circuit, now, waits = open_circuit(), 1.0, []
    for _ in range(6):
        now += circuit.wait(now)
        probe = circuit.enter(now, probe=True)
        circuit.failed(probe, Trouble.FAILURE, None, now)
        circuit.leave(probe, succeeded=False)
        waits.append(circuit.wait(now))
    assert waits == [10.0, 20.0, 40.0, MAX_OPEN, MAX_OPEN, MAX_OPEN]


def test_a_failed_probe_with_retry_after_opens_the_circuit_for_that_long() -> None:
    circuit = open_circuit()
    probe = circuit.enter(10.0, probe=True)
    assert circuit.failed(probe, Trouble.PRESSURE, 300.0, 10.0) == Opened(300.0, State.OPEN)


def test_an_accepted_probe_closes_the_circuit_at_half_the_window() -> None:
    circuit = open_circuit()
    probe = circuit.enter(10.0, probe=True)
    assert circuit.accepted(probe)
    assert (circuit.state, circuit.wait(10.0), circuit.openings) == (State.CLOSED, 0.0, 0)
    assert circuit.window == OPEN_AFTER / 2


def test_late_failures_of_an_earlier_incident_are_ignored() -> None:
    circuit, tickets = busy_circuit(OPEN_AFTER + 6)
    for ticket in tickets[:OPEN_AFTER]:
        circuit.failed(ticket, Trouble.FAILURE, None, now=1.0)
    circuit.accepted(circuit.enter(10.0, probe=True))
    for ticket in tickets[OPEN_AFTER:]:
        assert circuit.failed(ticket, Trouble.FAILURE, 20.0, now=120.0) is None
    assert (circuit.state, circuit.failures) == (State.CLOSED, 0)


# Learning from peers


def test_a_pause_of_a_peer_pauses_this_circuit_and_halves_its_window() -> None:
    circuit, _ = busy_circuit()
    circuit.learn(PeerState(left=4.0, is_open=False, stamp=7), now=1.0)
    assert (circuit.state, circuit.wait(1.0), circuit.window) == (State.PAUSED, 4.0, 8)


def test_an_incident_of_a_peer_is_learnt_once() -> None:
    circuit, tickets = busy_circuit()
    circuit.learn(PeerState(4.0, is_open=False, stamp=7), now=1.0)
    circuit.learn(PeerState(3.0, is_open=False, stamp=7), now=2.0)
    for ticket in tickets:
        circuit.leave(ticket, succeeded=False)
    assert circuit.wait(5.0) == 0
    circuit.learn(PeerState(-1.0, is_open=False, stamp=7), now=6.0)
    assert (circuit.state, circuit.window) == (State.CLOSED, 8)


def test_the_own_incident_is_not_learnt_back() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], Trouble.PRESSURE, 4.0, now=1.0)
    circuit.stamp = 7  # as it was shared
    circuit.learn(PeerState(4.01, is_open=False, stamp=7), now=1.0)
    assert circuit.window == 8


def test_a_circuit_found_open_after_its_time_still_needs_a_probe() -> None:
    circuit = Circuit(SLOTS)
    circuit.learn(PeerState(left=-3.0, is_open=True, stamp=7), now=1.0)
    assert circuit.state is State.OPEN


def test_a_circuit_that_a_peer_closed_is_closed() -> None:
    circuit = Circuit(SLOTS)
    circuit.learn(PeerState(60.0, is_open=True, stamp=7), now=1.0)
    circuit.learn(None, now=2.0)
    assert (circuit.state, circuit.wait(2.0)) == (State.CLOSED, 0.0)


def test_an_opening_that_is_not_shared_yet_stays() -> None:
    circuit = open_circuit()
    circuit.learn(None, now=2.0)
    assert circuit.state is State.OPEN
