"""Several front ends on one port: a parent that starts, watches and stops them, and speaks for them all.

Each child is an ordinary front end that listens with SO_REUSEPORT, so the kernel spreads connections over them. The
parent accepts no client traffic: it owns the admin listener, where metrics are merged over the children's files, and
starts a child again that ended by itself. Everything a child needs is in its environment.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
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
    """`command` starts one child; `drain_seconds` is what each may take to stop."""

    command: tuple[str, ...]
    size: int
    drain_seconds: float
    directory: Path
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
        environment = {**os.environ, METRICS_DIRECTORY: str(self.directory)}
        while True:
            # The pipe never carries anything: its end tells a child that the parent is gone, however it went.
            child = await asyncio.create_subprocess_exec(*self.command, env=environment, stdin=asyncio.subprocess.PIPE)
            self._children.add(child)
            status = await child.wait()
            self._children.discard(child)
            mark_process_dead(child.pid, str(self.directory))  # type: ignore[no-untyped-call]
            log.error("front_end_ended", pid=child.pid, status=status)
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
async def running_fleet(size: int, arguments: tuple[str, ...], drain_seconds: float) -> AsyncIterator[Path]:
    """A fleet for as long as the context lasts; the value is where its metrics are."""
    with tempfile.TemporaryDirectory(prefix="dragoman-metrics-") as directory:
        command = (sys.executable, "-m", "gateway", "serve", "--child", *arguments)
        fleet = Fleet(command, size, drain_seconds, Path(directory))
        task = asyncio.create_task(fleet.run())
        try:
            yield Path(directory)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if child.returncode is None:
        child.send_signal(number)
