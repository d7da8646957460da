"""Faults that are reported after thousands of streams were held."""

from dataclasses import replace

import pytest

from bench.load import Report
from bench.streams import FILES_KEPT, Level, find_faults
from bench.sweep import instances_for
from tests.bench.bench_samples import report

STREAMS = 100
WHOLE = report(answers=STREAMS, deltas=3000)
LEFT = report(answers=0, deltas=500)
LEVELS = [
    Level("idle", 60.0, 20, 1),
    Level("all open", 100.0, 220, 100),
    Level("over", 90.0, 21, 1),
    Level("all open", 102.0, 220, 100),
    Level("over", 92.0, 20, 0),
]


def test_streams_that_all_came_whole_with_everything_given_back_are_no_fault() -> None:
    assert find_faults(WHOLE, LEFT, LEVELS, STREAMS) == []


@pytest.mark.parametrize(
    ("whole", "left", "sentence"),
    [
        pytest.param(replace(WHOLE, foreign=1), LEFT, "1 deltas had another", id="a stream saw another's mark"),
        pytest.param(WHOLE, replace(LEFT, foreign=2), "2 deltas had another", id="so did one whose client left"),
        pytest.param(replace(WHOLE, disordered=1), LEFT, "out of order", id="deltas changed places"),
        pytest.param(replace(WHOLE, answers=99), LEFT, "99 of 100", id="a stream did not end"),
        pytest.param(replace(WHOLE, short_answers=4), LEFT, "4 streams lacked", id="deltas were lost"),
        pytest.param(replace(WHOLE, bad=4), LEFT, "4 bad answers", id="answers were bad"),
        pytest.param(WHOLE, replace(LEFT, bad=5), "5 bad answers before", id="answers were bad the second time"),
    ],
)
def test_a_fault_of_the_answers_is_said(whole: Report, left: Report, sentence: str) -> None:
    (fault,) = find_faults(whole, left, LEVELS, STREAMS)
    assert sentence in fault


@pytest.mark.parametrize(
    ("place", "level", "sentence"),
    [
        pytest.param(2, Level("over", 90.0, 21 + FILES_KEPT, 1), "after all streams", id="files kept after the end"),
        pytest.param(
            4, Level("over", 90.0, 120, 50), "100 files stayed open after the clients", id="files kept after leaving"
        ),
        pytest.param(1, Level("all open", 1025.0, 220, 100), "1025 MiB of memory were", id="memory beyond the limit"),
        pytest.param(3, Level("all open", 130.0, 220, 100), "memory grew from 100 to 130", id="memory that grows"),
    ],
)
def test_what_is_not_given_back_is_a_fault(place: int, level: Level, sentence: str) -> None:
    levels = [*LEVELS[:place], level, *LEVELS[place + 1 :]]
    (fault,) = find_faults(WHOLE, LEFT, levels, STREAMS)
    assert sentence in fault


@pytest.mark.parametrize(
    ("streams", "limit", "processes"),
    [
        pytest.param(10_000, 1 << 20, 1, id="a high limit takes one process"),
        pytest.param(10_000, 20_000, 2, id="two files per stream and some beside"),
        pytest.param(1, 1024, 1, id="a few streams take one"),
    ],
)
def test_streams_are_shared_out_by_the_limit_on_open_files(streams: int, limit: int, processes: int) -> None:
    assert instances_for(streams, limit) == processes
