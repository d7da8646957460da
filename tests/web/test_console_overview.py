"""The console's first page: figures from counts, and problems in words."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.telemetry.activity import NANO
from gateway.upstream.routes.reload import ConfigReload
from gateway.upstream.routes.table import Routing
from gateway.web.app_keys import StatusSources
from gateway.web.console.overview import (
    config_problems,
    failure_problems,
    fleet_problems,
    percentile,
    redis_problems,
    to_series,
    to_tiles,
)


def test_percentile_interpolates_within_a_bucket() -> None:
    assert percentile([{"f4": 100}], 0.5) == pytest.approx(0.075)
    assert percentile([{"f0": 90, "f6": 10}], 0.95) == pytest.approx(0.375)
    assert percentile([{}], 0.95) is None
    assert percentile([{"f16": 1}], 0.5) == 600


def test_tiles_leave_out_the_slot_that_is_not_complete() -> None:
    counts = [{"live": 60, "failed": 6}] * 6 + [{"live": 1}]
    tiles = to_tiles(counts, None)
    assert (tiles["requests_per_second"], tiles["failed_share"]) == (6.0, 0.1)
    assert to_series({0: {"live": 20}, 10: {"live": 5}})["live"] == [2.0]


def test_tiles_show_the_latest_minute_and_the_cost_of_a_quarter_hour_without_redis() -> None:
    minute = [{"batch": 59, "f4": 95, "f6": 5}, {"live": 1, "failed": 1}, *[{}] * 4]
    tiles = to_tiles([{"live": 9000, "failed": 9000, "cost": NANO // 4}, *minute, {}], None)
    assert (tiles["requests_per_second"], tiles["failed_share"]) == (1.0, 0.0167)
    assert tiles["first_content_p95"] == pytest.approx(0.1)
    assert (tiles["cost"], tiles["cost_of"]) == (0.25, "15 minutes")
    today = to_tiles([], NANO // 2)
    assert (today["cost"], today["cost_of"], today["failed_share"]) == (0.5, "today", None)


def test_series_has_a_value_of_each_kind_for_each_complete_slot() -> None:
    whole: dict[str, int] = {"live": 20, "batch": 10, "failed": 5, "cost": NANO, "f4": 95, "f6": 5}
    series = to_series({50: whole, 60: {}, 70: {"live": 1}})
    kinds = ("start", "step", "live", "batch", "failed", "cost")
    assert [series[kind] for kind in kinds] == [50, 10, [2.0, 0.0], [1.0, 0.0], [0.5, 0.0], [1.0, 0.0]]
    assert series["p50"] == [pytest.approx(0.0763, abs=1e-4), None]
    assert series["p95"] == [pytest.approx(0.1), None]


def texts_of(problems: Any) -> list[tuple[str, str]]:
    return [(one["severity"], one["text"]) for one in problems]


def test_redis_is_a_problem_while_it_takes_no_writes() -> None:
    assert redis_problems(None) == []
    assert texts_of(redis_problems("no answer in time")) == [("error", "Redis takes no writes: no answer in time")]


def test_bad_configuration_and_open_circuits_are_problems() -> None:
    config = SimpleNamespace(problems=["line 3: unknown key"], needs_restart=["GATEWAY_PORT"])
    circuits = [{"circuit": "a", "seconds": 1.5}, {"circuit": "a/m", "seconds": 0.0}]
    status = StatusSources(cast(Routing, None), cast(ConfigReload, config), lambda: circuits)
    assert texts_of(config_problems(status)) == [
        ("error", "The configuration file is not in force: line 3: unknown key"),
        ("warning", "The setting GATEWAY_PORT has changed and needs a restart"),
        ("error", "The circuit of a is open for 1.5 s more"),
        ("warning", "The circuit of a/m is open until the next request"),
    ]


def process(kind: str, **facts: Any) -> dict[str, Any]:
    return {"kind": kind, "name": "host:1", "seen": 100.0, "lag_ms": 1.0, "version": "1", **facts}


@pytest.mark.parametrize(
    ("fleet", "waiting", "problems"),
    [
        ([process("worker")], 3, []),
        ([process("front end")], 0, []),
        ([process("front end")], 3, [("error", "3 batches wait and no worker runs")]),
        ([process("worker", seen=90.0)], 0, []),
        ([process("worker", seen=89.0)], 0, [("warning", "The worker host:1 has not reported for 11 s")]),
        ([process("worker", lag_ms=250.0)], 0, []),
        ([process("worker", lag_ms=251.0)], 0, [("warning", "The worker host:1 is 251 ms late: it is overloaded")]),
        ([process("worker"), process("worker", version="2")], 0, [("warning", "Several versions run: 1, 2")]),
    ],
)
def test_processes_that_are_missing_silent_late_or_of_two_versions_are_problems(
    fleet: list[dict[str, Any]], waiting: int, problems: list[tuple[str, str]]
) -> None:
    assert texts_of(fleet_problems(fleet, 100.0, waiting)) == problems


@pytest.mark.parametrize(
    ("counts", "is_problem"),
    [
        ([{"live": 10, "batch": 10, "failed": 2}], True),
        ([{"live": 10, "batch": 10, "failed": 1}], False),
        ([{"live": 9, "batch": 10, "failed": 19}], False),
        ([{"live": 10, "failed": 1}, {"batch": 10, "failed": 1}], True),
        ([{"live": 19, "failed": 19}], False),
        ([{"batch": 19, "failed": 19}], False),
        ([{"live": 19}, {"live": 1, "failed": 1}], False),
    ],
)
def test_many_failures_among_enough_exchanges_are_a_problem(counts: list[dict[str, int]], is_problem: bool) -> None:
    assert bool(texts_of(failure_problems(counts))) is is_problem
