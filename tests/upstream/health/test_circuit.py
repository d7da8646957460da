"""A circuit: when calls may start, how many at once, which failures count, and exchange between processes."""

import pytest

from gateway.upstream.health.circuit import (
    CROWDED,
    FIRST_OPEN,
    FORGET_WINDOW,
    MAX_OPEN,
    OPEN_AFTER,
    PAUSE,
    PROBE_CHOICE,
    PROBED,
    RECENT,
    Circuit,
    FailedCall,
    Opened,
    PeerState,
    State,
    Ticket,
)
from gateway.upstream.health.trouble import Trouble

SLOTS = 16
BROKEN = FailedCall(Trouble.FAILURE)
PRESSURE = FailedCall(Trouble.PRESSURE)


def busy_circuit(calls: int = SLOTS, now: float = 0.0, *, shared: bool = False) -> tuple[Circuit, list[Ticket]]:
    circuit = Circuit(SLOTS, shared)
    return circuit, [circuit.enter(now) for _ in range(calls)]


def asked(seconds: float, source: str = "") -> FailedCall:
    return FailedCall(Trouble.PRESSURE, seconds, source)


def open_circuit(now: float = 1.0) -> Circuit:
    circuit, tickets = busy_circuit(OPEN_AFTER)
    for ticket in tickets:
        circuit.failed(ticket, BROKEN, now)
    for ticket in tickets:
        circuit.leave(ticket, succeeded=False)
    assert circuit.state is State.OPEN
    return circuit


def probe_of(circuit: Circuit, now: float) -> Ticket:
    assert circuit.wait(now) == 0
    return circuit.probe(circuit.enter(now))


def test_a_closed_circuit_admits_as_many_calls_as_there_are_slots() -> None:
    circuit, _ = busy_circuit(SLOTS - 1)
    assert (circuit.wait(0.0), circuit.room()) == (0.0, 1)
    circuit.enter(0.0)
    assert (circuit.wait(0.0), circuit.room()) == (CROWDED, 0)


# Pressure


def test_a_429_with_retry_after_pauses_the_circuit_for_that_long() -> None:
    circuit, tickets = busy_circuit()
    assert circuit.failed(tickets[0], asked(30.0), now=1.0) == Opened(30.0, State.PAUSED)
    assert circuit.wait(2.0) == 29.0
    for ticket in tickets:
        circuit.leave(ticket, succeeded=False)
    assert not circuit.is_idle(2.0)
    assert circuit.is_idle(31.0)
    assert circuit.wait(31.0) == 0
    assert circuit.state is State.CLOSED


def test_a_429_without_retry_after_pauses_the_circuit_for_a_second() -> None:
    circuit, tickets = busy_circuit()
    assert circuit.failed(tickets[0], PRESSURE, now=1.0) == Opened(PAUSE, State.PAUSED)


def test_429s_to_calls_of_one_incident_halve_the_window_once() -> None:
    circuit, tickets = busy_circuit()
    for ticket in tickets[:3]:
        circuit.failed(ticket, asked(1.0), now=1.0)
    assert circuit.window == SLOTS / 2
    assert circuit.wait(5.0) == CROWDED  # 16 calls are still in flight
    assert circuit.failed(tickets[4], asked(1.0), now=5.0) is None
    assert circuit.window == SLOTS / 2


def test_a_429_after_the_incident_halves_the_window_again_down_to_one() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], PRESSURE, now=1.0)
    for ticket in tickets:
        circuit.leave(ticket, succeeded=False)
    for now in (10.0, 20.0, 25.0):
        assert circuit.wait(now) == 0
        ticket = circuit.enter(now)
        circuit.failed(ticket, PRESSURE, now + 1)
        circuit.leave(ticket, succeeded=False)
    assert circuit.window == 1
    assert circuit.wait(27.0) == 0


def test_a_longer_retry_after_extends_the_pause() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], asked(2.0), now=1.0)
    assert circuit.failed(tickets[1], asked(1.0), now=1.5) is None
    assert circuit.failed(tickets[2], asked(10.0), now=2.0) == Opened(10.0, State.PAUSED)
    assert circuit.wait(2.0) == 10.0


def test_only_an_open_circuit_needs_a_probe_after_its_time() -> None:
    paused, tickets = busy_circuit()
    paused.failed(tickets[0], asked(2.0), now=1.0)
    paused.wait(4.0)
    opened = open_circuit()
    opened.wait(7.0)
    assert (paused.state, opened.state) == (State.CLOSED, State.OPEN)


# The window


def test_a_window_of_successes_widens_the_window_by_one() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], PRESSURE, now=1.0)
    for ticket in tickets:
        circuit.leave(ticket, succeeded=True)  # they began before the incident
    assert circuit.window == 8
    for _ in range(8):
        circuit.leave(circuit.enter(5.0), succeeded=True)
    assert 8.9 < circuit.window < 9.1


def test_calls_that_did_not_succeed_do_not_widen_the_window() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], PRESSURE, now=1.0)
    circuit.leave(circuit.enter(5.0), succeeded=False)
    assert circuit.window == 8


