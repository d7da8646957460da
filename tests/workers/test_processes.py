"""`python -m workers` as an operator runs it: several at once, killed, stopped, cut off from Redis or the upstream."""

import asyncio
import signal
import sys
from dataclasses import replace

import aiohttp
import pytest

from gateway.simulator.script import Hold, Script, json_script
from tests.support.waiting import until
from tests.workers.conftest import Bench, WorkerProcess, item, said, text_of
from workers.__main__ import main

SLOW = "sim/stream-4-d25"  # answers in a tenth of a second
SHORT_LEASE = {"GATEWAY_WORKER_LEASE_SECONDS": "1.5"}


async def leases(bench: Bench) -> int:
    """Return the number of leases of all batches."""
    names = [name async for name in bench.redis.scan_iter("*:lease")]
    return sum([await bench.redis.zcard(name) for name in names])


async def test_two_workers_drain_a_batch_and_call_for_each_item_once(bench: Bench) -> None:
    batch = await bench.create([item(number) for number in range(200)])
    async with bench.worker(GATEWAY_WORKER_SLOTS="8") as one, bench.worker(GATEWAY_WORKER_SLOTS="8") as other:
        record = await bench.ended(batch)
        assert (record.succeeded, record.errored) == (200, 0)
        results = await bench.results(batch)
        assert all(said(number) in text_of(results[f"item-{number}"]) for number in range(200))
        assert len(bench.simulator.requests()) == 200
        assert [await one.stop(), await other.stop()] == [0, 0]
    assert one.lines[-1]["event"] == "worker_stopped"
    lines = [line for worker in (one, other) for line in worker.events("exchange_finished")]
    assert {(line["batch"], line["item"]) for line in lines} == {(batch.id, number) for number in range(200)}
    assert all(line["tenant"] == "acme" for line in lines)


@pytest.mark.covers("Batches · a killed worker's items are recorded once")
async def test_what_a_killed_worker_held_is_done_by_another_and_recorded_once(bench: Bench) -> None:
    batch = await bench.create([item(number, model=SLOW) for number in range(60)])
    slots = {"GATEWAY_WORKER_SLOTS": "8", **SHORT_LEASE}
    async with bench.worker(**slots) as killed, bench.worker(**slots):
        await bench.recorded(batch, 10)
        killed.process.kill()
        record = await bench.ended(batch)
    assert (record.succeeded, record.errored) == (60, 0)
    await bench.results(batch)
    assert 60 <= len(bench.simulator.requests()) <= 68
    assert await leases(bench) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_worker_leaves_no_lease_and_another_one_goes_on_at_once(
    bench: Bench, number: signal.Signals
) -> None:
    bench.simulator.script(*[Script((Hold(),))] * 4)
    batch = await bench.create([item(number) for number in range(20)])
    async with bench.worker(GATEWAY_WORKER_SLOTS="4", GATEWAY_DRAIN_SECONDS="0.2") as worker:
        await bench.simulator.received(4)
        assert await worker.stop(number) == 0
    assert await leases(bench) == 0
    async with bench.worker():
        record = await bench.ended(batch)
    assert record.succeeded == 20
    assert len(bench.simulator.requests()) == 24


async def until_draining(worker: WorkerProcess) -> None:
    await until(lambda: bool(worker.events("worker_stopping")))


async def test_while_it_drains_a_worker_is_alive_and_not_ready(bench: Bench) -> None:
    release = asyncio.Event()
    bench.simulator.script(Script((Hold(release),)))
    await bench.create([item(0)])
    async with bench.worker() as worker, aiohttp.ClientSession() as session:
        await bench.simulator.received(1)

        async def status(path: str) -> int:
            async with session.get(worker.admin_url + path) as answer:
                return answer.status

        assert [await status("/livez"), await status("/readyz"), await status("/nothing")] == [200, 200, 404]
        async with session.get(f"{worker.admin_url}/metrics") as answer:
            text = await answer.text()
        assert "gateway_batch_items_in_flight 1.0" in text
        worker.process.send_signal(signal.SIGTERM)
        await until_draining(worker)
        assert [await status("/livez"), await status("/readyz")] == [200, 503]
        release.set()
        assert await worker.process.wait() == 0


async def test_logs_and_metrics_hold_no_prompt_or_secret_and_custom_ids_are_in_log_lines_only(
    bench: Bench,
) -> None:
    asked = {"role": "user", "content": "prompt-canary"}
    items = [item(0, messages=[asked]), item(1, messages=[asked], max_tokens="canary"), item(2, model="sim/error-400")]
    batch = await bench.create([replace(one, custom_id=f"canary-{one.custom_id}") for one in items])
    async with bench.worker() as worker, aiohttp.ClientSession() as session:
        await bench.ended(batch)
        async with session.get(f"{worker.admin_url}/metrics") as answer:
            told = [await answer.text()]
        assert await worker.stop() == 0
    told += [str({name: line[name] for name in line if name != "custom_id"}) for line in worker.lines]
    told += [name.decode() async for name in bench.redis.scan_iter("*")]
    assert any(batch.id in one for one in told)
    assert [one for one in told if "canary" in one] == []


async def test_a_result_does_not_repeat_the_secrets_that_an_upstream_has_repeated(bench: Bench) -> None:
    words = "sk-upstream-canary and secret-canary are wrong, see https://docs.example.org/keys"
    bench.simulator.script(json_script({"error": {"message": words}}, status=400))
    batch = await bench.create([item(0)])
    async with bench.worker() as worker:
        await bench.ended(batch)
        assert await worker.stop() == 0
    [result] = (await bench.results(batch)).values()
    message = result["error"]["error"]["message"]
    assert message == "[removed] and [removed] are wrong, see https://docs.example.org/keys"
    assert "canary" not in str(worker.lines)


async def test_a_child_ends_with_its_parent(bench: Bench) -> None:
    async with bench.worker("--child") as worker:
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert await asyncio.wait_for(worker.process.wait(), 10) == 0


REFUSED = {
    "no Redis": ({"GATEWAY_REDIS_URL": ""}, "GATEWAY_REDIS_URL: a worker takes its batches from Redis"),
    "no upstream": ({"GATEWAY_UPSTREAM_URL": ""}, "no upstream is configured; set it, or GATEWAY_UPSTREAM_URL"),
    "a wrong value": ({"GATEWAY_WORKER_SLOTS": "many"}, "GATEWAY_WORKER_SLOTS: expected a whole number"),
}
FIT = {"GATEWAY_REDIS_URL": "unix:///nowhere.sock", "GATEWAY_UPSTREAM_URL": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(("variables", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_worker_cannot_start_without_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["workers"])
    for name, value in (FIT | variables).items():
        if value:
            monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert message in capsys.readouterr().err


def test_a_worker_takes_no_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["workers", "--slots", "5"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "GATEWAY_" in capsys.readouterr().err
