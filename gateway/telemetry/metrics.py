"""Prometheus collectors. Labels come from closed sets. `counters` feeds those that change with every request."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import product

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.telemetry.process_metrics import ProcessCollector

REFUSAL_CODES = ("auth", "validation", "size", "limit", "draining", "store", "internal")
THREAD_OUTCOMES = (
    *("kept", "not_kept", "failed", "invalid"),
    *("fingerprint_mismatch", "not_found", "already_continued", "continue_in_flight", "unsupported_request"),
)
CONTENT_TYPE = CONTENT_TYPE_LATEST
# From a cache hit (5 ms) to the longest answers of reasoning models (10 min).
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
LONG_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)


class BeforeScrape(Collector):
    """Steps to run before the collectors are read. Registered first, so that it is collected first."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []

    def describe(self) -> tuple[()]:
        return ()

    def collect(self) -> tuple[()]:
        for step in self.steps:
            step()
        return ()


class CountedHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, values: list[float]) -> None:
        """Add values, and sort them in place. Values below 0 count as 0."""
        for bucket, count in zip(self._buckets, bucket_counts(values, self._upper_bounds), strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(sum(values[bisect_right(values, 0) :]))


def bucket_counts(values: list[float], bounds: Sequence[float]) -> list[int]:
    """Return the number of values in each bucket. Sorts them in place; the last bound must be infinite."""
    values.sort()
    ends = [bisect_right(values, bound) for bound in bounds]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


SLOT = os.environ.get("DRAGOMAN_METRICS_SLOT")
if SLOT is not None and "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    # Files named by the place among the children instead of the process: a successor goes on with them.
    values.ValueClass = values.MultiProcessValue(partial(str, SLOT))  # type: ignore[no-untyped-call]

BEFORE_SCRAPE = BeforeScrape()
REGISTRY.register(BEFORE_SCRAPE)

EXCHANGES = Counter("gateway_exchanges_total", "Finished exchanges", ["model", "upstream", "status", "stream"])
DIALECTS = Counter("gateway_dialect_exchanges_total", "Finished exchanges by the dialect of the upstream", ["dialect"])
DURATION = CountedHistogram(
    "gateway_exchange_duration_seconds", "From request to end", ["model", "stream"], buckets=SECONDS
)
FIRST_CONTENT = CountedHistogram(
    "gateway_first_content_seconds", "From a request's arrival to its first content", ["model"], buckets=SECONDS
)
UPSTREAM_HEADER = CountedHistogram(
    "gateway_upstream_header_seconds", "From a call to the header of its answer", ["upstream"], buckets=SECONDS
)
OVERHEAD = CountedHistogram(
    "gateway_overhead_seconds", "An exchange's time less the waiting for upstreams", buckets=OVERHEAD_SECONDS
)
OUTPUT_TOKEN = CountedHistogram(
    "gateway_output_token_seconds",
    "Of a stream: seconds for each token after the first content",
    ["model"],
    buckets=TOKEN_SECONDS,
)
EXCHANGES_OPEN = Gauge("gateway_exchanges_open", "Exchanges under way", ["stream"], multiprocess_mode="livesum")
CONNECTIONS_OPEN = Gauge("gateway_connections_open", "Client connections", multiprocess_mode="livesum")
UPSTREAM_CONNECTIONS = Gauge(
    "gateway_upstream_connections", "Connections to upstreams by state", ["state"], multiprocess_mode="livesum"
)
TOKENS = Counter("gateway_tokens_total", "Tokens by kind", ["model", "kind"])
COST = Counter("gateway_cost_usd_total", "What the upstream charged, in US dollars", ["model"])
USAGE_TOKENS = Counter("gateway_usage_tokens_total", "Tokens by who used them", ["tenant", "model", "kind"])
USAGE_COST = Counter(
    "gateway_usage_cost_usd_total", "What the upstream charged, by who used it, in US dollars", ["tenant", "model"]
)
PROVIDER_EXCHANGES = Counter(
    "gateway_provider_exchanges_total",
    "Exchanges by the provider that the upstream names, and whether they failed",
    ["upstream", "provider", "outcome"],
)
PROVIDER_COST = Counter(
    "gateway_provider_cost_usd_total",
    "What the upstream charged, by the provider that it names, in US dollars",
    ["upstream", "provider"],
)
PROVIDER_FIRST_CONTENT = CountedHistogram(
    "gateway_provider_first_content_seconds",
    "Time to the first content, by the provider that the upstream names",
    ["upstream", "provider"],
    buckets=SECONDS,
)
EXCHANGE_ERRORS = Counter(
    "gateway_exchange_errors_total", "Failed exchanges by party at fault and cause", ["upstream", "origin", "cause"]
)
UPSTREAM_ERRORS = Counter(
    "gateway_upstream_errors_total",
    "Exchanges that ended in an error. Deprecated: gateway_exchange_errors_total has the cause",
    ["upstream", "type"],
)
REFUSALS = Counter("gateway_refusals_total", "Requests that the gateway refused itself", ["code"])
FULL_SPEED_CALLS = Gauge(
    "gateway_full_speed_calls", "Calls at once that a server takes at full speed, as workers have learned", ["upstream"]
)
GATE_OPEN = Gauge(
    "gateway_gate_open",
    "Whether live calls to a model at an upstream are made (1), or its circuit keeps them back (0)",
    ["upstream", "model"],
    multiprocess_mode="livemin",
)
RETRY_AFTER = Histogram("gateway_upstream_retry_after_seconds", "Pauses that upstreams asked for", buckets=LONG_SECONDS)
RETRIES = Counter("gateway_upstream_retries_total", "Attempts beyond the first", ["upstream"])
ATTEMPTS = Counter("gateway_attempts_total", "Calls to upstreams by their outcome", ["upstream", "outcome"])
CIRCUIT_OPENINGS = Counter("gateway_circuit_openings_total", "Circuits opened by live calls", ["upstream", "cause"])
MISMATCHES = Counter(
    "gateway_usage_mismatches_total", "Answers with a total that is not the sum of its parts", ["upstream"]
)
NOTES = Counter("gateway_conversion_notes_total", "Request fields not carried over as they were", ["kind"])
THREAD_TURNS = Counter("gateway_thread_turns_total", "Requests of message threads by outcome", ["outcome"])
CACHE_REQUESTS = Counter(
    "gateway_cache_requests_total", "Requests that asked for the prompt cache, by outcome", ["outcome"]
)
CACHE_SAVED_TOKENS = Counter("gateway_cache_saved_tokens_total", "Tokens that no upstream was paid for", ["kind"])
CACHE_STORES = Counter("gateway_cache_stores_total", "Answers by whether they were kept", ["outcome"])
CACHE_ERRORS = Counter(
    "gateway_cache_errors_total", "Calls to the prompt cache's Redis that failed or were late", ["kind"]
)
CACHE_UP = Gauge("gateway_cache_up", "Whether the prompt cache's Redis is asked", multiprocess_mode="livemin")
STREAMS = Gauge("gateway_streams_open", "Streams open now", multiprocess_mode="livesum")
REPLIES = Counter("gateway_http_replies_total", "Replies by route", ["route", "method", "status"])

BUDGET_ALERTS = Counter("gateway_budget_alerts_total", "Thresholds of budgets that were crossed", ["percent"])
OTLP_RELAYED = Counter("gateway_otlp_relayed_total", "Exports of clients' telemetry by outcome", ["signal", "outcome"])
SPANS_DROPPED = Counter("gateway_spans_dropped_total", "Spans that no collector took in time")

LOG_LINES_DROPPED = Counter(
    "gateway_log_lines_dropped_total", "Log lines dropped because the log could not be written fast enough, or at all"
)

# In every process, front end or worker; fed by `gateway.telemetry.monitors`.
LOOP_LAG = Histogram(
    "gateway_loop_lag_seconds",
    "How late a timer of the event loop fires",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
REDIS_UP = Gauge("gateway_redis_up", "Whether Redis took a write when last asked", multiprocess_mode="livemin")
REDIS_SECONDS = Histogram(
    "gateway_redis_seconds",
    "How long Redis takes for a small write",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
REDIS_MEMORY = Gauge(
    "gateway_redis_memory_bytes", "Memory of Redis, used and limit (0: none set)", ["kind"], multiprocess_mode="livemax"
)
CONNECTIONS_CUT = Counter("gateway_connections_cut_total", "Client connections ended by the gateway", ["reason"])
DESCRIPTORS_EXHAUSTED = Counter(
    "gateway_descriptors_exhausted_total", "Connections that failed for lack of file descriptors", ["purpose"]
)
BATCH_EVENTS = Counter("gateway_batches_total", "Batches by what happened to them", ["event"])
BATCH_SECONDS = Histogram("gateway_batch_seconds", "From a batch's creation to its end", buckets=LONG_SECONDS)
BATCH_WAIT = Histogram(
    "gateway_batch_wait_seconds", "From a batch's creation to the claim of its first item", buckets=LONG_SECONDS
)
QUEUE_BATCHES = Gauge("gateway_batch_queue_batches", "Batches that have not ended", multiprocess_mode="livemax")
CONFIG_VALID = Gauge(
    "gateway_config_valid", "Whether the configuration file, as it is now, is in force", multiprocess_mode="livemin"
)
CONFIG_HASH = Gauge(
    "gateway_config_hash", "Hash of the configuration in force, as a number", multiprocess_mode="livemax"
)
BUILD = Gauge("gateway_build_info", "1, with the version that runs", ["version"], multiprocess_mode="livemax")
BUILD.labels(__version__).set(1)
REGISTRY.register(ProcessCollector(lambda: {SLOT or "0": os.getpid()}))

# The time of creation of each child doubles the number of series and is not used.
disable_created_metrics()  # type: ignore[no-untyped-call]


def render_metrics() -> bytes:
    """Return the exposition text: of all processes of this host in prometheus_client's multiprocess mode."""
    return generate_latest(REGISTRY)


def merged_metrics(directory: str, pids: Mapping[str, int]) -> bytes:
    """Return the merged exposition text of several processes. `pids`: process ids by the place of the child."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    registry.register(ProcessCollector(lambda: {"parent": os.getpid(), **pids}))
    return generate_latest(registry)


@contextmanager
def before_scrape(step: Callable[[], None]) -> Iterator[None]:
    """Run the step before each scrape, while the context is open."""
    BEFORE_SCRAPE.steps.append(step)
    try:
        yield
    finally:
        BEFORE_SCRAPE.steps.remove(step)


def count_cached(outcome: str) -> None:
    cache_counter(outcome).inc()


def count_saved(input_tokens: int, output_tokens: int) -> None:
    SAVED_INPUT.inc(input_tokens)
    SAVED_OUTPUT.inc(output_tokens)


SAVED_INPUT, SAVED_OUTPUT = CACHE_SAVED_TOKENS.labels("input"), CACHE_SAVED_TOKENS.labels("output")


def create_series(collector: Counter | Gauge | Histogram, *labels: Sequence[str]) -> None:
    """Create the series of closed sets of labels with the value 0, so that ratios start at 0 instead of without data.

    `labels`: values of each label; all combinations are created.
    """
    for combination in product(*labels):
        collector.labels(*combination)


for _collector, _labels in (
    (EXCHANGES_OPEN, ("false", "true")),
    (UPSTREAM_CONNECTIONS, ("busy", "idle")),
    (DIALECTS, ("chat", "messages", "responses")),
    (REFUSALS, REFUSAL_CODES),
    (NOTES, ("dropped", "changed", "emulated")),
    (CACHE_REQUESTS, ("hit", "miss", "wait", "bypass")),
    (CACHE_STORES, ("kept", "too_large", "purged", "failed")),
    (CACHE_ERRORS, ("failed", "late", "crowded", "mixed_up")),
    (THREAD_TURNS, THREAD_OUTCOMES),
    (CONNECTIONS_CUT, ("header", "unread", "address", "broken_reply")),
    (DESCRIPTORS_EXHAUSTED, ("client", "upstream", "redis")),
    (BATCH_EVENTS, ("created", "canceled", "expired", "ended", "refused")),
):
    create_series(_collector, _labels)


# A bound child costs a third of a labels() call; the sets of labels are small, so the caches stay so.
@lru_cache(maxsize=8)
def cache_counter(outcome: str) -> Counter:
    return CACHE_REQUESTS.labels(outcome)
