"""Child processes: a parent that starts them, starts them again when they end by themselves, and stops them.

Several front ends on one port are children that listen with SO_REUSEPORT, so the kernel spreads connections over them;
their parent accepts no client traffic and owns the admin listener, where metrics are merged over the children's files.
In development the worker is a child of the front end. Everything a child needs is in its environment.

A child's standard input is a socket to its parent. The child writes to it once, when it is ready. The parent never
does: the end of the socket shows a child that its parent has ended. `signals` has the child's side.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

from gateway.process.signals import READY
from gateway.process.tasks import background, end

log = structlog.get_logger()

METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
# Names the files of a child's metrics. Its successor goes on with them, so that no counter falls and no file is left.
METRICS_SLOT = "DRAGOMAN_METRICS_SLOT"
RESTART_SECONDS = 1.0  # between the end of a child and its successor, so that a broken start does not spin
STOP_MARGIN = 5.0  # beyond the drain time, before a child that does not stop is killed


class StartFailed(Exception):
    """A child ended before it was ready; why, it has written to standard error."""


@dataclass(slots=True)
class Supervisor:
    """`command` starts one child, with `environment` on top of this process's; each may take `drain_seconds` to stop.

    `metrics` is the directory of the children's metrics, where they are merged.
    """

    command: tuple[str, ...]
    size: int
    drain_seconds: float
    environment: Mapping[str, str] = field(repr=False)
    metrics: Path | None = None
    restart_seconds: float = RESTART_SECONDS
    children: set[asyncio.subprocess.Process] = field(default_factory=set, init=False)
    pids: dict[str, int] = field(default_factory=dict, init=False)  # by slot
    _ready: set[asyncio.subprocess.Process] = field(default_factory=set, init=False)
    _all_ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)  # all of them at one time, once

    @property
    def ready(self) -> int:
        """Return the number of children that are ready."""
        return len(self._ready)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the children running while the context is open; then stop them, and wait for their drain."""
        async with self._kept_running(is_first=False):
            yield

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Run the children; entered when all are ready. Raises StartFailed if one ends before that."""
        async with self._kept_running(is_first=True) as tasks:
            waiting = asyncio.ensure_future(self._all_ready.wait())
            try:
                done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            for child in done - {waiting}:
                child.result()
            yield

    @asynccontextmanager
    async def _kept_running(self, *, is_first: bool) -> AsyncIterator[list[asyncio.Task[None]]]:
        tasks = [asyncio.create_task(self._keep_one(str(slot), is_first=is_first)) for slot in range(self.size)]
        try:
            yield tasks
        finally:
            await end(tasks)
            await self._stop()

    async def _keep_one(self, slot: str, *, is_first: bool) -> None:
        while True:
            pid, status = await self._run_one(slot)
            if is_first and not self._all_ready.is_set():
                raise StartFailed(f"a process with status {status} ended before all {self.size} were ready")
            log.error("process_ended", pid=pid, status=status)
            await asyncio.sleep(self.restart_seconds)

    async def _run_one(self, slot: str) -> tuple[int, int]:
        """Process id and status of a child, once it has ended."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                environment = {**os.environ, **self.environment, METRICS_SLOT: slot}
                child = await asyncio.create_subprocess_exec(*self.command, env=environment, stdin=theirs.fileno())
            self.children.add(child)
            self.pids[slot] = child.pid
            async with background(self._note_ready(child, ours)):
                status = await child.wait()
        self.children.discard(child)
        self._ready.discard(child)
        self.pids.pop(slot, None)
        if self.metrics is not None:
            mark_process_dead(slot, str(self.metrics))  # type: ignore[no-untyped-call]
        return child.pid, status

    async def _note_ready(self, child: asyncio.subprocess.Process, ours: socket.socket) -> None:
        ours.setblocking(False)
        # A child that dies before it is ready closes its end; its exit is handled elsewhere.
        with suppress(OSError):
            if await asyncio.get_running_loop().sock_recv(ours, len(READY)) == READY:
                self._ready.add(child)
        if len(self._ready) == self.size:
            self._all_ready.set()

    def hang_up(self) -> None:
        """Pass SIGHUP on: each child reloads its configuration. One that is not ready reads it anyway."""
        for child in self._ready:
            _signal(child, signal.SIGHUP)

    async def _stop(self) -> None:
        children = list(self.children)
        for child in children:
            _signal(child, signal.SIGTERM)
        waits = [asyncio.ensure_future(child.wait()) for child in children]
        if waits:
            _, late = await asyncio.wait(waits, timeout=self.drain_seconds + STOP_MARGIN)
            if late:
                for child in children:
                    _signal(child, signal.SIGKILL)
                await asyncio.wait(late)
        self._ready.clear()


def front_ends(size: int, arguments: tuple[str, ...], drain_seconds: float, metrics: Path) -> Supervisor:
    """Children that listen on one port and write their metrics to files in a directory."""
    command = (sys.executable, "-m", "gateway", "serve", "--child", *arguments)
    return Supervisor(command, size, drain_seconds, {METRICS_DIRECTORY: str(metrics)}, metrics)


def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if child.returncode is None:
        child.send_signal(number)
