"""Child processes: a parent that starts them, starts them again when they end by themselves, and stops them.

Several front ends on one port are children that listen with SO_REUSEPORT, so the kernel spreads connections over them;
their parent accepts no client traffic and owns the admin listener, where metrics are merged over the children's files.
In development the worker is a child of the front end. Everything a child needs is in its environment.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

log = structlog.get_logger()

METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
RESTART_SECONDS = 1.0  # between the end of a child and its successor, so that a broken start does not spin
STOP_MARGIN = 5.0  # beyond the drain time, before a child that does not stop is killed


@dataclass(slots=True)
class Fleet:
    """`command` starts one child, with `environment` on top of this process's; each may take `drain_seconds` to stop.

    `metrics` is the directory of the children's metrics, where they are merged.
    """

    command: tuple[str, ...]
    size: int
    drain_seconds: float
    environment: Mapping[str, str] = field(repr=False)
    metrics: Path | None = None
    _stopping: bool = False
    _children: set[asyncio.subprocess.Process] = field(default_factory=set)

    async def run(self) -> None:
        """Keep `size` children running until cancelled; then stop them, and wait for their drain."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.size):
                    group.create_task(self._keep_one())
        finally:
            await self._stop()

    async def _keep_one(self) -> None:
        environment = {**os.environ, **self.environment}
        while True:
            # The pipe never carries anything: its end tells a child that the parent is gone, however it went.
            child = await asyncio.create_subprocess_exec(*self.command, env=environment, stdin=asyncio.subprocess.PIPE)
            self._children.add(child)
            status = await child.wait()
            self._children.discard(child)
            if self.metrics is not None:
                mark_process_dead(child.pid, str(self.metrics))  # type: ignore[no-untyped-call]
            log.error("process_ended", pid=child.pid, status=status)
            await asyncio.sleep(RESTART_SECONDS)

    async def _stop(self) -> None:
        children = list(self._children)
        for child in children:
            _signal(child, signal.SIGTERM)
        waits = [asyncio.ensure_future(child.wait()) for child in children]
        if waits:
            _, late = await asyncio.wait(waits, timeout=self.drain_seconds + STOP_MARGIN)
            if late:
                for child in children:
                    _signal(child, signal.SIGKILL)
                await asyncio.wait(late)


@asynccontextmanager
async def running_front_ends(size: int, arguments: tuple[str, ...], drain_seconds: float) -> AsyncIterator[Path]:
    """Front ends for as long as the context lasts; the value is where their metrics are."""
    with tempfile.TemporaryDirectory(prefix="dragoman-metrics-") as directory:
        command = (sys.executable, "-m", "gateway", "serve", "--child", *arguments)
        async with running(Fleet(command, size, drain_seconds, {METRICS_DIRECTORY: directory}, Path(directory))):
            yield Path(directory)


@asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[None]:
    task = asyncio.create_task(fleet.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if child.returncode is None:
        child.send_signal(number)
