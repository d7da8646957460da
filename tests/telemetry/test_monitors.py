"""A blocked loop and an unavailable Redis show in the metrics, without further effects."""

import asyncio
import time

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.process.tasks import background
from gateway.redis.connections import queue_client
from gateway.redis.server import RedisServer
from gateway.telemetry.monitors import RedisMonitor, watch_loop
from tests.redis.servers import open_server

HELD_UP = 0.03


async def test_a_loop_that_was_held_up_is_seen_to_lag() -> None:
    before = value("gateway_loop_lag_seconds_sum")
    async with background(watch_loop(every=HELD_UP / 10)):
        await asyncio.sleep(0)  # the timer is set
        time.sleep(HELD_UP)  # noqa: ASYNC251 - what the watch is for
        await asyncio.sleep(HELD_UP / 10)  # the watch's timer is the older one
    assert value("gateway_loop_lag_seconds_sum") - before >= HELD_UP / 2


async def test_a_redis_that_takes_writes_is_up_and_says_how_much_memory_it_uses() -> None:
    async with open_server() as running, running.client() as client:
        monitor = RedisMonitor(RedisServer(client))
        await monitor.look()
    assert monitor.problem is None
    assert value("gateway_redis_up") == 1
    assert value("gateway_redis_memory_bytes", kind="used") > 0
    assert value("gateway_redis_memory_bytes", kind="limit") == 512 * 1024 * 1024
    assert value("gateway_batch_queue_batches") == 0


async def test_a_redis_that_is_gone_is_down_and_raises_nothing() -> None:
    monitor = RedisMonitor(RedisServer(queue_client("unix:///nowhere/at/all")))
    await monitor.look()
    assert monitor.problem == "no connection: No such file or directory"
    assert value("gateway_redis_up") == 0


async def test_a_redis_that_answers_and_takes_no_writes_is_down_until_it_does() -> None:
    async with open_server() as running, running.client() as client:
        monitor = RedisMonitor(RedisServer(client))
        with capture_logs() as lines:
            for writes in (1, 1, 0):
                await client.config_set("min-replicas-to-write", writes)
                await monitor.look()
                assert value("gateway_redis_up") == 1 - writes
    reason = "NOREPLICAS: the server has fewer replicas than its min-replicas-to-write"
    assert [(line["event"], line.get("reason")) for line in lines] == [("redis_away", reason), ("redis_back", None)]


async def test_a_frozen_redis_is_down() -> None:
    async with open_server() as running, running.client() as client:
        monitor = RedisMonitor(RedisServer(client), timeout=0.05)
        await running.freeze()
        await monitor.look()
        await running.thaw()
    assert monitor.problem == "no answer in time"
    assert value("gateway_redis_up") == 0


async def test_redis_is_up_for_a_process_that_was_paused_while_it_waited() -> None:
    async with open_server() as running, running.client() as client:
        monitor = RedisMonitor(RedisServer(client), timeout=0.05)
        asyncio.get_running_loop().call_soon(time.sleep, 0.1)
        await monitor.look()
    assert monitor.problem is None


async def test_a_full_redis_is_down() -> None:
    async with open_server(maxmemory="1mb") as running, running.client() as client:
        monitor = RedisMonitor(RedisServer(client))
        await monitor.look()
    assert monitor.problem == "OOM: the server's memory is full"


async def test_without_the_right_to_info_only_the_memory_is_unknown() -> None:
    async with open_server() as running, running.client() as client:
        await client.execute_command("ACL", "SETUSER", "default", "-info")
        monitor = RedisMonitor(RedisServer(client))
        await monitor.look()
    assert value("gateway_redis_up") == 1


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, f"there is no {name}"
    return found
