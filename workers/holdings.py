"""The items that a worker has in hand, from their claim until they are recorded or given back, and how to stop them."""

import asyncio
from dataclasses import dataclass, field

from gateway.batches.queue import Claim, WorkItem
from workers.gates import Pass


@dataclass(slots=True, eq=False)
class Held:
    """One item in hand since `since` (monotonic). `aborted` says why its call was broken off, if it was."""

    claim: Claim
    work: WorkItem
    granted: Pass
    since: float
    aborted: str | None = None
    call: asyncio.Timeout | None = None  # the scope of the upstream call, while it runs

    @property
    def index(self) -> int:
        return self.work.lease.index

    def abort(self, reason: str) -> None:
        """Break off the upstream call; a result that is already there stays."""
        if self.aborted is None:
            self.aborted = reason
            if self.call is not None:
                self.call.reschedule(asyncio.get_running_loop().time())


@dataclass(slots=True)
class Holdings:
    """Items by claim, since a claim's leases are renewed together."""

    _claims: dict[str, tuple[Claim, dict[int, Held]]] = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, held: Held) -> None:
        _, items = self._claims.setdefault(held.claim.fence, (held.claim, {}))
        items[held.index] = held
        self._count += 1

    def remove(self, held: Held) -> None:
        _, items = self._claims[held.claim.fence]
        del items[held.index]
        self._count -= 1
        if not items:
            del self._claims[held.claim.fence]

    def claims(self) -> list[tuple[Claim, list[Held]]]:
        return [(claim, list(items.values())) for claim, items in self._claims.values()]

    def all(self) -> list[Held]:
        return [held for _, items in self._claims.values() for held in items.values()]
