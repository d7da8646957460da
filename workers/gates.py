"""All the gates an item passes on its way upstream: that of the upstream, and that of the model at it.

A worker judges by what it meets itself, at once, and shares what it learns within SHARE_SECONDS, so that all slow down
together and one of them alone probes. A rate shared in Redis was the other way: it needs a number of requests a second
that no upstream tells and that live traffic changes, whereas windows find it by themselves.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.batches.server import BatchServer, Command
from gateway.redis import scripts
from gateway.upstream.routing import Route
from workers.gate import Gate, Seen, Shut, State, Ticket
from workers.retry import Trouble

log = structlog.get_logger()

SHARE_SECONDS: Final = 0.25
# Another worker may probe when the prober has said nothing for so long.
PROBE_SECONDS: Final = 30.0
# Models are client input: beyond this many, gates that are open and empty are forgotten.
MAX_GATES: Final = 256

UPSTREAM_TROUBLES: Final = frozenset({Trouble.UNREACHABLE, Trouble.ACCOUNT})


@dataclass(frozen=True, slots=True)
class Pass:
    """An item's right to a call: a ticket at each gate, by name. The upstream's gate comes first."""

    tickets: tuple[tuple[str, Ticket], ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    seconds: float


@dataclass(slots=True)
class Gates:
    """`slots` is the most calls at once that this worker could make."""

    server: BatchServer
    slots: int
    clock: Callable[[], float] = time.monotonic
    _gates: dict[str, Gate] = field(default_factory=dict)
    _news: dict[str, Shut | None] = field(default_factory=dict)  # to be shared; None: it is open

    async def admit(self, route: Route) -> Pass | Refusal:
        """Raises Unavailable when the other workers cannot be asked."""
        upstream = route.upstream.name
        names = (upstream, f"{upstream}/{route.target.model}")
        await self._meet(names)
        wait = max(self._gates[name].wait(self.clock()) for name in names)
        if wait > 0:
            return Refusal(wait)
        probed: dict[str, bool] = {}
        for name in names:
            if self._gates[name].state is State.BROKEN:
                wait, probed[name] = await self._probe(name)
                if wait > 0:
                    return Refusal(wait)
        now = self.clock()
        return Pass(tuple((name, self._gates[name].enter(now, probe=probed.get(name, False))) for name in names))

    def upstream_wait(self, upstream: str) -> float:
        """Seconds for which no item at all may go to this upstream."""
        gate = self._gates.get(upstream)
        return 0.0 if gate is None else gate.wait(self.clock())

    def accepted(self, granted: Pass) -> None:
        """The upstream has begun to answer."""
        for name, ticket in granted.tickets:
            if self._gates[name].accepted(ticket):
                log.info("upstream_recovered", gate=name)
                self._news[name] = None

    def failed(self, granted: Pass, trouble: Trouble, retry_after: float | None) -> None:
        """Only the gate that the trouble is about hears of it. Call `leave` as well."""
        if not granted.tickets or trouble is Trouble.NONE:
            return
        name, ticket = granted.tickets[0 if trouble in UPSTREAM_TROUBLES else -1]
        shut = self._gates[name].failed(ticket, trouble, retry_after, self.clock())
        if shut is not None:
            level = log.warning if shut.broken else log.info
            level("upstream_shut", gate=name, trouble=trouble.value, seconds=round(shut.seconds, 1), broken=shut.broken)
            self._news[name] = shut

    def leave(self, granted: Pass, *, succeeded: bool) -> None:
        """The call is over. A probe that showed nothing leaves the next one its chance."""
        for name, ticket in granted.tickets:
            gate = self._gates[name]
            gate.leave(ticket, succeeded=succeeded)
            if ticket.probe and gate.state is State.BROKEN and name not in self._news:
                self._news[name] = Shut(0.0, broken=True)

    async def share(self) -> None:
        """Tell the others what is new here, and hear from them."""
        while self._news:
            name, shut = next(iter(self._news.items()))
            await self._tell(name, shut)
            if self._news.get(name) is shut:
                del self._news[name]
        await self._look(tuple(self._gates))

    async def _meet(self, names: tuple[str, ...]) -> None:
        """Make gates that are new here, knowing what others know of them."""
        new = tuple(name for name in names if name not in self._gates)
        if not new:
            return
        if len(self._gates) >= MAX_GATES:
            self._forget()
        for name in new:
            self._gates[name] = Gate(self.slots)
        await self._look(new)

    def _forget(self) -> None:
        for name, gate in list(self._gates.items()):
            if gate.state is State.OPEN and not gate.in_flight and name not in self._news:
                del self._gates[name]

    async def _tell(self, name: str, shut: Shut | None) -> None:
        key = (self.server.keys.breaker(name),)
        if shut is None:
            await scripts.GATE.run(self.server.redis, key, ("open",))
            return
        arguments = ("shut", round(shut.seconds * 1000), int(shut.broken))
        stamp = await scripts.GATE.run(self.server.redis, key, arguments)
        self._gates[name].stamp = max(self._gates[name].stamp, stamp)

    async def _look(self, names: tuple[str, ...]) -> None:
        if not names:
            return
        commands: list[Command] = [("TIME",)]
        commands += [("HMGET", self.server.keys.breaker(name), "until", "broken", "stamp") for name in names]
        (seconds, microseconds), *replies = await self.server.pipeline(commands)
        server_now = int(seconds) * 1000 + int(microseconds) // 1000
        for name, (until, broken, stamp) in zip(names, replies, strict=True):
            seen = None
            if stamp is not None:
                seen = Seen((int(until) - server_now) / 1000, broken == b"1", int(stamp))
            if name in self._gates and name not in self._news:
                self._gates[name].learn(seen, self.clock())

    async def _probe(self, name: str) -> tuple[float, bool]:
        """Seconds to wait, and whether this is the probe; neither when somebody else's has opened the gate."""
        arguments = ("probe", secrets.token_hex(8), round(PROBE_SECONDS * 1000))
        wait, probe = await scripts.GATE.run(self.server.redis, (self.server.keys.breaker(name),), arguments)
        if not wait and not probe:
            self._gates[name].open()
        return wait / 1000, bool(probe)
