"""Metric series of upstreams: closed sets of labels at 0 from the start, and gauges that are read before a scrape."""

from collections.abc import Iterable
from typing import Final

from gateway.telemetry import metrics
from gateway.telemetry.counters import MAX_MODELS, OTHER
from gateway.upstream.health.causes import CAUSES, CLIENT_LEFT
from gateway.upstream.health.failure import FAILURES, OWN, Effect
from gateway.upstream.health.live_circuits import STALL, LiveCircuits
from gateway.upstream.routes.route import Upstream

ATTEMPT_OUTCOMES: Final = ("ok", "hedged", OWN.name, *(row.name for row in FAILURES))
OPENING_CAUSES: Final = (*(row.name for row in FAILURES if row.effect is not Effect.NONE), STALL)


def create_upstream_series(upstreams: Iterable[Upstream]) -> None:
    """Create the series of these upstreams. An operator configures them, so their names are a closed set."""
    for name in {upstream.name for upstream in upstreams}:
        for cause in (*CAUSES, CLIENT_LEFT):
            metrics.EXCHANGE_ERRORS.labels(name, cause.origin, cause.name)
        metrics.create_series(metrics.ATTEMPTS, (name,), ATTEMPT_OUTCOMES)
        metrics.create_series(metrics.CIRCUIT_OPENINGS, (name,), OPENING_CAUSES)
        for collector in (metrics.RETRIES, metrics.MISMATCHES, metrics.UPSTREAM_HEADER):
            collector.labels(name)


def show_gates(circuits: LiveCircuits, upstreams: Iterable[Upstream]) -> None:
    """Set the gauge of callable models. Models beyond MAX_MODELS share a label with the worst of their values."""
    shown: dict[tuple[str, str], bool] = {}
    for upstream, model, is_open in circuits.gates(upstreams):
        labels = (upstream, model) if len(shown) < MAX_MODELS else (upstream, OTHER)
        shown[labels] = is_open and shown.get(labels, True)
    for (upstream, model), is_open in shown.items():
        metrics.GATE_OPEN.labels(upstream, model).set(is_open)