def test_beyond_the_last_limit_the_window_widens_faster_and_faster() -> None:
    circuit, tickets = busy_circuit(2)
    circuit.failed(tickets[0], PRESSURE, now=1.0)
    assert circuit.window == 1
    rounds = 0
    while circuit.window < SLOTS:
        for _ in range(int(circuit.window)):
            circuit.leave(circuit.enter(5.0), succeeded=True)
        rounds += 1
    assert rounds <= 7  # by one a round it would take 15


def test_a_window_is_forgotten_long_after_its_incident_without_calls_in_flight() -> None:
    circuit, tickets = busy_circuit(2)
    circuit.failed(tickets[0], PRESSURE, now=1.0)
    circuit.leave(tickets[0], succeeded=False)
    circuit.wait(FORGET_WINDOW + 1.0)
    assert circuit.room() == 0
    circuit.leave(tickets[1], succeeded=False)
    circuit.wait(FORGET_WINDOW + 1.0)
    assert circuit.room() == SLOTS


# Open


def test_failures_in_a_row_open_the_circuit() -> None:
    circuit, tickets = busy_circuit()
    for ticket in tickets[: OPEN_AFTER - 1]:
        assert circuit.failed(ticket, BROKEN, now=1.0) is None
    assert circuit.failed(tickets[OPEN_AFTER], BROKEN, now=1.0) == Opened(FIRST_OPEN, State.OPEN)
    assert circuit.wait(1.0) == FIRST_OPEN
    assert circuit.failed(tickets[-1], BROKEN, now=1.0) is None


