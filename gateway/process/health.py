"""What the process can say of itself to a balancer: alive, and ready for work. No probe ever calls the upstream."""

from dataclasses import dataclass


@dataclass(slots=True)
class Health:
    """`draining` is set once, when the process has been told to stop."""

    draining: bool = False

    def drain(self) -> None:
        self.draining = True

    @property
    def is_ready(self) -> bool:
        return not self.draining
