"""Admission: every limit and budget that applies to a request, checked and reserved in one step before the call.

A reservation has an id and a lease. It is settled with what was really used, and only the first settlement counts. The
reservations of a process that died are charged what was granted, once their lease has ended. The state is in Redis, so
limits are exact over processes and hosts. Without an answer from Redis, rates are kept in this process, and requests
under a budget are refused.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, Literal

import orjson
import structlog

from gateway.access.directory import Directory, ScopeRules
from gateway.access.local_rates import LocalRates
from gateway.access.periods import period_of
from gateway.access.records import Budget, to_dollars
from gateway.context import Context
from gateway.errors import (
    BudgetSpent,
    GatewayError,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    RateLimited,
    StoreAway,
    Unavailable,
)
from gateway.ids import request_id
from gateway.redis import scripts
from gateway.redis.server import RedisServer

log = structlog.get_logger()

UnknownPrice = Literal["assume", "refuse", "free"]

LEASE_SECONDS: Final = 60.0  # two renewals may fail before it ends
RENEW_SECONDS: Final = 20.0
SWEEP_SECONDS: Final = 15.0  # a process that died is settled within 75 s
# Workers draw while this much of a limit is left for people.
BATCH_SHARE: Final = 0.7
# A call of Redis beyond this, and the request goes on by the rules for an outage. A busy event loop must not look like
# an outage of Redis: limits would be exceeded.
ADMIT_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 1.0  # how long Redis is not asked again after that
# Settlements that wait for Redis; more are dropped, and their leases charge what was granted.
MAX_WAITING: Final = 100_000
USAGE_ENTRIES: Final = 100_000
SWEEP_MOST: Final = 100
# Settlements of this time are sent together.
GATHER_SECONDS: Final = 0.02
MAX_TOGETHER: Final = 200
FLUSH_SECONDS: Final = 2.0
SUMS_SECONDS: Final = 400 * 86_400

KINDS: Final = {
    "requests": "requests per minute",
    "input_tokens": "input tokens per minute",
    "output_tokens": "output tokens per minute",
    "concurrency": "concurrent requests",
}
THRESHOLDS: Final = (0.5, 0.75, 0.9, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Need:
    """The most that a request may take: `want` nano-dollars, or `least` with a smaller answer; `input` tokens.

    `unpriced`: the model, if its price is not known.
    """

    want: int = 0
    least: int = 0
    input: int = 0
    unpriced: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A reservation. `money`: nano-dollars. `headers`: the state of the limits, for the reply.

    `is_local`: kept in this process, not in Redis.
    """

    id: str
    money: int
    scopes: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Used:
    """The use of a finished request: `cost` in nano-dollars, `sums` names it in the sums of the day."""

    cost: int
    input: int
    output: int
    entry: Mapping[str, Any] = field(repr=False)
    sums: str


NOTHING: Final = Used(0, 0, 0, {}, "")


