"""Calls in flight at servers without a configured limit, over all processes, and what is left of them for batches.

Each process reports its calls, and learns those of the others. Workers learn the number of calls that a
server takes at full speed (`knee`), and leave it to live requests while there are any. Hosted vendors divide their
capacity among many customers, so the speed there does not depend on our own calls, and they are not measured.
"""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from gateway.redis import scripts
from gateway.redis.server import RedisServer
from gateway.telemetry import metrics
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.capacity.knee import Knee, Stream
from gateway.upstream.capacity.mean_calls import MeanCalls
from gateway.upstream.health.live_circuits import LiveCircuits
from gateway.upstream.routes.route import Upstream

# Between two exchanges with the other processes. Half a second that a process does not see live requests come lets the
# slowest of them take 3 % longer beside a batch, a fifth of one nothing (simulated).
SHARE_SECONDS: Final = 0.1
STEP_SECONDS: Final = 1.0  # between two steps of a server's knee
# A process that has not reported for so long has ended, or is cut off.
REPORT_SECONDS: Final = 5.0
# Batches keep below the bound for so long after the last live call.
LIVE_SECONDS: Final = 30.0
# A shorter stream is too short to measure the speed.
MIN_TOKENS: Final = 10
MIN_SECONDS: Final = 0.02


@dataclass(slots=True)
class Load:
    """One server's. `calls`: all of them over time. `live`: calls of live requests; `others`: of batches in other
    processes; `processes`: those that run batches there.
    """

    knee: Knee = field(default_factory=Knee)
    calls: MeanCalls = field(default_factory=MeanCalls)
    live: int = 0
    others: int = 0
    processes: int = 1
    live_at: float = -inf
    stepped_at: float = -inf

    def keeps_room(self, now: float) -> bool:
        """Return True while batches keep below the bound."""
        return now - self.live_at <= LIVE_SECONDS


@dataclass(slots=True)
class Loads:
    """Run `share` beside it, again and again. `runs_batches`: the calls of this process are those of batches."""

    server: RedisServer
    circuits: LiveCircuits
    runs_batches: bool
    clock: Callable[[], float] = time.monotonic
    _loads: dict[str, Load] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)
    _name: str = field(default_factory=lambda: secrets.token_hex(8))

    def room_for_batch(self, upstream: Upstream) -> int | None:
        """Return the number of calls that batches of this process may begin now; None for any number."""
        load = self._loads.get(upstream.circuit)
        if load is None or not is_measured(upstream) or not load.keeps_room(self.clock()):
            return None
        return max(0, load.knee.room(load.live, load.processes) - self.circuits.in_flight(upstream))

    def observe(self, record: UsageRecord, upstreams: Iterable[Upstream]) -> None:
        """Learn from a finished call of a batch."""
        if record.first_content_seconds is None or record.output_tokens < MIN_TOKENS:
            return
        seconds = record.duration_seconds - record.first_content_seconds
        upstream = next((one for one in upstreams if one.name == record.upstream and is_measured(one)), None)
        if upstream is not None and seconds >= MIN_SECONDS:
            load = self._loads.setdefault(upstream.circuit, Load())
            now = self.clock()
            stream = Stream(now, load.calls.between(now - seconds, now), record.output_tokens / seconds, seconds)
            load.knee.note(record.upstream_model, stream, is_bounded=load.keeps_room(now))

    async def share(self, upstreams: Iterable[Upstream]) -> None:
        """Exchange the calls in flight. Raises Unavailable."""
        for upstream in upstreams:
            name, in_flight = upstream.circuit, self.circuits.in_flight(upstream)
            if not is_measured(upstream) or not (in_flight or name in self._reported):
                continue
            own = (0, in_flight) if self.runs_batches else (in_flight, 0)
            arguments = (self._name, *own, round(REPORT_SECONDS * 1000))
            counts = await self.server.run(scripts.LOAD, (self.server.keys.load(name),), arguments)
            (self._reported.add if in_flight else self._reported.discard)(name)
            if self.runs_batches:
                live, batched, processes = map(int, counts)
                load = self._loads.setdefault(name, Load())
                load.live, load.others, load.processes = live, batched - in_flight, processes
                now = self.clock()
                load.calls.note(now, live + batched)
                if live:
                    load.live_at = now
                if now - load.stepped_at >= STEP_SECONDS:
                    load.stepped_at = now
                    load.knee.step(now)
                    metrics.FULL_SPEED_CALLS.labels(name).set(load.knee.bound)


def is_measured(upstream: Upstream) -> bool:
    """Return True for a server of the operator's, without a configured number of calls at once."""
    is_told = upstream.limits is not None and (upstream.limits.concurrency or upstream.limits.batch is not None)
    return not is_told and not upstream.vendor.hosts
