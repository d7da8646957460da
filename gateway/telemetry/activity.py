"""Activity of a process for the console: its latest exchanges, without content, and counts per ten seconds.

An exchange adds to a few numbers and, up to a limit per second, keeps its usage record. Once a second, outside of any
request, these become rows and go to a store: the process's own memory, or Redis, so that the console of any front end
shows all processes. Failures have a separate limit, so that a busy second does not hide them.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import orjson

from gateway import __version__
from gateway.process.tasks import Repeated
from gateway.telemetry.activity_store import SLOT_SECONDS, AnyActivity, Counts, Row
from gateway.telemetry.exchange_line import exchange_fields
from gateway.telemetry.metrics import SECONDS, bucket_counts
from gateway.telemetry.usage import CLIENT_GONE, UsageRecord

# 40 rows of 400 bytes a second are 16 kB/s to Redis and below 1 % of a core; what is beyond them is counted only.
ROWS_A_PUSH: Final = 20
FAILURES_A_PUSH: Final = 20
PUSH_SECONDS: Final = 1.0
# Notes of a row; one request can have hundreds.
MAX_NOTES: Final = 20
NANO: Final = 1_000_000_000


@dataclass(slots=True)
class Activity:
    """Activity of this process. Call `observe` for each finished exchange, and run `run` in the background.

    `kind`: `front end` or `worker`. `facts`: further fields of the process's report.
    """

    store: AnyActivity
    kind: str
    facts: Callable[[], Mapping[str, Any]] = dict
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    lag: float = 0.0
    _started: float = field(init=False)
    _due: float = field(init=False)
    _counts: Counts = field(default_factory=dict)
    _cost: float = 0.0
    _first_contents: list[float] = field(default_factory=list, repr=False)
    _rows: list[tuple[float, UsageRecord]] = field(default_factory=list, repr=False)
    _failures: list[tuple[float, UsageRecord]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._started = self.wall()
        self._due = self.clock() + PUSH_SECONDS

    def observe(self, record: UsageRecord) -> None:
        """Count an exchange, and keep its record if there is room. Called for every exchange."""
        counts = self._counts
        kind = "live" if record.context.batch is None else "batch"
        counts[kind] = counts.get(kind, 0) + 1
        self._cost += (record.cost or 0.0) + record.hedge_cost
        if record.first_content_seconds is not None:
            self._first_contents.append(record.first_content_seconds)
        kept, limit = self._rows, ROWS_A_PUSH
        if record.error_type is not None and record.status != CLIENT_GONE:
            kept, limit = self._failures, FAILURES_A_PUSH
            counts["failed"] = counts.get("failed", 0) + 1
        if len(kept) < limit:
            kept.append((self.wall(), record))

    async def run(self) -> None:
        await Repeated("activity", self.push, PUSH_SECONDS).run()

    async def push(self) -> None:
        """Publish the rows and counts of the last second.

        Raises StoreAway or Overloaded; the next push then repeats the counts.
        """
        now, tick = self.wall(), self.clock()
        self.lag, self._due = max(0.0, tick - self._due), tick + PUSH_SECONDS
        counts = self._taken_counts()
        kept, failed = self._rows, {id(record) for _, record in self._failures}
        kept = sorted(kept + self._failures, key=lambda one: one[0])
        self._rows, self._failures = [], []
        rows = [(orjson.dumps(to_row(at, record, self.name)), id(record) in failed) for at, record in kept]
        slot = int(now) // SLOT_SECONDS * SLOT_SECONDS
        pushed = False
        try:
            report = {
                "name": self.name,
                "kind": self.kind,
                "version": __version__,
                "started": self._started,
                "seen": now,
                "lag_ms": round(self.lag * 1000, 1),
                **self.facts(),
            }
            await self.store.push(slot, counts, rows, f"{self.kind} {self.name}", orjson.dumps(report))
            pushed = True
        finally:
            self._due = self.clock() + PUSH_SECONDS
            if not pushed:
                for name, count in counts.items():
                    self._counts[name] = self._counts.get(name, 0) + count

    def _taken_counts(self) -> Counts:
        """Return the counts since the last call: cost in billionths of a dollar, times to first content by bucket."""
        counts, self._counts = self._counts, {}
        if unlisted := counts.get("live", 0) + counts.get("batch", 0) - len(self._rows) - len(self._failures):
            counts["unlisted"] = unlisted
        cost, self._cost = self._cost, 0.0
        first_contents, self._first_contents = self._first_contents, []
        if cost:
            counts["cost"] = counts.get("cost", 0) + round(cost * NANO)
        for bucket, count in enumerate(bucket_counts(first_contents, (*SECONDS, inf))):
            if count:
                counts[f"f{bucket}"] = counts.get(f"f{bucket}", 0) + count
        return counts


def to_row(at: float, record: UsageRecord, process: str) -> Row:
    """Return the console's row of an exchange: the fields of its log line, and the outcome of each call."""
    context = record.context
    row = exchange_fields(record)
    optional = {
        "user": context.user,
        "agent": context.agent_id,
        "upstream_model": record.upstream_model if record.upstream_model != record.model else None,
    }
    row["notes"] = record.notes[:MAX_NOTES]
    row["calls"] = [[one.upstream, one.outcome, round(one.seconds, 3)] for one in record.attempted]
    return row | {name: value for name, value in optional.items() if value} | {"at": round(at, 3), "process": process}
