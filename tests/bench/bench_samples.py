"""Comparisons and reports with chosen figures, for the tests of tables and charts."""

from dataclasses import replace
from typing import Any

from bench.load import Report
from bench.measure import Machine
from bench.results import Comparison, Run, Startup

MACHINE = Machine(
    date="2026-11-22T20:00:00+00:00",
    commit="abc1234",
    cpu="Some CPU",
    cores=2,
    memory_mib=1024,
    kernel="6.1",
    load_average=0.5,
    versions={"python": "3.11.7"},
)
REPORT = Report(
    answers=1000,
    bad=0,
    short_answers=0,
    seconds=2.0,
    reconnects=0,
    waiting_max=-1,
    bytes=800_000,
    latency_p50=300,
    latency_p99=900,
    latency_max=2000,
    first_p50=250,
    first_p99=800,
    deltas=0,
    delay_p50=-1,
    delay_p99=-1,
    delay_max=-1,
    foreign=0,
    disordered=0,
    cpu_seconds=0.1,
    load_cpu_seconds=0.01,
    statuses={"200": 1000},
)


def report(**changes: Any) -> Report:
    return replace(REPORT, **changes)


def answering(microseconds: float, **changes: Any) -> Report:
    """A report of `microseconds` of CPU per answer."""
    return report(cpu_seconds=microseconds * REPORT.answers / 1e6, **changes)


def comparison(runs: dict[tuple[str, str], list[Report]], startups: dict[str, Startup] | None = None) -> Comparison:
    """Make a comparison of the reports of each case and target, one per round."""
    cases = list(dict.fromkeys(case for case, _ in runs))
    made = Comparison(MACHINE, {"cases": cases, "rounds": 1, "seconds": 1.0}, startups or {})
    for (case, target), reports in runs.items():
        made.runs.extend(Run(number, case, target, each) for number, each in enumerate(reports))
    return made
