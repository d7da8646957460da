"""The items that a worker has in flight, from their claim until they are recorded or released, and how to stop them."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from gateway.batches.queue import Claim, WorkItem
from gateway.json_values import count_values
from gateway.upstream.health.circuits import Permit

# Bytes that a value counts for at least. Parsed, checked and converted, it takes about 150. Conversations have a value
# for 60 bytes or more, so that they count as many bytes as they have.
VALUE_WEIGHT: Final = 64
# Params up to this many bytes are not counted by values: those of all slots together are a few megabytes.
SMALL_ITEM: Final = 64 * 1024


def weight_of(params: bytes) -> int:
    """Return the bytes that params count for in a worker's budget: their own, or more if they are many small values."""
    size = len(params)
    if size <= SMALL_ITEM or sum(params.count(mark) for mark in (b",", b"[", b"{")) * VALUE_WEIGHT <= size:
        return size
    return max(size, count_values(params) * VALUE_WEIGHT)


@dataclass(slots=True, eq=False)
class InFlightItem:
    """One item since `since` (monotonic). `aborted` is the reason why its call was aborted, if it was.

    Leaving `permit_scope` ends the permit.
    """

    claim: Claim
    work: WorkItem
    permit: Permit
    permit_scope: AsyncExitStack
    since: float
    weight: int = 0
    aborted: str | None = None
    call: asyncio.Timeout | None = None  # the scope of the upstream call, while it runs

    @property
    def index(self) -> int:
        return self.work.lease.index

    def abort(self, reason: str) -> None:
        """Abort the upstream call. A result that already exists is kept."""
        if self.aborted is None:
            self.aborted = reason
            if self.call is not None:
                self.call.reschedule(asyncio.get_running_loop().time())


@dataclass(slots=True)
class InFlightItems:
    """Items by claim, since the leases of a claim are renewed together."""

    _claims: dict[str, tuple[Claim, dict[int, InFlightItem]]] = field(default_factory=dict)
    weight: int = 0
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, item: InFlightItem) -> None:
        _, items = self._claims.setdefault(item.claim.fence, (item.claim, {}))
        items[item.index] = item
        self._count += 1
        self.weight += item.weight

    def remove(self, item: InFlightItem) -> None:
        _, items = self._claims[item.claim.fence]
        del items[item.index]
        self._count -= 1
        self.weight -= item.weight
        if not items:
            del self._claims[item.claim.fence]

    def claims(self) -> list[tuple[Claim, list[InFlightItem]]]:
        return [(claim, list(items.values())) for claim, items in self._claims.values()]

    def all(self) -> list[InFlightItem]:
        return [item for _, items in self._claims.values() for item in items.values()]
