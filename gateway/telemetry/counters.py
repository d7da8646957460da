"""Buffer per-exchange counters in plain numbers, and add them to the collectors on each scrape.

Each `inc` of a Prometheus counter is several calls and a lock, and a small exchange would need seven of them: a
fifteenth of all its instructions. Instead, an exchange adds one row of figures to those with its labels. A scrape
first adds up the rows for the collectors, so it is complete. If several processes share a port, their parent reads the
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
# Exchanges of the same labels that are kept one by one: added up and sorted into buckets together, they cost a quarter.
MAX_UNSETTLED = 256
TOKEN_KINDS = ("input", "output", "cache_read", "cache_write")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Model, upstream, dialect, status, whether it was streamed, tenant, provider.
Labels = tuple[str, str, str, int, bool, str, str | None]
# Seconds: all, waited, until the header, until first content. Tokens: input, output, cache read, cache write. Dollars.
Figures = tuple[float, float, float | None, float | None, int, int, int, int, float]


class ExchangeSums:
    """Sums of exchanges with the same labels, and their times in seconds."""

    __slots__ = (
        *("cache_read", "cache_write", "cost", "count", "input", "output"),
        *("durations", "first_contents", "headers", "output_tokens", "overheads"),
    )

    def __init__(self, rows: list[Figures], *, is_stream: bool) -> None:
        durations, waited, headers, first_contents, *tokens, costs = zip(*rows, strict=True)
        self.count = len(rows)
        self.input, self.output, self.cache_read, self.cache_write = map(sum, tokens)
        self.cost = sum(costs)
        self.durations: list[float] = list(durations)
        self.headers = [one for one in headers if one is not None]
        times = zip(durations, waited, headers, strict=True)
        self.overheads = [seconds - rest for seconds, rest, header in times if header is not None]
        self.first_contents = [one for one in first_contents if one is not None]
        self.output_tokens: list[float] = []
        if is_stream:
            written = zip(durations, first_contents, tokens[1], strict=True)
            self.output_tokens = [
                (seconds - first) / (count - 1) for seconds, first, count in written if first is not None and count > 1
            ]


_models: set[str] = set()
_tenants: set[str] = set()
_usages: set[tuple[str, str]] = set()
_providers: set[str] = set()
_open = [0, 0]  # exchanges under way: not streamed, streamed
_exchanges: dict[Labels, list[Figures]] = {}
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
    rows = _exchanges.get(labels)
    if rows is None:
        rows = _exchanges[labels] = []
    rows.append((
        record.duration_seconds, record.waited_seconds, record.header_seconds, record.first_content_seconds,
        record.input_tokens, record.output_tokens, record.cache_read_tokens, record.cache_write_tokens,
        (record.cost or 0.0) + record.hedge_cost,
    ))  # fmt: skip
    if len(rows) >= MAX_UNSETTLED:
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
    for (model, upstream, dialect, status, is_stream, tenant, provider), rows in _exchanges.items():
        sums = ExchangeSums(rows, is_stream=is_stream)
        if provider is not None:
            _settle_provider(sums, upstream, _provider_label(provider), "ok" if status < FAILED else "failed")
        _settle(sums, model, upstream, str(status), "true" if is_stream else "false")
        _settle_usage(sums, *_usage_labels(tenant, model))
        metrics.DIALECTS.labels(dialect).inc(sums.count)
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


def _settle(sums: ExchangeSums, model: str, upstream: str, status: str, stream: str) -> None:
    metrics.EXCHANGES.labels(model, upstream, status, stream).inc(sums.count)
    metrics.DURATION.labels(model, stream).add(sums.durations)
    if sums.first_contents:
        metrics.FIRST_CONTENT.labels(model).add(sums.first_contents)
    if sums.headers:
        metrics.UPSTREAM_HEADER.labels(upstream).add(sums.headers)
        metrics.OVERHEAD.add(sums.overheads)
    if sums.output_tokens:
        metrics.OUTPUT_TOKEN.labels(model).add(sums.output_tokens)
    for kind in TOKEN_KINDS:
        if count := getattr(sums, kind):
            metrics.TOKENS.labels(model, kind).inc(count)
    if sums.cost:
        metrics.COST.labels(model).inc(sums.cost)


def _settle_usage(sums: ExchangeSums, tenant: str, model: str) -> None:
    for kind in TOKEN_KINDS:
        if count := getattr(sums, kind):
            metrics.USAGE_TOKENS.labels(tenant, model, kind).inc(count)
    if sums.cost:
        metrics.USAGE_COST.labels(tenant, model).inc(sums.cost)


def _settle_provider(sums: ExchangeSums, upstream: str, provider: str, outcome: str) -> None:
    metrics.PROVIDER_EXCHANGES.labels(upstream, provider, outcome).inc(sums.count)
    if sums.first_contents:
        metrics.PROVIDER_FIRST_CONTENT.labels(upstream, provider).add(sums.first_contents)
    if sums.cost:
        metrics.PROVIDER_COST.labels(upstream, provider).inc(sums.cost)


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
