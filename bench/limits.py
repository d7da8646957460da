"""Cost of admission: what a small request of a key takes without limits, with limits, and with a budget too.

That is instructions; and without callgrind, the median time of an answer, and the reads of Redis for one. Redis is
beside the front end each time. The wait for it is longer than usual: under callgrind all takes fifty times as long, and
without an answer in time a process counts by itself.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.batch_stage import Redis, running_redis
from bench.cases import CASES
from bench.instructions import count
from bench.load import Shape
from bench.measure import Machine, machine
from bench.report import machine_line, table
from bench.targets import CLIENT_KEY, Recipe, Stage, gateway_recipe, running, running_stage

CASE = "small"
GOAL = 0.08
# Milliseconds that a median answer may take longer.
GOAL_MS = 0.3
ROUNDS = 7
SECONDS = 2.0
KEY = f'[[keys]]\nname = "bench"\nkey = "{CLIENT_KEY}"\n'
LIMITS = "rpm = 1_000_000\ninput_tpm = 500_000_000\nconcurrency = 1000\n"
BUDGET = 'budget_usd = 1_000_000\nperiod = "day"\n'
KEYS = {"no limits": KEY, "limits": KEY + LIMITS, "limits and a budget": KEY + LIMITS + BUDGET}


@dataclass(slots=True)
class AdmissionCosts:
    machine: Machine
    instructions: dict[str, float] = field(default_factory=dict)
    p50_ms: dict[str, float] = field(default_factory=dict)  # one connection
    reads: dict[str, float] = field(default_factory=dict)  # of Redis, for an answer

    @property
    def cost(self) -> float:
        """Return the cost of all limits, as a share of a request without any."""
        plain, *_, most = self.instructions.values()
        return most / plain - 1


def measure(say: Callable[[str], None]) -> AdmissionCosts:
    """Raises StartError."""
    costs = AdmissionCosts(machine())
    with TemporaryDirectory(prefix="bench-") as directory, running_redis(Path(directory)) as redis:
        for name, file in KEYS.items():
            with running_stage() as stage:
                costs.instructions[name] = count(to_recipe(file, redis), CASE, stage, Path(directory))
            say(f"  {name:<22}{costs.instructions[name]:>14,.0f}")
        with running_stage() as stage:
            _measure_times(costs, redis, stage)
    return costs


def _measure_times(costs: AdmissionCosts, redis: Redis, stage: Stage) -> None:
    """Ask each gateway in turn, so that all meet the same load of the machine."""
    case, times = CASES[CASE], {name: list[int]() for name in KEYS}
    shape = Shape(1, SECONDS, warm=SECONDS / 4, expect=case.expect)
    with ExitStack() as stack:
        targets = {
            name: stack.enter_context(running(replace(to_recipe(file, redis), name=f"limited-{number}"), stage))
            for number, (name, file) in enumerate(KEYS.items())
        }
        for _ in range(ROUNDS):
            for name, target in targets.items():
                before = redis.traffic().reads
                report = target.load(case.body, shape)
                times[name].append(report.latency_p50)
                costs.reads[name] = (redis.traffic().reads - before) / (report.answers * (1 + shape.warm / SECONDS))
    costs.p50_ms = {name: median(several) / 1000 for name, several in times.items()}


def to_recipe(file: str, redis: Redis) -> Recipe:
    """Return a gateway with these keys alone."""
    more = {
        "GATEWAY_REDIS_URL": redis.url,
        "GATEWAY_LIMITS_TIMEOUT": "5",
        "GATEWAY_SECRET": "bench:0123456789abcdef0123456789abcdef",
        "GATEWAY_CONFIG": "gateway.toml",
    }
    one = gateway_recipe("limited", **more)
    environment = {name: value for name, value in one.environment.items() if name != "GATEWAY_KEYS"}
    return replace(one, environment=environment, files={"gateway.toml": file})


def render(costs: AdmissionCosts) -> str:
    plain = costs.instructions["no limits"]
    rows = [
        [name, f"{many:,.0f}", f"{many / plain - 1:+.1%}", f"{costs.p50_ms[name]:.2f}", f"{costs.reads[name]:.1f}"]
        for name, many in costs.instructions.items()
    ]
    later = costs.p50_ms["limits and a budget"] - costs.p50_ms["no limits"]
    goals = f"(goal: at most {GOAL:+.0%}), and {later:+.2f} ms (goal: at most {GOAL_MS:+.1f})"
    return "\n\n".join(
        [
            machine_line(costs.machine),
            table(["a key with", "instructions", "more", "p50, ms", "reads of Redis"], rows),
            f"Limits and a budget cost {costs.cost:+.1%} {goals}.",
        ]
    )
