"""All circuits that a call passes, from the widest to the narrowest: those of its upstream, its model, its sources.

    upstream ⊃ model at it ⊃ tenant ⊃ batch        "openrouter", "openrouter/m", "openrouter/m acme", …

A failure is reported to all circuits that it may concern, and each judges for itself (`circuit`): one batch with
failing requests opens its own circuit, several batches of a tenant that of the tenant, several tenants that of the
model.

Each process judges by the calls it makes itself, at once, and shares what it learns within SHARE_SECONDS, so that all
slow down together and only one of them probes. A rate shared in Redis was the alternative. It needs a number of calls
per second, which upstreams do not publish and live traffic changes; windows adapt to it by themselves.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final
from urllib.parse import quote

import structlog

from gateway.redis import scripts
from gateway.redis.server import Command, RedisServer
from gateway.upstream.health.circuit import Circuit, FailedCall, Opened, PeerState, State, Ticket
from gateway.upstream.health.trouble import ACCOUNT_DELAY, MAX_RETRY_AFTER, Trouble
from gateway.upstream.routes.route import Route

log = structlog.get_logger()

# Processes exchange news of open circuits this often: less than one call's duration.
SHARE_SECONDS: Final = 0.25
# The shared state of a circuit without calls in flight is read again before a call after this time.
FRESH_SECONDS: Final = 1.0
# Another process may probe after the prober has been silent for this long.
PROBE_SECONDS: Final = 30.0
# Models are client input. Beyond this many, closed circuits without calls are forgotten.
MAX_CIRCUITS: Final = 1024
KEEP_SECONDS: Final = 15.0
# To take of a mixed batch while some of its models admit no call: the items of the others are to be found among them.
MIXED_ITEMS: Final = 64

PEER_FIELDS: Final = ("until", "length", "open", "stamp")
# Model names keep their slashes and colons in keys, so that an operator can read them.
NAME_SAFE: Final = "/:@"
NEWS_EVENTS: Final = {State.OPEN: "circuit_opened", State.PAUSED: "circuit_paused"}

# What these mean for the upstream, they mean for all of its models; anything else is one model's.
UPSTREAM_TROUBLES: Final = frozenset({Trouble.UNREACHABLE, Trouble.ACCOUNT})


class Rejected(Exception):
    """The call may not start now. Ask again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(slots=True, eq=False)
class CircuitCall:
    """A call in one circuit. `source` names the next narrower circuit, which is the caller to this one."""

    name: str
    circuit: Circuit
    ticket: Ticket
    source: str


@dataclass(slots=True)
class Permit:
    """A call's right to run, and where to report what the upstream did. `entries`: the upstream's circuit first."""

    circuits: "Circuits"
    entries: list[CircuitCall] = field(default_factory=list)
    route: Route | None = None
    has_succeeded: bool = False

    def accepted(self) -> None:
        """The upstream has begun to answer."""
        self.circuits.accepted(self)

    def succeeded(self) -> None:
        """The answer is complete."""
        self.has_succeeded = True

    def failed(self, trouble: Trouble, retry_after: float | None) -> None:
        self.circuits.failed(self, FailedCall(trouble, retry_after))

    def concerns(self, route: Route | None) -> bool:
        """Return whether a call to this candidate is reported here: another one may have answered in its place."""
        return route is None or self.route is None or names_of(route, ()) == names_of(self.route, ())

    def model_serves_others(self) -> bool:
        """True if the model has accepted calls lately."""
        return len(self.entries) > 1 and self.circuits.clock() - self.entries[1].circuit.served < ACCOUNT_DELAY


