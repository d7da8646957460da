"""Cost of open consoles: CPU of a front end and its Redis with and without several viewers.

Clients send more requests a second than a console lists, so each viewer gets the maximum number of rows. The requests
are the same with and without viewers; the difference is the cost of the viewers, as a share of one core.
"""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.cases import BODIES
from bench.measure import Machine, cpu_seconds, machine
from bench.report import machine_line, table
from bench.targets import CLIENT_KEY, PATH, Target, free_port, gateway_recipe, running, running_stage

VIEWERS = 5
REQUESTS_A_SECOND = 50
WARM_SECONDS = 3.0
ADMIN_KEY = "bench-admin-key-0123456789"
# Share of one core that all viewers together may take.
GOAL = 0.01

Say = Callable[[str], None]


@dataclass(slots=True)
class ConsoleCosts:
    """`shares`: number of viewers → share of one core in each round."""

    machine: Machine
    seconds: float
    shares: dict[int, list[float]] = field(default_factory=lambda: {0: [], VIEWERS: []})

    @property
    def cost(self) -> float:
        return median(self.shares[VIEWERS]) - median(self.shares[0])


def measure(rounds: int, seconds: float, say: Say) -> ConsoleCosts:
    """Raises StartError, CompilerError."""
    admin_port = free_port()
    variables = {"ADMIN_PORT": str(admin_port), "ADMIN_KEY": ADMIN_KEY, "REDIS_URL": "embedded"}
    recipe = gateway_recipe("watched", XDG_STATE_HOME="$dir", **{f"GATEWAY_{n}": v for n, v in variables.items()})
    costs = ConsoleCosts(machine(), seconds)
    with running_stage() as stage, running(recipe, stage) as target:
        for number in range(rounds):
            for viewers in costs.shares:
                with ExitStack() as stack:
                    for _ in range(viewers):
                        stack.enter_context(watching(admin_port))
                    share = share_of_a_core(target, seconds)
                costs.shares[viewers].append(share)
                say(f"round {number + 1}: {viewers} open consoles, {share:.2%} of a core")
    return costs


def share_of_a_core(target: Target, seconds: float) -> float:
    send_requests(target.ports[0], WARM_SECONDS)
    before, began = cpu_seconds(target.processes()), time.monotonic()
    send_requests(target.ports[0], seconds)
    return (cpu_seconds(target.processes()) - before) / (time.monotonic() - began)


def send_requests(port: int, seconds: float) -> None:
    """Send them one at a time, at REQUESTS_A_SECOND."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"x-api-key": CLIENT_KEY, "content-type": "application/json"}
    body, began = json.dumps(BODIES["small"]()), time.monotonic()
    for number in range(round(seconds * REQUESTS_A_SECOND)):
        time.sleep(max(0.0, began + number / REQUESTS_A_SECOND - time.monotonic()))
        connection.request("POST", PATH, body, headers)
        connection.getresponse().read()
    connection.close()


@contextmanager
def watching(port: int) -> Iterator[None]:
    """One console that follows the live events, as the page "Now" does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/events", headers={"x-api-key": ADMIN_KEY})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"the events answer {answer.status}: {answer.read()!r}")
    socket = connection.sock
    done = threading.Event()

    def read() -> None:
        while not done.is_set() and socket.recv(65_536):
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield
    done.set()
    reader.join()
    connection.close()


def render(costs: ConsoleCosts) -> str:
    rows = [
        [f"{viewers} open consoles", f"{median(shares):.2%}", ", ".join(f"{share:.2%}" for share in shares)]
        for viewers, shares in costs.shares.items()
    ]
    return "\n\n".join(
        [
            machine_line(costs.machine),
            table([f"{REQUESTS_A_SECOND} requests a second, {costs.seconds:.0f} s", "of a core", "each round"], rows),
            f"{VIEWERS} consoles cost {costs.cost:.2%} of a core (goal: at most {GOAL:.0%}).",
        ]
    )
