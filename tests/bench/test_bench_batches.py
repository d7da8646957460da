"""The batch bench's own rules: what counts as met, and what a batch to be sent looks like."""

import json
from pathlib import Path

import pytest

from bench.batch_stage import write_batch
from bench.batches import Bench, Figure, Measured, render
from bench.measure import machine


def bench(share: float) -> Bench:
    return Bench(None, None, None, share, Measured(machine()), lambda line: None, "case")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "limits", "met"),
    [
        pytest.param(5.0, {"at_least": 5}, True, id="just enough"),
        pytest.param(4.9, {"at_least": 5}, False, id="too little"),
        pytest.param(5.0, {"at_most": 5}, True, id="just not too much"),
        pytest.param(5.1, {"at_most": 5}, False, id="too much"),
        pytest.param(1.0, {}, True, id="no goal"),
    ],
)
def test_a_figure_is_held_against_its_goal(value: float, limits: dict[str, float], met: bool) -> None:
    one = bench(share=1)
    one.found("what", value, "s", **limits)
    assert one.measured.passed is met
    assert ("missed" in render(one.measured)) is not met


def test_a_part_of_the_load_is_held_against_no_goal() -> None:
    one = bench(share=0.02)
    one.found("what", 100.0, "s", at_most=1)
    assert one.measured.figures == [Figure("case", "what", 100.0, "s")]


def test_a_batch_has_so_many_requests_of_about_the_size(tmp_path: Path) -> None:
    sent = json.loads(write_batch(tmp_path / "b.json", 50, "m", size=2048).read_text())["requests"]
    assert len({request["custom_id"] for request in sent}) == 50
    assert len({request["params"]["messages"][0]["content"] for request in sent}) == 50
    assert len({request["params"]["system"] for request in sent}) == 1
    assert all(1500 < len(json.dumps(request)) < 2500 for request in sent)