@dataclass(slots=True)
class Circuits:
    """`slots` is the most calls that this process makes at once."""

    server: RedisServer
    slots: int
    clock: Callable[[], float] = time.monotonic
    _circuits: dict[str, Circuit] = field(default_factory=dict)
    _used_at: dict[str, float] = field(default_factory=dict)
    _read_at: dict[str, float] = field(default_factory=dict)
    _news: dict[str, Opened | None] = field(default_factory=dict)  # to be shared; None: it is closed

    @asynccontextmanager
    async def permit(self, route: Route, *sources: str) -> AsyncIterator[Permit]:
        """Hold a permit for one call; `sources` are the callers, from the widest: tenant, batch.

        Raises Rejected, and Unavailable if the shared state cannot be read.
        """
        names = names_of(route, sources)
        circuits = [self._get(name, shared=name != names[-1]) for name in names]
        now = self.clock()
        await self._read([name for name in names if now - self._read_at.get(name, -inf) > FRESH_SECONDS])
        now = self.clock()
        wait = max(circuit.wait(now) for circuit in circuits)
        if wait > 0:
            raise Rejected(wait)
        path = zip(names, circuits, [*names[1:], ""], strict=True)
        permit = Permit(
            self,
            [CircuitCall(name, circuit, circuit.enter(now), source) for name, circuit, source in path],
            route=route,
        )
        try:
            # The narrowest first: a call must not take the turn at a wider circuit, and then be stopped at its own.
            for entry in reversed(permit.entries):
                if entry.circuit.state is State.OPEN:
                    await self._probe(entry)
            yield permit
        finally:
            for entry in permit.entries:
                entry.circuit.leave(entry.ticket, succeeded=permit.has_succeeded)
                # A probe without a result makes room for the next one.
                if entry.ticket.probe and entry.circuit.state is State.OPEN and entry.name not in self._news:
                    self._news[entry.name] = Opened(0.0, State.OPEN)

    def room(self, routes: Iterable[Route], *sources: str) -> tuple[int, float]:
        """Return the number of calls that may start now on these routes; if none, the seconds until one may."""
        room, shortest, is_mixed = 0, inf, False
        for route in routes:
            circuits = [self._circuits[name] for name in names_of(route, sources) if name in self._circuits]
            wait = max((circuit.wait(self.clock()) for circuit in circuits), default=0.0)
            shortest = min(shortest, wait)
            is_mixed = is_mixed or wait > 0
            if wait == 0:
                room += min((circuit.room() for circuit in circuits), default=self.slots)
        return min(room, MIXED_ITEMS) if is_mixed else room, shortest

    def callable_first(self, routes: Sequence[Route], *sources: str) -> list[Route]:
        """Return the candidates, those that cannot be called now last."""
        now = self.clock()

        def is_stopped(route: Route) -> bool:
            names = names_of(route, sources)
            return any(self._circuits[name].wait(now) > 0 for name in names if name in self._circuits)

        return sorted(routes, key=is_stopped)

    def upstream_wait(self, upstream: str) -> float:
        """Return the seconds for which no call at all may go to this upstream."""
        circuit = self._circuits.get(upstream)
        return 0.0 if circuit is None else circuit.wait(self.clock())

    def accepted(self, permit: Permit) -> None:
        for entry in permit.entries:
            if entry.circuit.accepted(entry.ticket, self.clock()):
                log.info("circuit_closed", circuit=entry.name)
                self._news[entry.name] = None

    def failed(self, permit: Permit, failure: FailedCall) -> None:
        if failure.trouble is Trouble.NONE:
            return
        for entry in permit.entries[0 if failure.trouble in UPSTREAM_TROUBLES else 1 :]:
            opened = entry.circuit.failed(entry.ticket, replace(failure, source=entry.source), self.clock())
            if opened is None:
                continue
            level = log.warning if opened.state is State.OPEN else log.info
            seconds = round(opened.seconds, 1)
            level(NEWS_EVENTS[opened.state], circuit=entry.name, trouble=failure.trouble.value, seconds=seconds)
            self._news[entry.name] = opened

    async def share(self) -> None:
        """Publish the news of this process, and read that of the others on every circuit in use."""
        while self._news:
            name, opened = next(iter(self._news.items()))
            await self._publish(name, opened)
            if self._news.get(name) is opened:
                del self._news[name]
        now = self.clock()
        await self._read([name for name, circuit in self._circuits.items() if not circuit.is_idle(now)])

    def _get(self, name: str, *, shared: bool) -> Circuit:
        now, circuit = self.clock(), self._circuits.get(name)
        if circuit is None:
            if len(self._circuits) >= MAX_CIRCUITS:
                self._forget(now)
            circuit = self._circuits[name] = Circuit(self.slots, shared)
        self._used_at[name] = now
        return circuit

    def _forget(self, now: float) -> None:
        """Forget circuits that no call uses or has asked for lately; a call may wait for the shared state."""
        for name, circuit in list(self._circuits.items()):
            if circuit.is_idle(now) and name not in self._news and now - self._used_at[name] > KEEP_SECONDS:
                for table in (self._circuits, self._used_at, self._read_at):
                    table.pop(name, None)

    async def _publish(self, name: str, opened: Opened | None) -> None:
        key = (self.server.keys.circuit(name),)
        if opened is None:
            await self.server.run(scripts.CIRCUIT, key, ("close",))
            return
        verb = "open" if opened.state is State.OPEN else "pause"
        stamp = await self.server.run(scripts.CIRCUIT, key, (verb, round(opened.seconds * 1000)))
        self._circuits[name].stamp = max(self._circuits[name].stamp, stamp)

    async def _read(self, names: Sequence[str]) -> None:
        """Take over the shared state of these circuits. Raises Unavailable."""
        if not names:
            return
        commands: list[Command] = [("TIME",)]
        commands += [("HMGET", self.server.keys.circuit(name), *PEER_FIELDS) for name in names]
        (seconds, microseconds), *replies = await self.server.pipeline(commands)
        server_now = int(seconds) * 1000 + int(microseconds) // 1000
        now = self.clock()
        for name, fields in zip(names, replies, strict=True):
            if name in self._circuits and name not in self._news:
                self._circuits[name].learn(to_peer_state(fields, server_now), now)
                self._read_at[name] = now

    async def _probe(self, entry: CircuitCall) -> None:
        """Make the call the probe of an open circuit, unless a peer has closed the circuit. Raises Rejected."""
        arguments = ("probe", secrets.token_hex(8), round(PROBE_SECONDS * 1000))
        wait, granted = await self.server.run(scripts.CIRCUIT, (self.server.keys.circuit(entry.name),), arguments)
        if wait:
            raise Rejected(wait / 1000)
        if granted:
            entry.ticket = entry.circuit.probe(entry.ticket)
        else:
            entry.circuit.close()


def names_of(route: Route, sources: Sequence[str]) -> list[str]:
    """Names of the circuits on a call's way, the widest first. No name can be made to equal another kind's."""
    names = [route.upstream.circuit, f"{route.upstream.circuit}/{quote(route.target.model, safe=NAME_SAFE)}"]
    for source in sources:
        names.append(f"{names[-1]} {quote(source, safe=NAME_SAFE)}")
    return names


def to_peer_state(fields: Sequence[bytes | None], now: int) -> PeerState | None:
    until, length, is_open, stamp = fields
    if until is None or stamp is None:
        return None
    left, longest = int(until) - now, int(length or MAX_RETRY_AFTER * 1000)
    # If more is left than there was at first, the server's clock was set back.
    return PeerState(0.0 if left > longest else left / 1000, is_open == b"1", int(stamp))
