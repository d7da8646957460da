"""The programs around ours, from Debian's packages: the balancer and Prometheus, with the project's own configuration.

Only addresses are replaced in the files of `deploy/`, and Prometheus looks each second instead of each quarter minute:
what runs here is what is shipped. Every program is ended by its own process id.
"""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.ports import free_port

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
START_SECONDS = 30.0
STOP_SECONDS = 40.0


class MissingProgram(Exception):
    """Something that has to be installed first."""


def find_program(name: str, package: str) -> str:
    """Raises MissingProgram."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingProgram(f"{name} is not installed (Debian: apt install {package})")
    return found


@dataclass(slots=True)
class Program:
    """A process that writes its log to a file. `folder` is where it runs: another version of ours, say."""

    command: Sequence[str]
    log: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                env={**os.environ, **self.variables},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    async def stop(self) -> int:
        """SIGTERM, and kill -9 for who does not hear it; the exit status."""
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self.process.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        assert self.process is not None
        self.process.kill()
        return await self.process.wait()

    def check(self) -> None:
        """Raises RuntimeError with the end of its log when it has ended."""
        assert self.process is not None
        if self.process.returncode is not None:
            end = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.command[0]} ended with {self.process.returncode}:\n{end}")


async def answering(program: Program, url: str, patience: float = START_SECONDS) -> None:
    """Wait until the URL answers 200. Raises RuntimeError when the program ends, TimeoutError when it is too slow."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(patience):
        while True:
            program.check()
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


def replaced(text: str, pattern: str, by: str) -> str:
    """`text` with every line that begins so replaced. Raises ValueError when there is none: the file has changed."""
    found, count = re.subn(rf"(?m)^([ -]*){pattern}.*$", lambda match: match[1] + by, text)
    if not count:
        raise ValueError(f"no line matches {pattern!r}")
    return found


class Balancer:
    """haproxy in master-worker mode, as its image and its Debian service run it."""

    def __init__(self, folder: Path, fronts: Mapping[str, int]) -> None:
        self.port = free_port()
        self.metrics_port = free_port()
        self._socket = folder / "haproxy.sock"
        self._config = folder / "haproxy.cfg"
        self.write(fronts)
        command = (find_program("haproxy", "haproxy"), "-W", "-f", str(self._config))
        self.program = Program(command, folder / "haproxy.log")

    def write(self, fronts: Mapping[str, int]) -> None:
        text = (DEPLOY / "haproxy/haproxy.cfg").read_text()
        text = replaced(text, "bind :8080", f"bind 127.0.0.1:{self.port}")
        text = replaced(text, "bind :8404", f"bind 127.0.0.1:{self.metrics_port}")
        text = replaced(text, "maxconn 20000", f"maxconn 2000\n    stats socket {self._socket} mode 600")
        servers = "\n    ".join(f"server {name} 127.0.0.1:{port}" for name, port in fronts.items())
        self._config.write_text(replaced(text, "server-template ", servers))

    async def start(self) -> None:
        await self.program.start()
        await answering(self.program, f"http://127.0.0.1:{self.port}/livez")

    async def reload(self) -> None:
        """A new worker takes over the listening socket; the old one ends when its connections have."""
        assert self.program.process is not None
        before = children_of(self.program.process.pid)
        self.program.process.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(START_SECONDS):
            while not children_of(self.program.process.pid) - before:
                self.program.check()
                await asyncio.sleep(0.05)

    async def sees(self, name: str) -> None:
        """Wait until the balancer sends requests to this front end."""
        async with asyncio.timeout(START_SECONDS):
            while f"front,{name},UP" not in await self._statuses():  # noqa: ASYNC110 - it can only be asked
                await asyncio.sleep(0.05)

    async def _statuses(self) -> list[str]:
        """Return `backend,name,status` of each server."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:  # just reloading
            return []
        writer.write(b"show stat\n")
        lines = (await reader.read()).decode().splitlines()
        writer.close()
        rows = [line.split(",") for line in lines if line and not line.startswith("#")]
        return [f"{row[0]},{row[1]},{row[17]}" for row in rows if len(row) > 17]


def children_of(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


class Prometheus:
    """Prometheus with the project's rules; `impatient` shortens the wait of alerts, so that one can be seen to fire."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[int]], *, impatient: bool = False) -> None:
        self.port = free_port()
        (folder / "prometheus").mkdir(exist_ok=True)
        config = folder / "prometheus/prometheus.yml"
        text = (DEPLOY / "prometheus/prometheus.yml").read_text()
        text = replaced(text, "scrape_interval:", "scrape_interval: 1s")
        text = replaced(text, "evaluation_interval:", "evaluation_interval: 1s")
        config.write_text(with_targets(text, targets))
        rules = (DEPLOY / "prometheus/rules.yml").read_text()
        (config.parent / "rules.yml").write_text(replaced(rules, r"for: \d+m", "for: 3s") if impatient else rules)
        options = {
            "config.file": config,
            "storage.tsdb.path": config.parent / "data",
            "web.listen-address": f"127.0.0.1:{self.port}",
        }
        command = (
            find_program("prometheus", "prometheus"),
            *(f"--{name}={value}" for name, value in options.items()),
        )
        self.program = Program(command, folder / "prometheus.log")

    async def start(self) -> None:
        await self.program.start()
        await answering(self.program, f"http://127.0.0.1:{self.port}/-/ready")

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the answer of the HTTP API. Raises ValueError with its words on a refusal."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=parameters) as answer:
            said = await answer.json()
        if said["status"] != "success":
            raise ValueError(said["error"])
        return said["data"]


def with_targets(text: str, targets: Mapping[str, Sequence[int]]) -> str:
    """Each job's DNS name replaced by its addresses."""
    for job, ports in targets.items():
        listed = ", ".join(f"'127.0.0.1:{port}'" for port in ports)
        text, count = re.subn(
            rf"(job_name: {job}\n +)dns_sd_configs: .*", rf"\1static_configs: [{{targets: [{listed}]}}]", text
        )
        if not count:
            raise ValueError(f"no job {job}")
    return text
