"""A run's results: merged in the order of the requests, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.console import CommandError
from gateway.cli.results_file import Outcome, atomically, find_results, read_result, write_merged
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


def test_a_path_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot write .*: No such file"), atomically(tmp_path / "no" / "out"):
        pass


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text('{"custom_id": "a"}\n')
    with pytest.raises(CommandError, match="out:1: not a line of results"):
        find_results(path)
