"""Buffer per-exchange counters in plain numbers, and add them to the collectors on each scrape.

Each `inc` of a Prometheus counter is several calls and a lock, and a small exchange moves seven of them: a fifteenth of
all its instructions. Here it moves some numbers of one tally, found by its labels. A scrape settles the tallies first,
so it misses nothing; where several processes share a port, their parent reads what each has settled last.
"""

import asyncio
from bisect import bisect_left
from collections import Counter

from gateway.telemetry import metrics
from gateway.telemetry.logs import LONGEST_NAME
from gateway.telemetry.usage import UsageRecord

# Maximum age of the figures of one of several processes; a killed process loses this much.
SETTLE_SECONDS = 0.5

# Models are client input and upstream output: this many names get their own label, the rest share one.
MAX_MODELS = 200
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Labels = tuple[str, str, int, bool]  # model, upstream, status, whether it was streamed


class Times:
    """Seconds, sorted into the buckets of the histograms."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(metrics.SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(metrics.SECONDS, seconds)] += 1
        self.total += seconds


class ExchangeCounter:
    """Finished exchanges of the same labels."""

    __slots__ = ("cache_read", "cache_write", "cost", "count", "duration", "first_content", "input", "output")

    def __init__(self) -> None:
        self.count = self.input = self.output = self.cache_read = self.cache_write = 0
        self.cost = 0.0
        self.duration, self.first_content = Times(), Times()

    def add(self, record: UsageRecord) -> None:
        self.count += 1
        self.duration.add(record.duration_seconds)
        self.input += record.input_tokens
        self.output += record.output_tokens
        self.cache_read += record.cache_read_tokens
        self.cache_write += record.cache_write_tokens
        if record.cost:
            self.cost += record.cost
        if record.first_content_seconds is not None:
            self.first_content.add(record.first_content_seconds)


_models: set[str] = set()
_exchanges: dict[Labels, ExchangeCounter] = {}
_dialects: Counter[str] = Counter()
_attempts: Counter[tuple[str, str]] = Counter()
_replies: Counter[tuple[str, str, int]] = Counter()


def observe(record: UsageRecord) -> None:
    """Count one finished exchange."""
    labels = _model_label(record.model), record.upstream, record.status, record.stream
    tally = _exchanges.get(labels)
    if tally is None:
        tally = _exchanges[labels] = ExchangeCounter()
    tally.add(record)
    _dialects[record.dialect] += 1
    if record.error_type is not None:
        metrics.UPSTREAM_ERRORS.labels(record.upstream, record.error_type).inc()
    if record.attempts > 1:
        metrics.RETRIES.labels(record.upstream).inc(record.attempts - 1)
    for one in record.attempted:
        _attempts[one.upstream, one.kind] += 1
    if record.mismatched:
        metrics.MISMATCHES.labels(record.upstream).inc()
    for note in record.notes:
        metrics.NOTES.labels(note.partition(":")[0]).inc()


def count_reply(route: str, method: str, status: int) -> None:
    _replies[route, method if method in METHODS else OTHER, status] += 1


def settle() -> None:
    """Hand everything on to the collectors."""
    for (model, upstream, status, is_stream), tally in _exchanges.items():
        _settle(tally, model, upstream, str(status), "true" if is_stream else "false")
    _exchanges.clear()
    for dialect, count in _dialects.items():
        metrics.DIALECTS.labels(dialect).inc(count)
    _dialects.clear()
    for (route, method, status), count in _replies.items():
        metrics.REPLIES.labels(route, method, str(status)).inc(count)
    _replies.clear()
    for (upstream, outcome), count in _attempts.items():
        metrics.ATTEMPTS.labels(upstream, outcome).inc(count)
    _attempts.clear()


async def settle_regularly() -> None:
    """Write the figures of one of several processes periodically; run it while the process serves."""
    try:
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            settle()
    finally:
        settle()


def _settle(tally: ExchangeCounter, model: str, upstream: str, status: str, stream: str) -> None:
    metrics.EXCHANGES.labels(model, upstream, status, stream).inc(tally.count)
    metrics.DURATION.labels(model, stream).add(tally.duration.counts, tally.duration.total)
    if any(tally.first_content.counts):
        metrics.FIRST_CONTENT.labels(model).add(tally.first_content.counts, tally.first_content.total)
    for kind in ("input", "output", "cache_read", "cache_write"):
        if count := getattr(tally, kind):
            metrics.TOKENS.labels(model, kind).inc(count)
    if tally.cost:
        metrics.COST.labels(model).inc(tally.cost)


def _model_label(model: str) -> str:
    if model in _models:
        return model
    if len(_models) >= MAX_MODELS or len(model) > LONGEST_NAME:
        return OTHER
    _models.add(model)
    return model


metrics.BEFORE_SCRAPE.steps.append(settle)
