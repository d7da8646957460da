"""`dragoman batch run` against a server with scripted fates: what is sent again, and how a stopped run goes on."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.batch.run_state import RunState, SentBatch, to_ranges
from gateway.cli.console import Exit
from tests.cli.conftest import dragoman, request_line
from tests.cli.fake_batches import FakeBatches, errored, hang_up, refusal

POST = "POST /v1/messages/batches"


def remembered(requests_path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(state_of(requests_path).read_text())
    return state


def state_of(requests_path: Path) -> Path:
    return requests_path.with_name("prompts.results.jsonl.run.json")


def write(path: Path, text: str) -> None:
    path.write_text(text)


def make_private(path: Path) -> None:
    path.chmod(0o600)


def output_of(requests_path: Path) -> Path:
    return requests_path.with_name("prompts.results.jsonl")


def kinds(requests_path: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in output_of(requests_path).read_text().splitlines()]
    return {line["custom_id"]: line["result"]["type"] for line in lines}


@pytest.mark.covers("Batches · from the command line, resumable")
async def test_every_request_is_sent_once_and_its_result_kept(fake: FakeBatches, requests_path: Path) -> None:
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url, ANTHROPIC_API_KEY="k")
    assert (ran.status, ran.out) == (0, f"5 succeeded → {output_of(requests_path)}\n")
    assert kinds(requests_path) == dict.fromkeys("abcde", "succeeded")
    assert [fake.ids(0)] == [list("abcde")]
    assert fake.headers[0]["x-api-key"] == "k"
    assert int(fake.headers[0]["content-length"]) > 0  # so that a proxy can refuse it before it is sent
    assert sorted(path.name for path in requests_path.parent.iterdir()) == [
        "prompts.jsonl",
        "prompts.results.jsonl",
        "prompts.results.jsonl.run.json",
    ]


async def test_results_and_state_have_the_permissions_of_the_requests(fake: FakeBatches, requests_path: Path) -> None:
    make_private(requests_path)
    assert (await dragoman("batch", "run", requests_path, "--url", fake.url)).status == 0
    for path in (output_of(requests_path), state_of(requests_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_password_in_the_address_is_sent_and_never_written_down_or_shown(
    fake: FakeBatches, requests_path: Path
) -> None:
    url = fake.url.replace("//", "//user:hunter%402@")
    ran = await dragoman("batch", "run", requests_path, "--url", url, ANTHROPIC_API_KEY="k")
    assert ran.status == 0
    assert fake.headers[0]["authorization"] == "Basic dXNlcjpodW50ZXJAMg=="  # user:hunter@2
    assert remembered(requests_path)["url"] == fake.url
    assert "hunter" not in ran.all
    assert (await dragoman("batch", "run", requests_path, "--url", fake.url)).status == 0
    assert len(fake.created) == 1


async def test_a_password_in_the_address_is_not_shown_where_nothing_answers(requests_path: Path) -> None:
    ran = await dragoman("batch", "run", requests_path, "--url", "http://user:hunter2@127.0.0.1:1")
    assert ran.status == Exit.UNAVAILABLE
    assert "hunter" not in ran.all
    assert "hunter" not in (await dragoman("batch", "run", requests_path, "--url", "ftp://user:hunter2@x")).all


async def test_run_again_after_the_end_sends_nothing(fake: FakeBatches, requests_path: Path) -> None:
    for _ in range(2):
        assert (await dragoman("batch", "run", requests_path, "--url", fake.url)).status == 0
    assert len(fake.created) == 1


async def test_only_what_may_pass_is_sent_again(fake: FakeBatches, requests_path: Path) -> None:
    wrong = errored("invalid_request_error", "messages: Field required")
    fake.fates.append({"a": errored("overloaded_error"), "b": wrong, "c": {"type": "expired"}})
    fake.fates.append({"c": errored("api_error")})
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert [fake.ids(number) for number in range(3)] == [list("abcde"), ["a", "c"], ["c"]]
    assert kinds(requests_path) == {**dict.fromkeys("abcde", "succeeded"), "b": "errored"}
    assert ran.status == Exit.FAILED
    assert "1 × invalid_request_error, such as: messages: Field required" in ran.err
    assert "--retry-failed" in ran.err


@pytest.mark.parametrize(("attempts", "sent"), [(1, 1), (2, 2), (3, 3)])
async def test_attempts_bound_how_often_a_request_is_sent(
    fake: FakeBatches, requests_path: Path, attempts: int, sent: int
) -> None:
    fake.fates.extend([{"a": errored("api_error")}] * 5)
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url, "--attempts", str(attempts))
    assert len(fake.created) == sent
    assert ran.status == Exit.FAILED
    again = await dragoman("batch", "run", requests_path, "--url", fake.url, "--attempts", str(attempts))
    assert (again.status, len(fake.created)) == (Exit.FAILED, sent)


async def test_retry_failed_sends_everything_that_has_not_succeeded(fake: FakeBatches, requests_path: Path) -> None:
    fake.fates.append({"a": errored("billing_error"), "b": {"type": "canceled"}})
    assert (await dragoman("batch", "run", requests_path, "--url", fake.url)).status == Exit.FAILED
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url, "--retry-failed")
    assert (ran.status, fake.ids(1)) == (0, ["a", "b"])
    assert kinds(requests_path) == dict.fromkeys("abcde", "succeeded")


async def test_fresh_starts_over(fake: FakeBatches, requests_path: Path) -> None:
    for _ in range(2):
        await dragoman("batch", "run", requests_path, "--url", fake.url, "--fresh")
    assert [fake.ids(0), fake.ids(1)] == [list("abcde")] * 2


async def test_a_lost_answer_to_the_creation_makes_no_second_batch(fake: FakeBatches, requests_path: Path) -> None:
    fake.lose_answer = True
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert (ran.status, fake.count(POST), len(fake.created)) == (0, 2, 1)


async def test_a_run_stopped_while_sending_goes_on_with_the_same_key(fake: FakeBatches, requests_path: Path) -> None:
    fake.trouble.append((POST, refusal(403, "permission_error", "not now")))
    stopped = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert stopped.status == Exit.UNAVAILABLE
    assert "not now (403 permission_error)" in stopped.err
    batch = remembered(requests_path)["rounds"][0][0]
    assert batch["id"] == ""
    assert (await dragoman("batch", "run", requests_path, "--url", fake.url)).status == 0
    assert list(fake.by_key) == [batch["idempotency_key"]]


async def test_a_run_stopped_while_waiting_collects_the_batch_it_sent(fake: FakeBatches, requests_path: Path) -> None:
    fake.trouble.append(("GET /v1/messages/batches/", refusal(401, "authentication_error", "invalid x-api-key")))
    stopped = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert stopped.status == Exit.UNAVAILABLE
    assert "ANTHROPIC_API_KEY" in stopped.err
    assert (await dragoman("batch", "run", requests_path, "--url", fake.url)).status == 0
    assert (fake.count(POST), len(kinds(requests_path))) == (1, 5)


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param([hang_up, hang_up], id="a connection that breaks"),  # aiohttp tries once more by itself
        pytest.param([refusal(503, "api_error", "draining")], id="a gateway that drains"),
        pytest.param([refusal(429, "rate_limit_error", "slow down", **{"retry-after": "0.1"})], id="a limit"),
    ],
)
async def test_temporary_failure_is_waited_for(fake: FakeBatches, requests_path: Path, trouble: Any) -> None:
    fake.trouble.extend(("GET /v1/messages/batches/", one) for one in trouble)
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url, "--json")
    assert (ran.status, len(fake.trouble)) == (0, 0)
    assert [line["event"] for line in ran.lines].count("waiting") == 1


async def test_results_that_break_off_are_fetched_again(fake: FakeBatches, requests_path: Path) -> None:
    fake.cut_results = True
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert (ran.status, len(kinds(requests_path))) == (0, 5)
    assert fake.count("GET /v1/messages/batches/msgbatch_0/results") == 2


async def test_lost_results_are_fetched_again_and_not_sent_again(fake: FakeBatches, requests_path: Path) -> None:
    fake.fates.append({"a": errored("api_error")})
    await dragoman("batch", "run", requests_path, "--url", fake.url)
    output_of(requests_path).unlink()
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert (ran.status, len(fake.created)) == (0, 2)
    assert kinds(requests_path) == dict.fromkeys("abcde", "succeeded")  # the second batch's "a", not the first one's


async def test_a_refused_request_is_named_by_its_line(fake: FakeBatches, requests_path: Path) -> None:
    write(requests_path, "\n\n" + "\n".join(request_line(custom_id) for custom_id in "abcde"))
    fake.trouble.append((POST, refusal(400, "invalid_request_error", "requests.2.params: too deep")))
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert f"{requests_path}:5: requests.2.params: too deep" in ran.err


async def test_another_file_does_not_take_over_a_run(fake: FakeBatches, requests_path: Path) -> None:
    await dragoman("batch", "run", requests_path, "--url", fake.url)
    write(requests_path, request_line("z"))
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert (ran.status, len(fake.created)) == (Exit.USAGE, 1)
    assert "has changed" in ran.err


async def test_a_foreign_file_in_the_way_is_left_alone(fake: FakeBatches, requests_path: Path) -> None:
    output_of(requests_path).write_text("mine")
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert (ran.status, output_of(requests_path).read_text()) == (Exit.USAGE, "mine")
    assert "is there already" in ran.err
    assert fake.created == []


async def test_a_run_goes_on_where_it_began_and_nowhere_else(fake: FakeBatches, requests_path: Path) -> None:
    await dragoman("batch", "run", requests_path, "--url", fake.url)
    other = fake.url.replace("127.0.0.1", "localhost")
    ran = await dragoman("batch", "run", requests_path, "--url", other)
    assert (ran.status, f"this run was started at {fake.url}" in ran.err) == (Exit.USAGE, True)


async def test_a_batch_that_is_gone_is_explained(fake: FakeBatches, requests_path: Path) -> None:
    await dragoman("batch", "run", requests_path, "--url", fake.url)
    output_of(requests_path).unlink()
    fake.created.clear()
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert (ran.status, "does not know a batch of this run" in ran.err) == (Exit.UNAVAILABLE, True)


async def test_json_reports_every_step(fake: FakeBatches, requests_path: Path) -> None:
    fake.fates.append({"a": {"type": "expired"}})
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url, "--json")
    steps = [line for line in ran.lines if line["event"] != "progress"]
    assert [step["event"] for step in steps] == ["created", "ended", "resubmitting", "created", "ended", "finished"]
    assert steps[2] == {"event": "resubmitting", "attempt": 2, "requests": 1}
    assert steps[-1]["kinds"] == {"succeeded": 5}
    assert ran.err == ""


def test_a_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    state = RunState(tmp_path / "s", "http://x", "d")
    state.begin_round([[0, 1, 2, 5], [6]])
    state.rounds[0][1].collected = True
    state.save()
    assert RunState.load(state.path) == state
    assert state.open_batches == [SentBatch(state.rounds[0][0].idempotency_key, [[0, 2], [5, 5]])]
    assert state.open_batches[0].places == [0, 1, 2, 5]


@pytest.mark.parametrize(
    ("places", "ranges"),
    [([], []), ([0], [[0, 0]]), ([3, 4, 5], [[3, 5]]), ([0, 2, 3, 9], [[0, 0], [2, 3], [9, 9]])],
)
def test_ranges_hold_their_places(places: list[int], ranges: list[list[int]]) -> None:
    assert to_ranges(places) == ranges


async def test_a_broken_state_is_reported_and_not_overwritten(fake: FakeBatches, requests_path: Path) -> None:
    write(state_of(requests_path), '{"version": 99}')
    ran = await dragoman("batch", "run", requests_path, "--url", fake.url)
    assert (ran.status, "--fresh" in ran.err, fake.created) == (Exit.USAGE, True, [])


async def test_an_interrupted_retry_of_what_failed_is_finished_and_not_begun_again(
    fake: FakeBatches, requests_path: Path
) -> None:
    wrong = {"a": errored("invalid_request_error")}
    fake.fates.extend([wrong, wrong, wrong])
    await dragoman("batch", "run", requests_path, "--url", fake.url)
    fake.trouble.append(("GET /v1/messages/batches/", refusal(403, "permission_error", "not now")))
    for status in (Exit.UNAVAILABLE, Exit.FAILED):
        ran = await dragoman("batch", "run", requests_path, "--url", fake.url, "--retry-failed")
        assert (ran.status, len(fake.created)) == (status, 2)
