"""Buffer per-exchange counters in plain numbers, and add them to the collectors on each scrape.

Each `inc` of a Prometheus counter is several calls and a lock, and a small exchange would need seven of them: a
fifteenth of all its instructions. Instead, an exchange adds to the numbers of one tally, found by its labels. A scrape
first adds the tallies to the collectors, so it is complete. If several processes share a port, their parent reads the
figures that each process wrote last.
"""

import asyncio
from collections import Counter

from gateway.telemetry import metrics
from gateway.telemetry.exchange_line import LONGEST_NAME
from gateway.telemetry.usage import UsageRecord

# Maximum age of the figures of one of several processes; a killed process loses this much.
SETTLE_SECONDS = 0.5

# Models are client input and upstream output: this many names get their own label, the rest share one.
MAX_MODELS = 200
# Tenants come from keys, which an operator may create in any number; each counts for every model that it uses.
MAX_TENANTS = 200
MAX_USAGES = 400
# Providers are upstream output; OpenRouter has about 70 (2026).
MAX_PROVIDERS = 90
# Status from which an exchange has failed.
FAILED = 400
OTHER = "other"
# What balancers, Prometheus and clients ask for again and again: 71 of 80 replies of a quiet gateway (2026-11).
UNCOUNTED_ROUTES = frozenset({"/livez", "/readyz", "/metrics"})
# Exchanges of the same labels with times that are kept one by one: sorted into buckets together, they cost a quarter.
MAX_UNSETTLED = 512
TOKEN_KINDS = ("input", "output", "cache_read", "cache_write")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Model, upstream, dialect, status, whether it was streamed, tenant, provider.
Labels = tuple[str, str, str, int, bool, str, str | None]


class ExchangeCounter:
    """Tally of finished exchanges with the same labels: sums, and times in seconds."""

    __slots__ = (
        *("cache_read", "cache_write", "cost", "input", "output"),
        *("durations", "first_contents", "headers", "output_tokens", "overheads"),
    )

    def __init__(self) -> None:
        self.input = self.output = self.cache_read = self.cache_write = 0
        self.cost = 0.0
        self.durations: list[float] = []
        self.first_contents: list[float] = []
        self.headers: list[float] = []
        self.overheads: list[float] = []
        self.output_tokens: list[float] = []

    @property
    def count(self) -> int:
        return len(self.durations)

    def add(self, record: UsageRecord) -> None:
        duration = record.duration_seconds
        self.durations.append(duration)
        self.input += record.input_tokens
        self.output += record.output_tokens
        self.cache_read += record.cache_read_tokens
        self.cache_write += record.cache_write_tokens
        self.cost += (record.cost or 0.0) + record.hedge_cost
        if record.header_seconds is not None:
            self.headers.append(record.header_seconds)
            self.overheads.append(duration - record.waited_seconds)
        if record.first_content_seconds is not None:
            self.first_contents.append(record.first_content_seconds)
            if record.stream and record.output_tokens > 1:
                self.output_tokens.append((duration - record.first_content_seconds) / (record.output_tokens - 1))


_models: set[str] = set()
_tenants: set[str] = set()
_usages: set[tuple[str, str]] = set()
_providers: set[str] = set()
_open = [0, 0]  # exchanges under way: not streamed, streamed
_exchanges: dict[Labels, ExchangeCounter] = {}
_attempts: Counter[tuple[str, str]] = Counter()
_replies: Counter[tuple[str, str, int]] = Counter()


def observe(record: UsageRecord) -> None:
    """Count one finished exchange."""
    labels = (
        record.model if record.model in _models else _model_label(record.model),
        record.upstream,
        record.dialect,
        record.status,
        record.stream,
        record.context.tenant,
        record.provider,
    )
    tally = _exchanges.get(labels)
    if tally is None:
        tally = _exchanges[labels] = ExchangeCounter()
    tally.add(record)
    if len(tally.durations) >= MAX_UNSETTLED:
        settle()
    if record.error_type is not None:
        metrics.EXCHANGE_ERRORS.labels(record.upstream, record.origin, record.cause).inc()
        metrics.UPSTREAM_ERRORS.labels(record.upstream, record.error_type).inc()
    if record.attempts > 1:
        metrics.RETRIES.labels(record.upstream).inc(record.attempts - 1)
    for one in record.attempted:
        _attempts[one.upstream, one.kind] += 1
    if record.mismatched:
        metrics.MISMATCHES.labels(record.upstream).inc()
    for note in record.notes:
        metrics.NOTES.labels(note.partition(":")[0]).inc()


