"""Cost of admission: instructions for a small request of a key without limits, with limits, and with a budget too.

Redis is beside the front end each time. The wait for it is longer than usual: under callgrind all takes fifty times as
long, and without an answer in time a process counts by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.batch_stage import Redis, running_redis
from bench.instructions import count
from bench.measure import Machine, machine
from bench.report import machine_line, table
from bench.targets import CLIENT_KEY, Recipe, gateway_recipe, running_stage

CASE = "small"
GOAL = 0.08
KEY = f'[[keys]]\nname = "bench"\nkey = "{CLIENT_KEY}"\n'
LIMITS = "rpm = 1_000_000\ninput_tpm = 500_000_000\nconcurrency = 1000\n"
BUDGET = 'budget_usd = 1_000_000\nperiod = "day"\n'
KEYS = {"no limits": KEY, "limits": KEY + LIMITS, "limits and a budget": KEY + LIMITS + BUDGET}


@dataclass(slots=True)
class AdmissionCosts:
    machine: Machine
    instructions: dict[str, float] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Of all limits, as a share of a request without any."""
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
    return costs


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
    rows = [[name, f"{many:,.0f}", f"{many / plain - 1:+.1%}"] for name, many in costs.instructions.items()]
    return "\n\n".join(
        [
            machine_line(costs.machine),
            table(["a key with", "instructions", "more"], rows),
            f"Limits and a budget cost {costs.cost:+.1%} (goal: at most {GOAL:+.0%}).",
        ]
    )
