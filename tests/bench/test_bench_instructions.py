"""Counting instructions: the commands, the reading of counts, and the report. valgrind itself is not needed."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import callgrind
from bench.callgrind import Counter, under_callgrind
from bench.instructions import Instructions, render
from bench.steps import SEEING, STEP_BODIES, _steps
from bench.targets import StartError
from tests.bench.bench_samples import MACHINE


@pytest.mark.parametrize("body", STEP_BODIES)
def test_every_step_can_be_repeated(body: str) -> None:
    steps = _steps(body)
    for _ in range(2):
        for step in steps.values():
            step()
    assert list(steps) == list(_steps("small"))


def test_counts_are_read_from_the_dump_of_each_stretch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        dumps = sum("-d" in one for one in commands)
        if "-d" in command:
            (tmp_path / f"out.{dumps}").write_text(f"events: Ir\nsummary: 1\ntotals: {dumps * 100}\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(callgrind.subprocess, "run", run)
    counter = Counter(7, tmp_path / "out")
    for expected in (100, 200):
        counter.begin()
        assert counter.end() == expected
    assert [command[-1] for command in commands] == ["7"] * 6


def test_without_valgrind_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callgrind.shutil, "which", lambda _: None)
    with pytest.raises(StartError, match="needs valgrind"):
        under_callgrind("python", Path("out"))


def test_the_tables_have_a_ratio_where_bare_was_counted() -> None:
    steps = {"check it": 7.0, **dict.fromkeys(SEEING, 5e3)}
    told = render(Instructions(MACHINE, {"small": {"gateway": 5e5, "bare": 1e6}}, {"small": steps}))
    assert "500,000" in told
    assert "15,000 instructions, 3.0% of an answer of `small`" in told
    assert " 0.50 |" in told
    assert "| check it " in told
    assert " 0.50 |" not in render(Instructions(MACHINE, {"small": {"gateway": 5e5}}, {}))
