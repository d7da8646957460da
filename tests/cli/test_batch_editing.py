"""`dragoman batch run` of a file that was edited after a run, read from elsewhere than a file, or judged beforehand."""

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.console import Exit
from tests.cli.conftest import dragoman, request_line
from tests.cli.fake_batches import FakeBatches, errored, refusal
from tests.e2e.conftest import KEY, Live

FAILED = errored("invalid_request_error", "max_tokens: Field required")


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


async def run(fake: FakeBatches, path: Path | str, *more: str) -> Any:
    return await dragoman("batch", "run", path, "--url", fake.url, *more)


async def test_after_an_edit_only_what_has_not_succeeded_is_sent(fake: FakeBatches, tmp_path: Path) -> None:
    lines = [request_line(f"q-{number}") for number in range(2000)]
    bad = (7, 700, 1999)
    fake.fates.append({f"q-{number}": FAILED for number in bad})
    path = write(tmp_path / "f.jsonl", *lines)
    ran = await run(fake, path)
    assert ran.status == Exit.FAILED
    assert "line 8 (q-7, invalid_request_error), line 701 (q-700, invalid_request_error)" in ran.err
    for number in bad:
        lines[number] = request_line(f"q-{number}", max_tokens=9)
    ran = await run(fake, write(path, *lines))
    assert (ran.status, [len(batch) for batch in fake.created]) == (0, [2000, 3])
    assert fake.ids(1) == [f"q-{number}" for number in bad]
    results = [json.loads(line) for line in (tmp_path / "f.results.jsonl").read_text().splitlines()]
    assert [line["custom_id"] for line in results] == [f"q-{number}" for number in range(2000)]
    assert {line["result"]["type"] for line in results} == {"succeeded"}
    assert (await run(fake, path)).status == 0
    assert len(fake.created) == 2


async def test_an_edited_file_may_have_new_lines_and_another_order(fake: FakeBatches, tmp_path: Path) -> None:
    fake.fates.append({"b": FAILED})
    path = write(tmp_path / "f.jsonl", *map(request_line, "abc"))
    await run(fake, path)
    ran = await run(fake, write(path, *map(request_line, "cdba")))
    assert (ran.status, fake.ids(1)) == (0, ["d", "b"])


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([request_line("a", max_tokens=9), request_line("b")], "has changed in line 1: a succeeded as it was before"),
        ([request_line("b")], "has changed: a, which succeeded, was removed"),
    ],
    ids=["changed", "gone"],
)
async def test_a_request_that_succeeded_may_not_change(
    fake: FakeBatches, tmp_path: Path, lines: list[str], problem: str
) -> None:
    fake.fates.append({"b": FAILED})
    path = write(tmp_path / "f.jsonl", *map(request_line, "ab"))
    await run(fake, path)
    ran = await run(fake, write(path, *lines))
    assert (ran.status, len(fake.created)) == (Exit.USAGE, 1)
    assert problem in ran.err


async def test_an_edit_while_a_batch_runs_waits_for_it_first(fake: FakeBatches, tmp_path: Path) -> None:
    fake.fates.append({"b": FAILED})
    path = write(tmp_path / "f.jsonl", *map(request_line, "ab"))
    await run(fake, path)
    state = tmp_path / "f.results.jsonl.run.json"
    state.write_text(state.read_text().replace('"collected": true', '"collected": false'))
    ran = await run(fake, write(path, request_line("a"), request_line("b", max_tokens=9)))
    assert (ran.status, [len(batch) for batch in fake.created]) == (0, [2, 1])


async def test_the_end_and_the_status_have_tokens_times_and_file(fake: FakeBatches, tmp_path: Path) -> None:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 5}
    done = {"type": "succeeded", "message": {"usage": usage}}
    fake.fates.extend([{"a": done, "b": done}] * 2)
    path = write(tmp_path / "f.jsonl", *map(request_line, "ab"))
    ran = await run(fake, path, "--json")
    end = ran.lines[-1]
    assert (end["input_tokens"], end["output_tokens"], end["cost_usd"], end["failed"]) == (20, 10, None, [])
    assert end["begun"].endswith("Z")
    assert end["seconds"] >= 0
    assert "20 tokens in, 10 out, started " in (await run(fake, path)).err
    [shown] = (await dragoman("batch", "status", "msgbatch_0", "--url", fake.url, "--json")).lines
    assert shown["file"] == str(path)
    assert f"from {path}" in (await dragoman("batch", "status", "--url", fake.url)).err


async def test_an_empty_list_says_so(fake: FakeBatches) -> None:
    ran = await dragoman("batch", "status", "--url", fake.url)
    assert (ran.status, ran.out) == (0, "")
    assert "no batches of this key" in ran.err


