"""Metrics: their number is bounded, closed sets are there at 0, and processes that share a port lose no count."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.telemetry import counters, metrics
from gateway.telemetry.process_metrics import ProcessCollector, read_process
from tests.support.series import finished, samples_of

SCRAPES = """
import sys
from gateway.telemetry import counters, metrics
import workers.metrics
from gateway.upstream.health.series import create_upstream_series
from gateway.upstream.routes.route import Upstream
from tests.support.series import finished
create_upstream_series([Upstream("openrouter", "http://127.0.0.1:1/v1")])
sys.stdout.buffer.write(metrics.render_metrics() + b"=====")
for number in range(3000):
    for stream in (False, True):
        counters.observe(finished(f"tenant-{number % 1000}", f"model-{number}", stream=stream))
        counters.observe(finished(f"tenant-{number % 997}", f"model-{number}", stream=stream, status=502))
sys.stdout.buffer.write(metrics.render_metrics())
"""


async def test_closed_sets_exist_at_0_and_thousands_of_models_and_tenants_make_fewer_than_20_000_series() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRAPES, stdout=asyncio.subprocess.PIPE)
    written, _ = await process.communicate()
    before, after = map(samples_of, written.decode().split("====="))
    for series in (
        'gateway_exchange_errors_total{cause="timeout",origin="upstream",upstream="openrouter"}',
        'gateway_refusals_total{code="auth"}',
        'gateway_cache_requests_total{outcome="hit"}',
        'gateway_batches_total{event="expired"}',
        'gateway_batch_results_total{result="errored"}',
        'gateway_upstream_retries_total{upstream="openrouter"}',
        'gateway_attempts_total{outcome="silent",upstream="openrouter"}',
        'gateway_exchanges_open{stream="true"}',
        'gateway_thread_turns_total{outcome="not_found"}',
    ):
        assert before[series] == 0
    assert len(after) < 20_000
    assert total(after, "gateway_usage_tokens_total") == 4 * 7 * 12_000
    assert total(after, "gateway_usage_cost_usd_total") == pytest.approx(0.25 * 12_000)
    assert total(after, "gateway_provider_cost_usd_total") == pytest.approx(0.25 * 12_000)
    assert total(after, "gateway_provider_exchanges_total") == 12_000
    failed = 'gateway_provider_exchanges_total{outcome="failed",provider="provider of model-1",upstream="openrouter"}'
    assert after[failed] == 2
    assert after[failed.replace("model-1", "model-2999").replace("provider of model-2999", "other")] > 5000


def total(samples: dict[str, float], name: str) -> float:
    return sum([value for series, value in samples.items() if series.startswith(f"{name}{{")])


def test_a_provider_with_a_line_separator_in_its_name_is_no_label() -> None:
    counters.observe(finished("acme", "a\u2028b", stream=True))
    metrics.BEFORE_SCRAPE.collect()
    assert "provider of a" not in metrics.render_metrics().decode()


def test_probes_and_scrapes_are_no_counted_replies() -> None:
    counters.count_reply("/v1/messages", "POST", 200)
    before = metrics.render_metrics().count(b"gateway_http_replies_total{")
    for route in ("/livez", "/readyz", "/metrics"):
        counters.count_reply(route, "GET", 200)
    assert metrics.render_metrics().count(b"gateway_http_replies_total{") == before


CHILD = """
from gateway.telemetry import counters
from tests.support.series import finished
counters.observe(finished("acme", "model-a", stream=True))
counters.settle()
"""


async def test_children_that_are_started_again_keep_their_counters_and_their_files(tmp_path: Path) -> None:
    async def run(slot: str) -> None:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "DRAGOMAN_METRICS_SLOT": slot}
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, env=environment)
        assert await child.wait() == 0

    kinds, totals = {"counter", "histogram", "gauge_livesum", "gauge_livemin", "gauge_livemax"}, []
    for _ in range(2):
        await asyncio.gather(run("0"), run("1"))
        samples = samples_of(metrics.merged_metrics(str(tmp_path), {"0": os.getpid()}).decode())
        totals.append(samples['gateway_tokens_total{kind="input",model="model-a"}'])
        assert samples['gateway_process_resident_bytes{child="0"}'] > 1_000_000
    assert totals == [14, 28]
    names = os.listdir(tmp_path)  # noqa: PTH208 - a few files
    assert {re.sub(r"_\d+\.db$", "", name) for name in names} <= kinds
    assert len(names) <= 2 * len(kinds)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_figures_of_a_process_are_those_of_the_system() -> None:
    figures = read_process(os.getpid())
    assert figures is not None
    resident, cpu, descriptors, started = figures
    assert resident > 10_000_000
    assert 0 < cpu < 10_000
    assert descriptors > 2
    assert started > 1_700_000_000


def test_a_process_that_has_ended_is_left_out(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(ProcessCollector(lambda: {"0": 1}, tmp_path))
    assert b'child="0"' not in generate_latest(registry)


def test_times_fall_into_the_buckets_whose_bounds_they_do_not_exceed() -> None:
    values = [0.5, 0.1, -0.2, 0.11, 7.0, 0.5]
    assert metrics.bucket_counts(values, (0.1, 0.5, 1, float("inf"))) == [2, 3, 0, 1]
    assert metrics.bucket_counts([], (0.1, float("inf"))) == [0, 0]


def test_sum_of_times_is_without_those_below_0() -> None:
    histogram = metrics.CountedHistogram("sum_of_times", "", buckets=(0.1, 1), registry=CollectorRegistry())
    histogram.add([0.5, -0.25, 0.0, 0.25])
    histogram.add([-1.0])
    assert histogram._sum.get() == 0.75


def test_times_are_kept_one_by_one_for_a_bounded_number_of_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_models", set())  # other tests may have used up the separate labels
    counters.settle()
    record, bound = finished("tenant-t", "model-of-times", stream=False), counters.MAX_UNSETTLED
    for _ in range(bound - 1):
        counters.observe(record)
    tally = next(iter(counters._exchanges.values()))
    assert len(tally.durations) == bound - 1
    counters.observe(record)
    assert not counters._exchanges
    series = 'gateway_exchange_duration_seconds_count{model="model-of-times",stream="false"}'
    assert samples_of(generate_latest().decode())[series] == bound
