"""Admission: check and reserve every limit and budget of a request, in one step before the upstream is called.

A reservation has an id and a lease. It is settled with the actual use, and only the first settlement counts. The
reservations of a process that died are charged in full once their lease has expired. The state is in Redis, so limits
are exact over processes and hosts. While Redis does not answer, each process applies its share of the rates
(`local_rates`), and a bounded part of each budget (`outage`).
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from typing import Any, Final, Literal

import orjson
import structlog

from gateway.access.alerts import Alerts
from gateway.access.directory import Directory, ScopeRules
from gateway.access.keys import ClientKeys
from gateway.access.ledger import Ledger
from gateway.access.local_rates import LocalRates
from gateway.access.outage import OutageMoney
from gateway.access.periods import period_of
from gateway.access.prepared import LEASE_MS, NO_GROUPS, PreparedScopes, prepare
from gateway.access.refusals import to_refusal
from gateway.access.reservation import GRANTED, NOTHING, Grant, Need, Used, to_counted
from gateway.context import Context, Priority
from gateway.errors import (
    GatewayError,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    StoreAway,
    Unavailable,
)
from gateway.ids import request_id
from gateway.redis import scripts
from gateway.redis.cluster import has_nodes
from gateway.redis.link import Link
from gateway.redis.server import RedisServer

log = structlog.get_logger()

UnknownPrice = Literal["assume", "refuse", "free"]

RENEW_SECONDS: Final = 20.0
SWEEP_SECONDS: Final = 15.0  # a process that died is settled within 75 s
LOOK_SECONDS: Final = 5.0
# A process that has not reported for this long has no share of the limits any more.
PROCESS_SECONDS: Final = 30.0
# Usable part of each limit. Batches leave a part for live requests.
SHARES: Final[Mapping[Priority, str]] = {"live": "1", "batch": "0.7"}
SWEEP_MOST: Final = 100
# Cached `PreparedScopes`, 1 kB each.
MAX_CLIENTS: Final = 10_000


@dataclass(slots=True)
class Admission:
    """Admission of one process. Run `ledger.settle_waiting`, `look`, `renew` and `sweep` in background loops."""

    directory: Directory
    server: RedisServer | None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    local: LocalRates = field(default_factory=LocalRates)
    money: OutageMoney = field(default_factory=OutageMoney)
    alerts: Alerts = field(default_factory=Alerts)
    unknown_price: UnknownPrice = "assume"
    ledger: Ledger = field(init=False)
    _link: Link | None = field(init=False, default=None)
    # By tenant, user, key and the limited model groups of a request.
    _prepared: dict[tuple[str, str, str, frozenset[str]], PreparedScopes] = field(default_factory=dict)
    _prepared_of: tuple[ClientKeys | None, int] = (None, 0)  # configuration and `changes` that `_prepared` is based on
    name: str = field(default_factory=request_id)  # of this process
    _numbers: Iterator[int] = field(default_factory=count, repr=False)  # of its reservations
    _held: dict[str, Grant] = field(default_factory=dict)  # reservations of requests in flight
    _uncertain: list[Grant] = field(default_factory=list)  # admissions without a reply from Redis

    def __post_init__(self) -> None:
        if self.server is not None and not has_nodes(self.server.redis):
            self._link = Link(self.server.redis, self.directory.silence, (scripts.ADMIT, scripts.ACCOUNT))
        self.ledger = Ledger(self.server, self.alerts, self.wall_clock, link=self._link)
        self.money.processes = max(self.money.processes, self.local.processes)

    async def connect(self) -> None:
        """Connect ahead of the first request, which could wait only briefly. Raises StoreAway."""
        if self._link is not None:
            await self._link.open()

    def limits_of(self, context: Context) -> PreparedScopes | None:
        """Return the limits and budgets of a client, without those of model groups; None if it has none."""
        if not self.directory.has_limits:
            return None
        prepared = self._prepared_for(context)
        return prepared if prepared.scopes else None

    async def admit(
        self,
        context: Context,
        need: Need,
        *models: str,
        any_model: bool = False,
        limits: PreparedScopes | None = None,
    ) -> Grant | None:
        """Reserve what a request needs. Return None without limits and without Redis for usage reports.

        `models`: names of all models that the request may reach, which decide its model groups; with `any_model` it
        counts in all groups. `limits`: the result of `limits_of`, if the caller has it. Raises RateLimited,
        BudgetSpent, InvalidRequest for a request that exceeds a whole minute's limit, and Unavailable while a budget
        cannot be checked.
        """
        if not self.directory.is_cached(context.key_id):
            await self.directory.ensure_cached(context.key_id)
            limits = None
        prepared = limits
        if prepared is None or prepared.groups:
            prepared = self._prepared_for(context, models, any_model=any_model)
        one = f"{self.name}-{next(self._numbers)}"
        for _ in range(3):
            if not prepared.scopes:
                # No limit applies: there is no reservation, and the settlement only adds to the usage reports.
                return Grant(context.request_id, 0) if self.server is not None else None
            if need.input > prepared.most_input or (need.unpriced and self.unknown_price == "refuse"):
                self._check_need(prepared.scopes, need)
            try:
                outcome = await self._ask(one, context, prepared, need)
            except (StoreAway, Overloaded) as error:
                return self._admit_locally(prepared, need, error)
            kind = outcome[0]
            if kind == b"admitted":
                return self._granted(one, prepared, outcome[1], outcome[2:])
            if kind == b"refused":
                raise self._refusal(prepared, outcome)
            if kind == b"stale":
                await self.directory.refresh_in_time()
                self.directory.check(context)
            else:  # another period
                self.ledger.offset = float(outcome[1]) - self.wall_clock()
            prepared = self._prepared_for(context, models, any_model=any_model)
        raise Unavailable("The limits of this key are changing; try again.", retry_after=1)

    def settle(self, grant: Grant, used: Used) -> None:
        """Count the actual use of a request. Never waits, never raises."""
        self._held.pop(grant.id, None)
        if grant.is_local:
            self.local.settle(grant.counted.names, used.output)
            of_scopes = grant.counted.budgets
            names = [(scope["name"], budget["name"]) for scope in of_scopes for budget in scope["budgets"]]
            self.money.settle(names, grant.money, used.cost)
            if not used.entry:
                return
        self.ledger.add(grant, used)

    async def renew(self) -> None:
        """Extend the leases of requests in flight, and release reservations that Redis may have made too late."""
        uncertain, self._uncertain = self._uncertain, []
        for grant in uncertain:
            self.settle(grant, NOTHING)
        if self.server is None or not self._held:
            return
        deadline = await self.server.now() + LEASE_MS
        members = [value for one in list(self._held) for value in (deadline, one)]
        if members:  # the last of them may have been settled meanwhile
            await self.server.pipeline([("ZADD", self.server.keys.access.leases, "XX", *members)])

    async def look(self) -> None:
        """Count the processes that share limits, and note the remaining budgets of recent requests (`outage`)."""
        if self.server is None:
            return
        names, keys = self.server.keys.access, self.server.keys
        now, budgets = self.wall_clock() + self.ledger.offset, self.money.seen()
        calendar = [(scope, name) for scope, name in budgets if not name.startswith("rolling/")]
        _, _, processes, *found = await self.server.pipeline(
            [
                ("ZADD", names.processes, ceil(now + PROCESS_SECONDS), self.name),
                ("ZREMRANGEBYSCORE", names.processes, "-inf", int(now)),
                ("ZCARD", names.processes),
                *(
                    ("HMGET", keys.scope(scope), f"{name}:start", f"{name}:spent", f"{name}:held")
                    for scope, name in calendar
                ),
            ]
        )
        self.local.processes = self.money.processes = max(self.local.least_processes, int(processes))
        self.money.see(self._left(dict(zip(calendar, found, strict=True)), now))

    def _left(self, found: Mapping[tuple[str, str], list[bytes | None]], now: float) -> dict[tuple[str, str], int]:
        left: dict[tuple[str, str], int] = {}
        for (scope, name), (start, spent, held) in found.items():
            for budget in [one for one in self.directory.allowance_of(scope).budgets if one.name == name]:
                begun, _ = period_of(budget.period, budget.time_zone, now)
                used = int(spent or 0) if start is not None and int(start) == begun else 0
                left[scope, name] = budget.amount - used - int(held or 0)
        return left

    async def sweep(self) -> None:
        """Charge reservations of dead processes with the amount granted to them."""
        if self.server is None:
            return
        names = self.server.keys.access
        now = await self.server.now()
        [lost] = await self.server.pipeline(
            [("ZRANGEBYSCORE", names.leases, "-inf", now, "LIMIT", 0, SWEEP_MOST)], near=names.leases
        )
        for one in lost:
            [raw] = await self.server.pipeline([("HGET", names.reservations, one)])
            if raw is None:
                await self.server.pipeline([("ZREM", names.leases, one)])
                continue
            counted = to_counted(orjson.loads(raw)["scopes"])
            await self.ledger.account(Grant(one.decode(), 0, counted), GRANTED)
            log.warning("reservation_lost", id=one.decode())

    def _prepared_for(
        self, context: Context, models: tuple[str, ...] = (), *, any_model: bool = False
    ) -> PreparedScopes:
        configured, changes = self._prepared_of
        if configured is not self.directory.configured or changes != self.directory.changes:
            self._prepared.clear()
            self._prepared_of = self.directory.configured, self.directory.changes
        prepared = self._in_force(context, NO_GROUPS)
        if prepared.groups:
            known = self.directory.configured.model_groups
            groups = prepared.groups & (frozenset(known.patterns) if any_model else known.of(models))
            prepared = self._in_force(context, groups)
        return prepared

    def _in_force(self, context: Context, groups: frozenset[str]) -> PreparedScopes:
        name = (context.tenant, context.user, context.key_id, groups)
        prepared, now = self._prepared.get(name), self.wall_clock() + self.ledger.offset
        if prepared is None or not prepared.begins <= now < prepared.ends:
            if len(self._prepared) >= MAX_CLIENTS:
                self._prepared.clear()
            keys = None if self.server is None else self.server.keys
            prepared = self._prepared[name] = prepare(self.directory.scopes_of(context), keys, now, groups)
        return prepared

    async def _ask(self, one: str, context: Context, prepared: PreparedScopes, need: Need) -> Any:
        call = prepared.admit
        if self.server is None or call is None or self.directory.silence.is_away:
            raise StoreAway("The store of limits is unavailable.")
        values = (one, f"{need.want} {need.least} {need.input} {SHARES[context.priority]}")
        try:
            if self._link is not None:
                return await self._link.run(call, values)
            async with self.directory.silence.call():
                return await self.server.run(call.script, call.keys, (*call.constants, *values))
        except (StoreAway, asyncio.CancelledError):
            grant = Grant(one, 0, prepared.counted)
            self._uncertain.append(grant)  # it may be admitted all the same, now or later
            self.settle(grant, NOTHING)
            raise

    def _check_need(self, scopes: tuple[ScopeRules, ...], need: Need) -> None:
        """Raises InvalidRequest for a prompt above a whole minute's limit, since waiting would not help, and
        PermissionDenied for an unknown price under a budget."""
        for scope in scopes:
            limit = scope.allowance.limits.input_tokens
            if limit is not None and need.input > limit:
                raise InvalidRequest(
                    f"This request has about {need.input} input tokens; the limit of {scope.label} is "
                    f"{limit} input tokens per minute."
                )
            if scope.allowance.budgets and need.unpriced and self.unknown_price == "refuse":
                raise PermissionDenied(
                    f"No price is known for the model {need.unpriced}, so the budget of {scope.label} cannot be"
                    " checked. The operator may set GATEWAY_UNKNOWN_PRICE.",
                    should_retry=False,
                )

    def _granted(self, one: str, prepared: PreparedScopes, money: int, state: list[int]) -> Grant:
        grant = Grant(one, money, prepared.counted, prepared.headers.to_lines(state))
        self._held[one] = grant
        names = prepared.budget_names
        if names and state and self.money.is_due(names[0]):
            self.money.see(dict(zip(names, prepared.headers.left(state, money), strict=True)))
        return grant

    def _refusal(self, prepared: PreparedScopes, outcome: list[Any]) -> GatewayError:
        _, raw_scope, raw_kind, wait, spent, *state = outcome
        scope, kind, now = raw_scope.decode(), raw_kind.decode(), self.wall_clock() + self.ledger.offset
        error = to_refusal(scope, kind, wait / 1000, prepared.scopes, spent=spent, now=now)
        pairs = prepared.headers.to_pairs(state)
        limits = [one for one in pairs if error.type != "billing_error" or "unified" not in one[0]]
        error.headers = (*limits, *error.headers, ("x-gateway-limit", f"{scope};{kind.partition(':')[0]}"))
        return error

    def _admit_locally(self, prepared: PreparedScopes, need: Need, error: GatewayError) -> Grant:
        """Admit without Redis: by the rates of this process and a bounded part of the remaining budgets."""
        scopes, money = [one for one in prepared.scopes if one.name in prepared.counted.names], need.want
        if prepared.budget_names:
            granted = self.money.admit(prepared.budget_names, need.want, need.least)
            if granted is None:
                label = next(scope.label for scope in scopes if scope.allowance.budgets)
                raise Unavailable(
                    f"The budget of {label} cannot be counted now: the store is unavailable.", retry_after=2
                ) from error
            money = granted
        refused = self.local.admit(tuple((scope.name, scope.allowance.limits) for scope in scopes), need.input)
        if refused is not None:
            self.money.settle(prepared.budget_names, money, 0)
            scope, kind, wait = refused
            raise to_refusal(scope, kind, wait, prepared.scopes)
        return Grant(request_id(), money, prepared.counted, is_local=True)
