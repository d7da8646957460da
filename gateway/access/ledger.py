"""Ledger: send settlements to Redis, outside the path of a request.

Settlements made while Redis is unavailable wait here until it is back. A mark under their id keeps them from being
counted twice.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson
import structlog
from redis.exceptions import ResponseError

from gateway.access.alerts import Alerts
from gateway.access.reservation import Grant, Used
from gateway.access.spend import COUNTS, SUMS_SECONDS
from gateway.errors import GatewayError, StoreAway
from gateway.ids import request_id
from gateway.redis import scripts
from gateway.redis.cluster import has_nodes
from gateway.redis.failures import reason_of
from gateway.redis.link import Link, PackedCall
from gateway.redis.scripts import Argument
from gateway.redis.server import RedisServer

log = structlog.get_logger()

# Settlements that wait for Redis. Further ones are dropped; once their leases expire, the granted amount is charged.
MAX_WAITING: Final = 100_000
USAGE_ENTRIES: Final = 100_000
# Settlements of this time span are sent together.
GATHER_SECONDS: Final = 0.02
MAX_TOGETHER: Final = 200
# Cached calls in packed form, half a kilobyte each.
MAX_CALLS: Final = 10_000
# Delay before an upstream is asked for a cost that it did not report.
LATE_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 2.0
# Lifetime of the mark of the latest group: its reply may be lost in an outage.
LATEST_MS: Final = 86_400_000
# Models with separate sums, per day and process. Clients choose model names, and some upstreams echo any.
MAX_MODELS: Final = 500
OTHER_MODELS: Final = "other"


@dataclass(slots=True)
class Ledger:
    """Ledger of one process. Run `settle_waiting` in a loop. `offset`: seconds by which the server's clock is ahead."""

    server: RedisServer | None
    alerts: Alerts
    wall_clock: Callable[[], float] = time.time
    offset: float = 0.0
    link: Link | None = None
    name: str = field(default_factory=request_id)  # of this process; part of the mark of its groups
    _waiting: list[tuple[Grant, Used]] = field(default_factory=list, repr=False)
    _late: list[bytes] = field(default_factory=list, repr=False)
    _group: int = 0  # number of the group being sent
    _together: int = 0  # size of the group being sent, the first of `_waiting`; 0 if none
    _models: set[str] = field(default_factory=set, repr=False)
    _models_of: str = ""  # day of `_models`
    # By day, and scopes with their limits.
    _calls: dict[tuple[str, tuple[str | int, ...]], PackedCall] = field(default_factory=dict, repr=False)
    _wakes: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, grant: Grant, used: Used) -> None:
        """Send a settlement. With a link, a reservation is settled at once, so that the next request sees the result.

        Never waits, never raises.
        """
        if self.link is not None and grant.counted.names and not grant.is_local:
            day = self._day()
            if self.link.send(_Settling(self, grant, used), self._call(grant, day), self._values(grant, used, day)):
                return
        self.add_later(grant, used)

    def add_later(self, grant: Grant, used: Used) -> None:
        """Send a settlement in the next group."""
        if self.server is not None and len(self._waiting) < MAX_WAITING:
            self._waiting.append((grant, used))
            self._wakes.set()

    def correct_later(self, late: bytes) -> None:
        """Queue an exchange for a later request of its cost from the upstream."""
        if self.server is not None and len(self._late) < MAX_WAITING:
            self._late.append(late)
            self._wakes.set()

    async def settle_waiting(self) -> None:
        """Wait for settlements and send them. Call it in a loop. Raises StoreAway, and keeps unsent ones."""
        await self._wakes.wait()
        self._wakes.clear()
        await asyncio.sleep(GATHER_SECONDS)
        try:
            await self._send()
        finally:
            if self._waiting or self._late:
                self._wakes.set()

    async def flush(self) -> None:
        """Send waiting settlements before the process ends. Best effort, within FLUSH_SECONDS."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                if self.link is not None:
                    await self.link.drain()  # settlements without a reply return to `_waiting`
                await self._send()
        except (GatewayError, TimeoutError):
            log.warning("settlements_left", count=len(self._waiting))

    async def _send(self) -> None:
        async with self._sending:
            while self._waiting:
                # After a failure the same group is sent again; it counts once.
                if not self._together:
                    self._together, self._group = min(MAX_TOGETHER, len(self._waiting)), self._group + 1
                several = self._waiting[: self._together]
                await self._enter([used for grant, used in several if not grant.counted.names])
                await self._account_all([one for one in several if one[0].counted.names])
                del self._waiting[: self._together]
                self._together = 0
            if self._late:
                late, due = list(self._late), int(self.wall_clock() + LATE_SECONDS)
                assert self.server is not None
                members = [value for one in late for value in (due, one)]
                await self.server.pipeline([("ZADD", self.server.keys.access.late, *members)])
                del self._late[: len(late)]

    async def _account_all(self, several: list[tuple[Grant, Used]]) -> None:
        """Settle in one round trip: a pipeline takes a third of the time of single calls."""
        assert self.server is not None
        if len(several) > 1 and not has_nodes(self.server.redis):
            calls = [self._parts(grant, used) for grant, used in several]
            sha = scripts.ACCOUNT.sha
            try:
                replies = await self.server.pipeline(
                    [("EVALSHA", sha, len(keys), *keys, *arguments) for keys, arguments in calls]
                )
            except (StoreAway, ResponseError):  # repeated one by one below; each settlement counts once
                pass
            else:
                for reply in replies:
                    self.alerts.crossed(reply[1:])
                return
        for grant, used in several:
            try:
                await self.account(grant, used)
            except ResponseError as error:  # a broken settlement must not block the others
                log.error("settlement_refused", id=grant.id, reason=reason_of(error))

    async def account(self, grant: Grant, used: Used) -> None:
        """Settle one reservation, or record a use that was not reserved in Redis; each id counts once."""
        assert self.server is not None
        outcome: list[Any] = await self.server.run(scripts.ACCOUNT, *self._parts(grant, used))
        self.alerts.crossed(outcome[1:])

    def _parts(self, grant: Grant, used: Used) -> tuple[tuple[str, ...], tuple[Argument, ...]]:
        """Return all keys and arguments of the script. A use that was not reserved gets a mark under its id."""
        assert self.server is not None
        day = self._day()
        call, marks = self._call(grant, day), (self.server.keys.accounted(grant.id),) if grant.is_local else ()
        return (*call.keys, *marks), (*call.constants, *self._values(grant, used, day))

    def _values(self, grant: Grant, used: Used, day: str) -> tuple[Argument, ...]:
        entry = orjson.dumps(used.entry) if used.entry else b""
        read, written = used.cached
        numbers = f"{used.cost} {used.input} {used.output} {used.requests} {read} {written}"
        return grant.id, entry, self._sums(used, day), numbers

    def _call(self, grant: Grant, day: str) -> PackedCall:
        counted = grant.counted
        call = self._calls.get((day, counted.values))
        if call is None:
            assert self.server is not None
            if len(self._calls) >= MAX_CALLS:
                self._calls.clear()
            names, keys = self.server.keys.access, self.server.keys
            always = (names.leases, names.reservations, names.usage, keys.usage_sums(day))
            constants = (USAGE_ENTRIES, SUMS_SECONDS, *counted.values)
            call = PackedCall(scripts.ACCOUNT, (*always, *map(keys.scope, counted.names)), constants, arguments=4)
            self._calls[day, counted.values] = call
        return call

    async def _enter(self, several: list[Used]) -> None:
        """Add requests without limits to the usage reports, in one round trip. Requests without a call are skipped."""
        several = [used for used in several if used.sums]
        if not several:
            return
        assert self.server is not None
        day, sums = self._day(), dict[str, int]()
        for used in several:
            values = (used.requests, used.input, used.output, used.cost, *used.cached)
            name = self._sums(used, day)
            for what, value in zip(COUNTS, values, strict=True):
                sums[f"{name}|{what}"] = sums.get(f"{name}|{what}", 0) + value
        keys, first = self.server.keys, str(several[0].entry.get("id", ""))
        refused: list[bytes] = await self.server.run(
            scripts.ENTER,
            (keys.entered(self.name), keys.access.usage, keys.usage_sums(day)),
            (
                *(self._group, LATEST_MS, USAGE_ENTRIES, SUMS_SECONDS, len(several)),
                *(orjson.dumps(used.entry) for used in several),
                *(part for name, value in sums.items() if value for part in (name, value)),
            ),
        )
        if refused:
            log.error("settlement_refused", id=first, reason=f"cannot be added: {len(refused)} sums")

    def _sums(self, used: Used, day: str) -> str:
        """Return the field name of the day's sums for this use."""
        if not used.sums:
            return ""
        if day != self._models_of:
            self._models_of, self._models = day, set()
        *client, model, provider = used.sums.split("|")
        if model not in self._models and len(self._models) >= MAX_MODELS:
            return "|".join([*client, OTHER_MODELS, provider])
        self._models.add(model)
        return used.sums

    def _day(self) -> str:
        return _day_of(int((self.wall_clock() + self.offset) // 86_400))


@lru_cache(maxsize=4)
def _day_of(number: int) -> str:
    """Return the UTC day of this number since 1970."""
    return datetime.fromtimestamp(number * 86_400, UTC).strftime("%Y-%m-%d")


@dataclass(slots=True)
class _Settling:
    """A sent settlement. If its reply is lost, it is sent again; it counts once."""

    ledger: Ledger
    grant: Grant
    used: Used

    def done(self) -> bool:
        return False

    def set_result(self, outcome: list[Any], /) -> None:
        if len(outcome) > 1:
            self.ledger.alerts.crossed(outcome[1:])

    def set_exception(self, _: BaseException, /) -> None:
        self.ledger.add_later(self.grant, self.used)
