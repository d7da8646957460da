"""Liveness and readiness of a process, for balancers. No probe ever calls the upstream."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.telemetry.monitors import RedisMonitor


@dataclass(slots=True)
class Health:
    """`draining` is set once, when the process is asked to stop. `listening` counts the serving children of a parent
    process.

    A front end stays ready while its Redis takes no writes: it serves live requests, and a balancer must go on sending
    them. The probe shows the problem.
    """

    draining: bool = False
    listening: Callable[[], int] | None = None
    monitor: RedisMonitor | None = None

    def drain(self) -> None:
        self.draining = True

    @property
    def problem(self) -> str | None:
        """Return the reason why no work should be sent here; None if it may."""
        if self.draining:
            return "draining"
        return "no front end listens" if self.listening is not None and not self.listening() else None

    @property
    def redis_problem(self) -> str | None:
        return None if self.monitor is None else self.monitor.problem
