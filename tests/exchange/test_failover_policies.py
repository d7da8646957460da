"""The policies of failing over with a first upstream that fails in six ways: the short form of `make chaos`.

Minutes of requests pass on a clock that the test sets, through the circuits and the order of candidates that live
requests use. The bounds are those of the long form, which runs on real processes.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from gateway.errors import CircuitOpen, GatewayError, Overloaded, RateLimited, UpstreamTimedOut, UpstreamUnreachable
from gateway.exchange.walk import callable_first
from gateway.upstream.health.live_circuits import LiveCall, LiveCircuits
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.chaos.policies import RATE, TIMES, WAYS, First, Way, latency_of
from tests.support.clock import Clock

SECONDS = 200.0
HEADER_SECONDS = 20.0
FAILURES = {
    "abort": lambda: UpstreamUnreachable("refused"),
    "503": lambda: Overloaded("busy"),
    "429": lambda: RateLimited("slow down"),
    "hold": lambda: UpstreamTimedOut("no header"),
}


def route_to(name: str) -> Route:
    return Route("m", Upstream(name, f"http://{name}.example/v1"), "chat", to_target("m", COMPATIBLE))


@dataclass
class Simulation:
    """Requests to two candidates, as events on a clock."""

    way: Way
    chance: random.Random
    clock: Clock = field(default_factory=Clock)
    first: First = field(default_factory=First)
    answered: int = 0
    unanswered: int = 0

    def __post_init__(self) -> None:
        self.circuits = LiveCircuits(clock=self.clock)
        self.routes = (route_to("first"), route_to("second"))
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = count()

    def run(self) -> None:
        for number in range(round(SECONDS * RATE)):
            self.at(self.clock.now + number / RATE, lambda: self.ask(callable_first(self.routes, self.circuits)))
        while self.events:
            self.clock.now, _, action = heapq.heappop(self.events)
            action()

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.numbers), action))

    def ask(self, routes: list[Route]) -> None:
        """Call the first of the candidates that may be called; after its failure, the others."""
        if not routes:
            self.unanswered += 1
            return
        call = self.circuits.call(routes[0], alone=False)
        try:
            self.circuits.begin(call)
        except CircuitOpen:
            self.ask(routes[1:])
            return
        outcome: float | str = latency_of(self.chance)
        if routes[0] is self.routes[0]:
            outcome = self.way.fault(self.first, latency_of(self.chance), self.clock.now, self.chance)
        if isinstance(outcome, float):
            self.at(self.clock.now + outcome, lambda: self.succeed(call))
            return
        self.first.failed += 1
        error, took = FAILURES[outcome](), HEADER_SECONDS if outcome == "hold" else 0.01
        self.at(self.clock.now + took, lambda: self.fail(call, error, routes[1:]))

    def succeed(self, call: LiveCall) -> None:
        call.note_header()
        call.succeeded()
        self.circuits.end(call)
        self.answered += 1

    def fail(self, call: LiveCall, error: GatewayError, others: list[Route]) -> None:
        self.circuits.failed(call, error)
        self.circuits.end(call)
        self.ask(others)


@pytest.mark.parametrize("name", WAYS)
def test_failing_first_upstream_costs_no_answer_and_few_calls(name: str) -> None:
    way = WAYS[name]
    simulation = Simulation(way, random.Random(f"seed of {name}"))
    simulation.run()
    asked = round(SECONDS * RATE)
    assert (simulation.answered, simulation.unanswered) == (asked, 0)
    assert simulation.first.failed <= TIMES * (way.most + way.share * asked)
    assert (simulation.first.failed > 0) == (name != "slow")