@dataclass(slots=True)
class Admission:
    """Run `settle_waiting`, `renew` and `sweep` beside it."""

    directory: Directory
    server: RedisServer | None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    local: LocalRates = field(default_factory=LocalRates)
    unknown_price: UnknownPrice = "assume"
    _held: dict[str, Grant] = field(default_factory=dict)
    _waiting: list[tuple[Grant, Used]] = field(default_factory=list)
    _uncertain: list[Grant] = field(default_factory=list)  # whose admission was not answered
    _away_until: float = 0.0
    _offset: float = 0.0  # seconds that the server's clock is ahead of this host's
    _wakes: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def admit(self, context: Context, need: Need) -> Grant | None:
        """Reserve what a request needs; None for a request without limits and without usage reports.

        Raises RateLimited, BudgetSpent, InvalidRequest for a request that no limit could ever let through, and
        Unavailable where money cannot be counted.
        """
        scopes = self.directory.scopes_of(context)
        if not scopes:
            # No limit applies, so there is no reservation; usage reports get the request when it ends.
            return Grant(context.request_id, 0, ()) if self.server is not None else None
        self._check_need(scopes, need)
        one = request_id()
        for _ in range(3):
            try:
                outcome = await self._ask(one, context, scopes, need)
            except (StoreAway, Overloaded) as error:
                self._away_until = self.clock() + AWAY_SECONDS
                return self._admit_locally(context, scopes, need, error)
            kind = outcome[0]
            if kind == b"stale":
                await self.directory.refresh()
                self.directory.check(context)
                scopes = self.directory.scopes_of(context)
            elif kind == b"period":
                self._offset = float(outcome[1]) - self.wall_clock()
            else:
                return self._to_grant(one, outcome, scopes)
        raise Unavailable("The limits of this key are changing; try again.", retry_after=1)

    def settle(self, grant: Grant, used: Used) -> None:
        """Count what was used. Never waits; never raises."""
        self._held.pop(grant.id, None)
        if grant.is_local:
            self.local.settle(grant.scopes, used.input, used.output)
            return
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((grant, used))
            self._wakes.set()

    async def settle_waiting(self) -> None:
        """Send what has been settled; to be called again and again. Raises StoreAway, and keeps what was not sent."""
        await self._wakes.wait()
        self._wakes.clear()
        await asyncio.sleep(GATHER_SECONDS)
        try:
            await self._send()
        finally:
            if self._waiting:
                self._wakes.set()

    async def flush(self) -> None:
        """Settle what waits, before a process ends; best effort."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._send()
        except (GatewayError, TimeoutError):
            log.warning("settlements_left", count=len(self._waiting))

    async def _send(self) -> None:
        async with self._sending:
            while self._waiting:
                several = self._waiting[:MAX_TOGETHER]
                await self._enter([used for grant, used in several if not grant.scopes])
                for grant, used in [one for one in several if one[0].scopes]:
                    outcome = await self._account(grant.id, grant.scopes, used)
                    self._warn(outcome[1:])
                del self._waiting[: len(several)]

    async def renew(self) -> None:
        """Extend the leases of what is in flight, and give up once more what was admitted too late."""
        uncertain, self._uncertain = self._uncertain, []
        for grant in uncertain:
            self.settle(grant, NOTHING)
        if self.server is None or not self._held:
            return
        deadline = await self.server.now() + int(LEASE_SECONDS * 1000)
        members = [value for one in list(self._held) for value in (deadline, one)]
        await self.server.pipeline([("ZADD", self.server.keys.access.leases, "XX", *members)])

    async def sweep(self) -> None:
        """Charge reservations whose process has died with what was granted to them."""
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
            scopes = tuple(scope["name"] for scope in orjson.loads(raw)["scopes"])
            await self._account(one.decode(), scopes, Used(-1, 0, 0, {}, ""))
            log.warning("reservation_lost", id=one.decode())

    async def _ask(self, one: str, context: Context, scopes: tuple[ScopeRules, ...], need: Need) -> Any:
        if self.server is None or self.clock() < self._away_until:
            raise StoreAway("The store of limits is away.")
        names, keys = self.server.keys.access, [self.server.keys.scope(scope.name) for scope in scopes]
        body = {
            "want": need.want,
            "least": need.least,
            "input": need.input,
            "share": BATCH_SHARE if context.priority == "batch" else 1.0,
            "scopes": [self._to_rules(scope) for scope in scopes],
        }
        call = self.server.run(
            scripts.ADMIT,
            (names.leases, names.reservations, names.versions, *keys),
            (one, int(LEASE_SECONDS * 1000), orjson.dumps(body)),
        )
        try:
            async with asyncio.timeout(ADMIT_SECONDS):
                return await call
        except (TimeoutError, asyncio.CancelledError) as error:
            grant = Grant(one, 0, tuple(scope.name for scope in scopes))
            self._uncertain.append(grant)  # it may be admitted all the same, now or later
            self.settle(grant, NOTHING)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise StoreAway("The store of limits did not answer in time.") from None

    def _to_rules(self, scope: ScopeRules) -> dict[str, Any]:
        rules = scope.allowance
        limits = {name: getattr(rules.limits, name) for name in KINDS if getattr(rules.limits, name) is not None}
        budgets = []
        for budget in rules.budgets:
            start, ends = period_of(budget.period, budget.time_zone, self.wall_clock() + self._offset)
            budgets.append({"name": budget_name(budget), "amount": budget.amount, "start": start, "ends": ends})
        return {
            "name": scope.name,
            "record": scope.record,
            "version": scope.version,
            "limits": limits,
            "budgets": budgets,
        }

    def _check_need(self, scopes: tuple[ScopeRules, ...], need: Need) -> None:
        """Raises InvalidRequest for a prompt above a whole minute's tokens, since waiting would never help.

        Raises PermissionDenied for a request under a budget whose price is not known.
        """
        for scope in scopes:
            limit = scope.allowance.limits.input_tokens
            if limit is not None and need.input > limit:
                raise InvalidRequest(
                    f"This request has about {need.input} input tokens; the limit of {scope.label} is "
                    f"{limit} input tokens per minute."
                )
            if scope.allowance.budgets and need.unpriced and self.unknown_price == "refuse":
                raise PermissionDenied(
                    f"No price is known for the model {need.unpriced}, so the budget of {scope.label} cannot be kept."
                    " The operator may set GATEWAY_UNKNOWN_PRICE.",
                    should_retry=False,
                )

    def _to_grant(self, one: str, outcome: list[Any], scopes: tuple[ScopeRules, ...]) -> Grant:
        if outcome[0] == b"admitted":
            grant = Grant(one, int(outcome[1]), tuple(scope.name for scope in scopes), to_headers(outcome[2]))
            self._held[one] = grant
            return grant
        _, scope, kind, wait, state, spent = (one.decode() for one in outcome)
        error = to_refusal(scope, kind, int(wait) / 1000, scopes, int(spent or 0))
        error.headers = (*to_headers(state), ("x-gateway-limit", f"{scope};{kind.partition(':')[0]}"))
        raise error

    def _admit_locally(
        self, context: Context, scopes: tuple[ScopeRules, ...], need: Need, error: GatewayError
    ) -> Grant:
        """Admit by the rates of this process, and refuse requests under a budget: Redis is down or full."""
        budgeted = next((scope for scope in scopes if scope.allowance.budgets), None)
        if budgeted is not None:
            raise Unavailable(
                f"The budget of {budgeted.label} cannot be counted now: the store is away.",
                retry_after=2,
            ) from error
        refused = self.local.admit(tuple((scope.name, scope.allowance.limits) for scope in scopes), need.input)
        if refused is not None:
            scope, kind, wait = refused
            raise to_refusal(scope, kind, wait, scopes, 0)
        return Grant(context.request_id, 0, tuple(scope.name for scope in scopes), is_local=True)

    async def _account(self, one: str, scopes: tuple[str, ...], used: Used) -> Any:
        assert self.server is not None
        names, day = self.server.keys.access, self._day()
        keys = (names.leases, names.reservations, names.usage, self.server.keys.usage_sums(day))
        entry = orjson.dumps(used.entry) if used.entry else b""
        return await self.server.run(
            scripts.ACCOUNT,
            (*keys, *(self.server.keys.scope(scope) for scope in scopes)),
            (one, used.cost, used.input, used.output, entry, used.sums, USAGE_ENTRIES, SUMS_SECONDS),
        )

    async def _enter(self, several: list[Used]) -> None:
        """Enter requests that nothing limits in the usage reports, in one round trip; those without a call are none."""
        several = [used for used in several if used.sums]
        if not several:
            return
        assert self.server is not None
        sums: dict[str, int] = {}
        for used in several:
            for what, value in (("requests", 1), ("input", used.input), ("output", used.output), ("cost", used.cost)):
                sums[f"{used.sums}|{what}"] = sums.get(f"{used.sums}|{what}", 0) + value
        day, usage = self.server.keys.usage_sums(self._day()), self.server.keys.access.usage
        commands: list[tuple[str | bytes | int, ...]] = [
            ("XADD", usage, "MAXLEN", "~", USAGE_ENTRIES, "*", "e", orjson.dumps(used.entry)) for used in several
        ]
        commands += [("HINCRBY", day, name, value) for name, value in sums.items() if value]
        await self.server.pipeline([*commands, ("EXPIRE", day, SUMS_SECONDS)])

    def _day(self) -> str:
        return datetime.fromtimestamp(self.wall_clock() + self._offset, UTC).strftime("%Y-%m-%d")

    def _warn(self, spent_by: list[bytes]) -> None:
        """Log each threshold of a budget that this settlement has crossed; no other process sees the same crossing."""
        for place in range(0, len(spent_by), 5):
            scope, name, before, after, amount = spent_by[place : place + 5]
            for threshold in THRESHOLDS:
                mark = int(amount) * threshold
                if int(before) < mark <= int(after):
                    spent, whole = to_dollars(int(after)), to_dollars(int(amount))
                    log.warning(
                        "budget_threshold",
                        scope=scope.decode(),
                        budget=name.decode(),
                        percent=round(threshold * 100),
                        spent=spent,
                        amount=whole,
                    )


def budget_name(budget: Budget) -> str:
    return f"{budget.period}/{budget.time_zone}"


def to_headers(state: bytes | str) -> tuple[tuple[str, str], ...]:
    """Anthropic's headers for the tightest limit of each kind: limit, remaining, and when it is full again."""
    headers: list[tuple[str, str]] = []
    tightest = orjson.loads(state)  # an empty table of Lua is a list or an object
    for kind in [kind for kind in KINDS if kind in tightest]:
        limit, remaining, full_at = tightest[kind]
        reset = datetime.fromtimestamp(ceil(int(full_at) / 1000), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        start = f"anthropic-ratelimit-{kind.replace('_', '-')}"
        headers += [(f"{start}-limit", str(limit)), (f"{start}-remaining", str(remaining)), (f"{start}-reset", reset)]
    return tuple(headers)


def to_refusal(scope: str, kind: str, wait: float, scopes: tuple[ScopeRules, ...], spent: int) -> GatewayError:
    """The error for a refusal by `admit`. `wait`: seconds until a new attempt may succeed."""
    rules = next(one for one in scopes if one.name == scope)
    who = rules.label
    if kind in KINDS:
        limit = getattr(rules.allowance.limits, kind)
        seconds = min(60, max(1, ceil(wait)))
        return RateLimited(f"Limit of {who}: {limit} {KINDS[kind]}. Try again in {seconds} s.", retry_after=seconds)
    name = kind.removeprefix("held:")
    budget = next(one for one in rules.allowance.budgets if budget_name(one) == name)
    amount = to_dollars(budget.amount)
    if kind.startswith("held:"):
        return RateLimited(
            f"Requests in flight hold what is left of the budget of {who} ({amount}). Try again in 2 s.", retry_after=2
        )
    end = datetime.fromtimestamp(period_of(budget.period, budget.time_zone, time.time())[1], UTC)
    renewal = "" if budget.period == "total" else f" It is renewed on {end:%Y-%m-%d} at {end:%H:%M} UTC."
    whole = f"{amount} in all" if budget.period == "total" else f"{amount} per {budget.period}"
    left = budget.amount - spent
    rest = "is used up." if left <= 0 else f"has {to_dollars(left)} left, and this request may cost more."
    text = f"The budget of {who}, {whole}, {rest}{renewal}"
    return BudgetSpent(text, code="enforced_spend_limit_reached", retry_after=wait, should_retry=False)
