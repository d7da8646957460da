"""All circuits that a call passes: that of its upstream, and that of the model at this upstream.

Each process judges by the calls it makes itself, at once, and shares what it learns within SHARE_SECONDS, so that all
slow down together and only one of them probes. A rate shared in Redis was the alternative. It needs a number of calls
per second, which upstreams do not publish and live traffic changes; windows adapt to it by themselves.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.batches.server import BatchServer, Command
from gateway.redis import scripts
from gateway.upstream.circuit import Circuit, Opened, PeerState, State, Ticket
from gateway.upstream.routing import Route
from gateway.upstream.trouble import Trouble

log = structlog.get_logger()

SHARE_SECONDS: Final = 0.25
# Another process may probe after the prober has been silent for this long.
PROBE_SECONDS: Final = 30.0
# Models are client input. Beyond this many, closed circuits without calls are forgotten.
MAX_CIRCUITS: Final = 256

UPSTREAM_TROUBLES: Final = frozenset({Trouble.UNREACHABLE, Trouble.ACCOUNT})


class Rejected(Exception):
    """The call may not start now. Ask again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(slots=True)
class Permit:
    """A call's right to run: its tickets by circuit, that of the upstream first. Report what the upstream did."""

    circuits: "Circuits"
    tickets: tuple[tuple[str, Ticket], ...] = ()
    has_succeeded: bool = False

    def accepted(self) -> None:
        """The upstream has begun to answer."""
        self.circuits.accepted(self)

    def succeeded(self) -> None:
        """The answer is complete."""
        self.has_succeeded = True

    def failed(self, trouble: Trouble, retry_after: float | None) -> None:
        """Report the failure to the one circuit that it concerns."""
        self.circuits.failed(self, trouble, retry_after)


@dataclass(slots=True)
class Circuits:
    """`slots` is the most calls that this process makes at once."""

    server: BatchServer
    slots: int
    clock: Callable[[], float] = time.monotonic
    _circuits: dict[str, Circuit] = field(default_factory=dict)
    _news: dict[str, Opened | None] = field(default_factory=dict)  # to be shared; None: it is closed

    @asynccontextmanager
    async def permit(self, route: Route) -> AsyncIterator[Permit]:
        """Hold a permit for one call. Raises Rejected, and Unavailable if the shared state cannot be read."""
        permit = await self._admit(route)
        try:
            yield permit
        finally:
            self._leave(permit)

    def upstream_wait(self, upstream: str) -> float:
        """Seconds for which no call at all may go to this upstream."""
        circuit = self._circuits.get(upstream)
        return 0.0 if circuit is None else circuit.wait(self.clock())

    def accepted(self, permit: Permit) -> None:
        for name, ticket in permit.tickets:
            if self._circuits[name].accepted(ticket):
                log.info("circuit_closed", circuit=name)
                self._news[name] = None

    def failed(self, permit: Permit, trouble: Trouble, retry_after: float | None) -> None:
        if trouble is Trouble.NONE or not permit.tickets:
            return
        name, ticket = permit.tickets[0 if trouble in UPSTREAM_TROUBLES else -1]
        opened = self._circuits[name].failed(ticket, trouble, retry_after, self.clock())
        if opened is not None:
            level = log.warning if opened.state is State.OPEN else log.info
            seconds = round(opened.seconds, 1)
            level(f"circuit_{opened.state.value}", circuit=name, trouble=trouble.value, seconds=seconds)
            self._news[name] = opened

    async def share(self) -> None:
        """Publish the news of this process, and read that of the others."""
        while self._news:
            name, opened = next(iter(self._news.items()))
            await self._publish(name, opened)
            if self._news.get(name) is opened:
                del self._news[name]
        await self._read(tuple(self._circuits))

    async def _admit(self, route: Route) -> Permit:
        upstream = route.upstream.name
        names = (upstream, f"{upstream}/{route.target.model}")
        await self._meet(names)
        wait = max(self._circuits[name].wait(self.clock()) for name in names)
        if wait > 0:
            raise Rejected(wait)
        probed: dict[str, bool] = {}
        for name in names:
            if self._circuits[name].state is State.OPEN:
                wait, probed[name] = await self._probe(name)
                if wait > 0:
                    raise Rejected(wait)
        now = self.clock()
        tickets = tuple((name, self._circuits[name].enter(now, probe=probed.get(name, False))) for name in names)
        return Permit(self, tickets)

    def _leave(self, permit: Permit) -> None:
        """End the call. A probe without a result makes room for the next one."""
        for name, ticket in permit.tickets:
            circuit = self._circuits[name]
            circuit.leave(ticket, succeeded=permit.has_succeeded)
            if ticket.probe and circuit.state is State.OPEN and name not in self._news:
                self._news[name] = Opened(0.0, State.OPEN)

    async def _meet(self, names: tuple[str, ...]) -> None:
        """Add circuits that are new to this process, with their shared state."""
        new = tuple(name for name in names if name not in self._circuits)
        if not new:
            return
        if len(self._circuits) >= MAX_CIRCUITS:
            self._forget(but=names)
        for name in new:
            self._circuits[name] = Circuit(self.slots)
        await self._read(new)

    def _forget(self, but: tuple[str, ...]) -> None:
        for name, circuit in list(self._circuits.items()):
            is_idle = circuit.state is State.CLOSED and not circuit.in_flight
            if is_idle and name not in self._news and name not in but:
                del self._circuits[name]

    async def _publish(self, name: str, opened: Opened | None) -> None:
        key = (self.server.keys.circuit(name),)
        if opened is None:
            await scripts.CIRCUIT.run(self.server.redis, key, ("close",))
            return
        verb = "open" if opened.state is State.OPEN else "pause"
        stamp = await scripts.CIRCUIT.run(self.server.redis, key, (verb, round(opened.seconds * 1000)))
        self._circuits[name].stamp = max(self._circuits[name].stamp, stamp)

    async def _read(self, names: tuple[str, ...]) -> None:
        if not names:
            return
        commands: list[Command] = [("TIME",)]
        commands += [("HMGET", self.server.keys.circuit(name), "until", "open", "stamp") for name in names]
        (seconds, microseconds), *replies = await self.server.pipeline(commands)
        server_now = int(seconds) * 1000 + int(microseconds) // 1000
        for name, (until, is_open, stamp) in zip(names, replies, strict=True):
            peers = None
            if stamp is not None:
                peers = PeerState((int(until) - server_now) / 1000, is_open == b"1", int(stamp))
            if name in self._circuits and name not in self._news:
                self._circuits[name].learn(peers, self.clock())

    async def _probe(self, name: str) -> tuple[float, bool]:
        """Seconds to wait, and whether this is the probe; neither if another process has closed the circuit."""
        arguments = ("probe", secrets.token_hex(8), round(PROBE_SECONDS * 1000))
        wait, probe = await scripts.CIRCUIT.run(self.server.redis, (self.server.keys.circuit(name),), arguments)
        if not wait and not probe:
            self._circuits[name].close()
        return wait / 1000, bool(probe)
