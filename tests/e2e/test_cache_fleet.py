"""The prompt cache over several front ends, and over a Redis that fails."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.redis.connections import CACHE_CONNECTIONS
from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import json_script
from gateway.telemetry.metrics import CACHE_ERRORS
from tests.e2e.caching import (
    body,
    caching,
    calls,
    completion,
    counted,
    held_json,
    held_stream,
    info,
    manage,
    post,
    stats,
)
from tests.e2e.conftest import front_end
from tests.e2e.raw import open_raw, read_until
from tests.support.waiting import until
from tests.workers.proxy import RedisProxy

numbers = count()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cache_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with EmbeddedServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def words() -> str:
    """Return the text of a prompt that is new to this server."""
    return f"prompt {next(numbers)}"


async def test_another_front_end_has_the_entry_too(simulator: Simulator, cache_url: str, words: str) -> None:
    async with caching(simulator, cache_url, 2) as (one, two):
        # The second reply shows that the entry is stored, which it is after the first one was sent.
        assert [(await post(live, words)).outcome for live in (one, one, two)] == ["miss", "hit", "hit"]
    assert calls(simulator) == 1


@pytest.mark.parametrize("streams", [False, True], ids=["as JSON", "as streams"])
@pytest.mark.covers("Prompt cache · equal requests make one call, over front ends")
async def test_500_equal_requests_over_four_front_ends_make_one_call(
    simulator: Simulator, cache_url: str, words: str, streams: bool
) -> None:
    gate = asyncio.Event()
    simulator.script(held_stream(gate) if streams else json_script(completion("word word ")))
    async with caching(simulator, cache_url, 4) as fronts, asyncio.TaskGroup() as group:
        tasks = [group.create_task(post(fronts[number % 4], words, stream=streams)) for number in range(500)]
        await simulator.received()
        gate.set()
    replies = [task.result() for task in tasks]
    assert calls(simulator) == 1
    assert {reply.said for reply in replies} == {"word word "}
    assert len({reply.message["id"] for reply in replies}) == 500
    assert Counter(reply.outcome for reply in replies)["miss"] == 1


async def test_500_equal_requests_over_four_processes_on_one_port_make_one_call(
    simulator: Simulator, cache_url: str, words: str
) -> None:
    gate = asyncio.Event()
    simulator.script(held_stream(gate))
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = str(reserved.getsockname()[1])
    variables = {"GATEWAY_REDIS_URL": cache_url, "GATEWAY_PORT": port, "GATEWAY_CACHE_BUDGET_SECONDS": "5"}
    async with front_end(simulator, "--processes", "4", **variables) as (live, _), asyncio.TaskGroup() as group:
        await simulator.received(4, on="GET /models")
        await until(lambda: all(record.finished.is_set() for record in simulator.records))
        tasks = [group.create_task(post(live, words, stream=True)) for _ in range(500)]
        await simulator.received()
        gate.set()
    replies = [task.result() for task in tasks]
    assert calls(simulator) == 1
    assert {(reply.status, reply.said) for reply in replies} == {(200, "word word ")}
    assert len({reply.message["id"] for reply in replies}) == 500


async def test_a_leader_that_is_killed_costs_one_more_call(simulator: Simulator, cache_url: str, words: str) -> None:
    variables = {"GATEWAY_CACHE_LOCK_SECONDS": "0.5", "GATEWAY_CACHE_BUDGET_SECONDS": "5"}
    variables["GATEWAY_REDIS_URL"] = cache_url
    simulator.script(held_stream(asyncio.Event()))
    async with (
        front_end(simulator, **variables) as (one, doomed),
        front_end(simulator, **variables) as (two, _),
        front_end(simulator, **variables) as (three, _),
        asyncio.TaskGroup() as group,
    ):
        for live in (one, two, three):
            await live.client().models.list()
        leader = asyncio.create_task(post(one, words, stream=True))
        await simulator.received()
        followers = [group.create_task(post(live, words, stream=n > 1)) for n in range(4) for live in (two, three)]
        doomed.process.send_signal(signal.SIGKILL)
        await asyncio.gather(leader, return_exceptions=True)
    replies = [task.result() for task in followers]
    assert calls(simulator) == 2
    assert len({reply.said for reply in replies}) == 1
    assert {reply.status for reply in replies} == {200}


async def test_an_answer_that_cannot_be_shared_lets_everybody_elsewhere_go_at_once(
    simulator: Simulator, cache_url: str, words: str
) -> None:
    gate = asyncio.Event()
    cut = completion("cut", finish_reason="length")
    simulator.script(held_json(gate, cut), json_script(cut), json_script(cut))
    async with caching(simulator, cache_url, 3) as fronts, asyncio.TaskGroup() as group:
        waits = counted("wait")
        tasks = [group.create_task(post(live, words)) for live in fronts]
        await until(lambda: counted("wait") == waits + 2)
        gate.set()
    assert {task.result().said for task in tasks} == {"cut"}
    assert calls(simulator) == 3


async def test_a_stream_that_waits_for_another_front_end_shows_life_and_then_the_whole_answer(
    simulator: Simulator, cache_url: str, words: str
) -> None:
    gate = asyncio.Event()
    simulator.script(held_stream(gate))
    async with caching(simulator, cache_url, 2, ping_seconds=0.05) as (one, two):
        leader = asyncio.create_task(post(one, words, stream=True))
        await simulator.received()
        reader, writer = await open_raw(two, body(words, stream=True), headers={"x-gateway-cache": "use"})
        seen = await read_until(reader, b"event: ping")
        gate.set()
        seen += await read_until(reader, b"message_stop\n") + await read_until(reader, b"0\r\n\r\n")
        writer.close()
        told = await leader
    assert b"x-gateway-cache: wait" in seen
    assert seen.count(b"event: message_start") == 1
    assert seen.count(b"event: message_stop") == 1
    assert told.message["id"].encode() not in seen
    assert b"word word " in seen
    assert calls(simulator) == 1


# Redis fails


@pytest.mark.parametrize("fault", ["killed", "frozen", "cut off"])
@pytest.mark.covers("Prompt cache · serves without Redis")
async def test_requests_are_answered_through_every_redis_fault(
    simulator: Simulator, tmp_path_factory: pytest.TempPathFactory, words: str, fault: str
) -> None:
    async with (
        EmbeddedServer(tmp_path_factory.mktemp("redis"), watch_seconds=60) as server,
        RedisProxy(server.url + "?db=0") as proxy,
        caching(simulator, proxy.url, threads="off", cache_budget_seconds=0.05) as (live,),
    ):
        assert [(await post(live, words)).outcome for _ in range(2)] == ["miss", "hit"]
        pid = (await info(server.url))["process_id"]
        before = calls(simulator)
        try:
            if fault == "cut off":
                await proxy.cut()
            else:
                os.kill(pid, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
            replies = [await post(live, f"{words} {number}", stream=number % 2 == 1) for number in range(12)]
            together = await asyncio.gather(*(post(live, words + " together") for _ in range(20)))
        finally:
            if fault == "frozen":
                os.kill(pid, signal.SIGCONT)
        assert {reply.status for reply in (*replies, *together)} == {200}
        assert {reply.outcome for reply in replies} == {"miss"}
        assert calls(simulator) == before + 12 + 1, "equal requests of one process still share a call"
        if fault == "cut off":
            await proxy.join()


async def test_stats_add_up_over_front_ends(simulator: Simulator, cache_url: str, words: str) -> None:
    async with caching(simulator, cache_url, 2) as (one, two):
        before = await stats(one)
        for live in (one, two, one):
            await post(live, words)
        await post(one, words, "bypass")
        await manage(two, "GET", "/v1/messages/cache/stats")  # which writes what it has counted
        after = await stats(one)
    grown = {name: after[name] - before[name] for name in after if isinstance(after[name], int)}
    assert (grown["cache_hits"], grown["cache_misses"], grown["total_requests"]) == (2, 1, 3)
    assert (grown["cache_bypasses"], grown["total_entries"]) == (1, 1)
    assert grown["memory_usage_bytes"] > 0
    assert after["total_requests"] == after["cache_hits"] + after["cache_misses"]
    assert after["hit_rate_percent"] + after["miss_rate_percent"] == pytest.approx(100, abs=0.02)


async def test_a_burst_of_different_requests_keeps_every_answer(simulator: Simulator, tmp_path: Path) -> None:
    """More at once than there are connections to Redis."""
    failures = CACHE_ERRORS.labels("failed")._value.get()
    number = 3 * CACHE_CONNECTIONS
    async with EmbeddedServer(tmp_path) as server, caching(simulator, server.url) as [front]:
        for outcome in ("miss", "hit"):
            replies = await asyncio.gather(*(post(front, f"burst {at}") for at in range(number)))
            assert [(reply.status, reply.outcome) for reply in replies] == [(200, outcome)] * number
            async with asyncio.timeout(20):
                while (await stats(front))["total_entries"] < number:
                    pass
    assert calls(simulator) == number
    assert CACHE_ERRORS.labels("failed")._value.get() == failures
