"""Requests for a higher budget: a client asks, an administrator sets another amount or denies it.

They are records beside keys and limits, so that each step is in the audit record. A scope has one open request for each
period; asking again returns it.
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal, Self

from gateway.access.allowances import allowance_of, change_allowance
from gateway.access.keys import ClientKeys
from gateway.access.records import Allowance, Budget, Period, known_fields
from gateway.access.store import UNCONDITIONAL, AccessStore, Actor, Conditions
from gateway.errors import InvalidRequest, NotFound, RateLimited

REQUEST: Final = "increase:"
# Open ones: each is a record, and people have to look at them.
MAX_PENDING: Final = 1000
MAX_REASON: Final = 500

Status = Literal["pending", "approved", "denied"]


@dataclass(frozen=True, slots=True)
class IncreaseRequest:
    """`scope`: owner of the budget of this `period`, in `time_zone`. `amount`: nano-dollars asked for, None if
    that is left to the administrator. `resolved_by`: the kind and the name of the caller who did so."""

    id: str
    scope: str
    period: Period
    time_zone: str = "UTC"
    amount: int | None = None
    reason: str = field(default="", repr=False)
    status: Status = "pending"
    created_at: int = 0
    resolved_at: int | None = None
    resolved_by: tuple[str, str] | None = None

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Fields of a newer version are ignored."""
        known = known_fields(cls, value)
        by = known.get("resolved_by")
        return cls(**known | {"resolved_by": None if by is None else tuple(by)})


@dataclass(frozen=True, slots=True)
class IncreaseRequests:
    store: AccessStore

    async def all(self) -> list[IncreaseRequest]:
        """Return every request, oldest first."""
        found = [IncreaseRequest.of_json(one) for one in await self.store.others(REQUEST)]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    async def find(self, request_id: str) -> tuple[IncreaseRequest, int]:
        """Return a request with the version of its record. Raises NotFound."""
        record, version = await self.store.other(REQUEST + request_id)
        if record is None:
            raise no_such_request(request_id)
        return IncreaseRequest.of_json(record), version

    async def ask(self, wanted: IncreaseRequest, actor: Actor) -> IncreaseRequest:
        """Store a request, unless one is open for this budget, which is returned. Raises RateLimited for too many."""
        pending = [one for one in await self.all() if one.status == "pending"]
        for one in pending:
            if (one.scope, one.period) == (wanted.scope, wanted.period):
                return one
        if len(pending) >= MAX_PENDING:
            raise RateLimited("Too many requests for higher budgets are open; ask an administrator.", retry_after=60)
        now = self.store.clock()
        # Requests of one second are in the order of their ids.
        request_id = f"slir_{int(now * 1e6):014x}{secrets.token_hex(5)}"
        made = replace(wanted, id=request_id, created_at=int(now))
        details = {"scope": made.scope, "period": made.period, "amount": made.amount}
        entry = ("budget_increase_asked", details)
        await self.store.put_other(REQUEST + made.id, asdict(made), 0, entry, actor)
        return made

    async def approve(
        self,
        configured: ClientKeys,
        request_id: str,
        amount: int,
        actor: Actor,
        *,
        period: Period | None = None,
        conditions: Conditions = UNCONDITIONAL,
    ) -> tuple[IncreaseRequest, Budget]:
        """Set the budget that a request is about, and mark the request; again with the same amount is no change.

        `period` overrides the request's. Raises InvalidRequest if it was resolved otherwise.
        """
        asked, _ = await self.find(request_id)
        budget = Budget.checked(amount, period or asked.period, asked.time_zone)
        in_force, _ = await allowance_of(self.store, configured, asked.scope)
        if asked.status == "approved" and budget in in_force.budgets:
            return asked, budget
        check_open(asked)
        # The budget first: a request that failed in between is approved again, which sets the same amount.
        change = partial(Allowance.with_budget, budget=budget)
        await change_allowance(self.store, configured, asked.scope, change, actor, conditions)
        return await self.resolve(asked.id, "approved", actor), budget

    async def resolve(self, request_id: str, status: Status, actor: Actor) -> IncreaseRequest:
        """Mark a request as approved or denied; again is no change. Raises InvalidRequest if it was resolved otherwise,
        Conflict if another change was faster."""
        known, version = await self.find(request_id)
        if known.status == status:
            return known
        check_open(known)
        done = replace(known, status=status, resolved_at=int(self.store.clock()), resolved_by=(actor.type, actor.id))
        entry = (f"budget_increase_{status}", {"scope": done.scope, "period": done.period})
        await self.store.put_other(REQUEST + done.id, asdict(done), version, entry, actor)
        return done


def no_such_request(request_id: str) -> NotFound:
    return NotFound(f"There is no spend limit increase request {request_id[:80]!r}.")


def check_open(request: IncreaseRequest) -> None:
    """Raises InvalidRequest for a request that was resolved."""
    if request.status != "pending":
        raise InvalidRequest(f"This request was {request.status} before.")
