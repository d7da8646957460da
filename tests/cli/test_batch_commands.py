"""`dragoman batch` against the real gateway and a real worker, and every way to get a command wrong."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.cli.api import connected, to_base
from gateway.cli.batch.calls import create
from gateway.cli.batch.requests_file import check_file
from gateway.cli.console import CommandError, Exit
from tests.cli.conftest import Ran, dragoman, request_line
from tests.cli.fake_batches import FakeBatches, errored
from tests.e2e.conftest import KEY, Live


async def at(live: Live, *arguments: str | Path, key: str = KEY) -> Ran:
    return await dragoman("batch", *arguments, "--url", live.url, ANTHROPIC_API_KEY=key)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


async def test_a_batch_is_sent_watched_fetched_and_canceled(whole: Live, requests_path: Path) -> None:
    sent = await at(whole, "submit", requests_path)
    batch_id = sent.out.strip()
    fetched = await at(whole, "results", batch_id, "--wait")
    results = [json.loads(line) for line in fetched.out.splitlines()]
    assert [line["custom_id"] for line in results] == list("abcde")
    assert {line["result"]["type"] for line in results} == {"succeeded"}
    assert (await at(whole, "status", batch_id)).out == f"{batch_id}: ended, 5 succeeded\n"
    assert (await at(whole, "status", "--json")).lines[0]["id"] == batch_id
    assert batch_id in (await at(whole, "status", requests_path)).out
    assert (await at(whole, "cancel", batch_id, "--json")).lines[0]["processing_status"] == "ended"
    output = requests_path.with_name("out.jsonl")
    assert (await at(whole, "results", batch_id, "--output", output, "--json")).lines[0]["output"] == str(output)
    assert output.read_text() == fetched.out


async def test_a_run_ends_with_every_result_and_shows_its_progress(whole: Live, tmp_path: Path) -> None:
    lines = [request_line(f"q-{number}") for number in range(300)]
    ran = await at(whole, "run", write(tmp_path / "many.jsonl", *lines), "--json")
    assert (ran.status, ran.lines[-1]["kinds"]) == (0, {"succeeded": 300})
    done = [line["done"] for line in ran.lines if line["event"] == "progress" and line["label"] == "requests"]
    assert done == sorted(done)
    assert done[-1] == 300


async def test_the_reason_of_a_refusal_is_shown(whole: Live, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.jsonl", request_line("good"), '{"custom_id": "bad", "params": {"model": "big"}}')
    ran = await at(whole, "run", path)
    assert (ran.status, ran.out) == (1, f"1 succeeded, 1 errored → {tmp_path}/bad.results.jsonl\n")
    assert "1 × invalid_request_error, such as: " in ran.err


async def test_a_batch_in_progress_shows_how_much_is_done(whole: Live, tmp_path: Path) -> None:
    lines = [request_line("a"), request_line("b"), request_line("never", model="sim/silent")]
    batch_id = (await at(whole, "submit", write(tmp_path / "f.jsonl", *lines))).out.strip()
    async with asyncio.timeout(20):
        while "2 done" not in (shown := (await at(whole, "status", batch_id)).out):
            assert shown.startswith(f"{batch_id}: in_progress, 3 processing")
    assert shown == f"{batch_id}: in_progress, 3 processing (2 done)\n"


async def test_a_file_that_changes_while_it_is_sent_is_reported_and_not_sent_again(
    fake: FakeBatches, requests_path: Path
) -> None:
    requests = check_file(requests_path)
    write(requests_path, request_line("z"))
    async with connected(fake.url) as api:
        with pytest.raises(CommandError, match="has changed"):
            await create(api, requests, range(5), "key")
    assert fake.created == []


async def test_a_model_of_ones_own_is_asked(whole: Live, requests_path: Path) -> None:
    assert (await at(whole, "run", requests_path, "--model", "sim/text-7")).status == 0
    assert {record.json["model"] for record in whole.simulator.requests()} == {"sim/text-7"}


async def test_a_dry_run_reports_tokens_and_cost_and_sends_nothing(whole: Live, tmp_path: Path) -> None:
    lines = [request_line(f"q-{number}", max_tokens=100) for number in range(1000)]
    other = request_line("other", model="no-price")
    path = write(tmp_path / "f.jsonl", *lines, other, '{"custom_id": "bad", "params": {"model": "sim/echo"}}')
    ran = await at(whole, "run", path, "--dry-run", "--json")
    told = ran.lines[-1]
    assert (told["requests"], told["batches"], told["error"]) == (1002, 1, 0.25)
    assert told["counted"] < 110
    [echo, unknown] = told["models"]
    assert echo["model"] == "sim/echo"
    assert echo["most_output_tokens"] == 100_000
    assert echo["input_tokens"] == pytest.approx(1001 * 8, rel=0.5)
    assert echo["cost_usd"]["most"] > echo["cost_usd"]["input"] > 0
    assert (unknown["cost_usd"], told["cost_usd"]) == (None, None)
    assert (await at(whole, "status", "--json")).out == ""
    for command in ("run", "submit"):
        text = (await at(whole, command, path, "--dry-run")).out
        assert "price unknown" in text
        assert "nothing was sent" in text
    assert list(tmp_path.iterdir()) == [path]  # noqa: ASYNC240


async def test_a_dry_run_names_the_lines_that_would_be_refused(whole: Live, tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", request_line("a"), '{"custom_id": "bad", "params": {"model": "sim/echo"}}')
    assert f"would be refused: {path}:2: messages: Field required" in (await at(whole, "run", path, "--dry-run")).out


@pytest.mark.parametrize("command", [("status",), ("status", "msgbatch_x"), ("results", "msgbatch_x")])
async def test_a_wrong_key_is_reported_with_what_to_do(whole: Live, command: tuple[str, ...]) -> None:
    ran = await at(whole, *command, key="wrong")
    assert (ran.status, ran.out) == (Exit.UNAVAILABLE, "")
    assert "invalid x-api-key (401 authentication_error)" in ran.err
    assert "ANTHROPIC_API_KEY" in ran.err


async def test_a_token_is_sent_as_one(whole: Live) -> None:
    ran = await dragoman("batch", "status", "--url", whole.url, ANTHROPIC_AUTH_TOKEN=KEY)
    assert ran.status == 0


async def test_an_unknown_batch_is_reported(whole: Live) -> None:
    ran = await at(whole, "status", "msgbatch_x")
    assert ran.err.startswith("dragoman: There is no message batch with this id in this workspace (404")
    assert "`dragoman batch status` lists" in ran.err


async def test_results_are_found_by_the_file_unless_it_was_sent_twice(whole: Live, requests_path: Path) -> None:
    early = await at(whole, "results", requests_path)
    assert (early.status, "no batch was sent from" in early.err) == (Exit.USAGE, True)
    batch_id = (await at(whole, "submit", requests_path)).out.strip()
    assert len((await at(whole, "results", requests_path, "--wait")).out.splitlines()) == 5
    other = (await at(whole, "submit", requests_path)).out.strip()
    assert f"choose one: {batch_id}, {other}" in (await at(whole, "results", requests_path)).err


async def test_the_admin_listener_is_no_gateway(whole: Live) -> None:
    ran = await dragoman("batch", "status", "--url", whole.admin_url)
    assert "is this the gateway's client address" in ran.err


@pytest.mark.parametrize(
    ("url", "status", "problem"),
    [
        pytest.param("http://127.0.0.1:1", 3, "nothing answers at http://127.0.0.1:1: Connection refused", id="nobody"),
        pytest.param("http://no-such-host.invalid", 3, "there is no host 'no-such-host.invalid'", id="no such host"),
        pytest.param("127.0.0.1:8080", 2, "is not an address", id="no scheme"),
        pytest.param("ftp://x", 2, "is not an address", id="another scheme"),
    ],
)
async def test_a_wrong_address_is_reported_at_once(requests_path: Path, url: str, status: int, problem: str) -> None:
    ran = await dragoman("batch", "run", requests_path, "--url", url)
    assert (ran.status, problem in ran.err) == (status, True)
    said = await dragoman("batch", "run", requests_path, "--url", url, "--json")
    assert said.lines[-1]["event"] == "error"
    assert problem in said.lines[-1]["message"]


@pytest.mark.parametrize("url", ["http://x:1", "http://x:1/", "http://x:1/v1", "http://x:1/v1/", " http://x:1 "])
def test_the_address_may_be_written_in_many_ways(url: str) -> None:
    assert to_base(url) == "http://x:1"


def test_an_address_without_a_host_is_refused() -> None:
    with pytest.raises(CommandError, match="is not an address"):
        to_base("http://")


async def test_a_foreign_server_is_recognised(fake: FakeBatches) -> None:
    ran = await dragoman("batch", "cancel", "msgbatch_0", "--url", fake.url)
    assert (ran.status, "404" in ran.err) == (Exit.UNAVAILABLE, True)


async def test_progress_of_another_server_comes_from_its_counts(fake: FakeBatches, requests_path: Path) -> None:
    fake.fates.append({"a": errored("invalid_request_error")})
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url, "--json")
    progress = [line for line in ran.lines if line["event"] == "progress"]
    assert progress[-1] == {"event": "progress", "label": "requests", "done": 5, "total": 5}


def heed_ctrl_c() -> None:
    """A shell has what it runs in the background ignore it, with all that this runs in turn, these tests included."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def test_ctrl_c_keeps_the_batch_and_says_how_to_go_on(whole: Live, tmp_path: Path) -> None:
    path = write(tmp_path / "slow.jsonl", *[request_line(f"q-{n}", model="sim/stream-2-d400") for n in range(3)])
    command = (sys.executable, "-m", "gateway", "batch", "run", str(path), "--json")
    environment = {**os.environ, "ANTHROPIC_BASE_URL": whole.url, "ANTHROPIC_API_KEY": KEY}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, preexec_fn=heed_ctrl_c
    )
    assert process.stdout is not None
    while b'"created"' not in await process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    rest = await process.stdout.read()
    last = json.loads(rest.splitlines()[-1])
    assert (await process.wait(), last["event"], last["message"]) == (Exit.INTERRUPTED, "error", "interrupted")
    assert "run the same command to carry on" in last["hint"]
    ran = await at(whole, "run", path)
    assert (ran.status, ran.out) == (0, f"3 succeeded → {tmp_path}/slow.results.jsonl\n")
    assert len((await at(whole, "status", "--json")).lines) == 1