def opened(record: UsageRecord) -> None:
    _open[record.stream] += 1


def closed(record: UsageRecord) -> None:
    _open[record.stream] -= 1


def count_reply(route: str, method: str, status: int) -> None:
    if route in UNCOUNTED_ROUTES:
        return
    _replies[route, method if method in METHODS else OTHER, status] += 1


def settle() -> None:
    """Add all buffered figures to the collectors."""
    for (model, upstream, dialect, status, is_stream, tenant, provider), tally in _exchanges.items():
        if provider is not None:
            _settle_provider(tally, upstream, _provider_label(provider), "ok" if status < FAILED else "failed")
        _settle(tally, model, upstream, str(status), "true" if is_stream else "false")
        _settle_usage(tally, *_usage_labels(tenant, model))
        metrics.DIALECTS.labels(dialect).inc(tally.count)
    _exchanges.clear()
    for stream, count in zip(("false", "true"), _open, strict=True):
        metrics.EXCHANGES_OPEN.labels(stream).set(count)
    for (route, method, status), count in _replies.items():
        metrics.REPLIES.labels(route, method, str(status)).inc(count)
    _replies.clear()
    for (upstream, outcome), count in _attempts.items():
        metrics.ATTEMPTS.labels(upstream, outcome).inc(count)
    _attempts.clear()


async def settle_regularly() -> None:
    """Write the figures periodically, for one of several processes. Run it while the process serves."""
    try:
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            metrics.BEFORE_SCRAPE.collect()
    finally:
        metrics.BEFORE_SCRAPE.collect()


def _settle(tally: ExchangeCounter, model: str, upstream: str, status: str, stream: str) -> None:
    metrics.EXCHANGES.labels(model, upstream, status, stream).inc(tally.count)
    metrics.DURATION.labels(model, stream).add(tally.durations)
    if tally.first_contents:
        metrics.FIRST_CONTENT.labels(model).add(tally.first_contents)
    if tally.headers:
        metrics.UPSTREAM_HEADER.labels(upstream).add(tally.headers)
        metrics.OVERHEAD.add(tally.overheads)
    if tally.output_tokens:
        metrics.OUTPUT_TOKEN.labels(model).add(tally.output_tokens)
    for kind in TOKEN_KINDS:
        if count := getattr(tally, kind):
            metrics.TOKENS.labels(model, kind).inc(count)
    if tally.cost:
        metrics.COST.labels(model).inc(tally.cost)


def _settle_usage(tally: ExchangeCounter, tenant: str, model: str) -> None:
    for kind in TOKEN_KINDS:
        if count := getattr(tally, kind):
            metrics.USAGE_TOKENS.labels(tenant, model, kind).inc(count)
    if tally.cost:
        metrics.USAGE_COST.labels(tenant, model).inc(tally.cost)


def _settle_provider(tally: ExchangeCounter, upstream: str, provider: str, outcome: str) -> None:
    metrics.PROVIDER_EXCHANGES.labels(upstream, provider, outcome).inc(tally.count)
    if tally.first_contents:
        metrics.PROVIDER_FIRST_CONTENT.labels(upstream, provider).add(tally.first_contents)
    if tally.cost:
        metrics.PROVIDER_COST.labels(upstream, provider).inc(tally.cost)


def _provider_label(provider: str) -> str:
    if provider not in _providers:
        if len(_providers) >= MAX_PROVIDERS or len(provider) > LONGEST_NAME or not provider.isprintable():
            return OTHER
        _providers.add(provider)
    return provider


def _usage_labels(tenant: str, model: str) -> tuple[str, str]:
    """Return the tenant and model labels of a use, limited in number."""
    if tenant not in _tenants:
        if len(_tenants) >= MAX_TENANTS or len(tenant) > LONGEST_NAME:
            tenant = OTHER
        else:
            _tenants.add(tenant)
    if (tenant, model) not in _usages:
        if len(_usages) >= MAX_USAGES:
            return tenant, OTHER
        _usages.add((tenant, model))
    return tenant, model


def _model_label(model: str) -> str:
    if len(_models) >= MAX_MODELS or len(model) > LONGEST_NAME:
        return OTHER
    _models.add(model)
    return model


metrics.BEFORE_SCRAPE.steps.append(settle)
