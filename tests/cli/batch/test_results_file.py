"""A run's results: merged in the order of the requests, written whole or not at all."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.batch.results_file import (
    NEW_FILE,
    Outcome,
    atomically,
    find_results,
    mode_of,
    read_result,
    write_merged,
)
from gateway.cli.console import CommandError
from tests.cli.fake_batches import errored

DONE = {"type": "succeeded", "message": {"content": []}}


def write(path: Path, **results: Any) -> Path:
    lines = [json.dumps({"custom_id": custom_id, "result": result}) for custom_id, result in results.items()]
    path.write_text("\n".join(lines))  # without a newline at the end
    return path


@pytest.mark.parametrize(
    ("result", "outcome", "may_pass"),
    [
        pytest.param(DONE, Outcome("succeeded"), False, id="success is final"),
        pytest.param({"type": "expired"}, Outcome("expired"), True, id="an expired request was never sent"),
        pytest.param({"type": "canceled"}, Outcome("canceled"), False, id="somebody canceled it on purpose"),
        *(
            pytest.param(errored(kind), Outcome("errored", kind, "no luck"), may_pass, id=kind)
            for kind, may_pass in {
                "overloaded_error": True,
                "rate_limit_error": True,
                "timeout_error": True,
                "api_error": True,
                "invalid_request_error": False,
                "not_found_error": False,
                "billing_error": False,
                "permission_error": False,
                "request_too_large": False,
            }.items()
        ),
    ],
)
def test_only_what_may_pass_by_itself_is_worth_sending_again(
    result: dict[str, Any], outcome: Outcome, may_pass: bool
) -> None:
    read = read_result(json.dumps({"custom_id": "a", "result": result}).encode(), "f:1")
    assert read == ("a", outcome)
    assert outcome.may_pass is may_pass


def test_newer_results_replace_older_ones_in_the_order_of_the_requests(tmp_path: Path) -> None:
    output = write(tmp_path / "out", c=errored("api_error"), a=DONE)
    newer = write(tmp_path / "new", c=DONE, b={"type": "expired"})
    write_merged(output, "abcd", find_results(newer), find_results(output))
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(line["custom_id"], line["result"]["type"]) for line in lines] == [
        ("a", "succeeded"),
        ("b", "expired"),
        ("c", "succeeded"),
    ]


def test_a_file_that_could_not_be_finished_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError), atomically(path) as file:
        file.writelines([b"after", "\ud800".encode()])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_written_file_has_the_mode_it_is_given(tmp_path: Path, mode: int) -> None:
    with atomically(tmp_path / "out", mode) as file:
        file.write(b"x")
    umask = os.umask(0o077)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode & ~umask


@pytest.mark.parametrize(("mode", "written"), [(0o600, 0o600), (0o664, 0o664), (0o755, 0o644), (0o400, 0o600)])
def test_results_may_be_read_by_those_who_may_read_the_requests(tmp_path: Path, mode: int, written: int) -> None:
    path = write(tmp_path / "requests")
    path.chmod(mode)
    assert mode_of(path) == written


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to], ids=["a symbolic link", "a hard link"])
def test_a_link_planted_under_the_name_of_the_unfinished_file_is_not_followed(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    plant(tmp_path / "out.part", victim)
    with atomically(tmp_path / "out") as file:
        file.write(b"results")
    assert victim.read_text() == "precious"
    assert (tmp_path / "out").read_text() == "results"
    assert not (tmp_path / "out").is_symlink()


def test_a_link_planted_while_the_file_is_opened_is_refused(tmp_path: Path) -> None:
    with atomically(tmp_path / "out"), pytest.raises(FileExistsError):
        os.open(tmp_path / "out.part", NEW_FILE)


def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot write .*: No such file"), atomically(tmp_path / "no" / "out"):
        pass


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text('{"custom_id": "a"}\n')
    with pytest.raises(CommandError, match="out:1: not a line of results"):
        find_results(path)
