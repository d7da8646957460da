"""FILE.jsonl: errors of bad lines, requests for good ones, and the ends of batches."""

import json
from pathlib import Path

import pytest

from gateway.batches.splitter import BatchLimits, Item, Splitter
from gateway.cli.batch.requests_file import RequestsFile, check_file
from gateway.cli.console import CommandError, Exit
from tests.cli.conftest import request_line

GOOD = request_line("good")


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def sent(requests: RequestsFile, part: list[int]) -> list[Item]:
    """Return the items that the gateway takes out of the body."""
    splitter = Splitter()
    body = list(requests.body(part))
    assert sum(map(len, body)) == requests.body_bytes(part)
    items = [item for piece in body for item in splitter.feed(piece)]
    splitter.finish()
    return items


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param('{"custom_id": "x", "params": {', "not valid JSON at column 31", id="cut off"),
        pytest.param("hello", "not valid JSON at column 1", id="no JSON"),
        pytest.param("[]", "not an object", id="a list"),
        pytest.param('{"params": {}}', "custom_id is missing", id="without custom_id"),
        pytest.param('{"custom_id": "x"}', "params is missing", id="without params"),
        pytest.param('{"custom_id": "x", "params": []}', "params must be an object", id="params that are a list"),
        pytest.param('{"custom_id": "a b", "params": {}}', "custom_id must be 1 to 64", id="a space in a custom_id"),
        pytest.param('{"custom_id": 7, "params": {}}', "custom_id must be 1 to 64", id="a number for a custom_id"),
        pytest.param('{"custom_id": "x", "params": {}, "y": 1}', "'y' is not known here", id="a key too many"),
        pytest.param(
            '{"custom_id": "x", "body": {}, "url": "/v1"}', "a line of OpenAI's batch format", id="OpenAI's form"
        ),
        pytest.param(GOOD, "custom_id 'good' is that of line 1 too", id="a custom_id twice"),
        pytest.param(b'{"custom_id": "\xff"}', "not valid JSON", id="not UTF-8"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, line: str | bytes, problem: str) -> None:
    path = write(tmp_path / "f.jsonl", GOOD, "", line)
    with pytest.raises(CommandError) as caught:
        check_file(path)
    assert caught.value.message.startswith(f"{path}:3: {problem}")
    assert caught.value.status == Exit.USAGE


def test_bad_lines_are_listed_up_to_ten(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", *["x"] * 13)
    with pytest.raises(CommandError) as caught:
        check_file(path)
    assert len(caught.value.message.splitlines()) == 11
    assert caught.value.message.endswith("… and 3 more")


@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["nothing", "empty lines"])
def test_a_file_without_requests_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CommandError, match="holds no requests"):
        check_file(write(tmp_path / "f.jsonl", content))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot read .*: No such file"):
        check_file(tmp_path / "f.jsonl")


def test_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    odd = '{ "custom_id":"odd" ,"params": {"n": 12345678901234567890123, "text":"\\u00e9é"} }'
    path = write(tmp_path / "f.jsonl", b"\xef\xbb\xbf" + GOOD.encode() + b"\r", "", odd)
    requests = check_file(path)
    assert (requests.custom_ids, requests.lines) == (["good", "odd"], [1, 3])
    items = sent(requests, [0, 1])
    assert items[1].params == b'{"n": 12345678901234567890123, "text":"\\u00e9\xc3\xa9"}'
    assert [item.custom_id for item in sent(requests, [1])] == ["odd"]


def test_a_model_of_ones_own_replaces_every_request_s(tmp_path: Path) -> None:
    requests = check_file(write(tmp_path / "f.jsonl", GOOD, request_line("other", model="x")), "mine")
    assert [json.loads(item.params)["model"] for item in sent(requests, [0, 1])] == ["mine", "mine"]


def test_the_digest_differs_for_other_requests_and_another_model(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", GOOD)
    digests = {check_file(path).digest, check_file(path, "mine").digest, check_file(path).digest}
    assert len(digests) == 2
    assert check_file(write(path, GOOD, request_line("b"))).digest not in digests


@pytest.mark.parametrize(
    ("limits", "parts"),
    [
        pytest.param(BatchLimits(), [[0, 1, 2, 3, 4]], id="all fit into one batch"),
        pytest.param(BatchLimits(items=2), [[0, 1], [2, 3], [4]], id="too many requests"),
        pytest.param(
            BatchLimits(bytes=15 + 3 * (len(request_line("a")) + 1)), [[0, 1, 2], [3, 4]], id="too many bytes"
        ),
    ],
)
def test_parts_keep_within_the_limits_of_a_batch(
    requests_path: Path, limits: BatchLimits, parts: list[list[int]]
) -> None:
    requests = check_file(requests_path)
    assert requests.parts(range(5), limits) == parts
    assert all(requests.body_bytes(part) <= limits.bytes for part in parts)


@pytest.mark.parametrize("change", ["another id", "a line less", "a longer line"])
def test_a_file_that_changes_while_it_is_sent_is_noticed(requests_path: Path, change: str) -> None:
    requests = check_file(requests_path)
    text = requests_path.read_text()
    requests_path.write_text(
        {
            "another id": text.replace('"c"', '"x"'),
            "a line less": "".join(text.splitlines(keepends=True)[:4]),
            "a longer line": text.replace('"c"', '"c" '),
        }[change]
    )
    with pytest.raises(CommandError, match="has changed"):
        list(requests.body(range(5)))
