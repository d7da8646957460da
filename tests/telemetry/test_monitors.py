"""A loop that is held up and a Redis that is gone show in the metrics, and nothing else happens."""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import REGISTRY

from gateway.batches.server import BatchServer
from gateway.process.tasks import background
from gateway.redis.connections import open_connections, queue_client
from gateway.telemetry.monitors import RedisWatch, watch_loop

HELD_UP = 0.03


async def test_a_loop_that_was_held_up_is_seen_to_lag() -> None:
    before = value("gateway_loop_lag_seconds_sum")
    async with background(watch_loop(every=HELD_UP / 10)):
        await asyncio.sleep(0)  # the timer is set
        time.sleep(HELD_UP)  # noqa: ASYNC251 - what the watch is for
        await asyncio.sleep(HELD_UP / 10)  # the watch's timer is the older one
    assert value("gateway_loop_lag_seconds_sum") - before >= HELD_UP / 2


async def test_a_redis_that_answers_is_up_and_says_how_much_memory_it_uses() -> None:
    with TemporaryDirectory(prefix="dg-") as folder:
        async with open_connections("embedded", directory=Path(folder)) as connections:
            await RedisWatch(BatchServer(connections.queue)).look()
    assert value("gateway_redis_up") == 1
    assert value("gateway_redis_memory_bytes", kind="used") > 0
    assert value("gateway_batch_queue_batches") == 0


async def test_a_redis_that_is_gone_is_down_and_raises_nothing() -> None:
    await RedisWatch(BatchServer(queue_client("unix:///nowhere/at/all"))).look()
    assert value("gateway_redis_up") == 0


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, f"there is no {name}"
    return found
