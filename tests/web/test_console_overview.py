"""Figures of the console's first page, from counts."""

import pytest

from gateway.web.console.overview import percentile, to_series, to_tiles


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