def test_an_accepted_call_between_failures_keeps_the_circuit_closed() -> None:
    circuit, tickets = busy_circuit()
    for ticket in tickets:
        circuit.failed(ticket, BROKEN, now=1.0)
        circuit.accepted(ticket, 1.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize("trouble", [Trouble.ACCOUNT, Trouble.UNREACHABLE])
def test_one_failure_of_any_kind_does_not_open_the_circuit(trouble: Trouble) -> None:
    circuit, tickets = busy_circuit()
    assert circuit.failed(tickets[0], FailedCall(trouble), now=1.0) is None
    assert circuit.state is State.CLOSED


def test_pressure_that_goes_on_after_each_pause_opens_the_circuit() -> None:
    circuit = Circuit(SLOTS)
    states = []
    for now in range(0, 2 * OPEN_AFTER, 2):
        ticket = circuit.enter(now)
        circuit.failed(ticket, PRESSURE, now)
        circuit.leave(ticket, succeeded=False)
        states.append(circuit.state)
    assert states == [State.PAUSED] * (OPEN_AFTER - 1) + [State.OPEN]


def test_a_call_from_before_the_opening_does_not_close_the_circuit() -> None:
    circuit, tickets = busy_circuit()
    for ticket in tickets[:OPEN_AFTER]:
        circuit.failed(ticket, BROKEN, now=1.0)
    assert not circuit.accepted(tickets[-1], 2.0)
    assert circuit.state is State.OPEN


def test_an_open_circuit_admits_one_probe_at_a_time() -> None:
    circuit = open_circuit()
    assert circuit.room() == PROBE_CHOICE
    probe = probe_of(circuit, 10.0)
    assert (circuit.wait(10.0), circuit.room()) == (PROBED, 0)
    circuit.leave(probe, succeeded=False)
    assert circuit.wait(10.0) == 0


def test_each_failed_probe_doubles_the_open_time_up_to_a_minute() -> None:
    circuit, now, waits = open_circuit(), 1.0, []
    for _ in range(6):
        now += circuit.wait(now)
        probe = probe_of(circuit, now)
        circuit.failed(probe, BROKEN, now)
        circuit.leave(probe, succeeded=False)
        waits.append(circuit.wait(now))
    assert waits == [10.0, 20.0, 40.0, MAX_OPEN, MAX_OPEN, MAX_OPEN]


def test_a_failed_probe_with_retry_after_opens_the_circuit_for_that_long() -> None:
    circuit = open_circuit()
    assert circuit.failed(probe_of(circuit, 10.0), asked(300.0), 10.0) == Opened(300.0, State.OPEN)


def test_an_accepted_probe_closes_the_circuit_at_half_the_window() -> None:
    circuit = open_circuit()
    probe = probe_of(circuit, 10.0)
    assert circuit.accepted(probe, 10.0)
    assert (circuit.state, circuit.openings) == (State.CLOSED, 0)
    assert circuit.window == OPEN_AFTER / 2


def test_late_failures_of_an_earlier_incident_are_ignored() -> None:
    circuit, tickets = busy_circuit(OPEN_AFTER + 6)
    for ticket in tickets[:OPEN_AFTER]:
        circuit.failed(ticket, BROKEN, now=1.0)
    circuit.accepted(circuit.probe(circuit.enter(10.0)), 10.0)
    for ticket in tickets[OPEN_AFTER:]:
        assert circuit.failed(ticket, asked(20.0), now=120.0) is None
    assert (circuit.state, circuit.failures) == (State.CLOSED, 0)


# Shared by several sources


def fail(circuit: Circuit, source: str, times: int, now: float, trouble: Trouble = Trouble.FAILURE) -> list[Opened]:
    found = []
    for _ in range(times):
        ticket = circuit.enter(now)
        found.append(circuit.failed(ticket, FailedCall(trouble, None, source), now))
        circuit.leave(ticket, succeeded=False)
    return [opened for opened in found if opened is not None]


@pytest.mark.parametrize("trouble", [one for one in Trouble if one is not Trouble.NONE])
def test_failures_of_one_source_leave_a_shared_circuit_closed(trouble: Trouble) -> None:
    circuit = Circuit(SLOTS, shared=True)
    assert fail(circuit, "one", 50, 10.0, trouble) == []
    assert circuit.state is State.CLOSED


def test_failures_of_two_sources_open_a_shared_circuit() -> None:
    circuit = Circuit(SLOTS, shared=True)
    fail(circuit, "one", OPEN_AFTER - 1, 10.0)
    assert fail(circuit, "other", 1, 10.0) == [Opened(FIRST_OPEN, State.OPEN)]


def test_failures_of_two_sources_leave_a_shared_circuit_closed_while_it_serves_a_third() -> None:
    circuit = Circuit(SLOTS, shared=True)
    circuit.accepted(circuit.enter(10.0), 10.0)
    for source in ("one", "other"):
        assert fail(circuit, source, OPEN_AFTER, 10.0 + RECENT - 0.1) == []
    assert fail(circuit, "one", 1, 10.0 + RECENT) == [Opened(FIRST_OPEN, State.OPEN)]


def test_an_accepted_call_clears_the_failures_of_a_shared_circuit() -> None:
    circuit = Circuit(SLOTS, shared=True)
    fail(circuit, "one", OPEN_AFTER, 10.0)
    circuit.accepted(circuit.enter(10.0), 10.0)
    assert fail(circuit, "other", OPEN_AFTER, 20.0) == []


def test_a_shared_circuit_is_probed_as_often_however_many_probes_have_failed() -> None:
    circuit, now = Circuit(SLOTS, shared=True), 10.0
    fail(circuit, "one", OPEN_AFTER, now)
    fail(circuit, "other", 1, now)
    for _ in range(4):
        now += circuit.wait(now)
        probe = probe_of(circuit, now)
        circuit.failed(probe, FailedCall(Trouble.FAILURE, None, "other"), now)
        circuit.leave(probe, succeeded=False)
        assert circuit.wait(now) == FIRST_OPEN


def test_pressure_on_two_sources_pauses_a_shared_circuit() -> None:
    circuit, tickets = busy_circuit(shared=True)
    assert circuit.failed(tickets[0], asked(3.0, "one"), 1.0) is None
    assert circuit.failed(tickets[1], asked(3.0, "other"), 2.0) == Opened(3.0, State.PAUSED)


def test_pressure_on_another_source_is_remembered_for_as_long_as_it_asked() -> None:
    circuit, tickets = busy_circuit(shared=True)
    assert circuit.failed(tickets[0], asked(30.0, "one"), 1.0) is None
    assert circuit.failed(tickets[1], asked(3.0, "other"), 30.9) == Opened(3.0, State.PAUSED)
    late, tickets = busy_circuit(shared=True)
    assert late.failed(tickets[0], asked(3.0, "one"), 1.0) is None
    assert late.failed(tickets[1], asked(3.0, "other"), 1.0 + RECENT) is None


def test_a_burst_of_429s_to_two_sources_pauses_a_shared_circuit_and_does_not_open_it() -> None:
    circuit, tickets = busy_circuit(shared=True)
    for ticket in tickets[1:]:
        circuit.failed(ticket, asked(1.0, "one"), 1.0)
    circuit.failed(tickets[0], asked(1.0, "other"), 1.0)
    assert circuit.state is State.PAUSED


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
    circuit.failed(tickets[0], asked(4.0), now=1.0)
    circuit.stamp = 7  # as it was shared
    circuit.learn(PeerState(4.01, is_open=False, stamp=7), now=1.0)
    assert circuit.window == 8


def test_a_later_time_of_a_peer_extends_the_own_pause() -> None:
    circuit, tickets = busy_circuit()
    circuit.failed(tickets[0], asked(4.0), now=1.0)
    circuit.learn(PeerState(9.0, is_open=False, stamp=7), now=1.0)
    assert (circuit.state, circuit.wait(1.0)) == (State.PAUSED, 9.0)


def test_the_time_of_a_peer_does_not_delay_calls_of_a_closed_circuit() -> None:
    circuit = Circuit(SLOTS)
    circuit.learn(PeerState(left=-0.5, is_open=False, stamp=7), now=1.0)
    circuit.learn(PeerState(left=4.0, is_open=False, stamp=7), now=2.0)  # extended, of an incident that is over here
    assert (circuit.state, circuit.until) == (State.PAUSED, 6.0)
    over = Circuit(SLOTS, stamp=7)
    over.learn(PeerState(left=4.0, is_open=False, stamp=7), now=2.0)
    assert (over.state, over.wait(2.0)) == (State.CLOSED, 0.0)


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
