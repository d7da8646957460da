"""Workers on a real server with a simulated upstream: in this process (`Bench`), or as the real command (`worker`).

One server for all tests and a database of it for each, since a worker's keys have a fixed prefix.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.batches.lifecycle import BatchOptions, BatchRecord
from gateway.batches.queue import BatchQueue
from gateway.batches.server import BatchServer
from gateway.batches.splitter import Item
from gateway.batches.store import BatchStore
from gateway.redis.connections import queue_client
from gateway.redis.keys import BatchKeys, Keys
from gateway.redis.server import RedisServer
from gateway.simulator.loopback import Simulator
from tests.support.redis_server import redis_server

databases = count()
DATABASES = 16  # Redis' default

END_SECONDS = 60.0
POLL_SECONDS = 0.02


@dataclass(slots=True)
class WorkerProcess:
    """The real command, and the lines that it has logged so far."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def admin_url(self) -> str:
        return "http://" + next(line["admin"] for line in self.lines if line["event"] == "worker_started")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.process.wait()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            self.lines.append(orjson.loads(raw))
            if self.lines[-1]["event"] == "worker_started":
                self.started.set()


@dataclass(slots=True)
class Bench:
    """A separate batch store, and the upstream that workers on it call."""

    url: str
    redis: Redis
    simulator: Simulator

    @property
    def server(self) -> BatchServer:
        return BatchServer(RedisServer(self.redis))

    @property
    def store(self) -> BatchStore:
        return BatchStore(self.server)

    def queue(self, worker: str = "other", lease_ms: int = 60_000) -> BatchQueue:
        return BatchQueue(self.server, worker, lease_ms=lease_ms)

    def keys(self, batch: BatchRecord) -> BatchKeys:
        return Keys().batch(batch.id)

    async def create(self, items: list[Item], tenant: str = "acme", **options: Any) -> BatchRecord:
        staging = await self.store.begin(tenant, BatchOptions(**options))
        for one in items:
            await staging.add(one)
        return await staging.commit()

    async def read(self, batch: BatchRecord) -> BatchRecord:
        return await self.store.retrieve(batch.tenant, batch.id)

    async def ended(self, batch: BatchRecord) -> BatchRecord:
        async with asyncio.timeout(END_SECONDS):
            while True:
                record = await self.read(batch)
                if record.status == "ended":
                    return record
                await asyncio.sleep(POLL_SECONDS)

    async def recorded(self, batch: BatchRecord, number: int) -> None:
        """Wait until this many results are there, or the batch has ended."""
        async with asyncio.timeout(END_SECONDS):
            while True:
                progress = await self.store.progress(batch.id)
                if progress is None or progress.succeeded + progress.errored >= number:
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def results(self, batch: BatchRecord) -> dict[str, dict[str, Any]]:
        """Return results by custom_id; every line's must be its own."""
        pieces = [piece async for piece in await self.store.results(batch.tenant, batch.id)]
        lines = [orjson.loads(line) for line in b"".join(pieces).splitlines()]
        results = {line["custom_id"]: line["result"] for line in lines}
        assert len(results) == len(lines) == batch.total
        return results

    @asynccontextmanager
    async def worker(self, *arguments: str, **variables: str) -> AsyncIterator[WorkerProcess]:
        """`python -m workers`, started. Leaving the context kills it if it still runs."""
        environment = {
            **os.environ,
            "GATEWAY_REDIS_URL": self.url,
            "GATEWAY_UPSTREAM_URL": self.simulator.url,
            "GATEWAY_UPSTREAM_API_KEY": "sk-upstream-canary",
            "GATEWAY_UPSTREAM_FLAVOR": "openrouter",
            "GATEWAY_SECRET": "t:secret-canary",
            "GATEWAY_WORKER_ADMIN_PORT": "0",
            "GATEWAY_LOG_FORMAT": "json",
            **variables,
        }
        command = (sys.executable, "-m", "workers", *arguments)
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        worker = WorkerProcess(process)
        reader = asyncio.create_task(worker.read())
        try:
            async with asyncio.timeout(END_SECONDS):
                await worker.started.wait()
            yield worker
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reader


def item(number: int, **params: Any) -> Item:
    asked = {"model": "sim/echo", "max_tokens": 100, "messages": [{"role": "user", "content": said(number)}]}
    body = {**asked, **params}
    return Item.of(f"item-{number}", orjson.dumps(body), body)


def said(number: int) -> str:
    return f"This is number {number}."


def text_of(result: dict[str, Any]) -> str:
    assert result["type"] == "succeeded", result
    [block] = result["message"]["content"]
    return str(block["text"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_url() -> AsyncIterator[str]:
    async with redis_server() as url:
        yield url


@pytest.fixture
def database_url(server_url: str) -> str:
    return f"{server_url}?db={next(databases) % DATABASES}"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def bench(database_url: str, simulator: Simulator) -> AsyncIterator[Bench]:
    redis = queue_client(database_url)
    names = [name async for name in redis.scan_iter("*")]
    if names:  # of the test that had this database before
        await redis.unlink(*names)
    yield Bench(database_url, redis, simulator)
    await redis.aclose()