async def test_a_pipe_is_read_once_and_its_results_need_a_name(fake: FakeBatches, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for options, status in ((["--output", str(tmp_path / "out.jsonl")], Exit.DONE), ([], Exit.USAGE)):
        writing = asyncio.create_task(asyncio.to_thread(path.write_text, request_line("a") + "\n"))
        ran = await run(fake, path, *options)
        await writing
        assert ran.status == status
    assert fake.ids(0) == ["a"]
    assert "give --output FILE" in ran.err


ODD_FILES: dict[str, tuple[bytes, str]] = {
    "an array": (b'[{"custom_id": "a", "params": {}}]', "is a JSON array; here each line is one request"),
    "gzip": (gzip.compress(b"{}"), "is compressed with gzip"),
    "one request on several lines": (b'{\n  "custom_id": "a"\n}\n', "has a request on several lines"),
    "nothing": (b"", "holds no requests"),
    "no text": (b"\xff\xfe\x00", "not valid JSON"),
}


@pytest.mark.parametrize("name", ODD_FILES)
async def test_a_file_of_another_form_gets_a_helpful_line(fake: FakeBatches, tmp_path: Path, name: str) -> None:
    content, problem = ODD_FILES[name]
    path = tmp_path / "f.jsonl"
    path.write_bytes(content)
    ran = await run(fake, path)
    assert (ran.status, fake.created) == (Exit.USAGE, [])
    assert problem in ran.err
    assert "  → " in ran.err


@pytest.mark.parametrize("path", [".", "/", "..", "/dev/null", "nothing/here.jsonl", "", "a\0b"])
@pytest.mark.parametrize("command", ["run", "submit"])
async def test_no_path_ends_in_a_traceback(fake: FakeBatches, command: str, path: str) -> None:
    ran = await dragoman("batch", command, path, "--url", fake.url)
    assert (ran.status, fake.created) == (Exit.USAGE, [])
    assert "Traceback" not in ran.all


async def test_a_byte_order_mark_is_no_part_of_the_first_line(fake: FakeBatches, tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + request_line("a").encode())
    assert (await run(fake, path)).status == 0


async def test_an_outage_is_one_line_with_since_and_until(fake: FakeBatches, tmp_path: Path) -> None:
    fake.trouble.extend([("GET /v1/messages/batches/msgbatch_0", refusal(529, "overloaded_error", "full"))] * 3)
    ran = await run(fake, write(tmp_path / "f.jsonl", request_line("a")))
    assert ran.status == 0
    lines = [line for line in ran.err.splitlines() if "trying again until" in line]
    assert len(lines) == 1
    assert "; since " in lines[0]
    assert "the gateway answers again, after " in ran.err


BAD_PARAMS = {
    "no max_tokens": {"max_tokens": None},
    "stream": {"stream": True},
    "an unknown model": {"model": "no/such-model"},
    "no messages": {"messages": []},
    "a bad schema": {"tools": [{"name": "t", "input_schema": {"type": "array"}}]},
    "a bad output schema": {"output_config": {"format": {"type": "json_schema", "schema": "x"}}},
}


async def test_a_dry_run_judges_each_request_as_a_worker_would(whole: Live, tmp_path: Path) -> None:
    lines = [request_line("good")]
    for number, changes in enumerate(BAD_PARAMS.values()):
        line = json.loads(request_line(f"bad-{number}"))
        line["params"] = {name: value for name, value in {**line["params"], **changes}.items() if value is not None}
        lines.append(json.dumps(line))
    path = write(tmp_path / "f.jsonl", *lines)
    ran = await dragoman("batch", "run", path, "--dry-run", "--url", whole.url, ANTHROPIC_API_KEY=KEY)
    assert ran.status == Exit.USAGE
    for number, name in enumerate(BAD_PARAMS):
        assert f"would be refused: {path}:{number + 2}: " in ran.out, name
    assert f"{path}:1:" not in ran.out


async def test_a_dry_run_names_an_unknown_model_once_and_all_other_problems(whole: Live, tmp_path: Path) -> None:
    unknown = [json.loads(request_line(f"unknown-{number}")) for number in range(30)]
    for line in unknown:
        line["params"]["model"] = "no/such-model"
    del unknown[20]["params"]["max_tokens"]
    path = write(tmp_path / "f.jsonl", *map(json.dumps, unknown))
    ran = await dragoman("batch", "run", path, "--dry-run", "--url", whole.url, ANTHROPIC_API_KEY=KEY)
    assert ran.status == Exit.USAGE
    assert [line for line in ran.out.splitlines() if "would be refused" in line or "more" in line] == [
        f"would be refused: {path}:1: model: the gateway's list of models has no no/such-model (30 requests)",
        f"would be refused: {path}:21: max_tokens: Field required (unknown-20)",
    ]


async def test_a_dry_run_of_sound_requests_succeeds(whole: Live, tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", request_line("good"))
    assert (await dragoman("batch", "run", path, "--dry-run", "--url", whole.url, ANTHROPIC_API_KEY=KEY)).status == 0


async def test_a_report_after_the_end_keeps_the_time_that_the_run_took(fake: FakeBatches, tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", request_line("a"))
    await run(fake, path)
    state = tmp_path / "f.results.jsonl.run.json"
    value = json.loads(state.read_text())
    state.write_text(json.dumps(value | {"begun": value["begun"] - 7200, "ended": value["ended"] - 7190}))
    end = (await run(fake, path, "--json")).lines[-1]
    assert 10 <= end["seconds"] < 100
