"""Requests for a higher budget: a client asks for one, and an administrator approves an amount or denies it.

They are stored beside keys and limits, so that each step is in the audit record. A scope has at most one open request
for each period; asking again returns it.
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
# Open requests: each is a record, and people have to answer them.
MAX_PENDING: Final = 1000
MAX_REASON: Final = 500

Status = Literal["pending", "approved", "denied"]


@dataclass(frozen=True, slots=True)
class IncreaseRequest:
    """A request for a higher budget of `scope` for this `period`, in `time_zone`.

    `amount`: nano-dollars, None to leave it to the administrator. Times are Unix seconds. `resolved_by`: type and id of
    the caller that answered it.
    """

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
        """Read a stored request. Fields of a newer version are ignored."""
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
        """Store a request, or return the open one for this budget. Raises RateLimited if too many are open."""
        pending = [one for one in await self.all() if one.status == "pending"]
        for one in pending:
            if (one.scope, one.period) == (wanted.scope, wanted.period):
                return one
        if len(pending) >= MAX_PENDING:
            raise RateLimited("Too many requests for higher budgets are open; ask an administrator.", retry_after=60)
        now = self.store.clock()
        # Ids sort by time, also within one second.
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
        """Set the requested budget, and mark the request as approved. Repeating it with the same amount has no effect.

        `period` overrides the request's. Raises InvalidRequest if the request has another outcome.
        """
        asked, _ = await self.find(request_id)
        budget = Budget.checked(amount, period or asked.period, asked.time_zone)
        in_force, _ = await allowance_of(self.store, configured, asked.scope)
        if asked.status == "approved" and budget in in_force.budgets:
            return asked, budget
        check_open(asked)
        # The budget first: after a failure in between, approving again sets the same amount.
        change = partial(Allowance.with_budget, budget=budget)
        await change_allowance(self.store, configured, asked.scope, change, actor, conditions)
        return await self.resolve(asked.id, "approved", actor), budget

    async def resolve(self, request_id: str, status: Status, actor: Actor) -> IncreaseRequest:
        """Mark a request as approved or denied. Repeating it has no effect.

        Raises InvalidRequest if it has another outcome, and Conflict if another change was faster.
        """
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
    """Raises InvalidRequest for an answered request."""
    if request.status != "pending":
        raise InvalidRequest(f"This request is already {request.status}.")
